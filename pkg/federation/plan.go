package federation

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// node is an operator of DuckDB's plan.
type node struct {
	Name     string                     `json:"name"`
	Children []node                     `json:"children"`
	Extra    map[string]json.RawMessage `json:"extra_info"`
}

// texts are the texts of a field that is one text or a list of them.
func (n node) texts(field string) (list []string, ok bool) {
	raw, found := n.Extra[field]
	if !found {
		return nil, true
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		if one == "" {
			return nil, true
		}
		return []string{one}, true
	}
	return list, json.Unmarshal(raw, &list) == nil
}

// Scans reads the plan of a statement over the views: one scan for each remote table that it reads. rows is
// how many rows of the answer are wanted at most, zero or less for all. ok is false where the plan cannot be
// read: then every remote table that the statement may mean is needed whole.
func Scans(plan lake.Plan, views []lake.View, rows int64) (scans []Scan, ok bool) {
	var roots []node
	if json.Unmarshal([]byte(plan.Explain), &roots) != nil || len(roots) != 1 {
		return nil, false
	}
	r := reading{views: views, found: make(map[int][]Scan)}
	if !r.walk(roots[0]) {
		return nil, false
	}
	if len(r.order) == 1 && len(r.found[r.order[0]]) == 1 {
		r.found[r.order[0]][0].Limit = limitOf(roots[0], plan.Tree, rows, r.whole)
	}
	for _, at := range r.order {
		scans = append(scans, merge(r.found[at], views[at].Columns))
	}
	return scans, true
}

// reading collects the scans of a plan by the places of their views.
type reading struct {
	views []lake.View
	found map[int][]Scan
	order []int
	// whole tells that every condition of every scan was understood.
	whole bool
	begun bool
}

func (r *reading) walk(n node) bool {
	tables, ok := n.texts("Table")
	if !ok {
		return false
	}
	if n.Name == "SEQ_SCAN" && len(tables) == 1 {
		at, is := lake.StandInOf(tables[0])
		if is && (at >= len(r.views) || !r.views[at].Remote) {
			return false
		}
		if is && !r.add(at, n) {
			return false
		}
	}
	for _, child := range n.Children {
		if !r.walk(child) {
			return false
		}
	}
	return true
}

func (r *reading) add(at int, n node) bool {
	view := r.views[at]
	names := make(map[string]catalog.Column, len(view.Columns))
	for i, c := range view.Columns {
		names[lake.StandInColumn(i)] = c
	}
	columns, ok := n.texts("Projections")
	if !ok {
		return false
	}
	s := Scan{Table: catalog.TableID(view.Schema, view.Name)}
	for _, name := range columns {
		c, known := names[name]
		if !known {
			return false
		}
		s.Columns = append(s.Columns, c.Name)
	}
	filters, ok := n.texts("Filters")
	if !ok {
		return false
	}
	all, whole := conditions(filters, names)
	// A column that is only filtered by is no projection of the scan, and is needed to filter once more.
	s.Columns = append(s.Columns, filtered(filters, names)...)
	if len(s.Columns) == 0 { // such as count(*): whichever column is the shortest
		s.Columns = []string{shortest(view.Columns)}
	}
	if len(all) > 0 {
		s.Any = [][]Predicate{all}
	}
	r.whole = whole && (r.whole || !r.begun)
	r.begun = true
	if r.found[at] == nil {
		r.order = append(r.order, at)
	}
	r.found[at] = append(r.found[at], s)
	return true
}

func shortest(columns []catalog.Column) string {
	best := slices.MinFunc(columns, func(a, b catalog.Column) int { return width(a) - width(b) })
	return best.Name
}

func width(c catalog.Column) int {
	switch familyOf(c.Type) {
	case boolean:
		return 1
	case integer, date:
		return 2
	case floating, decimal, datetime, timestamp:
		return 3
	case text:
		return 4
	case unknown:
	}
	return 5
}

var standInWord = regexp.MustCompile(`c[0-9]+`)

