package lake

import "strings"

// Mentions tells which of the names may stand in a statement, in the order of names: those that
// occur in it as a word, a quoted name, or inside a string, whatever the case of the letters. It is
// a hint for what a statement needs, and decides about no right: a name that is put together by the
// statement itself is not found. A statement that asks what there is (SHOW, DESCRIBE alone, the
// catalogs of DuckDB) mentions every name.
func Mentions(statement string, names []string) []string {
	found, everything := Mentioned(statement, names)
	if everything {
		return append([]string(nil), names...)
	}
	return found
}

// Mentioned is Mentions for whoever tells names from everything: found are the names that stand in
// the statement, and everything tells that it asks what there is.
func Mentioned(statement string, names []string) (found []string, everything bool) {
	words := words{}
	words.add(statement, 0)
	for _, name := range names {
		if words[strings.ToLower(name)] {
			found = append(found, name)
		}
	}
	return found, words.everything()
}

// words are the names of a statement in lower case.
type words map[string]bool

// maxNested bounds how deep strings are looked for in strings: as deep as query('…') may stand.
const maxNested = maxQueries

func (w words) add(text string, depth int) {
	var row []string // texts that are put together, as query('FROM ord' || 'ers') does
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok || !goesOn(text, t) {
			w.inner(strings.Join(row, ""), len(row) > 1, depth)
			row = row[:0]
		}
		if !ok {
			return
		}
		switch t.kind {
		case tokenWord:
			w[strings.ToLower(t.text(text))] = true
		case tokenQuoted:
			w[strings.ToLower(t.text(text))] = true
			row = append(row, t.text(text))
		case tokenString:
			w.inner(t.text(text), true, depth)
			row = append(row, t.text(text))
		case tokenUnclosed:
			w.inner(text[t.start+1:t.end], t.end > t.start+1, depth)
		case tokenNumber, tokenSymbol:
		}
	}
}

// inner adds what stands in a text within the text.
func (w words) inner(text string, found bool, depth int) {
	if !found {
		return
	}
	w[strings.ToLower(text)] = true
	if depth < maxNested {
		w.add(text, depth+1)
	}
}

// goesOn tells whether a token may stand in a row of texts that are put together.
func goesOn(text string, t token) bool {
	return t.kind == tokenString || t.kind == tokenQuoted || t.kind == tokenSymbol && strings.IndexByte("|()", text[t.start]) >= 0
}

// catalogWords begin the names of DuckDB's own catalogs.
var catalogWords = []string{"duckdb_", "pg_", "sqlite_", "pragma_"}

// everything tells whether a statement asks what there is.
func (w words) everything() bool {
	if w["show"] || w["describe"] || w["information_schema"] || w["desc"] && len(w) == 1 {
		return true
	}
	for word := range w {
		for _, prefix := range catalogWords {
			if strings.HasPrefix(word, prefix) {
				return true
			}
		}
	}
	return false
}
