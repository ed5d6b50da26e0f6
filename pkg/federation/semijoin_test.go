package federation

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// keysOf tells what is found for the alias e, as "column<table" each.
func keysOf(t *testing.T, sql string, aliases ...string) string {
	t.Helper()
	tree, err := lake.Tree(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for _, k := range findSemiJoins(tree, append(aliases, "e"))["e"].keys {
		out = append(out, k.column+"<"+k.table)
	}
	return strings.Join(out, " ")
}

func TestSemiJoins(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT * FROM o JOIN e ON o.id = e.oid":                                             "oid<o",
		"SELECT * FROM shop.o AS a JOIN E AS b ON b.oid = a.id":                              "oid<shop.o",
		"SELECT * FROM o JOIN e USING (id, day)":                                             "id<o day<o",
		"SELECT * FROM o, e WHERE o.id = e.oid AND o.x > 1":                                  "oid<o",
		"SELECT * FROM o LEFT JOIN e ON o.id = e.oid":                                        "oid<o",
		"SELECT * FROM e RIGHT JOIN o ON o.id = e.oid":                                       "oid<o",
		"SELECT * FROM e SEMI JOIN o ON o.id = e.oid":                                        "oid<o",
		"SELECT * FROM o SEMI JOIN e ON o.id = e.oid":                                        "oid<o",
		"SELECT * FROM (SELECT * FROM o JOIN e ON o.id = e.oid) FULL JOIN x ON true":         "oid<o",
		"WITH c AS (SELECT e.oid FROM o JOIN e ON o.id = e.oid) SELECT count(*) FROM c":      "oid<o",
		"SELECT * FROM x JOIN (o JOIN e ON o.id = e.oid) ON x.id = o.id":                     "oid<o",
		"SELECT * FROM o JOIN (e CROSS JOIN x) ON o.id = e.oid":                              "oid<o",
		"SELECT * FROM o LEFT JOIN (e JOIN x ON true) ON o.id = e.oid":                       "oid<o",
		"SELECT * FROM e JOIN o ON o.id = e.oid AND o.day = e.day AND lower(o.n) = e.n":      "oid<o day<o",
		"SELECT count(*) FROM o JOIN e ON o.id = e.oid WHERE e.x IN (SELECT max(id) FROM x)": "oid<o",
		"SELECT * FROM e LEFT JOIN o ON o.id = e.oid":                                        "", // rows of e show without a match
		"SELECT * FROM o RIGHT JOIN e ON o.id = e.oid":                                       "",
		"SELECT * FROM o FULL JOIN e ON o.id = e.oid":                                        "",
		"SELECT * FROM e ANTI JOIN o ON o.id = e.oid":                                        "",
		"SELECT * FROM o NATURAL JOIN e":                                                     "",
		"SELECT * FROM o POSITIONAL JOIN e":                                                  "",
		"SELECT * FROM o ASOF JOIN e ON o.id = e.oid AND o.at >= e.at":                       "",
		"SELECT * FROM o JOIN e ON o.id = e.oid OR o.x = e.x":                                "",
		"SELECT * FROM o JOIN e ON o.id IS NOT DISTINCT FROM e.oid":                          "",
		"SELECT * FROM o JOIN e ON o.id + 0 = e.oid":                                         "",
		"SELECT * FROM o JOIN e ON id = oid":                                                 "", // whose they are is not written
		"SELECT * FROM o JOIN e ON o.id = e.oid JOIN e AS f ON true":                         "", // twice
		"SELECT *, (SELECT count(*) FROM e) FROM o JOIN e ON o.id = e.oid":                   "",
		"SELECT * FROM o JOIN e ON o.id = e.oid, query_table('e')":                           "",
		"WITH e AS (SELECT 1 AS oid) SELECT * FROM o JOIN e ON o.id = e.oid":                 "",
		"WITH o AS (SELECT 1 AS id) SELECT * FROM o JOIN e ON o.id = e.oid":                  "",
		"SELECT * FROM f JOIN e ON f.id = e.oid":                                             "", // another registered one
		"SELECT * FROM main.f AS o JOIN e ON o.id = e.oid":                                   "", // which is this, too
		"SELECT * FROM memory.main.f AS o JOIN e ON o.id = e.oid":                            "",
		"SELECT * FROM memory.f AS o JOIN e ON o.id = e.oid":                                 "",
		"SELECT * FROM AGNES_REGISTERED.F AS o JOIN e ON o.id = e.oid":                       "",
		"SELECT * FROM e JOIN (x SEMI JOIN o ON x.a = o.a) ON x.id = e.oid":                  "oid<x",
		"SELECT * FROM e JOIN (x SEMI JOIN o ON x.a = o.a) ON o.id = e.oid":                  "", // this is an o outside, if any
		"SELECT * FROM e, (x ANTI JOIN o ON x.a = o.a) WHERE o.id = e.oid":                   "",
		"SELECT * FROM (SELECT 1 AS id) o JOIN e ON o.id = e.oid":                            "",
		"SELECT * FROM o TABLESAMPLE 10% JOIN e ON o.id = e.oid":                             "",
		"SELECT * FROM o JOIN e ON o.id = e.oid USING SAMPLE 5":                              "",
		"SELECT * FROM o AS a(id) JOIN e ON a.id = e.oid":                                    "",
		"SELECT * FROM o JOIN e AS b(x) ON o.id = b.x":                                       "",
		"SELECT * FROM o LEFT JOIN (e LEFT JOIN x ON x.id = e.oid) ON o.id = e.day":          "",
		"SELECT * FROM (x LEFT JOIN e ON true) JOIN o ON o.id = e.oid":                       "",
		"SELECT * FROM x LEFT JOIN e ON true, o WHERE o.id = e.oid":                          "",
		"SELECT * FROM x JOIN e USING (id) JOIN o USING (id)":                                "id<x",
		"SELECT * FROM o JOIN x USING (id) JOIN e USING (id)":                                "",
		"SELECT * FROM e WHERE e.oid IN (SELECT id FROM o)":                                  "",
		"SELECT * FROM o, LATERAL (SELECT * FROM e WHERE e.oid = o.id)":                      "",
		"SELECT * FROM o AS e2 JOIN e ON e2.id = e.oid JOIN x AS e2 ON true":                 "",
		"SELECT 1":           "",
		"DESCRIBE e":         "",
		"SELECT * FROM e, e": "",
	} {
		if got := keysOf(t, sql, "f"); got != want {
			t.Errorf("%s\n found %q, want %q", sql, got, want)
		}
	}
}

