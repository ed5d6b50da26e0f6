package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func mkdir(dir string) error { return os.MkdirAll(dir, 0o755) }

// What parquet cannot keep is written as what loses the least.
func TestTrap_E12_TypesAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("t", `SELECT 170141183460469231731687303715::HUGEINT AS huge, [1::HUGEINT] AS list, {'HUGEINT': 1::UHUGEINT, 'a b': 2::HUGEINT} AS nested,
		TIMESTAMPTZ '2024-01-01 12:00:00+02' AS tz, TIMESTAMP '2024-01-01 12:00:00' AS naive, 1.23::DECIMAL(38,9) AS dec,
		union_value(num := 2) AS u, 'x'::BLOB AS b, INTERVAL 1 MONTH AS i, TIME '01:02:03' AS tm, MAP {'a': 1} AS m,
		'{"a": 1}'::JSON AS j, uuid() AS id, NULL AS nothing, 'NaN'::DOUBLE AS nan, 18446744073709551615::UBIGINT AS ub`)
	mustOutcome(t, mustRun(t, runConfig(dir, src, register("t")...)), "t", OutcomeUpdated)
	table := mustTable(t, mustVersion(t, dir), "t")
	got := map[string]string{}
	for _, c := range table.Columns {
		got[c.Name] = c.Type
	}
	want := map[string]string{
		"huge": "DECIMAL(38,0)", "list": "DECIMAL(38,0)[]", "nested": `STRUCT(HUGEINT DECIMAL(38,0), "a b" DECIMAL(38,0))`, "tz": "TIMESTAMP WITH TIME ZONE",
		"naive": "TIMESTAMP", "dec": "DECIMAL(38,9)", "u": "VARCHAR", "b": "BLOB", "i": "INTERVAL", "tm": "TIME", "m": "MAP(VARCHAR, INTEGER)",
		"j": "JSON", "id": "UUID", "nothing": "INTEGER", "nan": "DOUBLE", "ub": "UBIGINT",
	}
	for name, typ := range want {
		if got[name] != typ {
			t.Errorf("%s is %s, want %s", name, got[name], typ)
		}
	}
	if value := ask(t, "SELECT huge FROM read_parquet('"+table.Files[0]+"')"); value != "170141183460469231731687303715" {
		t.Errorf("a 128-bit integer became %s", value)
	}
}

// Row groups shrink as rows grow, and a COPY of wide rows stays within its memory.
func TestTrap_E2_WideRowsGetSmallRowGroups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("wide", "SELECT i AS id, repeat(hash(i)::VARCHAR, 1000) AS text FROM range(5000) r(i)")
	src.query("late", "SELECT i AS id, CASE WHEN i > 2500 THEN repeat(hash(i)::VARCHAR, 1000) END AS text FROM range(5000) r(i)")
	src.query("narrow", "SELECT i AS id FROM range(300000) r(i)")
	cfg := runConfig(dir, src, register("wide", "late", "narrow")...)
	cfg.MemoryBytes = 400 << 20
	ready := mustRun(t, cfg)
	v := mustVersion(t, dir)
	for name, most := range map[string]int{"wide": 2 * minGroupRows, "late": maxGroupRows, "narrow": maxGroupRows + minGroupRows} {
		mustOutcome(t, ready, name, OutcomeUpdated)
		var rows int
		query := "SELECT max(row_group_num_rows) FROM parquet_metadata('" + mustTable(t, v, name).Files[0] + "')"
		if _, err := fmt.Sscan(ask(t, query), &rows); err != nil || rows > most {
			t.Errorf("%s has row groups of %d rows (%v), want at most %d", name, rows, err, most)
		}
	}
}

