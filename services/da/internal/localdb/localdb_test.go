package localdb_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) (*localdb.DB, *workspace.Workspace) {
	t.Helper()
	ws, err := workspace.Find(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.Create(); err != nil {
		t.Fatal(err)
	}
	db := localdb.New(ws)
	db.Patience = 100 * time.Millisecond
	return db, ws
}

// ask gives the first row of an answer.
func ask(t *testing.T, db *localdb.DB, q localdb.Question) ([]localdb.Value, error) {
	t.Helper()
	rows, err := db.Query(t.Context(), q)
	if err != nil {
		return nil, err
	}
	var first []localdb.Value
	if rows.Next() {
		first = append(first, rows.Row()...)
	}
	return first, errors.Join(rows.Err(), rows.Close())
}

func empty(source, name string) workspace.Table {
	return workspace.Table{Source: source, Name: name, Alias: true, Columns: []catalog.Column{{Name: "v", Type: "INTEGER"}}}
}

func TestASourceThatIsCalledAsTheDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	p, err := db.Publish(t.Context(), map[string]workspace.Table{"a": empty("Analytics", "a"), "b": empty("shop", "b")})
	if err != nil || len(p.Refused) != 1 || !fault.Is(p.Refused["a"], fault.Conflict) {
		t.Fatalf("%+v, %v", p, err)
	}
	if row, err := ask(t, db, localdb.Question{SQL: "SELECT count(*) FROM b"}); err != nil || row[0].Text != "0" {
		t.Errorf("%v, %v", row, err)
	}
}

func TestPublishAgainChangesNothing(t *testing.T) {
	t.Parallel()
	db, ws := open(t)
	tables := map[string]workspace.Table{"a": empty("shop", "a"), "b": empty("shop", "b")}
	if _, err := db.Publish(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(ws.Database())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Publish(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(ws.Database()); string(after) != string(before) {
		t.Error("the file changed")
	}
}

func TestDescriptionsAreComments(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	table := empty("shop", "a")
	table.Description = "it's what it is"
	if _, err := db.Publish(t.Context(), map[string]workspace.Table{"a": table}); err != nil {
		t.Fatal(err)
	}
	row, err := ask(t, db, localdb.Question{SQL: "SELECT comment FROM duckdb_views() WHERE schema_name = 'shop'"})
	if err != nil || row[0].Text != "synced by da: it's what it is" {
		t.Errorf("%v, %v", row, err)
	}
}

func TestADatabaseThatIsNoneIsNotTouched(t *testing.T) {
	t.Parallel()
	db, ws := open(t)
	if err := os.WriteFile(ws.Database(), []byte("these are the analyst's notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Publish(t.Context(), map[string]workspace.Table{"a": empty("shop", "a")}); err == nil {
		t.Error("it was opened")
	}
	if raw, _ := os.ReadFile(ws.Database()); !strings.Contains(string(raw), "notes") {
		t.Error("it was overwritten")
	}
}

func TestTrap_E13_ValuesKeepTheirMeaningAsJSON(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	if _, err := db.Publish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"SELECT 9007199254740992": "9007199254740992", "SELECT 9007199254740993": `"9007199254740993"`, "SELECT -9007199254740993": `"-9007199254740993"`,
		"SELECT 18446744073709551615::UBIGINT": `"18446744073709551615"`, "SELECT 7::UHUGEINT": "7", "SELECT 1e30::DOUBLE": "1e30",
		"SELECT 1.10::DECIMAL(4,2)": `"1.10"`, "SELECT 0.1::DOUBLE": "0.1", "SELECT 'nan'::DOUBLE": `"NaN"`, "SELECT '-inf'::FLOAT": `"-Infinity"`, "SELECT 'inf'::DOUBLE": `"Infinity"`,
		"SELECT true": "true", "SELECT DATE '2026-01-02'": `"2026-01-02"`, "SELECT TIMESTAMP '2026-01-02 03:04:05.5'": `"2026-01-02T03:04:05.5"`,
		"SELECT TIMESTAMPTZ '2026-01-02 03:04:05+02'": `"2026-01-02T01:04:05Z"`, "SELECT TIME '03:04:05'": `"03:04:05"`, "SELECT INTERVAL 1 DAY": `"1 day"`,
		"SELECT 'a\"b\\'": `"a\"b\\"`, "SELECT '\\x00\\xFF'::BLOB": `"AP8="`, "SELECT [1, NULL, 3]": "[1,null,3]", "SELECT {'a': [1.5], 'b': 'x'}": `{"a":[1.5],"b":"x"}`,
		"SELECT {'a': 'nan'::DOUBLE, 'NaN': 'NaN \" Infinity', 'c': '-inf'::DOUBLE}": `{"a":"NaN","NaN":"NaN \" Infinity","c":"-Infinity"}`,
		"SELECT MAP {'k': 1}": `{"k":1}`, "SELECT '{\"a\": 1}'::JSON": `{"a":1}`, "SELECT 'x'::ENUM('x', 'y')": `"x"`, "SELECT '101'::BIT": `"101"`,
		"SELECT uuid '00000000-0000-0000-0000-000000000001'": `"00000000-0000-0000-0000-000000000001"`,
	} {
		row, err := ask(t, db, localdb.Question{SQL: sql, Form: localdb.JSON})
		if err != nil || row[0].Text != want {
			t.Errorf("%s: %v, %v; want %s", sql, row, err, want)
		}
	}
	if row, err := ask(t, db, localdb.Question{SQL: "SELECT NULL::DOUBLE", Form: localdb.JSON}); err != nil || !row[0].Null {
		t.Errorf("NULL: %v, %v", row, err)
	}
}

func TestQueriesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	if _, err := db.Publish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), localdb.Question{SQL: "SELECT (range * 7919) % 300007 AS x FROM range(300007) ORDER BY x DESC"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	before, n := "", 0
	for rows.Next() {
		got := rows.Row()[0].Text
		if before != "" && (len(got) > len(before) || (len(got) == len(before) && got >= before)) {
			t.Fatalf("%s after %s", got, before)
		}
		before = got
		n++
	}
	if rows.Err() != nil || n != 300007 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
}

func TestACancelledQueryEnds(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	if _, err := db.Publish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	rows, err := db.Query(ctx, localdb.Question{SQL: "SELECT count(*) FROM range(10000000) a, range(10000000) b"})
	if err == nil {
		rows.Next()
		err = errors.Join(rows.Err(), rows.Close())
	}
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