func TestSemiJoinNarrowsTheKeys(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT * FROM o JOIN e ON o.id = e.oid AND o.x > 3 AND e.y = 1 WHERE o.s IN ('it''s', 'b') AND random() > o.x AND o.d BETWEEN 1 AND 2": "(o.x > 3) AND (o.s IN ('it''s', 'b')) AND (o.d BETWEEN 1 AND 2))",
		"SELECT * FROM o LEFT JOIN e ON o.id = e.oid AND o.x > 3 WHERE o.y = 1":                                                                 "AND (o.x > 3))",
		"SELECT * FROM o JOIN e ON o.id = e.oid WHERE o.x > 3 OR e.y = 1":                                                                       "(o.id IS NOT NULL))",
	} {
		tree, err := lake.Tree(sql)
		if err != nil {
			t.Fatal(err)
		}
		keys := findSemiJoins(tree, []string{"e"})["e"].keys
		if len(keys) != 1 || !strings.HasSuffix(keys[0].keys, want) {
			t.Errorf("%s\n asks %+v, want an end of %s", sql, keys, want)
		}
	}
}

// statement makes one of random joins of e, o and x.
func randomStatement(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	tables := []string{"e", "o", "x"}
	r.Shuffle(len(tables), func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })
	column := func(of []string) string { return pick(of...) + "." + pick("id", "k", "b") }
	condition := func(left, right []string) string {
		c := column(left) + " = " + column(right)
		for r.IntN(2) == 0 {
			c = pick("("+c+") AND "+column(right)+" < "+pick("2", "5"), "("+c+") OR "+column(left)+" IS NULL", c+" AND "+column(left)+" = "+column(right), c+" AND NOT "+column(left)+" IN (1, 3)")
		}
		return c
	}
	join := func(left string, lefts []string, right string) string {
		kind := pick("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "SEMI JOIN", "ANTI JOIN")
		switch {
		case kind == "CROSS JOIN":
			return "(" + left + " CROSS JOIN " + right + ")"
		case r.IntN(5) == 0 && len(lefts) == 1:
			return "(" + left + " " + kind + " " + right + " USING (" + pick("id", "k", "id, k") + "))"
		}
		return "(" + left + " " + kind + " " + right + " ON " + condition(lefts, []string{right}) + ")"
	}
	var from string
	visible := tables
	switch r.IntN(4) {
	case 0: // the third is joined to two, from either side
		from = join(join(tables[0], tables[:1], tables[1]), tables[:2], tables[2])
	case 1:
		from = "(" + tables[2] + pick(" JOIN ", " LEFT JOIN ", " RIGHT JOIN ") + join(tables[0], tables[:1], tables[1]) + " ON " + condition(tables[:2], tables[2:]) + ")"
	default:
		from, visible = join(tables[0], tables[:1], tables[1]), tables[:2]
	}
	where := ""
	if r.IntN(2) == 0 {
		where = " WHERE " + condition(visible, visible)
	}
	if r.IntN(6) == 0 { // a name that a SEMI or ANTI JOIN hides is one of the statement around
		hidden, shown := "o", "x"
		if r.IntN(2) == 0 {
			hidden, shown = shown, hidden
		}
		return "SELECT * FROM y AS " + hidden + " WHERE EXISTS (SELECT 1 FROM e JOIN (" + shown + pick(" SEMI JOIN ", " ANTI JOIN ", " JOIN ") + hidden +
			" ON " + condition([]string{shown}, []string{hidden}) + ") ON " + condition([]string{"e"}, []string{hidden}) + ")"
	}
	if r.IntN(4) == 0 {
		return "SELECT count(*), sum(" + column(visible) + ") FROM " + from + where
	}
	if r.IntN(4) == 0 && len(visible) == 2 {
		return "SELECT " + tables[0] + ".* FROM " + tables[0] + pick(" SEMI JOIN ", " ANTI JOIN ") + tables[1] + " ON " + condition(tables[:1], tables[1:2])
	}
	return "SELECT * FROM " + from + where
}

