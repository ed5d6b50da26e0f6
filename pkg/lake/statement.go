package lake

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// MaxStatement is the longest statement in bytes that OneStatement accepts.
const MaxStatement = 1 << 20

// Statement is exactly one statement of SQL.
type Statement struct {
	// Text is the statement without what stood around it: comments before and after it, and the
	// semicolons that ended it. It can be put into parentheses.
	Text string
	// Verb is its first word in capitals, such as SELECT, FROM or EXPLAIN; "" where it begins with
	// a parenthesis.
	Verb string
}

// OneStatement tells whether text is exactly one statement, by DuckDB's own parser and without
// executing anything. The error is fault.Invalid, with a sentence for whoever wrote the text.
func OneStatement(text string) (Statement, error) {
	s, n, err := statements(text)
	if err == nil && n != 1 {
		err = errSeveral(n)
	}
	if err != nil {
		return Statement{}, err
	}
	return s, nil
}

func errSeveral(n int) error {
	return fault.New(fault.Invalid, "one statement at a time: the text holds %d", n)
}

// statements trims a text and tells how many statements DuckDB makes of it.
func statements(text string) (Statement, int, error) {
	s, err := trimStatement(text)
	if err != nil {
		return Statement{}, 0, err
	}
	n, err := parsers().count(s.Text)
	if err != nil {
		return Statement{}, 0, fault.Wrap(err, fault.Invalid, "%s", UserMessage(err))
	}
	return s, n, nil
}

// UserMessage is the sentence for the one who wrote the statement that failed: what DuckDB said, and
// where in the statement.
func UserMessage(err error) string {
	scrubbed, ok := Scrub(err).(*Error) //nolint:errorlint // Scrub gives the Error itself
	if !ok {
		return ""
	}
	if scrubbed.Excerpt == "" {
		return scrubbed.Error()
	}
	return scrubbed.Error() + "\n\n" + scrubbed.Excerpt
}

// trimStatement cuts off what comes before the first and after the last token that is not a semicolon.
func trimStatement(text string) (Statement, error) {
	if len(text) > MaxStatement {
		return Statement{}, fault.New(fault.TooLarge, "the statement is %d bytes long; the limit is %d", len(text), MaxStatement)
	}
	if !utf8.ValidString(text) {
		return Statement{}, fault.New(fault.Invalid, "the statement is not UTF-8")
	}
	if strings.ContainsRune(text, 0) {
		return Statement{}, fault.New(fault.Invalid, "the statement contains a NUL character")
	}
	begin, end, verb := -1, 0, ""
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok {
			break
		}
		if t.kind == tokenSymbol && text[t.start] == ';' {
			continue
		}
		if begin < 0 {
			begin = t.start
			if t.kind == tokenWord {
				verb = strings.ToUpper(t.text(text))
			}
		}
		end = t.end
	}
	if begin < 0 {
		return Statement{}, fault.New(fault.Invalid, "there is no statement in the text")
	}
	return Statement{Text: text[begin:end], Verb: verb}, nil
}

// parser is a private instance of DuckDB that parses and never executes. Parsing alone can read
// files (IMPORT DATABASE does), hence the lock.
type parser struct {
	mu    sync.Mutex // one at a time: parsing takes microseconds
	conn  mapping.Connection
	rules rules
	err   error
}

// parsers gives the one parser of this process.
var parsers = sync.OnceValue(func() *parser {
	p := &parser{}
	instance, err := openInstance([]string{
		"SET memory_limit = '64MB'", "SET threads = 1", "SET temp_directory = ''",
		"SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false",
		"SET enable_external_access = false", "SET lock_configuration = true",
	})
	if err != nil {
		p.err = err
		return p
	}
	if p.conn, p.err = instance.connect(); p.err == nil {
		p.rules, p.err = watchedBy(p.conn)
	}
	return p
})

// watchedBy asks the engine what it has of its own.
func watchedBy(conn mapping.Connection) (rules, error) {
	functions, err := texts(conn, "SELECT DISTINCT lower(function_name) FROM duckdb_functions()")
	if err != nil {
		return rules{}, err
	}
	relations, err := texts(conn, "SELECT lower(schema_name || '.' || view_name) FROM duckdb_views() WHERE internal")
	return watched(functions, relations), err
}

// count tells how many statements text holds.
func (p *parser) count(text string) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var extracted mapping.ExtractedStatements
	n := mapping.ExtractStatements(p.conn, text, &extracted)
	defer mapping.DestroyExtracted(&extracted)
	if n == 0 {
		if message := mapping.ExtractStatementsError(extracted); message != "" {
			return 0, scrubText(message)
		}
	}
	return int(n), nil
}
