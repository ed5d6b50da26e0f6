package federation

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

var deals = []catalog.Column{
	{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DECIMAL(18,2)"}, {Name: "day", Type: "DATE"},
	{Name: "seen", Type: "TIMESTAMP"}, {Name: "zone", Type: "TIMESTAMP WITH TIME ZONE"}, {Name: "ratio", Type: "DOUBLE"}, {Name: "won", Type: "BOOLEAN"},
	{Name: `odd "c0=1`, Type: "VARCHAR"},
}

func views(columns []catalog.Column) []lake.View {
	return []lake.View{
		{Schema: "crm", Name: "local", Columns: deals},
		{Schema: "crm", Name: "deals", Aliases: []string{"deals"}, Remote: true, Columns: columns},
	}
}

func planner(t *testing.T, columns []catalog.Column) *lake.Session {
	t.Helper()
	s, err := lake.OpenSession(context.Background(), lake.SessionOptions{Plan: true, Threads: 1, Views: views(columns)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestScans(t *testing.T) {
	t.Parallel()
	session := planner(t, deals)
	table := Table{ID: "crm.deals", Remote: catalog.Remote{Alias: "far"}, Path: []string{"public", "deals"}, Columns: deals}
	for sql, want := range map[string]string{
		"SELECT id FROM deals LIMIT 10":                                                `id | LIMIT 10`,
		"SELECT id + 1 FROM crm.deals LIMIT 10 OFFSET 5":                               `id | LIMIT 15`,
		"FROM deals LIMIT 2":                                                           `id,name,amount,day,seen,zone,ratio,won,odd "c0=1 | LIMIT 2`,
		"SELECT id FROM deals":                                                         `id | LIMIT 1001`,
		"SELECT id FROM deals ORDER BY id LIMIT 1":                                     `id |`,
		"SELECT id FROM (FROM deals LIMIT 5) LIMIT 2":                                  `id |`,
		"SELECT id FROM deals LIMIT 10%":                                               `id |`,
		"SELECT DISTINCT id FROM deals LIMIT 2":                                        `id |`,
		"SELECT id FROM deals USING SAMPLE 3":                                          `id |`,
		"SELECT id FROM deals WHERE lower(name) = 'x' LIMIT 2":                         `id,name |`,
		"SELECT id FROM deals WHERE id > 5 LIMIT 2":                                    `id | WHERE id > '5' LIMIT 2`,
		"SELECT count(*) FROM deals":                                                   `won |`,
		"SELECT count(*) FROM deals WHERE name = 'it''s'":                              `name | WHERE name = 'it''s'`,
		"SELECT count(*) FROM deals WHERE name > 'a'":                                  `name |`,
		"SELECT count(*) FROM deals WHERE name LIKE 'ab%'":                             `name |`,
		"SELECT count(*) FROM deals WHERE ratio > 1":                                   `ratio |`,
		"SELECT count(*) FROM deals WHERE ratio < 1":                                   `ratio | WHERE ratio < '1.0'`,
		"SELECT count(*) FROM deals WHERE won AND id IN (3, 7, 99)":                    `id,won | WHERE id IN ('3', '7', '99') AND won = 'true'`,
		"SELECT count(*) FROM deals WHERE NOT won AND day IS NOT NULL":                 `day,won | WHERE day IS NOT NULL AND won = 'false'`,
		"SELECT count(*) FROM deals WHERE amount BETWEEN 1.5 AND 3":                    `amount | WHERE amount >= '1.50' AND amount <= '3.00'`,
		"SELECT count(*) FROM deals WHERE day >= DATE '2026-01-01'":                    `day | WHERE day >= '2026-01-01'`,
		"SELECT count(*) FROM deals WHERE seen < TIMESTAMP '2026-01-01'":               `seen | WHERE seen < '2026-01-01 00:00:00'`,
		"SELECT count(*) FROM deals WHERE zone < TIMESTAMPTZ '2026-01-01 02:00:00+02'": `zone | WHERE zone < '2026-01-01 00:00:00+00'`,
		`SELECT count(*) FROM deals WHERE "odd ""c0=1" = 'x'`:                          `odd "c0=1 | WHERE "odd ""c0=1" = 'x'`,
		"SELECT a.id FROM deals a, deals b WHERE a.id = 1 AND b.day IS NULL":           `id,day | WHERE (id = '1') OR (day IS NULL)`,
		"SELECT a.id FROM deals a, deals b WHERE a.id = 1":                             `id,won |`,
		"SELECT id FROM deals WHERE id = 1 UNION ALL SELECT id FROM crm.local":         `id | WHERE id = '1'`,
		"SELECT id FROM deals WHERE false":                                             ``,
		"SELECT x.id FROM crm.local x":                                                 ``,
		// DuckDB cuts a condition at the newlines of its constant: the pieces are no conditions.
		"SELECT id FROM deals WHERE name = 'a'||chr(10)||'c0=5'||chr(10)||'b'":                          `id,name |`,
		"SELECT id FROM deals WHERE name = 'a'''||chr(10)||'c0=5'||chr(10)||'''b'":                      `id,name |`,
		"SELECT id FROM deals WHERE name = 'c0=5 AND c0=6' ":                                            `id,name | WHERE name = 'c0=5 AND c0=6' LIMIT 1001`,
		"WITH d AS MATERIALIZED (FROM deals) SELECT d.name FROM d LEFT JOIN crm.local l ON d.id = l.id": `id,name |`,
	} {
		plan, err := session.Plan(t.Context(), sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		scans, ok := Scans(plan, views(deals), 1000)
		if !ok {
			t.Errorf("%s: the plan cannot be read: %s", sql, plan.Explain)
			continue
		}
		got := ""
		for _, s := range scans {
			if err := s.Check(deals); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
			got += shown(s, table)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s\n%s", sql, got, want, plan.Explain)
		}
	}
}

// shown is a scan as people read it.
func shown(s Scan, t Table) string {
	sql := SelectDuckDB(s, t)
	_, rest, _ := strings.Cut(sql, ` FROM "far"."public"."deals"`)
	for _, c := range t.Columns {
		name := c.Name
		if strings.Contains(name, `"`) {
			name = lake.QuoteIdent(name)
		}
		rest = strings.ReplaceAll(rest, "CAST("+lake.QuoteIdent(c.Name)+" AS "+c.Type+")", name)
		rest = strings.ReplaceAll(rest, " AS "+c.Type+")", "")
	}
	return strings.Join(s.Columns, ",") + " |" + strings.ReplaceAll(rest, "CAST(", "")
}

// A plan that is not one fetches everything.
func TestScansUnread(t *testing.T) {
	t.Parallel()
	for _, explain := range []string{"", "{}", "[]", `[{"name":"SEQ_SCAN","extra_info":{"Table":"memory.\"stand-ins of remote tables\".t0","Projections":"c0"}}]`, `[{"name":"SEQ_SCAN","extra_info":{"Table":"memory.\"stand-ins of remote tables\".t1","Projections":"c99"}}]`} {
		if scans, ok := Scans(lake.Plan{Explain: explain}, views(deals), 0); ok {
			t.Errorf("%s was read as %v", explain, scans)
		}
	}
}

func TestScanCheck(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Scan{
		"no column": {Table: "x"}, "a strange column": {Columns: []string{"secret"}}, "a limit below zero": {Columns: []string{"id"}, Limit: -1},
		"a condition on a strange column": {Columns: []string{"id"}, Any: [][]Predicate{{{"secret", Equal, []string{"1"}}}}},
		"a number that is none":           {Columns: []string{"id"}, Any: [][]Predicate{{{"id", Equal, []string{"1 OR 1=1"}}}}},
		"an operator that is none":        {Columns: []string{"id"}, Any: [][]Predicate{{{"id", "= 1 OR 1 =", []string{"1"}}}}},
		"no value":                        {Columns: []string{"id"}, Any: [][]Predicate{{{"id", Equal, nil}}}},
		"a NUL":                           {Columns: []string{"id"}, Any: [][]Predicate{{{"name", Equal, []string{"a\x00"}}}}},
	} {
		if s.Check(deals) == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// The answer over what was fetched is that over the whole table, whatever is asked.
func TestPropertyFetchedIsEnough(t *testing.T) {
	t.Parallel()
	columns := deals[:8]
	session := planner(t, columns)
	dir := t.TempDir()
	db, err := lake.Open(context.Background(), lake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	exec(t, db.DB, "ATTACH ':memory:' AS far; CREATE SCHEMA far.public")
	exec(t, db.DB, `CREATE TABLE far.public.deals AS SELECT CASE WHEN i % 11 = 0 THEN NULL ELSE i % 17 END::BIGINT AS id,
		CASE WHEN i % 7 = 0 THEN NULL ELSE ['a', 'B', 'it''s', 'x' || chr(10) || 'c0=1', '', 'ä'][i % 6 + 1] END AS name, ((i % 13 - 5) / 2)::DECIMAL(18,2) AS amount,
		DATE '2026-01-01' + (i % 19)::INTEGER AS day, TIMESTAMP '2026-01-01' + INTERVAL (i % 23) HOUR AS seen, TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (i % 5) HOUR AS zone,
		CASE WHEN i % 9 = 0 THEN 'NaN'::DOUBLE WHEN i % 10 = 0 THEN 'inf'::DOUBLE ELSE i % 4 / 2 END AS ratio, i % 3 = 0 AS won FROM range(300) r(i)`)
	table := Table{ID: "crm.deals", Remote: catalog.Remote{Alias: "far"}, Path: []string{"public", "deals"}, Columns: columns}
	count := 0
	rapid.Check(t, func(rt *rapid.T) {
		condition := conditionOf(rt, "", 0)
		sql := "SELECT id, name, won FROM %[1]s WHERE " + condition
		switch rapid.IntRange(0, 3).Draw(rt, "shape") {
		case 1:
			sql = "SELECT count(*), min(day), max(amount) FROM %[1]s WHERE " + condition
		case 2:
			sql = "SELECT a.id, b.name FROM %[1]s a JOIN %[1]s b ON a.id = b.id AND a.seen = b.seen WHERE " + conditionOf(rt, "a.", 0) + " AND " + conditionOf(rt, "b.", 0)
		case 3:
			sql = "WITH w AS (SELECT * FROM %[1]s WHERE " + condition + ") SELECT day, sum(amount) FROM w GROUP BY day UNION ALL SELECT NULL, count(*) FROM %[1]s WHERE " + conditionOf(rt, "", 0)
		}
		plan, err := session.Plan(context.Background(), fmt.Sprintf(sql, "crm.deals"))
		if err != nil {
			rt.Fatalf("%s: %v", sql, err)
		}
		scans, ok := Scans(plan, views(columns), 0)
		if !ok || len(scans) > 1 {
			rt.Fatalf("%s: %v %v", sql, scans, ok)
		}
		v := lake.View{Schema: "crm", Name: "deals", Remote: true, Columns: columns}
		if len(scans) == 1 {
			count++
			file := filepath.Join(dir, fmt.Sprintf("%d.parquet", count))
			exec(rt, db.DB, "COPY ("+SelectDuckDB(scans[0], table)+") TO "+lake.QuoteLiteral(file))
			v.Files, v.Fetched = []string{file}, scans[0].Columns
		}
		over, err := lake.OpenSession(context.Background(), lake.SessionOptions{Threads: 1, Views: []lake.View{v}})
		if err != nil {
			rt.Fatal(err)
		}
		defer over.Close()
		got := rowsOf(rt, over, fmt.Sprintf(sql, "crm.deals"))
		var want []string
		rows, err := db.QueryContext(context.Background(), "SELECT q::VARCHAR FROM ("+fmt.Sprintf(sql, "far.public.deals")+") q")
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				rt.Fatal(err)
			}
			want = append(want, row)
		}
		slices.Sort(want)
		if rows.Err() != nil || !slices.Equal(got, want) {
			rt.Fatalf("%s over %s:\n got %q\nwant %q", sql, SelectDuckDB(append(scans, Scan{})[0], table), got, want)
		}
	})
}

func conditionOf(rt *rapid.T, prefix string, depth int) string {
	if depth < 2 {
		switch rapid.IntRange(0, 5).Draw(rt, "logic") {
		case 0:
			return "(" + conditionOf(rt, prefix, depth+1) + " AND " + conditionOf(rt, prefix, depth+1) + ")"
		case 1:
			return "(" + conditionOf(rt, prefix, depth+1) + " OR " + conditionOf(rt, prefix, depth+1) + ")"
		case 2:
			return "NOT (" + conditionOf(rt, prefix, depth+1) + ")"
		}
	}
	values := map[string][]string{
		"id": {"0", "3", "16", "-1", "2.5"}, "name": {"'a'", "'it''s'", "'b'", "'x' || chr(10) || 'c0=1'", "''", "'A'"}, "amount": {"1", "-2.5", "0.5", "3.00"},
		"day": {"DATE '2026-01-05'", "DATE '2026-01-19'"}, "seen": {"TIMESTAMP '2026-01-01 07:00:00'", "TIMESTAMP '2026-01-01 07:00:00.5'"}, "zone": {"TIMESTAMPTZ '2026-01-01 02:00:00+01'"},
		"ratio": {"0.5", "1", "'NaN'::DOUBLE", "1e300"}, "won": {"true", "false"},
	}
	column := rapid.SampledFrom([]string{"id", "name", "amount", "day", "seen", "zone", "ratio", "won"}).Draw(rt, "column")
	value := func() string { return rapid.SampledFrom(values[column]).Draw(rt, "value") }
	column2 := prefix + column
	switch rapid.IntRange(0, 6).Draw(rt, "form") {
	case 0:
		return column2 + " IS NULL"
	case 1:
		return column2 + " IS NOT NULL"
	case 2:
		return column2 + " IN (" + value() + ", " + value() + ", " + value() + ")"
	case 3:
		return column2 + " BETWEEN " + value() + " AND " + value()
	case 4:
		return column2 + " IS DISTINCT FROM " + value()
	}
	return column2 + " " + rapid.SampledFrom([]string{"=", "<>", "<", "<=", ">", ">="}).Draw(rt, "operator") + " " + value()
}

type failing interface {
	Helper()
	Fatal(args ...any)
}

func exec(t failing, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), text); err != nil {
		t.Fatal(text, err)
	}
}

func rowsOf(t failing, s *lake.Session, text string) []string {
	t.Helper()
	r, err := s.Query(context.Background(), "SELECT q::VARCHAR FROM ("+text+") q")
	if err != nil {
		t.Fatal(text, err)
	}
	defer r.Close()
	var rows []string
	for r.Next() {
		batch := r.RecordBatch()
		for i := range int(batch.NumRows()) {
			rows = append(rows, strings.Clone(batch.Column(0).ValueStr(i)))
		}
	}
	if r.Err() != nil {
		t.Fatal(text, r.Err())
	}
	slices.Sort(rows)
	return rows
}
