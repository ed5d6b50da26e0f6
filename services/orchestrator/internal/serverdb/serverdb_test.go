package serverdb

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a data directory with parts.
type world struct {
	t   *testing.T
	dir string
	db  *lake.DB
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := lake.Open(t.Context(), lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	// A data directory whose path holds what read_parquet takes for a pattern.
	dir := filepath.Join(t.TempDir(), "da*ta[1]?")
	if err := os.MkdirAll(filepath.Join(dir, "analytics"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: dir, db: db}
}

// table makes a table with one part per query.
func (w *world) table(source, name string, queries ...string) catalog.Table {
	w.t.Helper()
	out := catalog.Table{Name: name, QueryMode: catalog.ModeLocal}
	for i, q := range queries {
		rel := filepath.Join("extracts", source, "data", name, string(rune('a'+i))+".parquet")
		file := filepath.Join(w.dir, rel)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.db.ExecContext(w.t.Context(), "COPY ("+q+") TO "+lake.QuoteLiteral(file)+" (FORMAT parquet)"); err != nil {
			w.t.Fatal(err)
		}
		out.Parts = append(out.Parts, catalog.Part{Path: filepath.ToSlash(rel)})
	}
	return out
}

func (w *world) write(sources []catalog.Source, aliases map[string]string) (string, Report) {
	w.t.Helper()
	file, report, err := Write(w.t.Context(), w.dir, w.t.TempDir(), catalog.NewIndex(sources, aliases))
	if err != nil {
		w.t.Fatal(err)
	}
	return file, report
}

func ask(t *testing.T, file, query string) []string {
	t.Helper()
	db, err := lake.Open(t.Context(), lake.Options{Path: file, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return askDB(t, db, query)
}

func askDB(t *testing.T, db *lake.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemasViewsAndAliases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sources := []catalog.Source{
		{Name: "crm", Tables: []catalog.Table{
			w.table("crm", "orders", "SELECT 'crm' AS v"), w.table("crm", "contacts", "SELECT 1 AS v", "SELECT 2 AS v, 'new' AS added"),
			{Name: "empty", QueryMode: catalog.ModeLocal, Columns: []catalog.Column{{Name: `a "b"`, Type: "DECIMAL(18,2)"}, {Name: "l", Type: "STRUCT(x INTEGER[])"}}},
			{Name: "far", QueryMode: catalog.ModeRemote, RemoteSQL: "SELECT * FROM kbc.a.b"},
		}},
		{Name: "shop", Tables: []catalog.Table{w.table("shop", "orders", "SELECT 'shop' AS v"), w.table("shop", "pinned", "SELECT 'shop' AS v")}},
		{Name: "erp-2", Tables: []catalog.Table{w.table("erp-2", "pinned", "SELECT 'erp' AS v")}},
		{Name: "nothing"},
	}
	file, report := w.write(sources, map[string]string{"pinned": "erp-2.pinned"})
	if report.Schemas != 3 || report.Views != 6 || report.Aliases != 3 || len(report.Broken) != 0 {
		t.Errorf("report %+v, want 3 schemas, 6 views, 3 aliases", report)
	}
	for query, want := range map[string][]string{
		"SELECT v FROM crm.orders UNION ALL SELECT v FROM shop.orders ORDER BY 1": {"crm", "shop"},
		"SELECT v FROM contacts ORDER BY 1":                                       {"1", "2"},
		"SELECT added FROM crm.contacts WHERE v = 2":                              {"new"},
		"SELECT v FROM pinned":                                                    {"erp"},
		`SELECT count(*) FROM "erp-2".pinned`:                                     {"1"},
		`SELECT typeof("a ""b""") FROM (FROM empty UNION ALL SELECT 1, NULL)`:     {"DECIMAL(18,2)"},
		"SELECT count(*) FROM duckdb_views() WHERE NOT internal AND view_name IN ('orders', 'far') AND schema_name = 'main'": {"0"},
	} {
		if got := ask(t, file, query); !slices.Equal(got, want) {
			t.Errorf("%s = %v, want %v", query, got, want)
		}
	}
	// Self-contained: it works under any name, attached to anything.
	got := askDB(t, w.db, "SELECT 1 FROM (SELECT 1)")
	if _, err := w.db.ExecContext(t.Context(), "ATTACH "+lake.QuoteLiteral(file)+" AS other (READ_ONLY)"); err != nil || len(got) != 1 {
		t.Fatal(err)
	}
	if got := askDB(t, w.db, "SELECT v FROM other.main.pinned"); !slices.Equal(got, []string{"erp"}) {
		t.Errorf("attached under another name: %v", got)
	}
}

func TestTrap_E6_KeywordsAndQuotesAreNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := []string{"order", "select", "a.b", `q"uote`, "semi;colon", "with space", "ünïcode", "pat*tern", "x'y"}
	var tables []catalog.Table
	for _, n := range names {
		tables = append(tables, w.table("order", n, "SELECT 1 AS \"group\""))
	}
	file, report := w.write([]catalog.Source{{Name: "order", Tables: tables}}, nil)
	if len(report.Broken) != 0 {
		t.Fatalf("broken: %v", report.Broken)
	}
	for _, n := range names {
		for _, from := range []string{lake.QuoteName("order", n), lake.QuoteIdent(n)} {
			if got := ask(t, file, `SELECT "group" FROM `+from); !slices.Equal(got, []string{"1"}) {
				t.Errorf("%s: %v", from, got)
			}
		}
	}
}

func TestTrap_E11_OneBrokenViewDropsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.table("s", "gone", "SELECT 1 AS v")
	if err := os.Remove(filepath.Join(w.dir, gone.Parts[0].Path)); err != nil {
		t.Fatal(err)
	}
	garbage := w.table("s", "garbage", "SELECT 1 AS v")
	if err := os.WriteFile(filepath.Join(w.dir, garbage.Parts[0].Path), []byte("not parquet"), 0o644); err != nil {
		t.Fatal(err)
	}
	file, report := w.write([]catalog.Source{
		{Name: "s", Tables: []catalog.Table{w.table("s", "a", "SELECT 1 AS v"), garbage, gone, w.table("s", "z", "SELECT 1 AS v")}},
		{Name: "t", Tables: []catalog.Table{w.table("t", "b", "SELECT 1 AS v")}},
	}, nil)
	if !slices.Equal(report.Broken, []string{"s.garbage", "s.gone"}) || report.Views != 3 || report.Aliases != 3 {
		t.Errorf("report %+v, want two broken and three views with aliases", report)
	}
	if got := ask(t, file, "SELECT (FROM s.a) + (FROM s.z) + (FROM t.b) + (FROM z)"); !slices.Equal(got, []string{"4"}) {
		t.Errorf("the others: %v", got)
	}
}
