package federation_test

import (
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/federation"
)

func TestAliases(t *testing.T) {
	for _, good := range []string{"a", "_x1", "Big_Query", strings.Repeat("a", 64)} {
		if err := federation.CheckAlias(good); err != nil {
			t.Error(good, err)
		}
	}
	for _, bad := range []string{"", "1a", "a-b", "a b", "a.b", `a"b`, "ä", "a\n", strings.Repeat("a", 65), "main", "TEMP", "duckdb_tables", "Information_Schema"} {
		if federation.CheckAlias(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestARegisteredQueryIsOneSelect(t *testing.T) {
	good := map[string]string{
		"SELECT 1": "SELECT 1",
		"  -- why\n# and\n/* ; */ select a from t ; ;":                                      "select a from t",
		"WITH x AS (SELECT 1) SELECT * FROM x -- end":                                       "WITH x AS (SELECT 1) SELECT * FROM x",
		`SELECT ';', ";", r';\', b';', rb";", '''a';' ''', """a";""", br''';''', 'it\'s ;'`: "",
		"SELECT `a;b` FROM `p.d.t`":                                                         "",
		"SELECT 'drop table x', created FROM p.d.updates":                                   "",
	}
	for text, want := range good {
		got, err := federation.ParseRegistered(text, true)
		if want == "" {
			want = text
		}
		// r';\' does not end with its second quote: a backslash keeps it, in raw strings too.
		if err != nil && !strings.Contains(text, `r';\'`) || err == nil && got.Text != want {
			t.Errorf("%s: %q %v", text, got.Text, err)
		}
	}
	for _, bad := range []string{
		"", " -- x", ";", "DROP TABLE x", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE x", "DECLARE x INT64; SELECT 1", "BEGIN SELECT 1; END", "(SELECT 1)",
		"SELECT 1) UNION ALL (SELECT 2", "SELECT (1", "SELECT @agnes_keys", "SELECT @@project_id", "SELECT ?", "SELECT 'a", "SELECT `a", "SELECT /* a",
		"SELECT '\n'", "SELECT \x00", "SELECT \xff", "EXPORT DATA OPTIONS() AS SELECT 1", "CALL p.d.x()", "SELECT 'a\\'; DROP TABLE x", "#legacySQL",
		"CREATE TEMP FUNCTION f() AS (1); SELECT f()", "SELECT r'\\'; DROP TABLE x", `SELECT """a""; DROP TABLE x`,
	} {
		if _, err := federation.ParseRegistered(bad, false); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTrap_P2_WhatReadsPastTheDryRunIsForAdministrators(t *testing.T) {
	for _, bad := range []string{
		"SELECT * FROM EXTERNAL_QUERY('c', 'SELECT 1')", "SELECT * FROM external_query /* x */ ('c','q')", "SELECT * FROM d.INFORMATION_SCHEMA.TABLES",
		"SELECT * FROM `p.d.information_schema.tables`", "SELECT * FROM `p`.d.`INFORMATION_SCHEMA`.COLUMNS", "SELECT * FROM d.__TABLES__", "SELECT d.f(1)", "SELECT `p.d.f`(1)",
		"SELECT p.d . f -- x\n (1)", "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)", "SELECT * FROM d.tvf(1)", "SELECT `EXTERNAL_QUERY`('c','q')", "SELECT SAFE.d.f(1)",
		"SELECT d.SAFE.f(1)", "SELECT * FROM VECTOR_SEARCH(TABLE d.t, 'c', (SELECT 1))", "SELECT * FROM APPENDS(TABLE d.t, NULL, NULL)", "SELECT AI.GENERATE('x')", "SELECT * FROM `p.d.\\x49NFORMATION_SCHEMA.TABLES`",
	} {
		if _, err := federation.ParseRegistered(bad, true); err == nil {
			t.Errorf("%s is taken", bad)
		}
		if _, err := federation.ParseRegistered(bad, false); err != nil {
			t.Errorf("%s is refused to administrators: %v", bad, err)
		}
	}
	for _, good := range []string{
		"SELECT SAFE.SUBSTR(a, 1), NET.HOST(b), SAFE.NET.HOST(c), HLL_COUNT.MERGE(x), COUNT(*) FROM `p.d.t` AS t JOIN p.d.u USING (id) WHERE t.a IN (1, 2) AND 'INFORMATION_SCHEMA' <> x",
	} {
		if _, err := federation.ParseRegistered(good, true); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func FuzzARegisteredQueryStaysInItsParentheses(f *testing.F) {
	for _, seed := range []string{"SELECT 1", "SELECT ')'; --", "WITH a AS (SELECT \"\"\" ) \"\"\") SELECT * FROM a;", "SELECT r'\\')", "select `)`", "SELECT '''\\''' )'''"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := federation.ParseRegistered(text, true)
		if err != nil {
			return
		}
		again, err := federation.ParseRegistered("SELECT * FROM (\n"+got.Text+"\n) WHERE TRUE", true)
		if err != nil || !strings.HasSuffix(again.Text, "\n) WHERE TRUE") {
			t.Errorf("%q breaks out: %q %v", text, again.Text, err)
		}
	})
}
