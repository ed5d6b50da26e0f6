package lake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// writePart writes the answer of a query as a parquet file.
func writePart(t *testing.T, path, query string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mustExec(t, mustOpen(t, Options{}), "COPY ("+query+") TO "+QuoteLiteral(path)+" (FORMAT parquet)")
}

func mustSession(t *testing.T, views ...View) *Session {
	t.Helper()
	s, err := OpenSession(t.Context(), SessionOptions{Views: views, Threads: 2, MemoryBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask gives all values of an answer, one line per row.
func ask(t *testing.T, s *Session, sql string) (string, error) {
	t.Helper()
	r, err := s.Query(t.Context(), sql)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return readAll(r)
}

func readAll(r array.RecordReader) (string, error) {
	var lines []string
	for r.Next() {
		batch := r.RecordBatch()
		for row := range int(batch.NumRows()) {
			var values []string
			for _, column := range batch.Columns() {
				values = append(values, column.ValueStr(row))
			}
			lines = append(lines, strings.Clone(strings.Join(values, "|"))) // one value alone is the batch's own memory
		}
	}
	return strings.Join(lines, "\n"), r.Err()
}

// outsider is a session with a granted table beside a folder of things that are not granted.
func outsider(t *testing.T) (s *Session, dir, granted string) {
	t.Helper()
	dir = t.TempDir()
	granted = filepath.Join(dir, "extracts", "crm", "data", "orders", "aa.parquet")
	writePart(t, granted, "SELECT i::BIGINT AS id, 'row ' || i AS name FROM range(3) r(i)")
	writePart(t, filepath.Join(dir, "extracts", "hr", "data", "salaries", "bb.parquet"), "SELECT 'topsecret' AS salary")
	for _, name := range []string{"secret.txt", "secret.csv", "secret.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("topsecret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = mustSession(t, View{
		Schema: "crm", Name: "orders", Aliases: []string{"orders"}, Files: []string{granted},
		Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}},
	})
	return s, dir, granted
}

func TestTrap_P2_NothingButTheGrantedFilesIsReached(t *testing.T) {
	t.Parallel()
	s, dir, granted := outsider(t)
	before, err := HashFile(granted)
	if err != nil {
		t.Fatal(err)
	}
	salaries := filepath.Join(dir, "extracts", "hr", "data", "salaries", "bb.parquet")
	for _, sql := range []string{
		"FROM hr.salaries", "FROM salaries", `FROM "hr"."salaries"`, "SELECT * FROM orders JOIN salaries USING (id)",
		"FROM 'SALARIES'", "SELECT * FROM 'SALARIES' WHERE true", "FROM read_parquet('SALARIES')", "FROM parquet_scan(['SALARIES'])",
		`FROM "read_parquet"('SALARIES')`, "FROM system.main.read_parquet('SALARIES')", "FROM read_parquet($$SALARIES$$)", "FROM read_parquet(e'SALARIES')",
		"FROM query('FROM read_par' || 'quet(''SALARIES'')')", "FROM query_table('SALARIES')", "FROM parquet_metadata('SALARIES')", "FROM parquet_kv_metadata('SALARIES')",
		"FROM read_text('DIR/secret.txt')", "FROM read_blob('DIR/secret.txt')", "FROM read_csv('DIR/secret.csv')", "FROM sniff_csv('DIR/secret.csv')",
		"FROM sniff_csv(chr(47) || 'DIR/secret.csv')", "FROM read_json('DIR/secret.json')", "FROM glob('DIR/*')", "FROM glob('/*')", "FROM read_text('DIR/**')",
		"FROM 'DIR/extracts/crm/data/orders/../../../hr/data/salaries/bb.parquet'", "FROM 'DIR/extracts/*/data/*/*.parquet'", "FROM read_duckdb('DIR/x.duckdb')",
		"SELECT getenv('HOME')", "SELECT content FROM read_text('/etc/passwd')", "FROM 'https://127.0.0.1:1/x.parquet'", "FROM 's3://bucket/x.parquet'", "FROM read_csv('/dev/stdin')",
		"FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''DIR/secret.txt'')'))", "SELECT (SELECT content FROM read_text('DIR/secret.txt'))",
		"WITH a AS (FROM read_text('DIR/secret.txt')) FROM a", "EXPLAIN ANALYZE SELECT * FROM read_text('DIR/secret.txt')", "DESCRIBE SELECT * FROM read_csv('DIR/secret.csv')",
		"SUMMARIZE SELECT * FROM read_csv('DIR/secret.csv')", "SELECT * FROM arrow_scan(1, 2, 3)", "FROM duckdb_secrets()", "SELECT * FROM which_secret('s3://x', 's3')",
	} {
		sql = strings.ReplaceAll(strings.ReplaceAll(sql, "SALARIES", salaries), "DIR", dir)
		out, err := ask(t, s, sql)
		if err == nil && out != "" {
			t.Errorf("%s\n gave %q", sql, out)
		}
		for _, leak := range []string{"topsecret", filepath.Dir(dir)} {
			if strings.Contains(out, leak) || err != nil && strings.Contains(err.Error(), leak) {
				t.Errorf("%s\n told %q: %q, %v", sql, leak, out, err)
			}
		}
	}
	if after, err := HashFile(granted); err != nil || after != before {
		t.Errorf("the granted file changed: %v", err)
	}
}

func TestErrorsHelpWhoeverWroteTheStatement(t *testing.T) {
	t.Parallel()
	s, _, _ := outsider(t)
	for sql, want := range map[string]string{
		"SELECT nme FROM orders":      "Candidate bindings: \"name\"",
		"SELECT * FROM ordrs":         "Did you mean \"orders\"",
		"SELEC 1":                     "syntax error at or near \"SELEC\"",
		"SELECT id::DATE FROM orders": "LINE 1",
		"PRAGMA version":              "not PRAGMA",
	} {
		_, err := ask(t, s, sql)
		message := UserMessage(err)
		if fault.Is(err, fault.Invalid) {
			message = fault.Message(err)
		}
		if !strings.Contains(message, want) {
			t.Errorf("%s gave %q", sql, message)
		}
	}
	r, err := s.Query(t.Context(), "SELECT CASE WHEN i = 900000 THEN error('boom') ELSE i END FROM range(1000000) r(i)")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := int64(0)
	for r.Next() {
		rows += r.RecordBatch().NumRows()
	}
	if rows == 0 || r.Err() == nil || r.Err().Error() != "Invalid Input Error: boom" {
		t.Errorf("after %d rows: %v", rows, r.Err())
	}
}

func TestViewsHaveTheirNamesAndTypes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var views []View
	names := []string{"order", "select", `say "hi"`, "a.b", "it's", "x*y[1]?", "Ärger", "order by"}
	for _, name := range names {
		part := filepath.Join(dir, strings.ReplaceAll(name, `"`, "'"), "p=1", "x.parquet")
		writePart(t, part, "SELECT 7::INTEGER AS "+QuoteIdent(name))
		views = append(views, View{
			Schema: "my-src", Name: name, Aliases: []string{name}, Files: []string{part},
			Columns: []catalog.Column{{Name: name, Type: "BIGINT"}},
		})
	}
	views = append(views, View{Schema: "my-src", Name: "empty", Columns: []catalog.Column{
		{Name: "a", Type: "DECIMAL(18,2)"}, {Name: "b c", Type: "STRUCT(x INTEGER, \"y z\" VARCHAR[])"}, {Name: "d", Type: "ENUM('u', 'v')"}, {Name: "e", Type: "TIMESTAMP WITH TIME ZONE"},
	}}, View{Schema: "my-src", Name: "away", Problem: "this table is asked where it lives", Columns: []catalog.Column{{Name: "a", Type: "INT"}}})
	s := mustSession(t, views...)
	if len(s.Problems()) > 0 {
		t.Error(s.Problems())
	}
	for _, name := range names {
		for _, from := range []string{QuoteName("my-src", name), QuoteIdent(name)} {
			got, err := ask(t, s, "SELECT "+QuoteIdent(name)+", typeof("+QuoteIdent(name)+") FROM "+from)
			if err != nil || got != "7|BIGINT" {
				t.Errorf("%s: %q, %v", from, got, err)
			}
		}
	}
	got, err := ask(t, s, `SELECT column_name, column_type FROM (DESCRIBE "my-src".empty)`)
	want := "a|DECIMAL(18,2)\nb c|STRUCT(x INTEGER, \"y z\" VARCHAR[])\nd|ENUM('u', 'v')\ne|TIMESTAMP WITH TIME ZONE"
	if err != nil || got != want {
		t.Errorf("the empty table has %s, %v", got, err)
	}
	if got, err := ask(t, s, `SELECT count(*) FROM "my-src".empty`); err != nil || got != "0" {
		t.Errorf("the empty table holds %s, %v", got, err)
	}
	if _, err := ask(t, s, `SELECT * FROM "my-src".away`); err == nil || !strings.Contains(err.Error(), "asked where it lives") {
		t.Errorf("the remote table gave %v", err)
	}
}

func TestTrap_E11_OneBrokenViewHidesNoOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.parquet"), filepath.Join(dir, "bad.parquet")
	writePart(t, good, "SELECT 1 AS x")
	if err := os.WriteFile(bad, []byte("not parquet"), 0o600); err != nil {
		t.Fatal(err)
	}
	column := func(kind string) []catalog.Column { return []catalog.Column{{Name: "x", Type: kind}} }
	s := mustSession(t,
		View{Schema: "s", Name: "bad", Aliases: []string{"bad"}, Files: []string{bad}, Columns: column("INTEGER")},
		View{Schema: "s", Name: "gone", Files: []string{filepath.Join(dir, "gone.parquet")}, Columns: column("INTEGER")},
		View{Schema: "s", Name: "odd", Files: []string{good}, Columns: column("INTEGER) FROM read_text('/etc/passwd') --")},
		View{Schema: "s", Name: "typo", Files: []string{good}, Columns: column("INTEGERR")},
		View{Schema: "s", Name: "good", Aliases: []string{"good"}, Files: []string{good}, Columns: column("INTEGER")},
		View{Schema: "s", Name: "GOOD", Files: []string{good}, Columns: column("INTEGER")},
		View{Schema: "s", Name: "nothing"},
	)
	if got, err := ask(t, s, "SELECT x FROM s.good, good"); err == nil || !strings.Contains(err.Error(), "Ambiguous") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ask(t, s, "SELECT x FROM good"); err != nil || got != "1" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"s.bad", "bad", "s.gone", "s.odd", "s.typo", "s.nothing"} {
		want := "the table s." + strings.TrimPrefix(name, "s.") + " cannot be read at the moment"
		if _, err := ask(t, s, "SELECT * FROM "+name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v", name, err)
		}
	}
	if n := len(s.Problems()); n != 6 {
		t.Errorf("%d problems: %v", n, s.Problems())
	}
}

func TestQueriesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s, _, _ := outsider(t)
	const endless = "SELECT count(*) FROM range(1000000000) a(i), range(1000000000) b(j) WHERE i + j = -1"
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.Query(ctx, endless); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline gave %v", err)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	r, err := s.Query(stopped, "SELECT i FROM range(100000000000) r(i)")
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("enough")
	for n := 0; r.Next(); n++ {
		if n == 3 {
			stop(reason)
		}
	}
	if !errors.Is(r.Err(), reason) {
		t.Errorf("a cancelled answer gave %v", r.Err())
	}
	r.Close()
	r.Close()
	if spent := time.Since(start); spent > 5*time.Second {
		t.Errorf("it took %v", spent)
	}
	if r, err = s.Query(t.Context(), "SELECT i FROM range(100000000000) r(i)"); err != nil {
		t.Fatal(err)
	}
	r.Next()
	r.Release() // an answer that nobody reads to its end
	if got, err := ask(t, s, "SELECT 1"); err != nil || got != "1" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestTrap_E8_ASessionKeepsToItsMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := OpenSession(t.Context(), SessionOptions{MemoryBytes: 48 << 20, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const heavy = "SELECT count(*) FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 40) FROM range(2000000) r(i))"
	if _, err := ask(t, s, heavy); ClassOf(err) != ClassOutOfMemory {
		t.Errorf("without a folder to spill: %v", err)
	}
	spilling, err := OpenSession(t.Context(), SessionOptions{MemoryBytes: 64 << 20, Threads: 1, TempDir: filepath.Join(dir, "spill")})
	if err != nil {
		t.Fatal(err)
	}
	defer spilling.Close()
	if got, err := ask(t, spilling, heavy); err != nil || got != "2000000" {
		t.Errorf("with a folder to spill: %q, %v", got, err)
	}
	// A large answer does not sit in memory: 100 M rows would be 800 MB.
	r, err := s.Query(t.Context(), "SELECT i FROM range(100000000) r(i)")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := int64(0)
	for r.Next() {
		rows += r.RecordBatch().NumRows()
	}
	if r.Err() != nil || rows != 100_000_000 {
		t.Errorf("%d rows, %v", rows, r.Err())
	}
}

// TestAllTypesBecomeArrow holds the two ways from DuckDB to Arrow together: with the build tag
// duckdb_arrow and without it, the batches must be the same.
func TestAllTypesBecomeArrow(t *testing.T) {
	t.Parallel()
	s := mustSession(t)
	r, err := s.Query(t.Context(), `SELECT *, '{"a":1}'::JSON AS js, NULL AS nothing, 5::USMALLINT AS "odd ""name" FROM test_all_types()`)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got strings.Builder
	for i, c := range r.Columns() {
		f := r.Schema().Field(i)
		fmt.Fprintf(&got, "%s: %s: %s %v %v\n", f.Name, c.Type, f.Type, f.Nullable, f.Metadata)
	}
	for r.Next() {
		for i, column := range r.RecordBatch().Columns() {
			fmt.Fprintf(&got, "%s", r.Columns()[i].Name)
			for row := range column.Len() {
				fmt.Fprintf(&got, " | %s", column.ValueStr(row))
			}
			got.WriteByte('\n')
		}
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	golden := filepath.Join("testdata", "all_types.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := WriteFileAtomic(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestDBStreamsArrow(t *testing.T) {
	t.Parallel()
	db := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "x.duckdb")})
	mustExec(t, db, "CREATE TABLE t AS SELECT 1 AS x UNION ALL SELECT 2")
	r, err := db.Arrow(t.Context(), "SELECT x, ?, ?, ?, ?, ? FROM t ORDER BY x", "a\x00b", nil, 1.5, true, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	r.Release()
	want := "1|a\x00b|(null)|1.5|true|1970-01-01T00:00:00Z\n2|a\x00b|(null)|1.5|true|1970-01-01T00:00:00Z"
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"SELECT 1; DROP TABLE t", "SELECT ?", "SELEC"} {
		if r, err := db.Arrow(t.Context(), bad); err == nil {
			t.Errorf("%s was answered", bad)
			r.Release()
		}
	}
	if r, err = db.Arrow(t.Context(), "SELECT i FROM range(100000000000) r(i)"); err != nil {
		t.Fatal(err)
	}
	r.Next()
	r.Release()
	if open := db.Stats().InUse; open != 0 {
		t.Errorf("%d connections are still in use", open)
	}
}

