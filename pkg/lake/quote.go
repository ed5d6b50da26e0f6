package lake

import "strings"

// QuoteIdent quotes a name for SQL. DuckDB ends a statement at a NUL, so one becomes U+FFFD.
func QuoteIdent(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", "\uFFFD"), `"`, `""`) + `"`
}

// QuoteName quotes the parts of a qualified name and joins them with dots.
func QuoteName(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = QuoteIdent(p)
	}
	return strings.Join(quoted, ".")
}

// QuoteLiteral quotes text as an SQL string. DuckDB ends a statement at a NUL, so one is written as
// chr(0): the result is an expression that is equal to text, whatever text holds.
func QuoteLiteral(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if !strings.Contains(text, "\x00") {
		return quoted
	}
	return "(" + strings.ReplaceAll(quoted, "\x00", "' || chr(0) || '") + ")"
}

// QuoteList quotes texts as an SQL list of strings, such as the files of read_parquet.
func QuoteList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = QuoteLiteral(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// LiteralPath is a path as DuckDB's readers of files take it: a pattern that only the path itself matches.
func LiteralPath(path string) string {
	if !strings.ContainsAny(path, "*?[") {
		return path
	}
	var b strings.Builder
	for _, r := range path {
		if strings.ContainsRune("*?[", r) {
			b.WriteString("[" + string(r) + "]")
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
