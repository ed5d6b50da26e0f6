package lake

import (
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// What keeps the data of others safe is that a locked session cannot reach it. The gate keeps the
// session itself as it was made: it admits statements that only read. DuckDB decides what a
// statement is; words only narrow that further, for its parser turns some others (PRAGMA) into a
// SELECT before it tells.

// queryVerbs are the first words of statements that only read.
var queryVerbs = map[string]bool{
	"SELECT": true, "WITH": true, "FROM": true, "VALUES": true, "TABLE": true, "PIVOT": true, "UNPIVOT": true, "PIVOT_WIDER": true, "PIVOT_LONGER": true,
	"DESCRIBE": true, "DESC": true, "SHOW": true, "SUMMARIZE": true, "": true, // "" is a parenthesis
}

// readStatement is a statement that looks like one that only reads.
type readStatement struct {
	query string // without the EXPLAIN before it
	// explain is "EXPLAIN " with its options; empty for a plain query.
	explain string
	// pivot tells that DuckDB makes several statements of it: a PIVOT that finds its columns by itself is
	// one that creates a type of the values that there are, and one that asks.
	pivot bool
}

// CheckRead tells why a text is not one statement that only reads, as far as that can be told without
// a session: fault.Invalid with a sentence for whoever wrote it. Session.Query decides.
func CheckRead(text string) error {
	_, err := parseRead(text, 0)
	return err
}

const refusal = "only queries are answered here (SELECT, WITH, FROM, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN), not %s"

// parseRead looks at a statement. depth counts the query('…') that it stands in.
func parseRead(text string, depth int) (readStatement, error) {
	if err := moderate(text); err != nil {
		return readStatement{}, err
	}
	s, n, err := statements(text)
	if err != nil {
		return readStatement{}, err
	}
	r := readStatement{query: s.Text, pivot: n > 1 && isPivot(s)}
	switch {
	case n != 1 && !r.pivot:
		return readStatement{}, errSeveral(n)
	case r.pivot && (depth > 0 || s.Verb == "EXPLAIN"):
		return readStatement{}, fault.New(fault.Invalid, "a PIVOT that finds its columns by itself is not answered in EXPLAIN and query(…); %s", namePivot)
	case r.pivot:
		return r, inspectPivot(r.query)
	}
	if s.Verb == "EXPLAIN" {
		if r.explain, r.query, err = splitExplain(s.Text); err != nil {
			return readStatement{}, err
		}
		// What is executed is put together from what was looked at, not the text that came.
		if s, err = OneStatement(r.query); err != nil {
			return readStatement{}, err
		}
		r.query = s.Text
	}
	if !queryVerbs[s.Verb] {
		return readStatement{}, fault.New(fault.Invalid, refusal, s.Verb)
	}
	return r, inspect(r.query, depth)
}

const namePivot = "name the values: PIVOT … ON column IN (value, …)"

// isPivot tells whether what DuckDB takes for several statements is one that was written: without a
// semicolon there is no second one.
func isPivot(s Statement) bool {
	if !queryVerbs[s.Verb] && s.Verb != "EXPLAIN" {
		return false
	}
	found := false
	for lex := (lexer{sql: s.Text}); ; {
		t, ok := lex.next()
		if !ok {
			return found
		}
		word := s.Text[t.start:t.end]
		if word == ";" {
			return false
		}
		found = found || strings.EqualFold(word, "PIVOT") || strings.EqualFold(word, "PIVOT_WIDER")
	}
}

// inspectPivot is inspect for what has no tree: nothing that is looked at there may stand in it.
func inspectPivot(query string) error {
	p := parsers()
	if p.err != nil {
		return p.err
	}
	if p.rules.mayUse(query) || mayNamePath.MatchString(query) {
		return fault.New(fault.Invalid, "a PIVOT that finds its columns by itself is not answered beside names of DuckDB's own, paths and addresses; %s", namePivot)
	}
	return nil
}

// bounds are how often some words may stand in a statement. DuckDB's parser and planner take time with the
// square of these and cannot be interrupted meanwhile: measured on 1.5.5, 80,000 times AND are parsed for
// 9 s, 4,000 times UNION planned for 2 s, 900 times JOIN for 18 s.
var bounds = []struct {
	words  []string
	most   int
	advice string
}{
	{[]string{"UNION", "INTERSECT", "EXCEPT"}, 1000, "use VALUES for rows and lists of values"},
	{[]string{"AND", "OR"}, 10_000, "use IN (…) for lists of values"},
	{[]string{"JOIN"}, 200, "join in several queries"},
}

// operatorBytes are what operators are made of. DuckDB cuts them off a row of them one by one, and takes
// time with the cube of its length: 1.3 s for 1,000 times +. Comments that do not end take time with the
// square of how often /* stands in them.
const operatorBytes, maxOperator = "~!@#^&|`?+-*/%<>=$", 64

// moderate tells why a statement is more than DuckDB plans in time; nil where it is not.
func moderate(text string) error {
	if len(text) > MaxStatement {
		return nil // OneStatement says so
	}
	counts := make([]int, len(bounds))
	var operator token // a row of characters of operators, for DuckDB one operator
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok {
			return nil
		}
		if t.kind == tokenUnclosed && strings.HasPrefix(text[t.start:], "/*") {
			return fault.New(fault.Invalid, "a comment that begins with /* does not end")
		}
		if t.kind == tokenSymbol && strings.IndexByte(operatorBytes, text[t.start]) >= 0 {
			if operator.end != t.start {
				operator.start = t.start
			}
			if operator.end = t.end; operator.end-operator.start > maxOperator {
				return fault.New(fault.Invalid, "an operator of more than %d characters is none", maxOperator)
			}
		}
		if t.kind != tokenWord || t.end-t.start > len("INTERSECT") {
			continue
		}
		word := text[t.start:t.end]
		for i, b := range bounds {
			if !slices.ContainsFunc(b.words, func(w string) bool { return strings.EqualFold(w, word) }) {
				continue
			}
			if counts[i]++; counts[i] > b.most {
				return fault.New(fault.TooLarge, "the statement has more than %d times %s, which takes too long to plan: %s", b.most, strings.Join(b.words, ", "), b.advice)
			}
		}
	}
}