// filtered are the columns that stand in conditions: whatever looks like one, for one too many is no harm.
func filtered(filters []string, names map[string]catalog.Column) (used []string) {
	for _, f := range filters {
		for _, word := range standInWord.FindAllString(f, -1) {
			if c, known := names[word]; known {
				used = append(used, c.Name)
			}
		}
	}
	return used
}

// conditions reads the filters of a scan. whole tells that all of them were understood; what is not is left
// to whoever filters once more. Where a text may be a piece of another, nothing is.
func conditions(filters []string, names map[string]catalog.Column) (all []Predicate, whole bool) {
	whole = true
	for _, f := range filters {
		if !balanced(f) {
			return nil, false // DuckDB cuts a filter at the newlines of its constants
		}
		read, ok := conjunction(f, names)
		if !ok || len(all)+len(read) > maxPredicates {
			whole = false
			continue
		}
		all = append(all, read...)
	}
	return all, whole
}

// balanced tells whether quotes in a text end.
func balanced(text string) bool {
	quote := byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return quote == 0
}

// parser reads one filter: comparisons of a column with constants, joined by AND.
type parser struct {
	rest  string
	names map[string]catalog.Column
}

func conjunction(filter string, names map[string]catalog.Column) ([]Predicate, bool) {
	p := parser{strings.TrimPrefix(filter, "optional: "), names}
	var all []Predicate
	for {
		one, ok := p.condition()
		if !ok || !one.valid(typeOf(names, one.Column)) {
			return nil, false
		}
		all = append(all, one)
		if p.rest == "" {
			return all, true
		}
		if !p.take(" AND ") {
			return nil, false
		}
	}
}

func typeOf(names map[string]catalog.Column, column string) string {
	for _, c := range names {
		if c.Name == column {
			return c.Type
		}
	}
	return ""
}

func (p *parser) take(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	if ok {
		p.rest = rest
	}
	return ok
}

// condition reads one, with or without parentheses.
func (p *parser) condition() (Predicate, bool) {
	if !p.take("(") {
		return p.comparison()
	}
	if p.take("NOT ") {
		c, ok := p.column()
		return Predicate{c.Name, Equal, []string{"false"}}, ok && familyOf(c.Type) == boolean && p.take(")")
	}
	one, ok := p.comparison()
	return one, ok && p.take(")")
}

var standInHead = regexp.MustCompile(`\Ac[0-9]+`)

func (p *parser) column() (catalog.Column, bool) {
	word := standInHead.FindString(p.rest)
	c, ok := p.names[word]
	p.rest = p.rest[len(word):]
	return c, ok && word != ""
}

// operators, the longer ones first.
var operators = []struct {
	text string
	op   Op
}{{"<=", LessEqual}, {">=", GreaterEqual}, {"!=", NotEqual}, {"<>", NotEqual}, {"<", Less}, {">", Greater}, {"=", Equal}}

func (p *parser) comparison() (Predicate, bool) {
	c, ok := p.column()
	if !ok {
		return Predicate{}, false
	}
	switch {
	case p.take(" IS NOT NULL"):
		return Predicate{Column: c.Name, Op: IsNotNull}, true
	case p.take(" IS NULL"):
		return Predicate{Column: c.Name, Op: IsNull}, true
	case p.take(" IN ("):
		values, ok := p.list(c)
		return Predicate{c.Name, In, values}, ok
	}
	before := p.rest
	p.take(" ")
	for _, o := range operators {
		if p.take(o.text) {
			p.take(" ")
			value, ok := p.constant(c)
			return Predicate{c.Name, o.op, []string{value}}, ok
		}
	}
	p.rest = before
	return Predicate{c.Name, Equal, []string{"true"}}, familyOf(c.Type) == boolean
}

func (p *parser) list(c catalog.Column) (values []string, ok bool) {
	for {
		v, ok := p.constant(c)
		if !ok {
			return nil, false
		}
		values = append(values, v)
		if p.take(")") {
			return values, true
		}
		if !p.take(", ") {
			return nil, false
		}
	}
}

var (
	bareConstant = regexp.MustCompile(`\A(?:true|false|-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)`)
	textConstant = regexp.MustCompile(`(?s)\A'((?:[^']|'')*)'(?:::([A-Z]+(?: WITH TIME ZONE)?(?:\([0-9]+, ?[0-9]+\))?))?`)
)