// Any text is a name: a keyword, a quote, a glob, a path, two names that differ in case only.
func TestTrap_E6_D13_NamesOfTables(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "da[t]a*")
	src := &scripted{}
	names := []string{"order", `qu"o'te`, "glob*[a]?", "..", "über", "a b", "%41", "select", strings.Repeat("long ", 39) + "x", "with.dot", "c:d"}
	for _, n := range append(names, "Order", "a/b", "_meta") {
		src.query(n, "SELECT 1 AS x")
	}
	ready := mustRun(t, runConfig(dir, src, register(append(names, "Order", "a/b", "_meta")...)...))
	v := mustVersion(t, dir)
	folders := map[string]bool{}
	for _, n := range names {
		if n == ".." || n == "order" {
			continue
		}
		mustOutcome(t, ready, n, OutcomeUpdated)
		table := mustTable(t, v, n)
		folder := filepath.Base(filepath.Dir(table.Files[0]))
		if folders[folder] || strings.ContainsAny(folder, `/\*?[]`) || len(folder) > maxFolder {
			t.Errorf("%q has the folder %q", n, folder)
		}
		folders[folder] = true
	}
	for _, n := range []string{"..", "a/b", "_meta"} {
		if o := mustOutcome(t, ready, n, OutcomeFailed); o.GetErrorKind() != string(fault.Invalid) {
			t.Errorf("%q: %v", n, o)
		}
	}
	mustOutcome(t, ready, "Order", OutcomeUpdated)
	if o := mustOutcome(t, ready, "order", OutcomeFailed); o.GetErrorKind() != string(fault.Conflict) {
		t.Errorf("a name that differs in case only: %v", o)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		columns := []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "day", Type: "DATE"}, {Name: "at", Type: "TIMESTAMPTZ"}, {Name: `na"me`, Type: "VARCHAR"}}
		if err := w.Columns(ctx, columns); err != nil {
			return err
		}
		for i := range 5000 {
			if err := w.Append(ctx, i, "2024-01-31", at, nil); err != nil {
				return err
			}
		}
		if err := w.Append(ctx, 1); !fault.Is(err, fault.Internal) {
			return fmt.Errorf("a short row: %w", err)
		}
		return nil
	})
	src.set("empty", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		return w.Columns(ctx, []catalog.Column{{Name: "id", Type: "DECIMAL(10,2)"}})
	})
	src.set("nothing", func(context.Context, TableSpec, *TableWriter) error { return nil })
	src.set("panics", func(context.Context, TableSpec, *TableWriter) error { panic("boom") })
	ready := mustRun(t, runConfig(dir, src, register("t", "empty", "nothing", "panics")...))
	v := mustVersion(t, dir)
	table := mustTable(t, v, "t")
	if table.Rows != 5000 || fmt.Sprint(table.Columns) != "[{id BIGINT} {day DATE} {at TIMESTAMP WITH TIME ZONE} {na\"me VARCHAR}]" {
		t.Errorf("%d rows of %v", table.Rows, table.Columns)
	}
	if got := ask(t, "SELECT concat_ws(' ', sum(id), min(day), max(epoch(\"at\"))::BIGINT) FROM read_parquet('"+table.Files[0]+"')"); got != fmt.Sprintf("12497500 2024-01-31 %d", at.Unix()) {
		t.Errorf("the rows are %s", got)
	}
	if e := mustTable(t, v, "empty"); e.Rows != 0 || e.Columns[0].Type != "DECIMAL(10,2)" || len(e.Parts) != 1 {
		t.Errorf("the empty table is %+v", e)
	}
	for _, name := range []string{"nothing", "panics"} {
		if o := mustOutcome(t, ready, name, OutcomeFailed); o.GetErrorKind() != string(fault.Internal) || strings.Contains(o.GetError(), "boom") {
			t.Errorf("%s: %v", name, o)
		}
	}
}

