package rows

import (
	"testing"

	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// Issues as the REST API has them flatten without a problem, by the default map, and no column of it
// is empty throughout.
func TestIssuesOfASiteFitTheirColumns(t *testing.T) {
	t.Parallel()
	s := jiratest.New(jiratest.Config{})
	defer s.Close()
	s.Populate(300, 6, 1)
	fields := mustMap(t)
	f := NewFlattener(fields, Site{URL: s.URL})
	tables := Tables(fields)
	filled := map[string]bool{}
	for _, key := range s.Keys() {
		rows, err := f.Flatten(s.Render(key))
		if err != nil {
			t.Fatal(key, err)
		}
		if len(rows.Problems) > 0 {
			t.Errorf("%s: %v", key, rows.Problems)
		}
		checkRows(t, tables, rows)
		for i, table := range tables {
			for _, row := range rows.Tables[i] {
				for c, v := range row {
					if v != nil && v != "[]" && v != int64(0) {
						filled[table.Name+"."+table.Columns[c].Name] = true
					}
				}
			}
		}
	}
	for i, table := range tables {
		if i == RemoteLinks || i == DeletedIssues {
			continue // they are no part of an issue as Jira gives it
		}
		for _, c := range table.Columns {
			if !filled[table.Name+"."+c.Name] && c.Name != "_synced_at" && c.Name != "local_path" {
				t.Errorf("%s.%s is empty in all issues", table.Name, c.Name)
			}
		}
	}
}