func TestMentions(t *testing.T) {
	t.Parallel()
	names := []string{"orders", "Customers", "order items", "order", "salaries"}
	for sql, want := range map[string]string{
		"SELECT * FROM orders":                              "orders1",
		"select * from CRM.ORDERS o join customers":         "orders Customers3",
		`FROM "order items"`:                                "order items1",
		"FROM 'orders'":                                     "orders3",
		"FROM query('SELECT * FROM \"order items\" -- x')":  "order items1",
		"SELECT 1 -- salaries":                              "0",
		"SELECT $x$FROM salaries$x$":                        "salaries1",
		"SELECT x FROM t ORDER BY x DESC":                   "order1",
		"DESCRIBE crm.orders":                               "orders2",
		"DESCRIBE orders":                                   "orders1",
		"SELECT show FROM orders":                           "orders1",
		"FROM (DESCRIBE) d, orders":                         "*orders3",
		"SHOW ALL TABLES":                                   "*3",
		"FROM (SHOW TABLES), orders":                        "*orders3",
		"FROM main.orders":                                  "orders3",
		"FROM crm . /* x */ \"ORDERS\"":                     "orders2",
		"SHOW TABLES":                                       "*1",
		"DESC":                                              "*3",
		"SELECT * FROM duckdb_views()":                      "*3",
		"SELECT * FROM Information_Schema.tables":           "*3",
		"SELECT 'a b orders.x":                              "orders1",
		"FROM\u00a0orders":                                  "orders1",
		"FROM query('FROM ord' || ('ers'))":                 "orders1",
		"FROM query($$FROM o$$||'rd'/* x */||\"ers\")":      "orders1",
		"FROM query('FROM ord'\n'ers')":                     "orders1",
		`FROM query(E'FROM \x6frd\145rs\U00000020\n-- \'')`: "orders1",
		`FROM query_table(E'\u006frders')`:                  "orders3",
		"SELECT 'ord', 'ers'":                               "0",
	} {
		m := Mentioned(sql, names)
		got := strings.Join(m.Names, " ")
		if m.Everything {
			got = "*" + got
		}
		if got += fmt.Sprint(m.Forms); got != want {
			t.Errorf("%s mentions %q, want %q", sql, got, want)
		}
	}
	deep := "FROM query('FROM ord' || 'ers')"
	for range maxQueries - 1 {
		deep = "FROM query(" + QuoteLiteral(deep) + ")"
	}
	if got := Mentioned(deep, names).Names; len(got) != 1 || CheckRead(deep) != nil {
		t.Errorf("%s mentions %q, and is admitted: %v", deep, got, CheckRead(deep))
	}
	nested := strings.Repeat("'x' || ", 10_000) + "'orders'"
	for len(nested) < MaxStatement/2 {
		nested = "'y' || " + QuoteLiteral(nested) + " || 'z'"
	}
	began := time.Now()
	if got := Mentioned(nested, names).Names; time.Since(began) > 30*time.Second {
		t.Errorf("%v after %v", got, time.Since(began))
	}
	t.Logf("%d bytes took %v", len(nested), time.Since(began))
}