// A companion comes and goes with the successful runs of its table, and with nothing else.
func TestCompanion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	rejects := func(n int) func(context.Context, TableSpec, *TableWriter) error {
		return func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if err := w.Exec(ctx, fmt.Sprintf("CREATE TEMP TABLE bad AS SELECT i AS line, 'why' AS reason FROM range(%d) r(i)", n)); err != nil {
				return err
			}
			if n > 0 {
				c, err := w.Companion("__rejects", "what was set aside")
				if err != nil {
					return err
				}
				if err := c.Query(ctx, "FROM bad;", 0); err != nil {
					return err
				}
				w.SetRejected(int64(n))
			}
			return w.Query(ctx, "SELECT 1 AS id", 0)
		}
	}
	src.set("t", rejects(3))
	cfg := runConfig(dir, src, register("t")...)
	if o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated); o.GetRejectedRows() != 3 {
		t.Fatalf("outcome %v", o)
	}
	if c := mustTable(t, mustVersion(t, dir), "t__rejects"); c.Rows != 3 || c.Description != "what was set aside" {
		t.Fatalf("companion %+v", c)
	}
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeUnchanged)
	for _, err := range []error{fault.New(fault.Unavailable, "away"), ErrUnchanged} {
		src.set("t", func(context.Context, TableSpec, *TableWriter) error { return err })
		mustRun(t, cfg)
		mustTable(t, mustVersion(t, dir), "t__rejects")
	}
	src.set("t", rejects(0))
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
	if _, found := mustVersion(t, dir).Table("t__rejects"); found {
		t.Fatal("the companion outlived a run that did not write it")
	}
	src.set("t", rejects(1))
	src.query("t__rejects", "SELECT 2 AS own")
	ready := mustRun(t, runConfig(dir, src, register("t", "t__rejects")...))
	if o := mustOutcome(t, ready, "t", OutcomeFailed); o.GetErrorKind() != string(fault.Conflict) {
		t.Fatalf("a companion took the name of a table: %v", o)
	}
}

func TestRemoteTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{remotes: []catalog.Remote{{Alias: "bq", Extension: "bigquery", URL: "project=x", TokenEnv: "TOKEN"}}}
	columns := []catalog.Column{{Name: "a", Type: "BIGINT"}, {Name: "b", Type: "VARCHAR"}}
	for name, alias := range map[string]string{"r": "bq", "r2": "bq", "stray": "other"} {
		src.set(name, func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			return w.Remote(ctx, alias, "data set", `ta"ble`, columns)
		})
	}
	registry := register("r", "r2", "stray")
	for _, r := range registry {
		r.QueryMode = catalog.ModeRemote
	}
	ready := mustRun(t, runConfig(dir, src, registry...))
	mustOutcome(t, ready, "stray", OutcomeFailed)
	v := mustVersion(t, dir)
	table := mustTable(t, v, "r")
	if table.Stored != StoredRemote || table.RemoteSQL != `SELECT * FROM "bq"."data set"."ta""ble"` || fmt.Sprint(table.Columns) != fmt.Sprint(columns) {
		t.Fatalf("remote table %+v", table)
	}
	if fmt.Sprint(v.Remotes) != fmt.Sprint(src.remotes) {
		t.Fatalf("remotes %v", v.Remotes)
	}
	again := mustRun(t, runConfig(dir, src, registry...))
	if o := mustOutcome(t, again, "r", OutcomeUnchanged); again.GetChanged() || o.GetHash() != table.Fingerprint {
		t.Fatalf("the same remote table is another one: %v", again)
	}
}

// Tokens are given back to the run that can use them, and to no other.
func TestTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	var seen []string
	token := "first"
	src.set("t", func(ctx context.Context, spec TableSpec, w *TableWriter) error {
		seen = append(seen, spec.Token)
		if spec.Token == token {
			return ErrUnchanged
		}
		w.SetToken(token)
		return w.Query(ctx, "SELECT 1 AS id", 0)
	})
	registry := register("t")
	cfg := runConfig(dir, src, registry...)
	step := func(wantToken, wantOutcome string, changed bool) {
		t.Helper()
		ready := mustRun(t, cfg)
		mustOutcome(t, ready, "t", wantOutcome)
		if got := seen[len(seen)-1]; got != wantToken || ready.GetChanged() != changed {
			t.Fatalf("token %q, changed %v; want %q, %v", got, ready.GetChanged(), wantToken, changed)
		}
	}
	step("", OutcomeUpdated, true)
	step("first", OutcomeUnchanged, false)
	token = "second" // the input differs, its rows do not: remembered, but nothing to announce
	step("first", OutcomeUnchanged, false)
	step("second", OutcomeUnchanged, false)
	registry[0].OptionsJson = `{"filter": "x"}`
	step("", OutcomeUnchanged, false)
	step("second", OutcomeUnchanged, false)
	registry[0].Description = "described"
	step("second", OutcomeUpdated, true)
	cfg.Force = true
	step("", OutcomeUnchanged, false)
	src.set("t", func(context.Context, TableSpec, *TableWriter) error { return ErrUnchanged })
	registry[0].OptionsJson = "no json"
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeFailed)
	if d := mustTable(t, mustVersion(t, dir), "t").Description; d != "described" {
		t.Fatalf("the description is %q", d)
	}
}

