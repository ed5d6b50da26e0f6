package federation

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// What is one SELECT and what it reads is BigQuery's to say: its dry run parses with GoogleSQL's own parser
// and costs nothing. The lexer here only narrows what may get there; see docs/adr/0011.

var aliasForm = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]{0,63}\z`)

// reservedAliases are names that a registered query cannot have.
var reservedAliases = map[string]bool{
	"information_schema": true, "duckdb_tables": true, "duckdb_columns": true, "duckdb_databases": true, "duckdb_settings": true,
	"duckdb_functions": true, "duckdb_views": true, "duckdb_indexes": true, "duckdb_schemas": true, "main": true, "memory": true, "system": true, "temp": true,
	"pg_catalog": true, registeredSchema: true,
}

// registeredSchema is that of registered queries in a session.
const registeredSchema = "agnes_registered"

// CheckAlias tells why a registered query cannot have the name; fault.Invalid.
func CheckAlias(alias string) error {
	if !aliasForm.MatchString(alias) {
		return fault.New(fault.Invalid, "an alias is a letter or _ and up to 63 letters, digits and _ more")
	}
	if reservedAliases[strings.ToLower(alias)] {
		return fault.New(fault.Invalid, "the alias is a name of DuckDB's own; use another one")
	}
	return nil
}

// gsqlKind is what a token of GoogleSQL is.
type gsqlKind int

const (
	gsqlWord   gsqlKind = iota // an identifier or keyword
	gsqlQuoted                 // an identifier in backticks; its text is what is between them
	gsqlString
	gsqlNumber
	gsqlSymbol
)

type gsqlToken struct {
	kind       gsqlKind
	text       string
	start, end int
}

func (t gsqlToken) is(symbol string) bool { return t.kind == gsqlSymbol && t.text == symbol }
func (t gsqlToken) word(w string) bool    { return t.kind == gsqlWord && strings.EqualFold(t.text, w) }
func (t gsqlToken) name() bool            { return t.kind == gsqlWord || t.kind == gsqlQuoted }

// gsqlTokens takes a text apart. Comments are left out. The lexical rules are those of
// https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical.
func gsqlTokens(text string) ([]gsqlToken, error) {
	var tokens []gsqlToken
	for at := 0; at < len(text); {
		begin := at
		c := text[at]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			at++
			continue
		case c == '#' || strings.HasPrefix(text[at:], "--"):
			end := strings.IndexAny(text[at:], "\r\n")
			if end < 0 {
				end = len(text) - at
			}
			at += end
			continue
		case strings.HasPrefix(text[at:], "/*"):
			end := strings.Index(text[at+2:], "*/")
			if end < 0 {
				return nil, fault.New(fault.Invalid, "a comment that begins with /* does not end")
			}
			at += end + 4
			continue
		case c == '`':
			end, err := gsqlEnd(text, at+1, "`")
			if err != nil {
				return nil, err
			}
			tokens, at = append(tokens, gsqlToken{gsqlQuoted, text[at+1 : end-1], begin, end}), end
			continue
		}
		if quote, from := gsqlQuote(text, at); quote != "" {
			end, err := gsqlEnd(text, from, quote)
			if err != nil {
				return nil, err
			}
			tokens, at = append(tokens, gsqlToken{gsqlString, text[begin:end], begin, end}), end
			continue
		}
		kind := gsqlSymbol
		switch {
		case isLetter(c):
			kind = gsqlWord
			for at < len(text) && (isLetter(text[at]) || isDigit(text[at])) {
				at++
			}
		case isDigit(c):
			kind = gsqlNumber
			for at < len(text) && (isLetter(text[at]) || isDigit(text[at])) {
				at++
			}
		default:
			_, n := utf8.DecodeRuneInString(text[at:])
			at += n
		}
		tokens = append(tokens, gsqlToken{kind, text[begin:at], begin, at})
	}
	return tokens, nil
}

func isLetter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

var gsqlPrefix = regexp.MustCompile(`\A(?i:r|b|rb|br)?("""|'''|"|')`)

// gsqlQuote tells by which quote a string begins at a place, and where its content does.
func gsqlQuote(text string, at int) (quote string, from int) {
	m := gsqlPrefix.FindStringSubmatchIndex(text[at:min(at+5, len(text))])
	if m == nil {
		return "", 0
	}
	return text[at+m[2] : at+m[3]], at + m[1]
}

// gsqlEnd gives the place behind a string whose content begins at from. A backslash keeps a quote from
// ending it, in raw strings too.
func gsqlEnd(text string, from int, quote string) (end int, err error) {
	for at := from; at < len(text); at++ {
		switch {
		case text[at] == '\\':
			at++
		case strings.HasPrefix(text[at:], quote):
			return at + len(quote), nil
		case len(quote) == 1 && (text[at] == '\n' || text[at] == '\r'):
			return 0, fault.New(fault.Invalid, "a text or name in quotes ends at the end of its line")
		}
	}
	return 0, fault.New(fault.Invalid, "a text or name in quotes does not end")
}

// maxRegistered bounds the text of a registered query in bytes; BigQuery's own bound is 1 MB.
const maxRegistered = 1 << 20

