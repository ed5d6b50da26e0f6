package jira

import (
	"slices"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// table is one of the tables that are published: columns of one of the tables of package rows.
type table struct {
	rows.Table
	// bit of the table in store.Tables.
	bit int
	// from is the index of the rows in rows.Rows.Tables, and pick the positions of the columns in them; nil
	// for all, in their order.
	from int
	pick []int
	// entities is the kind of thing that the table lists, once each and whatever issues name it; 0 for
	// tables whose rows belong to issues, which are kept in a part per month.
	entities store.Kind
	// width is about how many bytes a row has: it bounds row groups.
	width int64
}

// bitIssueSprints is the bit of issue_sprints, which package rows has as a part of its sprints.
const bitIssueSprints = rows.TableCount

// Widths of rows in bytes, by index; what is not named has defaultWidth.
var widths = map[int]int64{rows.Issues: 4_096, rows.Comments: 2_048, rows.Worklogs: 1_024}

const defaultWidth = 512

// tablesOf are the tables of a site, by name.
func tablesOf(fields rows.FieldMap) map[string]table {
	out := map[string]table{}
	defs := rows.Tables(fields)
	for i, def := range defs {
		if i == rows.Users || i == rows.Sprints {
			continue
		}
		t := table{Table: def, bit: i, from: i, width: widths[i]}
		if t.width == 0 {
			t.width = defaultWidth
		}
		out[def.Name] = t
	}
	for _, t := range []table{
		pick(defs, rows.Users, "users", "People whom Jira issues name, once each", "account_id", "display_name", "email", "active", "time_zone", "account_type"),
		pick(defs, rows.Sprints, "sprints", "Sprints that Jira issues are or were in, once each",
			"sprint_id", "name", "state", "board_id", "start_at", "end_at", "completed_at", "goal"),
		pick(defs, rows.Sprints, "issue_sprints", "Which Jira issue is or was in which sprint", "sprint_id", "issue_key", rows.IssueIDColumn),
	} {
		out[t.Name] = t
	}
	return out
}

// pick makes a table of some columns of another, by its first column.
func pick(defs []rows.Table, from int, name, description string, columns ...string) table {
	t := table{Table: rows.Table{Name: name, Description: description, PrimaryKey: columns[:1]}, bit: from, from: from, width: defaultWidth}
	for _, c := range columns {
		at := position(defs[from].Columns, c)
		t.pick, t.Columns = append(t.pick, at), append(t.Columns, defs[from].Columns[at])
	}
	switch name {
	case "users":
		t.entities = store.KindUser
	case "sprints":
		t.entities = store.KindSprint
	default:
		t.bit, t.PrimaryKey = bitIssueSprints, []string{rows.IssueIDColumn, columns[0]}
	}
	t.OrderBy = t.PrimaryKey
	return t
}

// rowsOf are the rows of the table that an issue has.
func (t table) rowsOf(r *rows.Rows) [][]any {
	all := r.Tables[t.from]
	if t.pick == nil || len(all) == 0 {
		return all
	}
	out := make([][]any, len(all))
	for i, row := range all {
		out[i] = make([]any, len(t.pick))
		for j, at := range t.pick {
			out[i][j] = row[at]
		}
	}
	return out
}

// names of tables, sorted.
func names(tables map[string]table) []string {
	out := make([]string, 0, len(tables))
	for name := range tables {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// position of a column; -1 where there is none of that name.
func position(columns []catalog.Column, name string) int {
	return slices.IndexFunc(columns, func(c catalog.Column) bool { return c.Name == name })
}
