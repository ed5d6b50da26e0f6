package lake

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// peek asks a session past the gate.
func peek(t *testing.T, s *Session, sql string) string {
	t.Helper()
	conn, err := s.instance.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer mapping.Disconnect(&conn)
	rows, err := texts(conn, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(rows, "\n")
}

func TestTrap_P2_TheGateRefusesWhatWrites(t *testing.T) {
	t.Parallel()
	s, dir, granted := outsider(t)
	before, err := HashFile(granted)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "COPY orders TO 'DIR/x.csv'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)",
		"EXPLAIN /* /* */ */ ANALYZE COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "EXPLAIN (ANALYZE) COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)",
		"EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "EXPLAIN CALL range(1)",
		"SELECT 1; COPY (SELECT 1) TO 'GRANTED' (USE_TMP_FILE false)", "SELECT 1;;DROP VIEW orders", "FROM query('COPY (SELECT 1) TO ''GRANTED'' (USE_TMP_FILE false)')",
		"EXPORT DATABASE 'DIR/out'", "IMPORT DATABASE 'DIR'", "ATTACH 'DIR/x.duckdb' AS x", "ATTACH ':memory:' AS x", "DETACH memory", "USE crm", "CHECKPOINT", "VACUUM", "ANALYZE",
		"CREATE TABLE x (i INT)", "CREATE TEMP TABLE x AS SELECT 1", "CREATE MACRO sum(x) AS 1", "CREATE OR REPLACE VIEW orders AS SELECT 1", "DROP VIEW orders", "ALTER VIEW orders RENAME TO o",
		"INSERT INTO orders VALUES (1, 'x')", "DELETE FROM orders", "UPDATE orders SET id = 1", "TRUNCATE orders", "COMMENT ON VIEW orders IS 'x'",
		"MERGE INTO orders USING orders AS o ON true WHEN MATCHED THEN DELETE", "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
		"SET memory_limit = '1TB'", "RESET threads", "SET VARIABLE x = 1", "SET search_path = 'crm'", "PRAGMA version", "PRAGMA show_tables", "PRAGMA table_info('orders')", "PRAGMA disable_optimizer",
		"PRAGMA enable_profiling", "PRAGMA threads = 8", "CALL pragma_version()", "CALL enable_logging()", "LOAD icu", "INSTALL httpfs", "PREPARE p AS SELECT 1", "EXECUTE p", "BEGIN", "COMMIT",
		"CREATE SECRET (TYPE s3)", "SELECT $1", "SELECT ?", "SELECT 1\x00; DROP VIEW orders", "", ";", "-- nothing", "EXPLAIN", "EXPLAIN (FORMAT json) EXPLAIN SELECT 1", "EXPLAIN PRAGMA version",
		"FROM enable_logging()", `SELECT * FROM "Enable_Logging" ()`, "FROM system.main.enable_logging()", "FROM query('FROM enable_' || 'logging()')", "FROM query /* */ ('FROM enable_' || 'logging()')",
		`FROM "query" ('FROM enable_' || 'logging()')`, "SELECT (SELECT count(*) FROM disable_logging())", "WITH a AS MATERIALIZED (FROM enable_profiling()) FROM a", "EXPLAIN ANALYZE FROM enable_logging()",
		"FROM query('FROM query(''FROM enable_'' || ''logging()'')')", "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "FROM checkpoint()", "FROM force_checkpoint()",
		"FROM truncate_duckdb_logs()", "FROM query\v('FROM enable_' || 'logging()')", "FROM query\u00a0('FROM enable_' || 'logging()')", "DESCRIBE FROM enable_logging()",
		"SELECT (SELECT count(*) FROM query('FROM enable_' || 'logging()') e WHERE e.Success = (o.id = 1)) FROM orders o", "WITH RECURSIVE r AS (SELECT 1 UNION ALL FROM query('FROM enable_' || 'logging()')) FROM r",
		"SELECT * FROM orders o, LATERAL (SELECT * FROM query('FROM enable_' || 'logging()') WHERE o.id >= 0)", "SELECT * FROM orders WHERE EXISTS (FROM query('FROM enable_' || 'logging()'))",
		"SELECT * FROM orders WHERE id IN (SELECT 1 FROM query('FROM enable_' || 'logging()'))", "SELECT 1 UNION ALL SELECT 2 FROM query('FROM enable_' || 'logging()')", "FROM enable_peg_parser()", "SUMMARIZE FROM enable_logging()",
	} {
		sql = strings.ReplaceAll(strings.ReplaceAll(sql, "GRANTED", granted), "DIR", dir)
		if out, err := ask(t, s, sql); err == nil {
			t.Errorf("%s\n was answered with %q", sql, out)
		}
	}
	if after, err := HashFile(granted); err != nil || after != before {
		t.Errorf("the granted file changed: %v", err)
	}
	for sql, want := range map[string]string{ // the session is as it was
		"SELECT count(*) FROM orders":                             "3",
		"SELECT count(*) FROM information_schema.tables":          "2",
		"SELECT sum(id) FROM crm.orders":                          "3",
		"SELECT count(*) FROM duckdb_tables() WHERE NOT internal": "0",
	} {
		if got, err := ask(t, s, sql); err != nil || got != want {
			t.Errorf("afterwards %s gave %q, %v", sql, got, err)
		}
	}
}