// splitExplain takes EXPLAIN and its options off a statement.
func splitExplain(text string) (explain, query string, err error) {
	lex := lexer{sql: text}
	first, _ := lex.next()
	words := []string{text[first.start:first.end]}
	for {
		before := lex.at
		t, ok := lex.next()
		if !ok {
			return strings.Join(words, " "), "", nil
		}
		switch word := strings.ToUpper(text[t.start:t.end]); word {
		case "ANALYZE", "ANALYSE", "VERBOSE":
			words = append(words, word)
		case "(":
			options, ok, err := explainOptions(&lex)
			if err != nil || !ok {
				return strings.Join(words, " ") + " ", text[before:], err
			}
			return strings.Join(append(words, options), " ") + " ", text[lex.at:], nil
		default:
			return strings.Join(words, " ") + " ", text[before:], nil
		}
	}
}

// explainFormats are those whose file names are known how to leave out.
var explainFormats = map[string]bool{"JSON": true, "TEXT": true}

// explainOptions reads what follows the parenthesis of EXPLAIN (ANALYZE, FORMAT json); ok is false
// where that is a query.
func explainOptions(lex *lexer) (options string, ok bool, err error) {
	options = "("
	for first, format := true, false; ; first = false {
		t, more := lex.next()
		if !more {
			return "", false, nil
		}
		word := lex.sql[t.start:t.end]
		upper := strings.ToUpper(word)
		switch {
		case format:
			if !explainFormats[strings.Trim(upper, `'"`)] {
				return "", false, fault.New(fault.Invalid, "a plan is answered as text or JSON: EXPLAIN (FORMAT json) …")
			}
		case upper == ")":
			return options + ")", !first, nil
		case upper == "ANALYZE" || upper == "ANALYSE" || upper == "VERBOSE" || upper == "FORMAT":
		case first:
			return "", false, nil
		}
		format = upper == "FORMAT" && !format
		options += " " + word
	}
}

// admit prepares a statement where it only reads.
func admit(conn mapping.Connection, text string) (mapping.PreparedStatement, error) {
	var none mapping.PreparedStatement
	read, err := parseRead(text, 0)
	if err != nil {
		return none, err
	}
	if read.pivot {
		return pivoted(conn, read.query)
	}
	statement, err := prepareOne(conn, read.query)
	if err != nil {
		return none, err
	}
	if err := check(statement); err != nil || read.explain == "" {
		if err != nil {
			mapping.DestroyPrepare(&statement)
		}
		return statement, err
	}
	mapping.DestroyPrepare(&statement)
	return explained(conn, read.explain+read.query)
}

// pivoted prepares the last of the statements of a PIVOT, and runs those before it. The types that they
// create are temporary, and so those of the connection, which has no other statement.
func pivoted(conn mapping.Connection, text string) (mapping.PreparedStatement, error) {
	var none mapping.PreparedStatement
	var extracted mapping.ExtractedStatements
	n := mapping.ExtractStatements(conn, text, &extracted)
	defer mapping.DestroyExtracted(&extracted)
	if n == 0 {
		return none, scrubText(mapping.ExtractStatementsError(extracted))
	}
	for i := range n {
		statement, err := prepareAt(conn, extracted, i)
		if err != nil {
			return none, err
		}
		if i == n-1 {
			if err := check(statement); err != nil {
				mapping.DestroyPrepare(&statement)
				return none, err
			}
			return statement, nil
		}
		err = create(statement)
		mapping.DestroyPrepare(&statement)
		if err != nil {
			return none, err
		}
	}
	return none, nil
}

// create runs a statement that creates something.
func create(statement mapping.PreparedStatement) error {
	if mapping.PreparedStatementType(statement) != mapping.StatementTypeCreate {
		return fault.New(fault.Invalid, refusal, "this")
	}
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.ExecutePrepared(statement, &result) == mapping.StateError {
		return scrubText(mapping.ResultError(&result))
	}
	return nil
}

// check tells why a prepared statement is not admitted; nil where it is.
func check(statement mapping.PreparedStatement) error {
	if mapping.PreparedStatementType(statement) != mapping.StatementTypeSelect {
		return fault.New(fault.Invalid, refusal, "this")
	}
	if mapping.NParams(statement) > 0 {
		return fault.New(fault.Invalid, "the statement has parameters ($1 or ?); write the values into it")
	}
	return nil
}
