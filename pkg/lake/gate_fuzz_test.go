package lake

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// gateSeeds are statements of all kinds to begin from: what is answered, what is not, and how the one
// is dressed as the other.
var gateSeeds = []string{
	"SELECT 1;", "-- x\nSELECT 1 /* /* y */ */;;", "FROM orders", "TABLE orders", "VALUES (1), (2)", "((SELECT 1))", "WITH a AS (SELECT 1 AS x) FROM a",
	"DESCRIBE orders", "SHOW TABLES", "SUMMARIZE orders", "PIVOT orders ON name IN ('row 1') USING count(*)", "PIVOT orders ON name", "WITH p AS (PIVOT orders ON name USING count(*)) FROM p", "PIVOT orders ON name; SELECT 1", "UNPIVOT orders ON id", "EXPLAIN SELECT 1",
	"EXPLAIN ANALYZE FROM orders", "EXPLAIN (ANALYZE, FORMAT json) FROM orders", "EXPLAIN (FORMAT 'text') (SELECT 1)", "EXPLAIN ((SELECT 1))", "EXPLAIN (ANALYZE) EXPLAIN SELECT 1",
	"SELECT * FROM orders o JOIN crm.orders USING (id) QUALIFY row_number() OVER (PARTITION BY name ORDER BY id) = 1", "SELECT list_transform([1, 2], x -> x + 1), {'a': 1}, MAP {'k': 'v'}",
	"WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 5) FROM t", "SELECT COLUMNS(c -> c LIKE 'n%') FROM orders", "SELECT $x$FROM a$x$, E'\\x41\\'', \"id\" FROM orders",
	"FROM query('FROM ord' || 'ers')", "FROM query_table(['orders'])", "FROM query(CASE WHEN random() < 0.5 THEN 'FROM orders' ELSE 'FROM duckdb_settings()' END)",
	"FROM duckdb_views", "SELECT current_setting('allowed_paths')", "FROM information_schema.views", "FROM pg_catalog.pg_class", "SELECT 'x'.current_setting()", "FROM sqlite_master",
	"FROM 'CANARY'", "FROM read_parquet('CANARY')", "FROM read_text('CANARY')", "FROM glob('*')", "FROM \"read_blob\"($$CANARY$$)", "FROM 'GRANTED'", "FROM parquet_metadata('GRANTED')", "FROM sniff_csv('CANARY')",
	"COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "SELECT 1; DROP VIEW orders", "SELECT 1\v;\u00a0DROP VIEW orders",
	"SET threads = 1", "PRAGMA version", "CALL pragma_version()", "ATTACH ':memory:' AS x", "CREATE MACRO f(x) AS 1", "FROM enable_logging()", "SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
	"SELECT $1", "SELECT ?", "PREPARE p AS SELECT 1", "USE crm", "BEGIN", "CHECKPOINT", "INSTALL httpfs", "\ufeffSELECT 1", "SELECT\u200b1", "\uff33ELECT 1", "SELECT 'a", "/* SELECT 1", "$$ SELECT 1", "SELECT e'\\'; DROP VIEW orders--'",
}

func FuzzCheckRead(f *testing.F) {
	for _, seed := range gateSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4000 {
			return
		}
		read, err := parseRead(text, 0)
		if err != nil {
			return
		}
		for _, admitted := range []string{text, read.query, read.explain + read.query} {
			if n, err := parsers().count(admitted); n != 1 && !read.pivot || err != nil {
				t.Errorf("%q was admitted as %q: %d statements, %v", text, admitted, n, err)
			}
		}
		if again, err := parseRead(read.explain+read.query, 0); err != nil || again.query != read.query {
			t.Errorf("%q was admitted as %+v and then as %+v, %v", text, read, again, err)
		}
	})
}

// large are numbers that make a small statement a large one; those are not what is looked for here.
var large = regexp.MustCompile(`[0-9]{5}|(?i)[0-9.]e|\*\*|\^|repeat|pow|exp|pad|factorial|0x|[0-9]_`)

func FuzzSession(f *testing.F) {
	for _, seed := range gateSeeds {
		f.Add(seed)
	}
	ctx := context.Background()
	dir := f.TempDir()
	granted, canary := filepath.Join(dir, "granted.parquet"), filepath.Join(dir, "canary.parquet")
	db, err := Open(ctx, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for path, query := range map[string]string{granted: "SELECT i::BIGINT AS id, 'row ' || i AS name FROM range(3) r(i)", canary: "SELECT 'top' || 'secret' AS id"} {
		if _, err := db.ExecContext(ctx, "COPY ("+query+") TO "+QuoteLiteral(path)+" (FORMAT parquet, COMPRESSION uncompressed)"); err != nil {
			f.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	s, err := OpenSession(ctx, SessionOptions{
		Views: []View{{
			Schema: "crm", Name: "orders", Aliases: []string{"orders"}, Files: []string{granted},
			Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}},
		}},
		MemoryBytes: 64 << 20, Threads: 1,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	before := fuzzState(f, s, dir)
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "GRANTED", granted), "CANARY", canary)
		if len(text) > 4000 || large.MatchString(strings.ReplaceAll(text, dir, "")) {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		told := fuzzAsk(ctx, s, text)
		if strings.Contains(told, "topsecret") || strings.Contains(told, dir) && !strings.Contains(text, dir) {
			t.Errorf("%q was told %q", text, told)
		}
		if after := fuzzState(t, s, dir); after != before {
			t.Errorf("%q changed something:\n%s\nwas\n%s", text, after, before)
		}
	})
}

// fuzzAsk gives the answer up to some rows, and the error.
func fuzzAsk(ctx context.Context, s *Session, text string) string {
	r, err := s.Query(ctx, text)
	if err != nil {
		return UserMessage(err)
	}
	defer r.Close()
	var told strings.Builder
	for rows := int64(0); rows < 5000 && r.Next(); {
		batch := r.RecordBatch()
		rows += batch.NumRows()
		for _, column := range batch.Columns() {
			for row := range int(batch.NumRows()) {
				told.WriteString(column.ValueStr(row))
			}
		}
	}
	if r.Err() != nil {
		told.WriteString(UserMessage(r.Err()))
	}
	return told.String()
}

// fuzzState is what a statement must not change: the files, the settings, what there is.
func fuzzState(tb testing.TB, s *Session, dir string) string {
	tb.Helper()
	conn, err := s.instance.connect()
	if err != nil {
		tb.Fatal(err)
	}
	defer mapping.Disconnect(&conn)
	var state []string
	for _, sql := range []string{
		"SELECT name || '=' || coalesce(value, 'NULL') FROM duckdb_settings() ORDER BY ALL", "SELECT view_name || coalesce(sql, '') FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
		"SELECT count(*) || ' tables' FROM duckdb_tables()", "SELECT database_name FROM duckdb_databases() ORDER BY ALL", "SELECT count(*) || ' functions' FROM duckdb_functions()", "SELECT count(*) || ' types' FROM duckdb_types()", "SELECT count(*) || ' logs' FROM duckdb_logs()",
	} {
		rows, err := texts(conn, sql)
		if err != nil {
			tb.Fatal(err)
		}
		state = append(state, rows...)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		d, err := HashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			tb.Fatal(err)
		}
		state = append(state, e.Name()+" "+d.SHA256)
	}
	return strings.Join(state, "\n")
}
