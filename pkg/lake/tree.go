package lake

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// maxInspected bounds the statements whose trees are looked at, in bytes: a tree is some hundred
// times as large.
const maxInspected = 100_000

// maxQueries bounds how deep query('…') may stand in query('…').
const maxQueries = 4

// inspection looks at the tree of a statement, as DuckDB's parser gives it, for functions and
// relations of DuckDB's own that are not for queries.
type inspection struct {
	rules rules
	depth int
}

// mayNamePath tells whether a string or quoted name in a statement may begin with a path or be an address.
var mayNamePath = regexp.MustCompile(`['"$]\s*(?:/|[A-Za-z]:[/\\])|://`)

// isPath tells whether a table's name is a path or an address. The lock lets a path through that is a file of
// the session: what is asked for by it would come without the name and the types that its table has.
func isPath(name string) bool { return mayNamePath.MatchString("'" + name) }

var errPath = fault.New(fault.Invalid, "files and addresses are not read here: ask for a table by its name")

// inspect tells why a query may not use what it uses; nil where it may.
func inspect(query string, depth int) error {
	p := parsers()
	if p.err != nil {
		return p.err
	}
	watched := p.rules.mayUse(query)
	if !watched && (len(query) > maxInspected || !mayNamePath.MatchString(query)) {
		return nil // what is long and names a path is the lock's work alone
	}
	if len(query) > maxInspected {
		return fault.New(fault.TooLarge, "the statement names something of DuckDB's own and is %d bytes long; the limit for these is %d", len(query), maxInspected)
	}
	raw, err := p.tree(query)
	if err != nil {
		return err
	}
	var tree struct {
		Error      bool
		Statements []any
	}
	if err := json.Unmarshal([]byte(raw), &tree); err != nil {
		return fault.Wrap(err, fault.Invalid, "DuckDB cannot tell what the statement is made of; write it in a simpler way")
	}
	if tree.Error || len(tree.Statements) != 1 {
		return fault.New(fault.Invalid, refusal, "this")
	}
	return inspection{p.rules, depth}.walk(tree.Statements[0])
}

// tree gives the tree of a statement as JSON, without looking anything up.
func (p *parser) tree(query string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := texts(p.conn, "SELECT json_serialize_sql("+QuoteLiteral(query)+"::VARCHAR)")
	if err != nil {
		return "", err
	}
	return rows[0], nil
}

// texts gives all values of an answer, row by row.
func texts(conn mapping.Connection, sql string) ([]string, error) {
	statement, err := prepareOne(conn, sql)
	if err != nil {
		return nil, err
	}
	r, err := stream(context.Background(), statement, func() {})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []string
	for r.Next() {
		batch := r.RecordBatch()
		for row := range int(batch.NumRows()) {
			for _, column := range batch.Columns() {
				out = append(out, strings.Clone(column.ValueStr(row)))
			}
		}
	}
	return out, r.Err()
}