// A part that vanished is not taken for the last good version: the table is read again, even where
// nobody asked for it, and until that succeeds it is reported.
func TestDamagedTablesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("hurt", "SELECT 1 AS id")
	src.query("fine", "SELECT 2 AS id")
	cfg := runConfig(dir, src, register("hurt", "fine")...)
	mustRun(t, cfg)
	if err := os.Remove(mustTable(t, mustVersion(t, dir), "hurt").Files[0]); err != nil {
		t.Fatal(err)
	}
	src.set("hurt", func(context.Context, TableSpec, *TableWriter) error { return errors.New("still away") })
	cfg.Tables = []string{"fine"}
	src.query("fine", "SELECT 3 AS id")
	mustOutcome(t, mustRun(t, cfg), "hurt", OutcomeFailed)
	v := mustVersion(t, dir)
	mustTable(t, v, "fine")
	if len(v.Problems) != 1 || v.Problems[0].Table != "hurt" {
		t.Fatalf("problems %+v", v.Problems)
	}
	src.query("hurt", "SELECT 1 AS id")
	mustOutcome(t, mustRun(t, cfg), "hurt", OutcomeUpdated)
	mustTable(t, mustVersion(t, dir), "hurt")
}

// An extract that is no extract any more is written anew from what the catalog still knows.
func TestGarbageInPlaceOfTheExtract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("a", "SELECT 1 AS id")
	src.query("b", "SELECT 2 AS id")
	cfg := runConfig(dir, src, register("a", "b")...)
	mustRun(t, cfg)
	if err := os.WriteFile(PointerPath(dir, "src"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Tables = []string{"a"}
	if _, err := Run(context.Background(), cfg); !fault.Is(err, fault.Permanent) {
		t.Fatalf("a subset over garbage: %v", err)
	}
	cfg.Tables = nil
	if ready := mustRun(t, cfg); !ready.GetChanged() {
		t.Fatal("the extract was written anew, but nobody is told")
	}
	mustTable(t, mustVersion(t, dir), "b")
}

func TestTableFolder(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"orders": "orders", "a.b": "a.b", ".hidden": "%2Ehidden", "a b": "a%20b", "über": "über", "50%": "50%25", "*": "%2A", "a/b": "a%2Fb",
	} {
		if got := TableFolder(name); got != want {
			t.Errorf("TableFolder(%q) = %q, want %q", name, got, want)
		}
	}
	long := strings.Repeat("ü", 100)
	if a, b := TableFolder(long), TableFolder(long[:198]); a == b || len(a) > maxFolder || !strings.HasPrefix(a, "üü") {
		t.Errorf("%q and %q", a, b)
	}
}

// A run ends soonest where what takes long does not begin last.
func TestTheLargestTablesBeginFirst(t *testing.T) {
	t.Parallel()
	src := &scripted{}
	cfg := runConfig(t.TempDir(), src, register("a", "b", "c")...)
	cfg.Limits.Tables = 1
	var order string
	for name, rows := range map[string]int{"a": 10, "b": 5_000, "c": 500} {
		src.set(name, func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			order += name
			return w.Query(ctx, fmt.Sprintf("SELECT hash(i) AS h FROM range(%d) r(i)", rows), 0)
		})
	}
	mustRun(t, cfg)
	if order != "abc" {
		t.Errorf("at first %s", order)
	}
	order = ""
	if mustRun(t, cfg); order != "bca" {
		t.Errorf("later %s", order)
	}
}
