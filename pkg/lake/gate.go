package lake

import (
	"context"
	"regexp"
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
	"SELECT": true, "WITH": true, "FROM": true, "VALUES": true, "TABLE": true, "PIVOT": true, "UNPIVOT": true,
	"DESCRIBE": true, "DESC": true, "SHOW": true, "SUMMARIZE": true, "": true, // "" is a parenthesis
}

// readStatement is a statement that looks like one that only reads.
type readStatement struct {
	query string // without the EXPLAIN before it
	// explain is "EXPLAIN " with its options; empty for a plain query.
	explain string
}

// CheckRead tells why a text is not one statement that only reads, as far as that can be told without
// a session: fault.Invalid with a sentence for whoever wrote it. Session.Query decides.
func CheckRead(text string) error {
	_, err := parseRead(text)
	return err
}

const refusal = "only queries are answered here (SELECT, WITH, FROM, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN), not %s"

func parseRead(text string) (readStatement, error) {
	s, err := OneStatement(text)
	if err != nil {
		if strings.Contains(strings.ToUpper(text), "PIVOT") && strings.Contains(fault.Message(err), "one statement at a time") {
			return readStatement{}, fault.Wrap(err, fault.Invalid,
				"a PIVOT that finds its columns by itself is several statements for DuckDB; name the values: PIVOT … ON column IN (value, …)")
		}
		return readStatement{}, err
	}
	r := readStatement{query: s.Text}
	if s.Verb == "EXPLAIN" {
		r.explain, r.query = splitExplain(s.Text)
		// What is executed is put together from what was looked at, not the text that came.
		if s, err = OneStatement(r.query); err != nil {
			return readStatement{}, err
		}
		r.query = s.Text
	}
	if !queryVerbs[s.Verb] {
		return readStatement{}, fault.New(fault.Invalid, refusal, s.Verb)
	}
	return r, nil
}

// splitExplain takes EXPLAIN and its options off a statement.
func splitExplain(text string) (explain, query string) {
	lex := lexer{sql: text}
	first, _ := lex.next()
	words := []string{text[first.start:first.end]}
	for {
		before := lex.at
		t, ok := lex.next()
		if !ok {
			return strings.Join(words, " "), ""
		}
		switch word := strings.ToUpper(text[t.start:t.end]); word {
		case "ANALYZE", "ANALYSE", "VERBOSE":
			words = append(words, word)
		case "(":
			options, ok := explainOptions(&lex)
			if !ok {
				return strings.Join(words, " ") + " ", text[before:]
			}
			return strings.Join(append(words, options), " ") + " ", text[lex.at:]
		default:
			return strings.Join(words, " ") + " ", text[before:]
		}
	}
}

// explainOptions reads what follows the parenthesis of EXPLAIN (ANALYZE, FORMAT json); ok is false
// where that is a query.
func explainOptions(lex *lexer) (string, bool) {
	options := "("
	for first := true; ; first = false {
		t, ok := lex.next()
		if !ok {
			return "", false
		}
		word := lex.sql[t.start:t.end]
		switch strings.ToUpper(word) {
		case "ANALYZE", "ANALYSE", "VERBOSE", "FORMAT":
		case ")":
			return options + ")", !first
		default:
			if first {
				return "", false
			}
		}
		options += " " + word
	}
}

// changers are DuckDB's table functions that change the session or the process although they stand
// in a SELECT, or run a statement that nobody looked at. Measured on DuckDB 1.5: enable_logging lets
// everybody in the session read the statements of all, and one with a path that is refused breaks
// the session for good; enable_profiling writes to the process's standard output.
var changers = []string{
	"enable_logging", "disable_logging", "truncate_duckdb_logs", "enable_profiling", "disable_profiling",
	"enable_peg_parser", "disable_peg_parser", "checkpoint", "force_checkpoint", "json_execute_serialized_sql",
	"arrow_scan", "arrow_scan_dumb", "which_secret",
}

// mayChange tells whether a statement has the name of a changer in it, or runs a text that it puts
// together itself, which query() does.
var mayChange = regexp.MustCompile(`(?i)` + strings.Join(changers, "|") + `|query"?\W*(?:\(|/\*|--)`)

// changerCalled is the changer that a statement calls by its name; "" where it calls none.
func changerCalled(query string) string {
	last := ""
	for lex := (lexer{sql: query}); ; {
		t, ok := lex.next()
		if !ok {
			return ""
		}
		if last != "" && query[t.start:t.end] == "(" {
			return last
		}
		last = ""
		if t.kind == tokenWord || t.kind == tokenQuoted {
			if word := strings.ToLower(t.text(query)); slices.Contains(changers, word) {
				last = word
			}
		}
	}
}

// admit prepares a statement where it only reads.
func admit(conn mapping.Connection, text string) (mapping.PreparedStatement, error) {
	var none mapping.PreparedStatement
	read, err := parseRead(text)
	if err != nil {
		return none, err
	}
	statement, err := prepareOne(conn, read.query)
	if err != nil {
		return none, err
	}
	if err := check(conn, statement, read.query); err != nil || read.explain == "" {
		if err != nil {
			mapping.DestroyPrepare(&statement)
		}
		return statement, err
	}
	mapping.DestroyPrepare(&statement)
	if statement, err = prepareOne(conn, read.explain+read.query); err != nil {
		return none, err
	}
	if kind := mapping.PreparedStatementType(statement); kind != mapping.StatementTypeExplain {
		mapping.DestroyPrepare(&statement)
		return none, fault.New(fault.Invalid, refusal, "this")
	}
	return statement, nil
}

// check tells why a prepared statement is not admitted; nil where it is.
func check(conn mapping.Connection, statement mapping.PreparedStatement, query string) error {
	if mapping.PreparedStatementType(statement) != mapping.StatementTypeSelect {
		return fault.New(fault.Invalid, refusal, "this")
	}
	if mapping.NParams(statement) > 0 {
		return fault.New(fault.Invalid, "the statement has parameters ($1 or ?); write the values into it")
	}
	if !mayChange.MatchString(query) {
		return nil
	}
	const refused = "the function %s is not for queries: it changes the session"
	if name := changerCalled(query); name != "" {
		return fault.New(fault.Invalid, refused, name)
	}
	plan, err := planOf(conn, query)
	if err != nil {
		return err
	}
	for _, name := range changers {
		if strings.Contains(plan, `"`+strings.ToUpper(name)) {
			return fault.New(fault.Invalid, refused, name)
		}
	}
	return nil
}

// planOf is the physical plan of a query, with the name of every table function in it, whichever way
// the query came to it.
func planOf(conn mapping.Connection, query string) (string, error) {
	statement, err := prepareOne(conn, "EXPLAIN (FORMAT json) "+query)
	if err != nil {
		return "", err
	}
	r, err := stream(context.Background(), statement, func() {})
	if err != nil {
		return "", err
	}
	defer r.Close()
	var plan strings.Builder
	for r.Next() {
		batch := r.RecordBatch()
		for _, column := range batch.Columns() {
			for row := range int(batch.NumRows()) {
				plan.WriteString(column.ValueStr(row))
			}
		}
	}
	return plan.String(), r.Err()
}