func TestTrap_E7_WhatOnlyReadsIsAnswered(t *testing.T) {
	t.Parallel()
	s, _, _ := outsider(t)
	for _, sql := range []string{
		"SELECT 1;", "SELECT\n1", "-- a comment\nSELECT 1", "/* x */ SELECT 1 /* y */ ; ", "FROM orders", "TABLE orders", "VALUES (1), (2)", "(SELECT 1)", "((SELECT 1))",
		"WITH a AS (SELECT 1 AS x) SELECT * FROM a", "SELECT 'please update me; drop it'", "SELECT 1 AS last_update", "SELECT * FROM orders WHERE name NOT LIKE 'query (%'",
		"DESCRIBE orders", "DESC orders", "DESCRIBE", "SHOW TABLES", "SHOW ALL TABLES", "SHOW orders", "SUMMARIZE orders", "SUMMARIZE crm.orders", "DESCRIBE SELECT 1", "SHOW DATABASES",
		"EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT * FROM orders", "EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN (ANALYZE, FORMAT json) FROM orders", "explain (select 1)", "EXPLAIN analyze (SELECT 1)",
		"SELECT * FROM (DESCRIBE orders)", "SELECT * FROM (SHOW TABLES)", "PIVOT orders ON name IN ('row 1', 'row 2') USING count(*)", "UNPIVOT orders ON id",
		"SELECT * FROM query('SELECT ' || '42')", "SELECT * FROM query_table('orders')", "SELECT count(*) FROM query('FROM orders')", "SELECT 'enable_logging(' AS text", "SELECT * FROM range(3)",
		"SELECT * FROM information_schema.tables", "SELECT * FROM duckdb_columns()", "FROM pg_catalog.pg_class", "SELECT 'ü', U&'x'", "SELECT DISTINCT ON (id) * FROM orders ORDER BY ALL", "DESCRIBE FROM query('SELECT 1')",
		"SUMMARIZE FROM query('SELECT 1')", "SELECT histogram(id) FROM orders", "FROM histogram_values(orders, id)",
	} {
		if out, err := ask(t, s, sql); err != nil && !strings.Contains(sql, "U&") || out == "" && err == nil {
			t.Errorf("%s\n gave %q, %v", sql, out, err)
		}
	}
}

