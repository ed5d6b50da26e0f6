package extract

import (
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// OptionSchemaContract is an option of every table, which the runtime itself reads: what becomes of the
// table when its columns are no longer those of its last good version.
const OptionSchemaContract = "schema_contract"

// Schema contracts.
const (
	ContractEvolve  = "evolve"  // the table follows its source; the default
	ContractFreeze  = "freeze"  // any change fails the table, and its last good version stays
	ContractDiscard = "discard" // new columns are left out; any other change fails the table
)

// Kinds of SchemaChange.
const (
	columnAdded     = "added"
	columnRemoved   = "removed"
	columnRetyped   = "retyped"
	columnDiscarded = "discarded"
)

// readContract takes the contract out of the options, which are the connector's.
func (t *TableSpec) readContract() error {
	t.Contract = ContractEvolve
	given, found := t.Options[OptionSchemaContract]
	if !found {
		return nil
	}
	delete(t.Options, OptionSchemaContract)
	switch word, _ := given.(string); word {
	case ContractEvolve, ContractFreeze, ContractDiscard:
		t.Contract = word
		return nil
	}
	return fault.New(fault.Invalid, "the table %s: `%s` is %s, %s or %s, not %.40q", t.Name, OptionSchemaContract, ContractEvolve, ContractFreeze, ContractDiscard, fmt.Sprint(given))
}

// discard leaves the columns out of a query that the table did not have, where its contract says so.
func (w *TableWriter) discard(columns []catalog.Column, from string) ([]catalog.Column, string) {
	if w.spec.Contract != ContractDiscard || w.spec.Previous == nil {
		return columns, from
	}
	had := byFoldedName(w.spec.Previous.Columns)
	var kept, left []catalog.Column
	var names []string
	for _, c := range columns {
		if _, found := had[strings.ToLower(c.Name)]; !found {
			left = append(left, c)
			continue
		}
		kept, names = append(kept, c), append(names, lake.QuoteIdent(c.Name))
	}
	if len(left) == 0 || len(kept) == 0 { // a table without any of its columns is another one, which compare refuses
		return columns, from
	}
	w.discarded = left
	return kept, "(SELECT " + strings.Join(names, ", ") + " FROM " + from + ")"
}

func byFoldedName(columns []catalog.Column) map[string]catalog.Column {
	by := make(map[string]catalog.Column, len(columns))
	for _, c := range columns {
		by[strings.ToLower(c.Name)] = c
	}
	return by
}

// compare notes what is different between the columns of a table and those of its last good version, and
// refuses it where the contract does. In what order the columns stand is no difference, nor is the case of
// their names: no query can tell.
func (j *job) compare(w *TableWriter, now []catalog.Column, last *entry) error {
	if w.name != j.spec.Name || last == nil || last.damaged || len(last.Columns) == 0 {
		return nil
	}
	changes := schemaChanges(last.Columns, now)
	refused := len(changes) > 0 && j.spec.Contract != ContractEvolve && j.spec.Contract != ""
	for _, c := range w.discarded {
		changes = append(changes, &agnesv1.SchemaChange{Column: c.Name, Change: columnDiscarded, ToType: c.Type})
	}
	j.changes = changes
	if !refused {
		return nil
	}
	return fault.New(fault.Conflict, "the columns of the table changed, which its schema contract (%s) refuses, so its last version stays: %s. If that is right, set `%s` to %s and sync it again",
		j.spec.Contract, sayChanges(changes), OptionSchemaContract, ContractEvolve)
}

// schemaChanges are the differences, of columns that stand first.
func schemaChanges(before, now []catalog.Column) []*agnesv1.SchemaChange {
	var changes []*agnesv1.SchemaChange
	is, had := byFoldedName(now), byFoldedName(before)
	for _, c := range before {
		n, found := is[strings.ToLower(c.Name)]
		switch {
		case !found:
			changes = append(changes, &agnesv1.SchemaChange{Column: c.Name, Change: columnRemoved, FromType: c.Type})
		case n.Type != c.Type:
			changes = append(changes, &agnesv1.SchemaChange{Column: c.Name, Change: columnRetyped, FromType: c.Type, ToType: n.Type})
		}
	}
	for _, c := range now {
		if _, found := had[strings.ToLower(c.Name)]; !found {
			changes = append(changes, &agnesv1.SchemaChange{Column: c.Name, Change: columnAdded, ToType: c.Type})
		}
	}
	return changes
}

// mostChanges are named in a sentence.
const mostChanges = 5

func sayChanges(changes []*agnesv1.SchemaChange) string {
	var parts []string
	for i, c := range changes {
		if i == mostChanges {
			parts = append(parts, fmt.Sprintf("and %d more", len(changes)-i))
			break
		}
		switch c.GetChange() {
		case columnRetyped:
			parts = append(parts, fmt.Sprintf("%q is %s, not %s", c.GetColumn(), c.GetToType(), c.GetFromType()))
		default:
			parts = append(parts, fmt.Sprintf("%q %s", c.GetColumn(), c.GetChange()))
		}
	}
	return strings.Join(parts, ", ")
}
