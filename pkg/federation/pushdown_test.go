package federation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// estimating estimates what it is asked, and refuses what refuse says.
type estimating struct {
	columns []catalog.Column
	tables  []bigquery.TableRef
	refuse  func(bigquery.Query) error
	asked   []bigquery.Query
}

func (e *estimating) DryRun(_ context.Context, q bigquery.Query) (bigquery.Estimate, error) {
	e.asked = append(e.asked, q)
	if e.refuse != nil {
		if err := e.refuse(q); err != nil {
			return bigquery.Estimate{}, err
		}
	}
	return bigquery.Estimate{Bytes: 100 << 20, StatementType: "SELECT", Tables: e.tables, Columns: e.columns}, nil
}

func (*estimating) Run(context.Context, bigquery.Query) (*bigquery.Result, error) {
	return nil, errors.New("a plan runs nothing")
}

// remoteColumns are those of the query that is registered as e.
var remoteColumns = []catalog.Column{
	{Name: "ID", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "ok", Type: "BOOLEAN"}, {Name: "day", Type: "DATE"},
	{Name: "amount", Type: "DECIMAL(38,9)"}, {Name: "at", Type: "TIMESTAMP"}, {Name: "ratio", Type: "DOUBLE"},
}

// planned plans a statement of which every local key has the type and the values.
func planned(t *testing.T, w *estimating, sql string, set KeySet, change func(*HybridQuestion)) (HybridPart, error) {
	t.Helper()
	w.columns = remoteColumns
	w.tables = []bigquery.TableRef{{Project: "acme", Dataset: "web", Table: "events"}}
	q := HybridQuestion{
		User: "ann", Registered: map[string]string{"e": "SELECT * FROM web.events -- all of them"}, SQL: sql, MaxKeys: 3,
		Keys: func(context.Context, string, int) (KeySet, error) { return set, nil },
	}
	if change != nil {
		change(&q)
	}
	plan, err := NewHybrid(HybridConfig{}).Plan(t.Context(), w, q)
	if err != nil {
		return HybridPart{}, err
	}
	return plan.Parts[0], nil
}

func TestKeysAreSentWhereTheyCompareAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		column string
		set    KeySet
		want   string // the parameter; "" where nothing is sent
	}{
		{"id", KeySet{"BIGINT", []string{"-9223372036854775808", "7"}}, "[]int64{-9223372036854775808, 7}"},
		{"id", KeySet{"UBIGINT", []string{"18446744073709551615", "7"}}, "[]int64{7}"}, // what is no INT64 matches none
		{"id", KeySet{"UTINYINT", []string{"7"}}, "[]int64{7}"},
		{"id", KeySet{"VARCHAR", []string{"7"}}, ""},
		{"id", KeySet{"DOUBLE", []string{"7.0"}}, ""},
		{"id", KeySet{"DECIMAL(18,0)", []string{"7"}}, ""},
		{"id", KeySet{"BOOLEAN", []string{"true"}}, ""},
		{"name", KeySet{"VARCHAR", []string{"", "it's"}}, `[]string{"", "it's"}`},
		{"name", KeySet{"BIGINT", []string{"7"}}, ""},
		{"name", KeySet{"ENUM('a')", []string{"a"}}, ""},
		{"name", KeySet{"JSON", []string{`"a"`}}, ""},
		{"ok", KeySet{"BOOLEAN", []string{"true", "false"}}, "[]bool{true, false}"},
		{"ok", KeySet{"BIGINT", []string{"1"}}, ""},
		{"day", KeySet{"DATE", []string{"2026-01-02", "infinity"}}, `[]string{"2026-01-02", "infinity"}`},
		{"day", KeySet{"TIMESTAMP", []string{"2026-01-02T00:00:00"}}, ""},
		{"amount", KeySet{"DECIMAL(38,9)", []string{"1.000000000"}}, ""},
		{"at", KeySet{"TIMESTAMP", []string{"2026-01-02T00:00:00"}}, ""},
		{"ratio", KeySet{"DOUBLE", []string{"0.5"}}, ""},
		{"nothing", KeySet{"BIGINT", []string{"7"}}, ""},
		{"name", KeySet{"VARCHAR", []string{strings.Repeat("x", mostKeyBytes+1)}}, ""},
		{"id", KeySet{"BIGINT", []string{"1", "2", "3", "4"}}, ""}, // above the limit
	} {
		w := &estimating{}
		p, err := planned(t, w, "SELECT * FROM o JOIN e ON o.k = e."+c.column, c.set, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(p.params) == 1 {
			got = fmt.Sprintf("%#v", p.params[0].Value)
		}
		last := w.asked[len(w.asked)-1]
		if got != c.want || (got == "") != (p.SemiJoin.Why != "") || (got == "") != (len(p.SemiJoin.Columns) == 0) || (got == "") != (len(last.Params) == 0) || p.SQL != last.SQL {
			t.Errorf("%s of %.30v: sends %.60s, want %.60s; %+v, estimated %+v", c.column, c.set, got, c.want, p.SemiJoin, last)
		}
	}
}

