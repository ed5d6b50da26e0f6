package federation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// A semi-join sends the keys of a local table along with a registered query that is joined to it, so that no rows travel that
// cannot match. A wrong one would be a wrong answer. So it is made only where every row that it leaves off could not
// have shown in the answer, whatever stands above the join:
//
//   - the alias stands in the statement once, as a table of a FROM, and nothing finds tables by a text;
//   - between the alias and the join there are inner and cross joins only;
//   - the join is inner or semi, or the alias stands on the side whose rows show with a match alone;
//   - its condition has, among what is joined by AND, an equality of a column of the alias with one of a local table on
//     the other side; in a WHERE that counts where all joins around the alias are inner or cross.
//
// Rows that are left off too few are no harm: the statement joins once more.

// semiKey is one equality of a join.
type semiKey struct {
	// column of the alias, as the statement writes it.
	column string
	// table and keys: the local table as the statement names it, and the statement that gives its keys, distinct and not NULL.
	table, keys string
}

// semiJoin is what was found for an alias: keys, or why there are none.
type semiJoin struct {
	keys []semiKey
	why  string
}

// Reasons why keys are not sent along.
const (
	whyOften    = "the alias stands in the statement more than once, or in a way that is not looked into"
	whyJoin     = "no join of the alias compares one of its columns to one of a local table in a way that leaves rows off; write both with their tables, as in e.id = o.id"
	whyUnread   = "the statement cannot be looked into"
	whyFunction = "the statement names tables by a text"
)

// tree nodes, as json_serialize_sql writes them.
type (
	object = map[string]any
	step   struct {
		join object
		left bool // the alias is on its left
	}
)

// findSemiJoins looks at the tree of a statement for each alias, which is in lower case.
func findSemiJoins(tree string, aliases []string) map[string]semiJoin {
	found := make(map[string]semiJoin, len(aliases))
	all := func(why string) map[string]semiJoin {
		for _, a := range aliases {
			found[a] = semiJoin{why: why}
		}
		return found
	}
	var parsed struct {
		Error      bool     `json:"error"`
		Statements []object `json:"statements"`
	}
	decoder := json.NewDecoder(strings.NewReader(tree))
	decoder.UseNumber() // places in the text are larger than a float holds
	if decoder.Decode(&parsed) != nil || parsed.Error || len(parsed.Statements) != 1 {
		return all(whyUnread)
	}
	s := survey{tables: map[string]int{}, ctes: map[string]bool{}, aliases: aliases}
	s.walk(parsed.Statements[0])
	if s.byText {
		return all(whyFunction)
	}
	for _, alias := range aliases {
		if s.tables[alias] != 1 || s.ctes[alias] {
			found[alias] = semiJoin{why: whyOften}
			continue
		}
		found[alias] = semiJoin{why: whyJoin}
		for _, node := range s.selects {
			if keys := s.keysOf(node, alias); len(keys) > 0 {
				found[alias] = semiJoin{keys: keys}
			}
		}
	}
	return found
}

// survey is what a statement names.
type survey struct {
	aliases []string
	tables  map[string]int // how often a name stands for a table, in lower case
	ctes    map[string]bool
	selects []object
	byText  bool
}

func textOf(n object, field string) string {
	s, _ := n[field].(string)
	return s
}

func folded(n object, field string) string { return strings.ToLower(textOf(n, field)) }

func (s *survey) walk(value any) {
	switch v := value.(type) {
	case []any:
		for _, child := range v {
			s.walk(child)
		}
	case object:
		if name := folded(v, "table_name"); name != "" {
			s.tables[name]++
		}
		switch folded(v, "function_name") {
		case "query", "query_table":
			s.byText = true
		}
		if textOf(v, "type") == "SELECT_NODE" {
			s.selects = append(s.selects, v)
		}
		if ctes, ok := v["cte_map"].(object); ok {
			list, _ := ctes["map"].([]any)
			for _, entry := range list {
				if e, ok := entry.(object); ok {
					s.ctes[folded(e, "key")] = true
				}
			}
		}
		for _, child := range v {
			s.walk(child)
		}
	}
}

