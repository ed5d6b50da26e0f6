package profile

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// take profiles the rows of a query.
func take(t *testing.T, query string, change func(*Options)) *Profile {
	t.Helper()
	db, err := lake.Open(t.Context(), lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	file := filepath.Join(t.TempDir(), "x.parquet")
	if _, err := db.ExecContext(t.Context(), "COPY ("+query+") TO "+lake.QuoteLiteral(file)+" (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	table := catalog.Table{Name: "t", SizeBytes: 3 << 20}
	rows, err := db.QueryContext(t.Context(), "SELECT column_name, column_type FROM (DESCRIBE FROM "+lake.QuoteLiteral(file)+")")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c catalog.Column
		if err := rows.Scan(&c.Name, &c.Type); err != nil {
			t.Fatal(err)
		}
		table.Columns = append(table.Columns, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+lake.QuoteLiteral(file)).Scan(&table.Rows); err != nil {
		t.Fatal(err)
	}
	opts := Options{Table: table, Files: []string{file}, TempDir: t.TempDir(), Threads: 1, TableID: "t"}
	if change != nil {
		change(&opts)
	}
	p, err := Take(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func column(t *testing.T, p *Profile, name string) *Column {
	t.Helper()
	for _, c := range p.Columns {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no column %q", name)
	return nil
}

func TestProfile(t *testing.T) {
	t.Parallel()
	p := take(t, `SELECT i AS id, CASE WHEN i % 4 = 0 THEN NULL ELSE i * 100 - 200 END AS amount, ['a', 'a', 'a', 'b'][i % 4 + 1] AS "group",
		DATE '2024-01-01' + i::INTEGER * 30 AS day, i < 5 AS flag, 7.25::DECIMAL(9,2) AS price, {'x': i} AS nested, [i] AS list
		FROM range(20) r(i)`, func(o *Options) { o.PrimaryKey = []string{"ID"} })
	if p.RowCount != 20 || p.ColumnCount != 8 || p.FileSizeMB != 3 || p.Sampled || p.MissingCells != 5 || p.DuplicateRows != 0 {
		t.Errorf("table: %+v", p)
	}
	if diff := cmp.Diff(map[string]int{Numeric: 3, Text: 3, Date: 1, Boolean: 1}, p.VariableTypes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&DateRange{Column: "day", Earliest: "2024-01-01", Latest: "2025-07-24", SpanDays: 570}, p.DateRange); diff != "" {
		t.Error(diff)
	}
	id := column(t, p, "id")
	if !id.IsPrimaryKey || id.UniqueCount != 20 || id.UniquePct != 100 || !cmp.Equal(id.Alerts, []string{"unique"}) {
		t.Errorf("id: %+v", id)
	}
	amount := column(t, p, "amount")
	n := amount.Numeric
	if amount.NullCount != 5 || amount.CompletenessPct != 75 || n == nil || *n.Min != -100 || *n.Max != 1700 || n.Zeros != 1 || n.Negative != 1 {
		t.Errorf("amount: %+v %+v", amount, n)
	}
	var counted int64
	for _, c := range n.Histogram.Counts {
		counted += c
	}
	if len(n.Histogram.Bins) != histogramBins || counted != 15 || n.Histogram.Bins[14] != "1.6K-1.7K" || n.Histogram.Counts[14] == 0 {
		t.Errorf("histogram: %+v", n.Histogram)
	}
	group := column(t, p, "group")
	if diff := cmp.Diff([]TopValue{{"a", 15, 75}, {"b", 5, 25}}, group.String.TopValues); diff != "" || !cmp.Equal(group.Alerts, []string{"imbalance"}) {
		t.Error(diff, group.Alerts)
	}
	if b := column(t, p, "flag").Boolean; b == nil || b.TrueCount != 5 || b.FalseCount != 15 || b.TruePct != 25 {
		t.Errorf("flag: %+v", b)
	}
	if price := column(t, p, "price"); !cmp.Equal(price.Alerts, []string{"constant"}) || price.Numeric.Histogram != nil || *price.Numeric.Mean != 7.25 {
		t.Errorf("price: %+v", price)
	}
	if d := column(t, p, "day").Date; d.Histogram.Bins[0] != "2024-Q1" || d.Histogram.Counts[0] != 4 {
		t.Errorf("day: %+v", d.Histogram)
	}
	if len(p.SampleRows) != 5 || *p.SampleRows[1]["amount"] != "-100" || p.SampleRows[0]["amount"] != nil {
		t.Errorf("sample rows: %v", p.SampleRows)
	}
	if len(column(t, p, "nested").SampleValues) != shownValues {
		t.Errorf("nested: %+v", column(t, p, "nested"))
	}
}

func TestTrap_E13_WhatJSONCannotHoldHidesNothing(t *testing.T) {
	t.Parallel()
	p := take(t, `SELECT * FROM (VALUES ('nan'::DOUBLE, 'infinity'::TIMESTAMP, 170141183460469231731687303715884105727::HUGEINT, NULL::INTEGER, 1e308::DOUBLE, '2024-01-01'::TIMESTAMPTZ),
		('inf'::DOUBLE, '2024-05-01'::TIMESTAMP, 1::HUGEINT, NULL, -1e308::DOUBLE, '2024-01-02'::TIMESTAMPTZ), (3.5, NULL, 2, NULL, 0, NULL)) v(f, ts, h, nothing, wide, tz)`, nil)
	s, err := p.Struct()
	if err != nil {
		t.Fatal(err)
	}
	if f := column(t, p, "f").Numeric; *f.Min != 3.5 || *f.Max != 3.5 {
		t.Errorf("f: %+v", f)
	}
	if d := column(t, p, "ts").Date; d == nil || d.Latest != "2024-05-01 00:00:00" {
		t.Errorf("ts: %+v", d)
	}
	if d := column(t, p, "tz").Date; d == nil || !strings.HasPrefix(d.Earliest, "2024-01-01 00:00:00") {
		t.Errorf("tz: %+v", d)
	}
	if n := column(t, p, "nothing"); n.NullCount != 3 || n.Numeric.Min != nil || !cmp.Equal(n.Alerts, []string{"high_missing"}) {
		t.Errorf("nothing: %+v %+v", n, n.Numeric)
	}
	if w := column(t, p, "wide").Numeric; *w.Max != 1e308 || w.Histogram == nil {
		t.Errorf("wide: %+v", w)
	}
	if got := len(s.GetFields()["columns"].GetListValue().GetValues()); got != 6 {
		t.Errorf("%d columns in the event", got)
	}
}

func TestEmptyTables(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"an empty part": nil,
		"no part":       func(o *Options) { o.Files = nil },
	} {
		p := take(t, "SELECT 1 AS a, 'x' AS b, DATE '2024-01-01' AS d WHERE false", change)
		if p.RowCount != 0 || len(p.Columns) != 3 || len(p.Alerts) != 0 || p.DateRange != nil {
			t.Errorf("%s: %+v", name, p)
		}
		if _, err := p.Struct(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDuplicatesAndSample(t *testing.T) {
	t.Parallel()
	p := take(t, "SELECT i % 10 AS k, i AS v FROM range(100) r(i)", func(o *Options) { o.PrimaryKey = []string{"k"} })
	if p.DuplicateRows != 90 {
		t.Errorf("%d duplicate rows, want 90", p.DuplicateRows)
	}
	p = take(t, fmt.Sprintf("SELECT i AS k FROM range(%d) r(i)", sampleRows+1000), nil)
	if !p.Sampled || p.RowCount != sampleRows+1000 || column(t, p, "k").NullCount != 0 {
		t.Errorf("sampled %v, %d rows, %d nulls", p.Sampled, p.RowCount, column(t, p, "k").NullCount)
	}
}

// A profile goes through a bus that takes a MiB, however wide the table.
func TestProfilesFitIntoAnEvent(t *testing.T) {
	t.Parallel()
	list := make([]string, 2000)
	for i := range list {
		list[i] = fmt.Sprintf("repeat('é', 200) || i AS %q", fmt.Sprintf("column %d %s", i, strings.Repeat("x", 60)))
	}
	p := take(t, "SELECT "+strings.Join(list, ", ")+" FROM range(3) r(i)", nil)
	s, err := p.Struct()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s.AsMap())
	if err != nil || len(raw) > 1<<20 || !p.Shortened || len(p.Columns) < 1000 {
		t.Errorf("%d bytes, shortened %v, %d columns, %v", len(raw), p.Shortened, len(p.Columns), err)
	}
}

func TestCategory(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"BIGINT": Numeric, "DECIMAL(18,2)": Numeric, "DOUBLE": Numeric, "UHUGEINT": Numeric, "BOOLEAN": Boolean, "DATE": Date,
		"TIMESTAMP WITH TIME ZONE": Timestamp, "TIMESTAMP_NS": Timestamp, "VARCHAR": Text, "TIME": Text, "UUID": Text, "BIGINT[]": Text,
		"DECIMAL(9,2)[]": Text, "STRUCT(a INTEGER)": Text, "MAP(VARCHAR, INTEGER)": Text, "ENUM('DATE')": Text, "INTEGER[3]": Text, "TIMESTAMP[]": Text,
	} {
		if got := category(typ); got != want {
			t.Errorf("category(%s) = %s, want %s", typ, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 1.234: "1.23", -1234: "-1.2K", 3.4e6: "3.4M", 5e9: "5B"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %s, want %s", v, got, want)
		}
	}
	if f := math.NaN(); finite(&f) != nil {
		t.Error("NaN is finite")
	}
}
