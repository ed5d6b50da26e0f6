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
	// index of the table in rows.Rows.Tables, and its bit in store.Tables.
	index int
	// entities is the kind of thing that the table lists, once each and whatever issues name it; 0 for
	// tables whose rows belong to issues, which are kept in a part per month.
	entities store.Kind
	// width is about how many bytes a row has: it bounds row groups.
	width int64
}

// Widths of rows in bytes, by index; what is not named has defaultWidth.
var widths = map[int]int64{rows.Issues: 4_096, rows.Comments: 2_048, rows.Worklogs: 1_024}

const defaultWidth = 512

// kindsOfEntities are the kinds of the tables that list entities.
var kindsOfEntities = map[int]store.Kind{rows.Users: store.KindUser, rows.Sprints: store.KindSprint}

// tablesOf are the tables of a site, by name.
func tablesOf(fields rows.FieldMap) map[string]table {
	out := map[string]table{}
	for i, def := range rows.Tables(fields) {
		t := table{Table: def, index: i, entities: kindsOfEntities[i], width: widths[i]}
		if t.width == 0 {
			t.width = defaultWidth
		}
		out[def.Name] = t
	}
	return out
}

// rowsOf are the rows of the table that an issue has.
func (t table) rowsOf(r *rows.Rows) [][]any { return r.Tables[t.index] }

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