// keysOf gives the keys of the alias where it stands in the FROM of the node.
func (s *survey) keysOf(node object, alias string) []semiKey {
	from, _ := node["from_table"].(object)
	steps, base := pathTo(from, alias)
	if base == nil || node["sample"] != nil || sampled(from) || !plainTable(base) {
		return nil
	}
	names := map[string]int{}
	leaves(from, func(leaf object) { names[nameOf(leaf)]++ })
	own := nameOf(base)
	if names[own] != 1 {
		return nil
	}
	p := pairing{survey: s, own: own, names: names}
	inner := true // all joins are that the alias stands in
	for _, st := range steps {
		inner = inner && plainJoin(st.join)
	}
	where := conjuncts(node["where_clause"])
	for i := len(steps) - 1; i >= 0; i-- {
		st := steps[i]
		if st.leavesOff() {
			filters := conjuncts(st.join["condition"])
			if inner {
				filters = append(slices.Clone(filters), where...)
			}
			if keys := p.ofJoin(st, base, filters); len(keys) > 0 {
				return keys
			}
		}
		if !plainJoin(st.join) {
			return nil
		}
	}
	if !inner {
		return nil
	}
	return p.of(where, from, where)
}

// pathTo finds the alias as a table among the joins of a FROM: the joins around it, the outermost first.
func pathTo(from object, alias string) ([]step, object) {
	switch textOf(from, "type") {
	case "BASE_TABLE":
		if folded(from, "table_name") == alias && textOf(from, "catalog_name") == "" && (textOf(from, "schema_name") == "" || textOf(from, "schema_name") == registeredSchema) {
			return nil, from
		}
	case "JOIN":
		for _, side := range []string{"left", "right"} {
			child, _ := from[side].(object)
			if steps, base := pathTo(child, alias); base != nil {
				return append([]step{{from, side == "left"}}, steps...), base
			}
		}
	}
	return nil, nil
}

// leaves visits what is joined.
func leaves(from object, visit func(object)) {
	if textOf(from, "type") != "JOIN" {
		visit(from)
		return
	}
	for _, side := range []string{"left", "right"} {
		child, _ := from[side].(object)
		leaves(child, visit)
	}
}

// seen visits what the conditions around a join can name. What stands on the right of a SEMI or ANTI JOIN is not seen: its
// name is one of the statement around, if any.
func seen(from object, visit func(object)) {
	if textOf(from, "type") != "JOIN" {
		visit(from)
		return
	}
	left, _ := from["left"].(object)
	seen(left, visit)
	switch textOf(from, "join_type") {
	case "INNER", "LEFT", "RIGHT", "OUTER":
		right, _ := from["right"].(object)
		seen(right, visit)
	}
}

// sampled tells whether some of what is joined is a sample.
func sampled(from object) (found bool) {
	leaves(from, func(leaf object) { found = found || leaf["sample"] != nil })
	return found
}

// nameOf is what columns of a table are called by.
func nameOf(leaf object) string {
	if alias := folded(leaf, "alias"); alias != "" {
		return alias
	}
	return folded(leaf, "table_name")
}

// plainTable tells whether a table shows its own columns as they are now.
func plainTable(n object) bool {
	renamed, _ := n["column_name_alias"].([]any)
	return textOf(n, "type") == "BASE_TABLE" && len(renamed) == 0 && n["at_clause"] == nil && n["sample"] == nil
}

// plainJoin tells whether a join drops what does not match on both sides, or nothing at all.
func plainJoin(j object) bool {
	switch textOf(j, "ref_type") {
	case "CROSS":
		return true
	case "REGULAR":
		return textOf(j, "join_type") == "INNER"
	}
	return false
}

// leavesOff tells whether rows of the alias's side show with a match alone.
func (st step) leavesOff() bool {
	if textOf(st.join, "ref_type") != "REGULAR" {
		return false
	}
	switch textOf(st.join, "join_type") {
	case "INNER", "SEMI":
		return true
	case "LEFT":
		return !st.left
	case "RIGHT":
		return st.left
	}
	return false
}

// conjuncts are what AND joins.
func conjuncts(value any) []object {
	n, ok := value.(object)
	if !ok {
		return nil
	}
	if textOf(n, "type") != "CONJUNCTION_AND" {
		return []object{n}
	}
	var all []object
	children, _ := n["children"].([]any)
	for _, child := range children {
		all = append(all, conjuncts(child)...)
	}
	return all
}

// pairing finds equalities of the alias with local tables.
type pairing struct {
	*survey
	own   string // what its columns are called by
	names map[string]int
}

// ofJoin gives the keys of one join.
func (p pairing) ofJoin(st step, base object, filters []object) []semiKey {
	side, other := "left", "right"
	if !st.left {
		side, other = other, side
	}
	opposite, _ := st.join[other].(object)
	using, _ := st.join["using_columns"].([]any)
	if len(using) == 0 {
		return p.of(conjuncts(st.join["condition"]), opposite, filters)
	}
	mine, _ := st.join[side].(object)
	if textOf(mine, "type") != "BASE_TABLE" || nameOf(mine) != nameOf(base) || !p.local(opposite) {
		return nil // which table a column is of is not written
	}
	var keys []semiKey
	for _, c := range using {
		if column, ok := c.(string); ok {
			keys = p.add(keys, column, opposite, column, filters)
		}
	}
	return keys
}