func answerOf(ctx context.Context, db *lake.DB, query string) (rows []string, err error) {
	result, err := db.QueryContext(ctx, "SELECT CAST(q AS VARCHAR) FROM ("+query+") AS q")
	if err != nil {
		return nil, err
	}
	defer func() { _ = result.Close() }()
	for result.Next() {
		var row sql.NullString
		if err := result.Scan(&row); err != nil {
			return nil, err
		}
		rows = append(rows, row.String)
	}
	slices.Sort(rows)
	return rows, result.Err()
}

// TestPropertyASemiJoinChangesNoAnswer asks statements of random joins over random rows, with duplicates and NULLs, with and
// without the rows of e that the keys leave off.
func TestPropertyASemiJoinChangesNoAnswer(t *testing.T) {
	t.Parallel()
	db, err := lake.Open(t.Context(), lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	exec := func(text string) {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	r := rand.New(rand.NewPCG(7, 7))
	pushed, left := 0, 0
	for round := range 1500 {
		if round%50 == 0 {
			for _, table := range []string{"all_e", "o", "x", "y"} {
				var rows []string
				for range r.IntN(8) {
					value := func() string {
						if n := r.IntN(7); n > 0 {
							return fmt.Sprint(n)
						}
						return "NULL"
					}
					rows = append(rows, "("+value()+","+value()+","+value()+")")
				}
				exec("CREATE OR REPLACE TABLE " + table + " (id BIGINT, k INTEGER, b BIGINT)")
				if len(rows) > 0 {
					exec("INSERT INTO " + table + " VALUES " + strings.Join(rows, ","))
				}
			}
		}
		query := randomStatement(r)
		exec("CREATE OR REPLACE VIEW e AS SELECT * FROM all_e")
		whole, err := answerOf(t.Context(), db, query)
		if err != nil {
			continue // such as a column that is ambiguous
		}
		tree, err := lake.Tree(query)
		if err != nil {
			t.Fatal(err)
		}
		keys := findSemiJoins(tree, []string{"e"})["e"].keys
		if len(keys) == 0 {
			continue
		}
		pushed++
		view := "CREATE OR REPLACE VIEW e AS SELECT * FROM all_e WHERE true"
		for _, k := range keys {
			view += " AND " + k.column + " IN (" + k.keys + ")"
		}
		exec(view)
		var before, after int
		if err := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM all_e), (SELECT count(*) FROM e)").Scan(&before, &after); err != nil {
			t.Fatal(err)
		}
		left += before - after
		if restricted, err := answerOf(t.Context(), db, query); err != nil || !slices.Equal(whole, restricted) {
			t.Fatalf("%s\n with %+v\n gives %v (%v)\n want  %v", query, keys, restricted, err, whole)
		}
	}
	if pushed < 200 || left < 200 {
		t.Errorf("%d statements had keys, and %d rows were left off: too few to tell", pushed, left)
	}
	t.Logf("%d statements had keys; %d rows were left off", pushed, left)
}