// A PIVOT that finds its columns by itself is several statements for DuckDB, the first of which create types.
func TestTrap_E7_APivotFindsItsColumns(t *testing.T) {
	t.Parallel()
	s, dir, granted := outsider(t)
	before := fuzzState(t, s, filepath.Dir(granted))
	for _, sql := range []string{
		"PIVOT orders ON name", "PIVOT orders ON name USING count(*);", "PIVOT orders ON name, id % 2 USING max(id) GROUP BY id -- done", "FROM (PIVOT crm.orders ON name USING count(*)) p SELECT p.*",
		"WITH p AS (PIVOT orders ON name USING count(*)) FROM p", "SELECT * FROM orders JOIN (PIVOT orders ON name USING count(*) GROUP BY id) USING (id)", "DESCRIBE PIVOT orders ON name", "(PIVOT orders ON name)",
		"PIVOT_WIDER orders ON name", "PIVOT_LONGER orders ON id", "PIVOT (SELECT 'a;b' AS x) ON x USING count(*)",
	} {
		if out, err := ask(t, s, sql); err != nil || out == "" {
			t.Errorf("%s\n gave %q, %v", sql, out, err)
		}
	}
	for _, sql := range []string{
		"EXPLAIN PIVOT orders ON name", "EXPLAIN ANALYZE FROM (PIVOT orders ON name)", "FROM query('PIVOT orders ON name')", "PIVOT orders ON name; DROP VIEW orders", "PIVOT orders ON name; SELECT 1",
		"SELECT 1; PIVOT orders ON name", "CREATE TYPE pivot AS ENUM ('a')", "CREATE TABLE x AS FROM (PIVOT orders ON name)", "COPY (PIVOT orders ON name) TO 'DIR/x.csv'", "PIVOT (FROM duckdb_views()) ON sql",
		"PIVOT (SELECT current_setting('allowed_paths') AS x) ON x", "PIVOT 'GRANTED' ON name", "PIVOT hr.salaries ON salary", "PIVOT (FROM read_text('DIR/secret.txt')) ON content", "PIVOT (FROM query('FROM duckdb_' || 'views()')) ON sql",
	} {
		if out, err := ask(t, s, strings.NewReplacer("DIR", dir, "GRANTED", granted).Replace(sql)); err == nil {
			t.Errorf("%s\n was answered with %q", sql, out)
		}
	}
	if after := fuzzState(t, s, filepath.Dir(granted)); after != before {
		t.Errorf("something is left of the types:\n%s\nwas\n%s", after, before)
	}
}

// TestEveryFunctionIsClassified fails when a version of DuckDB brings a function or a relation that nobody
// has looked at (does it reach anything, change anything, run a text?), and when one is gone.
func TestEveryFunctionIsClassified(t *testing.T) {
	t.Parallel()
	known, has := classified(), make(map[string]bool)
	s := mustSession(t)
	for _, sql := range []string{
		"SELECT DISTINCT lower(function_name) FROM duckdb_functions()",
		"SELECT lower(schema_name || '.' || view_name) FROM duckdb_views() WHERE internal",
	} {
		for _, name := range strings.Split(peek(t, s, sql), "\n") {
			has[name] = true
			if _, ok := known[name]; !ok {
				t.Errorf("nobody has looked at %s: put it where it belongs in functions.txt", name)
			}
		}
	}
	for name, family := range known {
		if !has[name] {
			t.Errorf("%s is in functions.txt, and DuckDB has none", name)
		}
		if _, ok := refusals[family]; !ok && family != familyHarmless && family != familyOperators && family != familyNested {
			t.Errorf("%s has the family %q, which nobody refuses", name, family)
		}
	}
}

func TestWhatNobodyLookedAtIsRefused(t *testing.T) {
	t.Parallel()
	r := watched([]string{"read_everything", "lower"}, []string{"main.all_secrets", "pg_catalog.pg_class"})
	if !r.mayUse("SELECT READ_everything('x')") || !r.mayUse("FROM x.All_Secrets") || r.mayUse("SELECT lower(x) FROM pg_class, all_secretss") {
		t.Errorf("watched are %v", r)
	}
	for from, refused := range map[[2]string]bool{
		{"", "ALL_secrets"}: true, {"main", "all_secrets"}: true, {"System", "all_secrets"}: true,
		{"shop", "all_secrets"}: false, {"", "pg_class"}: false,
	} {
		if err := r.checkRelation(from[0], from[1]); (err != nil) != refused {
			t.Errorf("%v: %v", from, err)
		}
	}
	err := inspection{rules: r}.walk(map[string]any{"a": []any{map[string]any{"function_name": "Read_Everything"}}})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "not known to be harmless") {
		t.Errorf("a function that nobody looked at: %v", err)
	}
}