func TestWhatIsEstimatedIsTheQueryWithItsKeys(t *testing.T) {
	t.Parallel()
	const sql = "SELECT * FROM o JOIN e ON o.k = e.id AND o.d = e.day"
	w := &estimating{}
	ids := KeySet{"BIGINT", []string{"7"}}
	both := func(q *HybridQuestion) {
		q.Keys = func(_ context.Context, sql string, most int) (KeySet, error) {
			if most != 4 {
				t.Errorf("%d keys are asked for, one above the limit of 3 tells that there are more", most)
			}
			if strings.Contains(sql, "o.d") {
				return KeySet{"DATE", []string{"2026-01-02", "2026-01-03"}}, nil
			}
			return ids, nil
		}
	}
	p, err := planned(t, w, sql, KeySet{}, both)
	const want = "SELECT * FROM (\nSELECT * FROM web.events\n) WHERE `ID` IN UNNEST(@agnes_keys_0) AND `day` IN (SELECT SAFE_CAST(k AS DATE) FROM UNNEST(@agnes_keys_1) AS k)"
	if err != nil || p.SQL != want || p.SemiJoin.Keys != 3 || len(w.asked) != 2 || w.asked[1].SQL != want || len(w.asked[1].Params) != 2 {
		t.Errorf("%v: %q, %+v, estimated %+v", err, p.SQL, p.SemiJoin, w.asked)
	}

	// Where one of two can be sent, it is: what is told is that, and not that all rows come.
	ids = KeySet{"DOUBLE", []string{"7"}}
	if p, err = planned(t, &estimating{}, sql, KeySet{}, both); err != nil || fmt.Sprint(p.SemiJoin) != "{[day] [o] 2 }" {
		t.Errorf("one of two: %v, %+v", err, p.SemiJoin)
	}

	// A key that is not there leaves nothing to ask or to pay.
	ids = KeySet{"BIGINT", nil}
	if p, err = planned(t, &estimating{}, sql, KeySet{}, both); err != nil || !p.empty || p.Reserved != 0 || p.Price != 0 {
		t.Errorf("no keys: %v, %+v", err, p)
	}
}

func TestAQueryThatIsNotTakenWithKeysIsAskedWithout(t *testing.T) {
	t.Parallel()
	const sql = "SELECT * FROM o JOIN e ON o.k = e.id"
	set := KeySet{"BIGINT", []string{"7"}}
	refusing := func(err error) *estimating {
		return &estimating{refuse: func(q bigquery.Query) error {
			if len(q.Params) > 0 {
				return err
			}
			return nil
		}}
	}
	p, err := planned(t, refusing(fault.New(fault.Invalid, "Duplicate column names")), sql, set, nil)
	if err != nil || p.SQL != "SELECT * FROM web.events" || p.params != nil || p.Reserved != 100<<20 || p.SemiJoin.Why != whyRefused || p.SemiJoin.Columns != nil {
		t.Errorf("refused: %v, %+v", err, p)
	}
	// An estimate that failed says nothing of the query.
	if _, err := planned(t, refusing(fault.New(fault.Unavailable, "try again")), sql, set, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no estimate: %v", err)
	}
	// Who may not read what the query names is not let in by its keys.
	_, err = planned(t, &estimating{}, sql, set, func(q *HybridQuestion) { q.Readable = func(bigquery.TableRef) bool { return false } })
	if err == nil {
		t.Error("a table that is not granted was planned")
	}
	for name, change := range map[string]func(*HybridQuestion){
		"switched off": func(q *HybridQuestion) { q.NoSemiJoin = true },
		"no limit":     func(q *HybridQuestion) { q.MaxKeys = -1 },
		"no keys": func(q *HybridQuestion) {
			q.Keys = func(context.Context, string, int) (KeySet, error) { return KeySet{}, errors.New("no such column") }
		},
	} {
		if p, err := planned(t, &estimating{}, sql, set, change); err != nil || p.params != nil || p.SemiJoin.Why == "" {
			t.Errorf("%s: %v, %+v", name, err, p)
		}
	}
}
