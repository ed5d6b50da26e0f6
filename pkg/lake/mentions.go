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

// maxNested bounds how deep strings are looked for in strings.
const maxNested = 3

func (w words) add(text string, depth int) {
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok {
			return
		}
		switch t.kind {
		case tokenWord, tokenQuoted:
			w[strings.ToLower(t.text(text))] = true
		case tokenString:
			inner := t.text(text)
			w[strings.ToLower(inner)] = true
			if depth < maxNested {
				w.add(inner, depth+1)
			}
		case tokenUnclosed:
			if depth < maxNested && t.end > t.start+1 {
				w.add(text[t.start+1:t.end], depth+1)
			}
		case tokenNumber, tokenSymbol:
		}
	}
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