func TestTrap_P2_TheServerIsNotShown(t *testing.T) {
	t.Parallel()
	s, dir, granted := outsider(t)
	if !strings.Contains(peek(t, s, "SELECT current_setting('allowed_paths')"), granted) || !strings.Contains(peek(t, s, "SELECT sql FROM duckdb_views() WHERE NOT internal"), granted) {
		t.Error("nothing would be shown without the gate: this test shows nothing")
	}
	for _, sql := range []string{
		"SELECT sql FROM duckdb_views()", "FROM duckdb_views", "FROM system.main.duckdb_views", "FROM system.duckdb_views", "FROM main.duckdb_views", `FROM "DUCKDB_views"`,
		"FROM information_schema.views", `FROM "information_schema"."views"`, "FROM system.information_schema.views", "FROM sqlite_master", "FROM sqlite_schema", "FROM pg_views", "FROM pg_catalog.pg_views",
		"SELECT current_setting('allowed_paths')", "SELECT current_setting('temp' || '_directory')", "FROM duckdb_settings()", "FROM pg_settings", "SELECT json_serialize_plan('FROM orders')",
		"FROM query('FROM duckdb_' || 'views()')", "FROM query('FROM query(''FROM duckdb_settings()'')')", "FROM query(CASE WHEN random() < 0 THEN '' ELSE 'FROM duckdb_views' END)",
		"FROM query_table('duckdb_views')", "FROM query_table(['orders', 'duckdb_views'])", "FROM query_table('duckdb' || '_views')", "FROM query_table(\"duckdb_views\")", "FROM query_table(lower('DUCKDB_VIEWS'))",
		"SUMMARIZE duckdb_views", "SUMMARIZE SELECT sql FROM duckdb_views()", "SELECT (SELECT max(sql) FROM duckdb_views())", "WITH a AS (FROM duckdb_views) FROM a", "SELECT * FROM orders ORDER BY (SELECT max(sql) FROM duckdb_views())",
		"SELECT list_transform([1], x -> current_setting('allowed_paths'))", "SELECT 'allowed_paths'.current_setting()", "SELECT * REPLACE (current_setting('allowed_paths') AS name) FROM orders",
		"SELECT pg_get_viewdef(c.oid) FROM pg_class c WHERE relname = 'orders'", "PIVOT (SELECT sql FROM duckdb_views()) ON sql IN ('x') USING count(*)", "SELECT count(*) FILTER (current_setting('allowed_paths') > '') FROM orders",
		"EXPLAIN SELECT current_setting('allowed_paths')", "EXPLAIN ANALYZE SELECT * FROM orders", "EXPLAIN ANALYZE SELECT * FROM orders JOIN crm.orders o USING (id)", "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM orders",
		"EXPLAIN (ANALYZE, FORMAT html) SELECT * FROM orders", "EXPLAIN (FORMAT yaml, ANALYZE) SELECT * FROM orders", "EXPLAIN (ANALYZE, FORMAT 'graphviz') SELECT * FROM orders", "EXPLAIN (FORMAT FORMAT, ANALYZE) SELECT * FROM orders",
	} {
		out, err := ask(t, s, sql)
		told := fmt.Sprint(out, err, UserMessage(err))
		squeezed := strings.NewReplacer(" ", "", "\n", "", "│", "").Replace(told) // a plan wraps long lines
		if strings.Contains(told, dir) || strings.Contains(squeezed, strings.ReplaceAll(granted, " ", "")) || strings.Contains(squeezed, "aa.parquet") {
			t.Errorf("%s\n told %s", sql, told)
		}
		if err != nil && strings.HasPrefix(sql, "EXPLAIN ANALYZE SELECT *") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	plan, err := ask(t, s, "EXPLAIN ANALYZE SELECT * FROM orders WHERE id > 1")
	for _, want := range []string{"id>1", "Total Files Read: 1", "1 row"} {
		if err != nil || !strings.Contains(plan, want) {
			t.Errorf("the plan lost %q: %v\n%s", want, err, plan)
		}
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"FROM '/x.parquet'":                     "ask for a table by its name",
		`SELECT 1 FROM "s3://x/y.parquet"`:      "ask for a table by its name",
		"FROM query_table(['a', '/x.parquet'])": "ask for a table by its name",
		"FROM read_csv('x')":                    "ask for a table by its name",
		"FROM information_schema.views":         "information_schema.tables",
		"SELECT sleep_ms(1)":                    "leave it out",
		"FROM query(lower('SELECT 1'))":         "write the statement itself",
		"FROM query_table(lower('ORDERS'))":     "write the names",
		"EXPLAIN (FORMAT html) SELECT 1":        "EXPLAIN (FORMAT json)",
		"SELECT 'a\xff'":                        "not UTF-8",
		"SELECT 1\x00":                          "NUL",
		"FROM glob('x') WHERE x = '" + strings.Repeat("x", maxInspected) + "'": "the limit",
	} {
		err := CheckRead(sql)
		if !slices.Contains([]fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err)) || !strings.Contains(fault.Message(err), want) {
			t.Errorf("%.60q: %v", sql, err)
		}
	}
	if err := CheckRead("EXPLAIN PIVOT a ON b"); !strings.Contains(fault.Message(err), "IN (") {
		t.Errorf("a PIVOT without values: %v", err)
	}
	for sql, want := range map[string]string{ // DuckDB would take minutes to say so
		"SELECT 1 " + strings.Repeat("+", 5000) + " 1": "64 characters", "SELECT 1 " + strings.Repeat("-+", 5000) + "1": "64 characters",
		"SELECT 1 " + strings.Repeat("/*", 50_000): "does not end", "FROM query('SELECT " + strings.Repeat("+", 5000) + "1')": "64 characters",
	} {
		if err := CheckRead(sql); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), want) {
			t.Errorf("%.20s: %v", sql, err)
		}
	}
	if err := CheckRead("SELECT 1 /*" + strings.Repeat("*+-", 200) + "*/ + - - + 1 -- " + strings.Repeat("+", 200) + "\n, '" + strings.Repeat("=", 200) + "'"); err != nil {
		t.Error(err)
	}
	for _, b := range bounds {
		word := " " + strings.ToLower(b.words[0]) + " "
		if err := moderate("SELECT 1" + strings.Repeat(word, b.most)); err != nil {
			t.Errorf("%d times %s: %v", b.most, word, err)
		}
		if err := CheckRead("SELECT 1" + strings.Repeat(word, b.most+1)); !fault.Is(err, fault.TooLarge) || !strings.Contains(fault.Message(err), b.advice) {
			t.Errorf("too many times %s: %v", word, err)
		}
	}
	deep := "SELECT 1"
	for range maxQueries + 1 {
		deep = "FROM query(" + QuoteLiteral(deep) + ")"
	}
	if err := CheckRead(deep); !strings.Contains(fmt.Sprint(err), "too deep") {
		t.Errorf("query in query: %v", err)
	}
	for _, sql := range []string{ // what only looks as if it were refused
		`SELECT "glob", query, views, sleep_ms FROM read_csv`, "FROM shop.duckdb_views", "FROM views", "FROM shop.sqlite_master", "SELECT 'read_text(''x'')', name GLOB 'a*' FROM orders",
		"SELECT 'https://example.com/x', '/etc/passwd' FROM orders", "SELECT * FROM orders WHERE name IN ('" + strings.Repeat("/x", maxInspected) + "')",
		"SELECT current_setting('TimeZone')", "FROM query('FROM orders')", "FROM query_table(['a', 'b'], true)", "SELECT 1 AS checkpoint, 2 AS \"read_text\"",
	} {
		if err := CheckRead(sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func FuzzOneStatement(f *testing.F) {
	for _, seed := range []string{"SELECT 1;", "SELECT 'a''b', e'\\'', $$x$$, \"y\" -- z\n/* /* */ */ ; ;", "EXPLAIN (ANALYZE) SELECT 1", "U&'x'", "$1", "x'00'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := OneStatement(text)
		if err != nil {
			return
		}
		again, err := OneStatement(s.Text)
		if err != nil || again != s {
			t.Errorf("%q became %+v and then %+v, %v", text, s, again, err)
		}
		_ = Mentioned(text, []string{"a"})
	})
}