// of gives the keys among conditions, with tables of a FROM.
func (p pairing) of(conditions []object, from object, filters []object) []semiKey {
	tables := map[string]object{}
	seen(from, func(leaf object) {
		if name := nameOf(leaf); name != p.own && p.local(leaf) && p.names[name] == 1 {
			tables[name] = leaf
		}
	})
	var keys []semiKey
	for _, c := range conditions {
		if textOf(c, "type") != "COMPARE_EQUAL" {
			continue
		}
		left, right := columnOf(c["left"]), columnOf(c["right"])
		if right[0] == p.own {
			left, right = right, left
		}
		if table := tables[right[0]]; left[0] == p.own && table != nil {
			keys = p.add(keys, left[1], table, right[1], filters)
		}
	}
	return keys
}

// columnOf is a column that is written with its table, which is in lower case; empty texts for anything else.
func columnOf(value any) (column [2]string) {
	n, _ := value.(object)
	names, _ := n["column_names"].([]any)
	if textOf(n, "type") != "COLUMN_REF" || len(names) != 2 {
		return column
	}
	table, _ := names[0].(string)
	name, _ := names[1].(string)
	return [2]string{strings.ToLower(table), name}
}

// local tells whether a table is one of the catalog: nothing that the statement names itself, and nothing that is called as a
// registered query is, with whatever in front. The keys are read where none is registered: main.orders is the catalog's
// there, and the registered one in the statement.
func (p pairing) local(leaf object) bool {
	name := folded(leaf, "table_name")
	if slices.Contains(p.aliases, name) || (p.ctes[name] && textOf(leaf, "schema_name") == "" && textOf(leaf, "catalog_name") == "") {
		return false
	}
	return plainTable(leaf) && folded(leaf, "schema_name") != registeredSchema
}

// maxSemiKeys is how many keys of one join are sent.
const maxSemiKeys = 3

func (p pairing) add(keys []semiKey, column string, table object, key string, filters []object) []semiKey {
	if len(keys) == maxSemiKeys {
		return keys
	}
	sql, err := keysStatement(table, key, narrowing(filters, nameOf(table)))
	if err != nil {
		return keys
	}
	return append(keys, semiKey{column: column, table: strings.Trim(textOf(table, "schema_name")+"."+textOf(table, "table_name"), "."), keys: sql})
}

// narrowing are those of the conditions that are about the table alone, and say the same whenever they are asked.
func narrowing(filters []object, table string) (own []any) {
	for _, f := range filters {
		if onlyOf(f, table) {
			own = append(own, f)
		}
	}
	return own
}

// onlyOf tells whether an expression is made of columns of the table, constants and what compares them.
func onlyOf(value any, table string) bool {
	switch v := value.(type) {
	case []any:
		return !slices.ContainsFunc(v, func(child any) bool { return !onlyOf(child, table) })
	case object:
		class, is := v["class"].(string)
		if !is {
			return false
		}
		switch class {
		case "COLUMN_REF":
			return columnOf(v)[0] == table
		case "CONSTANT":
			return true
		case "COMPARISON", "BETWEEN", "OPERATOR", "CONJUNCTION", "CAST":
			for _, field := range []string{"left", "right", "input", "lower", "upper", "child", "children"} {
				if child, has := v[field]; has && !onlyOf(child, table) {
					return false
				}
			}
			return true
		}
	}
	return false
}

// keysStatement selects the distinct keys of a table, as a tree of DuckDB's own is written.
func keysStatement(table object, key string, filters []any) (string, error) {
	raw, err := lake.Tree(`SELECT DISTINCT t.k FROM t WHERE (t.k IS NOT NULL) AND (t.k IS NOT NULL)`)
	if err != nil {
		return "", err
	}
	var tree object
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return "", fmt.Errorf("read a tree: %w", err)
	}
	column := object{"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0, "column_names": []any{nameOf(table), key}}
	present := object{"class": "OPERATOR", "type": "OPERATOR_IS_NOT_NULL", "alias": "", "query_location": 0, "children": []any{column}}
	statements, _ := tree["statements"].([]any)
	statement, _ := statements[0].(object)
	node, _ := statement["node"].(object)
	where, _ := node["where_clause"].(object)
	where["children"] = append([]any{present, present}, filters...)
	node["from_table"], node["select_list"] = table, []any{column}
	made, err := json.Marshal(tree)
	if err != nil {
		return "", fmt.Errorf("write a tree: %w", err)
	}
	return lake.FromTree(string(made))
}
