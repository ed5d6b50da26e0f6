package lake

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// A character that takes two places on a screen, or none, moves what stands to the right of it.
func TestPlansTellNoFilesBesideTextsOfAnyWidth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var views []View
	for name, rows := range map[string]string{"a": "30000", "b": "30"} {
		part := filepath.Join(dir, name, strings.Repeat("zq", 40)+".parquet")
		writePart(t, part, "SELECT i::BIGINT AS id, CASE i % 2 WHEN 0 THEN '!' ELSE chr(1000000) END AS name FROM range("+rows+") r(i)")
		views = append(views, View{
			Schema: "crm", Name: name, Aliases: []string{name}, Files: []string{part},
			Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}},
		})
	}
	s := mustSession(t, views...)
	began := time.Now()
	long := QuoteLiteral(strings.Repeat(filesLabel, 40_000))
	if _, err := ask(t, s, "EXPLAIN ANALYZE SELECT * FROM a WHERE name <> "+long); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the plan of a long statement took %v", took)
	}
	for _, text := range []string{"x", "日本", "e\u0301", "👩\u200d👩\u200d👧", "\x7f", "\u200b", "ｱ", "│", "└─┘", "\n", "Filename(s): "} {
		for _, before := range []int{0, 30, 60, 90, 120} {
			value := QuoteLiteral(strings.Repeat("x", before) + strings.Repeat(text, 70))
			plan, err := ask(t, s, "EXPLAIN ANALYZE SELECT a.id, b.id FROM a LEFT JOIN b ON a.id = b.id WHERE a.name <> "+value)
			if err != nil {
				t.Fatal(err)
			}
			_, tree, _ := strings.Cut(plan, "HASH_JOIN") // the statement itself stands before it
			if strings.Contains(tree, "zq") || strings.Contains(tree, "qz") || strings.Contains(tree, "/") {
				t.Errorf("%d times x and %q told\n%s", before, text, tree)
			}
			if strings.Count(tree, "TABLE_SCAN") != 2 {
				t.Fatalf("this is no plan of two scans: %s", plan)
			}
		}
	}
}