// constant reads one of the column's own type: of another, the column would have been cast.
func (p *parser) constant(c catalog.Column) (string, bool) {
	if m := textConstant.FindStringSubmatch(p.rest); m != nil {
		p.rest = p.rest[len(m[0]):]
		kind := m[2]
		if kind == "" {
			kind = "VARCHAR"
		}
		return strings.ReplaceAll(m[1], "''", "'"), familyOf(kind) == familyOf(c.Type)
	}
	word := bareConstant.FindString(p.rest)
	p.rest = p.rest[len(word):]
	return word, word != "" && familyOf(c.Type) != text
}

// limitOf is how many rows of the only scan are enough: where nothing but a LIMIT and projections stand
// above it, all conditions are the scan's own, and the statement is a plain SELECT of one table.
func limitOf(root node, tree string, rows int64, whole bool) int64 {
	limits := 0
	for n := root; ; n = n.Children[0] {
		switch n.Name {
		case "PROJECTION":
		case "LIMIT", "STREAMING_LIMIT":
			limits++
		case "SEQ_SCAN":
			enough, plain := plainLimit(tree)
			switch {
			case !whole || !plain || limits > 1 || (limits == 1) != (enough > 0):
				return 0
			case enough == 0 && rows > 0:
				return rows + 1 // one more tells that there are more
			}
			return enough
		default:
			return 0
		}
		if len(n.Children) != 1 {
			return 0
		}
	}
}

// tree is what json_serialize_sql writes of a statement, as far as it matters here.
type tree struct {
	Error      bool `json:"error"`
	Statements []struct {
		Node struct {
			Type      string `json:"type"`
			Modifiers []struct {
				Type   string    `json:"type"`
				Limit  *constant `json:"limit"`
				Offset *constant `json:"offset"`
			} `json:"modifiers"`
			CTEs struct {
				Map []any `json:"map"`
			} `json:"cte_map"`
			From struct {
				Type   string `json:"type"`
				Sample any    `json:"sample"`
			} `json:"from_table"`
			Sample  any `json:"sample"`
			Qualify any `json:"qualify"`
			Having  any `json:"having"`
		} `json:"node"`
	} `json:"statements"`
}

type constant struct {
	Class string `json:"class"`
	Value struct {
		Type struct {
			ID string `json:"id"`
		} `json:"type"`
		Null  bool            `json:"is_null"`
		Value json.RawMessage `json:"value"`
	} `json:"value"`
}

func (c *constant) number() (int64, bool) {
	if !known(c) {
		return 0, false
	}
	var n int64
	err := json.Unmarshal(c.Value.Value, &n)
	return n, err == nil && n >= 0 && n < 1<<40
}

func known(c *constant) bool {
	return c != nil && c.Class == "CONSTANT" && !c.Value.Null && slices.Contains([]string{"INTEGER", "BIGINT"}, c.Value.Type.ID)
}

// plainLimit is LIMIT and OFFSET together of a SELECT of one table; zero where it has none. plain is false
// for every other statement.
func plainLimit(text string) (enough int64, plain bool) {
	var t tree
	if json.Unmarshal([]byte(text), &t) != nil || t.Error || len(t.Statements) != 1 {
		return 0, false
	}
	n := t.Statements[0].Node
	if n.Type != "SELECT_NODE" || n.From.Type != "BASE_TABLE" || n.From.Sample != nil || n.Sample != nil || n.Qualify != nil ||
		n.Having != nil || len(n.CTEs.Map) > 0 || len(n.Modifiers) > 1 {
		return 0, false
	}
	if len(n.Modifiers) == 0 {
		return 0, true
	}
	m := n.Modifiers[0]
	if m.Type != "LIMIT_MODIFIER" {
		return 0, false
	}
	limit, ok := m.Limit.number()
	if !ok || limit == 0 {
		return 0, false
	}
	if m.Offset == nil {
		return limit, true
	}
	offset, ok := m.Offset.number()
	return limit + offset, ok
}
