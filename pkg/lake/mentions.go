package lake

import "strings"

// Forms are the ways in which a view of a session is called.
type Forms uint8

const (
	// FormBare is an alias, without a schema before it.
	FormBare Forms = 1 << iota
	// FormQualified is the name behind a schema.
	FormQualified
	// AllForms are both.
	AllForms = FormBare | FormQualified
)

// Mention is what a statement may need. It is a hint and decides about no right: a name that is put
// together by the statement itself is not found.
type Mention struct {
	// Names are those that occur in the statement as a word, a quoted name, or inside a string,
	// whatever the case of the letters, in the order in which they were asked for.
	Names []string
	// Everything tells that the statement asks what there is: SHOW TABLES, DESCRIBE alone, the
	// catalogs of DuckDB.
	Everything bool
	// Forms are those in which names occur, or that an answer over everything shows.
	Forms Forms
}

// Mentioned tells which of the names may stand in a statement.
func Mentioned(statement string, names []string) Mention {
	words := words{}
	words.add(statement, 0)
	var m Mention
	for _, name := range names {
		if forms := words[strings.ToLower(name)]; forms != 0 {
			m.Names = append(m.Names, name)
			m.Forms |= forms
		}
	}
	m.Everything = words.everything(len(m.Names) > 0)
	switch {
	case words["main"] != 0 || words["memory"] != 0: // main.orders is the alias
		m.Forms = AllForms
	case m.Everything && len(words) == 2 && words["show"] != 0 && words["tables"] != 0:
		m.Forms = FormBare // SHOW TABLES lists what needs no schema
	case m.Everything:
		m.Forms = AllForms
	}
	return m
}

// words are the names of a statement in lower case, with the forms in which they occur.
type words map[string]Forms

// everyName stands for SHOW or DESCRIBE without a name.
const everyName = "describe)"

// maxNested bounds how deep strings are looked for in strings: as deep as query('…') may stand.
const maxNested = maxQueries

func (w words) add(text string, depth int) {
	var row []string // texts that are put together, as query('FROM ord' || 'ers') does
	form := FormBare // of a name that comes next
	listing := false // the last word was one that lists what there is where no name comes next
	for lex := (lexer{sql: text}); ; {
		t, ok := lex.next()
		if !ok || !goesOn(text, t) {
			w.inner(strings.Join(row, ""), len(row) > 1, depth)
			row = row[:0]
		}
		if listing && (!ok || t.kind == tokenSymbol) {
			w[everyName] = AllForms
		}
		if !ok {
			return
		}
		listing = false
		switch t.kind {
		case tokenWord:
			word := strings.ToLower(t.text(text))
			w[word] |= form
			listing = word == "show" || word == "describe"
		case tokenQuoted:
			w[strings.ToLower(t.text(text))] |= form
			row = append(row, t.text(text))
		case tokenString:
			w.inner(t.text(text), true, depth)
			row = append(row, t.text(text))
		case tokenUnclosed:
			w.inner(text[t.start+1:t.end], t.end > t.start+1, depth)
		case tokenNumber, tokenSymbol:
		}
		form = FormBare
		if t.kind == tokenSymbol && text[t.start] == '.' {
			form = FormQualified
		}
	}
}

// inner adds what stands in a text within the text.
func (w words) inner(text string, found bool, depth int) {
	if !found {
		return
	}
	w[strings.ToLower(text)] |= AllForms
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

// everything tells whether a statement asks what there is. SHOW and DESCRIBE of a name ask for that alone.
func (w words) everything(named bool) bool {
	if w["show"]|w["describe"] != 0 && (!named || w["tables"]|w["all"] != 0) {
		return true
	}
	if w[everyName]|w["information_schema"] != 0 || w["desc"] != 0 && len(w) == 1 {
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
