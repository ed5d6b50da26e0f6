package lake

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is what a token of SQL is.
type tokenKind byte

const (
	tokenWord     tokenKind = iota // a keyword or an unquoted name
	tokenQuoted                    // a "quoted" name
	tokenString                    // a string, whatever its quotes
	tokenNumber                    // a number
	tokenSymbol                    // one character of anything else
	tokenUnclosed                  // a name, string or comment that does not end
)

// token is a piece of SQL; what it stands for is sql[start:end]. Space and comments are no tokens.
type token struct {
	kind       tokenKind
	start, end int
}

// lexer cuts SQL into tokens as DuckDB does. It is a hint for what must be fast and the first of two
// looks where it matters: what it decides is always checked by DuckDB's own parser.
type lexer struct {
	sql string
	at  int
}

func (l *lexer) next() (token, bool) {
	if t, open := l.skipSpace(); open {
		return t, true
	}
	if l.at >= len(l.sql) {
		return token{}, false
	}
	start := l.at
	c := l.sql[start]
	switch {
	case c == '"':
		return l.quoted(start, start, tokenQuoted, false), true
	case c == '\'':
		return l.quoted(start, start, tokenString, false), true
	case (c == 'e' || c == 'E') && strings.HasPrefix(l.sql[start+1:], "'"):
		return l.quoted(start, start+1, tokenString, true), true
	case c == '$':
		if t, ok := l.dollar(start); ok {
			return t, true
		}
	case isDigit(c):
		l.at = start + spanFunc(l.sql[start:], func(r rune) bool { return r == '.' || isWordRune(r) })
		return token{tokenNumber, start, l.at}, true
	}
	if r, _ := utf8.DecodeRuneInString(l.sql[start:]); isWordRune(r) && !isDigit(c) && c != '$' {
		l.at = start + spanFunc(l.sql[start:], isWordRune)
		return token{tokenWord, start, l.at}, true
	}
	l.at++
	return token{tokenSymbol, start, l.at}, true
}

// skipSpace goes past space and comments. A comment that does not end is a token.
func (l *lexer) skipSpace() (token, bool) {
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case isSpaceRune(r):
			l.at += size
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexAny(rest, "\n\r")
			if n < 0 {
				n = len(rest)
			}
			l.at += n
		case strings.HasPrefix(rest, "/*"):
			n := commentLength(rest)
			if n < 0 {
				t := token{tokenUnclosed, l.at, len(l.sql)}
				l.at = len(l.sql)
				return t, true
			}
			l.at += n
		default:
			return token{}, false
		}
	}
	return token{}, false
}

// commentLength is that of the comment text begins with; comments nest. It is negative where the
// comment does not end.
func commentLength(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// quoted reads up to the closing quote of the one at from; a doubled quote stands for itself.
func (l *lexer) quoted(start, from int, kind tokenKind, escapes bool) token {
	quote := l.sql[from]
	for i := from + 1; i < len(l.sql); i++ {
		switch {
		case escapes && l.sql[i] == '\\':
			i++
		case l.sql[i] != quote:
		case i+1 < len(l.sql) && l.sql[i+1] == quote:
			i++
		default:
			l.at = i + 1
			return token{kind, start, l.at}
		}
	}
	l.at = len(l.sql)
	return token{tokenUnclosed, start, l.at}
}

// dollar reads a $tag$string$tag$; ok is false where the dollar begins none.
func (l *lexer) dollar(start int) (token, bool) {
	n := spanFunc(l.sql[start+1:], func(r rune) bool { return r != '$' && isWordRune(r) })
	end := start + 1 + n
	if end >= len(l.sql) || l.sql[end] != '$' || (n > 0 && isDigit(l.sql[start+1])) {
		return token{}, false
	}
	tag := l.sql[start : end+1]
	body := strings.Index(l.sql[end+1:], tag)
	if body < 0 {
		l.at = len(l.sql)
		return token{tokenUnclosed, start, l.at}, true
	}
	l.at = end + 1 + body + len(tag)
	return token{tokenString, start, l.at}, true
}

// text is what a token stands for: a name or string without its quotes.
func (t token) text(sql string) string {
	raw := sql[t.start:t.end]
	switch t.kind {
	case tokenQuoted:
		return strings.ReplaceAll(raw[1:len(raw)-1], `""`, `"`)
	case tokenString:
		if raw[0] == '$' {
			tag := strings.IndexByte(raw[1:], '$') + 2
			return raw[tag : len(raw)-tag]
		}
		from := strings.IndexByte(raw, '\'') + 1
		if from > 1 {
			return unescape(raw[from : len(raw)-1])
		}
		return strings.ReplaceAll(raw[from:len(raw)-1], "''", "'")
	default:
		return raw
	}
}

// escapes are the letters that stand for a character behind a backslash.
var escapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape is what an E'string' stands for.
func unescape(raw string) string {
	raw = strings.ReplaceAll(raw, "''", "'")
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(raw, `\`)
		b.WriteString(plain)
		if !found || rest == "" {
			return b.String()
		}
		base, digits, from := 16, 0, 1
		switch c := rest[0]; {
		case c == 'x' || c == 'X':
			digits = 2
		case c == 'u':
			digits = 4
		case c == 'U':
			digits = 8
		case c >= '0' && c <= '7':
			base, digits, from = 8, 3, 0
		}
		n := from
		for n < len(rest) && n < from+digits && isDigitOf(rest[n], base) {
			n++
		}
		code, err := strconv.ParseUint(rest[from:n], base, 32)
		switch {
		case digits == 0 || err != nil:
			c := rest[0]
			if stands, ok := escapes[c]; ok {
				c = stands
			}
			b.WriteByte(c)
			n = 1
		case digits <= 3:
			b.WriteByte(byte(code))
		default:
			b.WriteRune(rune(code)) //nolint:gosec // what is no rune becomes one that stands for that
		}
		raw = rest[n:]
	}
}

func isDigitOf(c byte, base int) bool {
	if base == 8 {
		return c >= '0' && c <= '7'
	}
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '_' || r == '$' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	return !isSpaceRune(r)
}

// isSpaceRune tells what DuckDB takes for a space; it knows those of Unicode too.
func isSpaceRune(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Zs, r) || r == '\u200B' || r == '\uFEFF'
}

func spanFunc(s string, f func(rune) bool) int {
	for i, r := range s {
		if !f(r) {
			return i
		}
	}
	return len(s)
}