// walk looks at a node and everything below it.
func (i inspection) walk(node any) error {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			if err := i.walk(child); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := i.check(n); err != nil {
			return err
		}
		for _, child := range n {
			if err := i.walk(child); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i inspection) check(node map[string]any) error {
	if name, ok := node["function_name"].(string); ok {
		if family, found := i.rules.functions[strings.ToLower(name)]; found {
			return i.function(strings.ToLower(name), family, node)
		}
	}
	if node["type"] == "BASE_TABLE" {
		name, _ := node["table_name"].(string)
		schema, _ := node["schema_name"].(string)
		if schema == "" && isPath(name) {
			return errPath
		}
		return i.rules.checkRelation(schema, name)
	}
	return nil
}

// shownSettings are those that tell about the answers of a session, not about the server.
var shownSettings = map[string]bool{"timezone": true, "calendar": true}

// function tells why a function that is watched may not be called as it is; nil where it may.
func (i inspection) function(name, family string, node map[string]any) error {
	arguments, _ := node["children"].([]any)
	switch {
	case name == "query" && family == familyNested:
		text, ok := literal(arguments)
		if !ok {
			return fault.New(fault.Invalid, "query(…) is answered for one text as it is, not for one that the statement puts together; write the statement itself")
		}
		if i.depth >= maxQueries {
			return fault.New(fault.Invalid, "query(…) stands too deep in query(…); write the statement itself")
		}
		_, err := parseRead(text, i.depth+1)
		return err
	case name == "query_table" && family == familyNested:
		return i.tables(arguments)
	case name == "current_setting":
		if setting, ok := literal(arguments); ok && shownSettings[strings.ToLower(setting)] {
			return nil
		}
	}
	return fault.New(fault.Invalid, refusals[family], name)
}

// literal is the text that is the only one of arguments.
func literal(arguments []any) (string, bool) {
	if len(arguments) != 1 {
		return "", false
	}
	return literalOf(arguments[0])
}

// literalOf is the text that an argument is: a string, a quoted name, which DuckDB takes for one too,
// or several of them put together by ||. What else makes a text may make another one the next time.
func literalOf(argument any) (string, bool) {
	node, _ := argument.(map[string]any)
	switch node["class"] {
	case "FUNCTION":
		parts, _ := node["children"].([]any)
		if node["function_name"] != "||" || node["is_operator"] != true || len(parts) != 2 {
			return "", false
		}
		first, ok := literalOf(parts[0])
		second, too := literalOf(parts[1])
		return first + second, ok && too
	case "CONSTANT":
		value, _ := node["value"].(map[string]any)
		text, ok := value["value"].(string)
		return text, ok
	case "COLUMN_REF":
		names, _ := node["column_names"].([]any)
		if len(names) == 1 {
			text, ok := names[0].(string)
			return text, ok
		}
	}
	return "", false
}

// tables tells why query_table may not read from the tables that its arguments name.
func (i inspection) tables(arguments []any) error {
	for _, argument := range arguments {
		node, _ := argument.(map[string]any)
		if node["function_name"] == "list_value" || node["class"] == "OPERATOR" && node["type"] == "ARRAY_CONSTRUCTOR" {
			children, _ := node["children"].([]any)
			if err := i.tables(children); err != nil {
				return err
			}
			continue
		}
		text, ok := literalOf(argument)
		if !ok && !isFlag(node) {
			return fault.New(fault.Invalid, "query_table(…) is answered for names as they are, not for ones that the statement puts together; write the names")
		}
		if isPath(text) {
			return errPath
		}
		names := append([]string{"", ""}, namesIn(text)...)
		last := len(names) - 1
		if err := i.rules.checkRelation(names[last-1], names[last]); err != nil {
			return err
		}
	}
	return nil
}

// isFlag tells whether a node is true or false, which DuckDB writes as a cast of a text.
func isFlag(node map[string]any) bool {
	if node["class"] == "CAST" {
		node, _ = node["child"].(map[string]any)
	}
	return node["class"] == "CONSTANT"
}

// namesIn are the words and quoted names of a text.
func namesIn(text string) []string {
	var names []string
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok {
			return names
		}
		if t.kind == tokenWord || t.kind == tokenQuoted {
			names = append(names, t.text(text))
		}
	}
}

// Tree is a statement as json_serialize_sql writes it, by the parser alone: nothing is looked up. Errors are fault.Invalid.
func Tree(sql string) (string, error) {
	p := parsers()
	if p.err != nil {
		return "", p.err
	}
	if len(sql) > maxInspected {
		return "", fault.New(fault.Invalid, "the statement is too long to be looked into")
	}
	raw, err := p.tree(sql)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "DuckDB cannot tell what the statement is made of")
	}
	return raw, nil
}

// FromTree is the statement of a tree, as json_deserialize_sql writes it. Errors are fault.Invalid.
func FromTree(tree string) (string, error) {
	p := parsers()
	if p.err != nil {
		return "", p.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := texts(p.conn, "SELECT json_deserialize_sql("+QuoteLiteral(tree)+"::JSON)")
	if err != nil || len(rows) != 1 {
		return "", fault.Wrap(err, fault.Invalid, "DuckDB cannot write the statement")
	}
	return rows[0], nil
}