// Registered is a query for BigQuery that was looked at.
type Registered struct {
	// Text is one statement that can be put into parentheses: without semicolons at its end, and without
	// comments around it.
	Text string
	// constant tells that it names nothing to read from, as far as can be told.
	constant bool
}

// ParseRegistered tells whether a text may be one SELECT; BigQuery's dry run decides. restricted leaves out,
// too, what reads something that the dry run does not list among its tables: for those who may not read
// everything that the server may. The error is fault.Invalid.
func ParseRegistered(text string, restricted bool) (Registered, error) {
	if len(text) > maxRegistered {
		return Registered{}, fault.New(fault.TooLarge, "the query is %d bytes long; the limit is %d", len(text), maxRegistered)
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return Registered{}, fault.New(fault.Invalid, "the query is not UTF-8")
	}
	tokens, err := gsqlTokens(text)
	if err != nil {
		return Registered{}, err
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].is(";") {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 || !tokens[0].word("SELECT") && !tokens[0].word("WITH") {
		return Registered{}, fault.New(fault.Invalid, "the query begins with SELECT or WITH: nothing else is registered")
	}
	depth := 0
	for _, t := range tokens {
		switch {
		case t.is(";"):
			return Registered{}, fault.New(fault.Invalid, "one statement at a time: there is a semicolon in the query")
		case t.is("@") || t.is("?"):
			return Registered{}, fault.New(fault.Invalid, "the query has parameters or system variables; write the values into it")
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		}
		if depth < 0 {
			return Registered{}, fault.New(fault.Invalid, "a parenthesis is closed that was not opened")
		}
	}
	if depth != 0 {
		return Registered{}, fault.New(fault.Invalid, "a parenthesis is not closed")
	}
	if restricted {
		if err := checkRestricted(tokens); err != nil {
			return Registered{}, err
		}
	}
	return Registered{Text: text[tokens[0].start:tokens[len(tokens)-1].end], constant: namesNothing(tokens)}, nil
}

// readingFunctions read what the dry run may not list.
var readingFunctions = []string{
	"EXTERNAL_QUERY", "VECTOR_SEARCH", "APPENDS", "CHANGES", "EXTERNAL_OBJECT_TRANSFORM", "GAP_FILL", "RANGE_SESSIONIZE", "TABLE",
}

// builtinPaths are namespaces of functions of BigQuery's own; ML and AI are left out, for they read models.
var builtinPaths = []string{"SAFE", "NET", "HLL_COUNT", "KEYS", "AEAD", "KLL_QUANTILES", "D3A_COUNT"}

// checkRestricted refuses functions that somebody stored, functions that read tables, and catalogs.
func checkRestricted(tokens []gsqlToken) error {
	for i, t := range tokens {
		if !t.name() {
			continue
		}
		upper := strings.ToUpper(t.text)
		if strings.Contains(upper, "INFORMATION_SCHEMA") || strings.Contains(upper, "__TABLES") {
			return fault.New(fault.Invalid, "the catalogs of BigQuery (INFORMATION_SCHEMA) are for administrators")
		}
		if t.kind == gsqlQuoted && strings.Contains(t.text, `\`) {
			return fault.New(fault.Invalid, "a name in backticks has a backslash in it; write it without")
		}
		called := i+1 < len(tokens) && tokens[i+1].is("(")
		if !called {
			continue
		}
		dotted := i >= 2 && tokens[i-1].is(".")
		switch {
		case t.kind == gsqlQuoted:
			return fault.New(fault.Invalid, "functions in backticks are for administrators")
		case dotted && !builtinCall(tokens[:i-1]):
			return fault.New(fault.Invalid, "stored functions and models (…%s(…)) are for administrators", "."+t.text)
		case slices.Contains(readingFunctions, upper):
			return fault.New(fault.Invalid, "%s(…) is for administrators", upper)
		}
	}
	return nil
}

// builtinCall tells whether the path before a function's name is one of BigQuery's own, such as SAFE or
// SAFE.NET.
func builtinCall(path []gsqlToken) bool {
	last := len(path) - 1
	if path[last].kind != gsqlWord || !slices.Contains(builtinPaths, strings.ToUpper(path[last].text)) {
		return false
	}
	return last == 0 || !path[last-1].is(".") || last >= 2 && path[last-2].word("SAFE") && (last == 2 || !path[last-3].is("."))
}

// namesNothing tells that every FROM of a query is one over UNNEST, a parenthesis, or a name that WITH gives.
func namesNothing(tokens []gsqlToken) bool {
	given := map[string]bool{}
	for i, t := range tokens {
		if t.name() && i+2 < len(tokens) && tokens[i+1].word("AS") && tokens[i+2].is("(") {
			given[strings.ToLower(t.text)] = true
		}
	}
	for i, t := range tokens {
		if !t.word("FROM") && !t.word("JOIN") {
			continue
		}
		if i+1 >= len(tokens) {
			return false
		}
		next := tokens[i+1]
		dotted := i+2 < len(tokens) && (tokens[i+2].is(".") || tokens[i+2].is("-"))
		if !next.word("UNNEST") && !next.is("(") && (!next.name() || !given[strings.ToLower(next.text)] || dotted) {
			return false
		}
	}
	return true
}
