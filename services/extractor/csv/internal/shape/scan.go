// Package shape reads JSON record by record, and finds the DuckDB types that hold what the records
// hold, all of them and not only the first ones, without losing anything.
package shape

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxRecord bounds a record in bytes.
const MaxRecord = 64 << 20

// maxDepth bounds how deep values are nested.
const maxDepth = 200

// Scanner reads the records of a JSON text in UTF-8: the elements of one array, or values that follow
// each other, one to a line or not.
type Scanner struct {
	r        io.Reader
	buf      []byte
	pos, end int
	eof      bool
	err      error
	line     int64
	read     int64
	started  bool
	inArray  bool
	closed   bool // the array ended
	afterOne bool // a comma or the end of the array must come

	rec     []byte
	recLine int64
	problem string
}

// NewScanner reads r from its first byte.
func NewScanner(r io.Reader) *Scanner { return newScanner(r, 1<<20) }

func newScanner(r io.Reader, block int) *Scanner {
	return &Scanner{r: r, buf: make([]byte, block), line: 1}
}

// Record is the record that Next found, valid until the next call, and the line it starts at.
func (s *Scanner) Record() (raw []byte, line int64) { return s.rec, s.recLine }

// Problem tells why the record is not JSON; empty where it is. Reading goes on at the next line.
func (s *Scanner) Problem() string { return s.problem }

// Err is the error that ended the reading; nil at the end of the text.
func (s *Scanner) Err() error { return s.err }

// Read is how many bytes of text were read.
func (s *Scanner) Read() int64 { return s.read }

// IsArray tells that the text is one array of records.
func (s *Scanner) IsArray() bool { return s.inArray }

// Next finds the next record, and tells whether there is one.
func (s *Scanner) Next() bool {
	if !s.advance() {
		return false
	}
	s.problem, s.recLine = "", s.line
	for {
		b := s.buf[s.pos:s.end]
		v := validator{b: b, eof: s.eof}
		n, state := v.value(0, 0)
		if state == more && !s.eof {
			if len(b) >= MaxRecord {
				s.err = fmt.Errorf("line %d: the record is longer than %d MiB", s.line, MaxRecord>>20)
				return false
			}
			if !s.fill() {
				return false
			}
			continue
		}
		if state == more {
			v.reason = "the text ends in the middle of the record"
		}
		if state != done {
			return s.broken(b, v.reason)
		}
		s.rec = b[:n]
		s.consume(n)
		s.afterOne = s.inArray
		return true
	}
}

// advance goes to the start of the next record.
func (s *Scanner) advance() bool {
	for {
		if s.err != nil || !s.space() {
			return s.atEnd()
		}
		c := s.buf[s.pos]
		switch {
		case !s.started && c == '[':
			s.inArray = true
			s.consume(1)
		case s.closed:
			s.err = fmt.Errorf("line %d: there is more after the end of the array", s.line)
		case s.inArray && c == ']':
			s.closed = true
			s.consume(1)
		case s.afterOne && c == ',':
			s.afterOne = false
			s.consume(1)
			if !s.space() || s.buf[s.pos] == ']' {
				s.err = fmt.Errorf("line %d: a record must follow the comma", s.line)
			}
		case s.afterOne:
			s.err = fmt.Errorf("line %d: a comma or the end of the array must follow the record", s.line)
		default:
			s.started = true
			return true
		}
		s.started = true
	}
}

func (s *Scanner) atEnd() bool {
	if s.err == nil && s.inArray && !s.closed {
		s.err = fmt.Errorf("line %d: the array is cut off", s.line)
	}
	return false
}

// broken gives up on the line of a record that is not JSON. Inside of an array nothing tells where
// the next record starts.
func (s *Scanner) broken(b []byte, reason string) bool {
	if s.inArray {
		s.err = fmt.Errorf("line %d: %s", s.line, reason)
		return false
	}
	n := bytes.IndexByte(b, '\n')
	for n < 0 && !s.eof && len(b) < MaxRecord {
		if !s.fill() {
			return false
		}
		b = s.buf[s.pos:s.end]
		n = bytes.IndexByte(b, '\n')
	}
	if n < 0 {
		n = len(b)
	}
	s.rec, s.problem = bytes.TrimRight(b[:n], "\r"), reason
	s.consume(n)
	return true
}

// space passes over white space, and tells whether something follows.
func (s *Scanner) space() bool {
	for {
		for s.pos < s.end {
			switch s.buf[s.pos] {
			case '\n':
				s.line++
			case ' ', '\t', '\r':
			default:
				return true
			}
			s.pos++
		}
		if s.eof || !s.fill() {
			return false
		}
	}
}

func (s *Scanner) consume(n int) {
	s.line += int64(bytes.Count(s.buf[s.pos:s.pos+n], []byte{'\n'}))
	s.pos += n
}

// fill reads more, keeping what is not consumed; false after an error.
func (s *Scanner) fill() bool {
	kept := copy(s.buf, s.buf[s.pos:s.end])
	s.pos, s.end = 0, kept
	if kept == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for s.end < len(s.buf) && !s.eof {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.read += int64(n)
		if err == io.EOF { // exactly: a compressed file that is cut off wraps it
			s.eof = true
		} else if err != nil {
			s.err = err
			return false
		}
	}
	return true
}

// state is how far a validator came.
type state int

const (
	done state = iota
	more       // the bytes end in the middle
	wrong
)

// validator reads one value as RFC 8259 says.
type validator struct {
	b      []byte
	eof    bool
	reason string
}

func (v *validator) fail(format string, args ...any) (int, state) {
	v.reason = fmt.Sprintf(format, args...)
	return 0, wrong
}

func (v *validator) skip(p int) int {
	for p < len(v.b) && (v.b[p] == ' ' || v.b[p] == '\n' || v.b[p] == '\t' || v.b[p] == '\r') {
		p++
	}
	return p
}

// value reads the value at p and gives its end.
func (v *validator) value(p, depth int) (int, state) {
	if p = v.skip(p); p == len(v.b) {
		return 0, more
	}
	if depth > maxDepth {
		return v.fail("values are nested deeper than %d", maxDepth)
	}
	switch c := v.b[p]; {
	case c == '{':
		return v.members(p+1, depth)
	case c == '[':
		return v.elements(p+1, depth)
	case c == '"':
		return v.text(p + 1)
	case c == '-' || c-'0' <= 9:
		return v.number(p)
	case c == 't':
		return v.word(p, "true")
	case c == 'f':
		return v.word(p, "false")
	case c == 'n':
		return v.word(p, "null")
	}
	if v.b[p] >= utf8.RuneSelf {
		return v.fail("there is text outside of quotes")
	}
	return v.fail("%q cannot start a value", v.b[p])
}

func (v *validator) word(p int, word string) (int, state) {
	have := v.b[p:min(len(v.b), p+len(word))]
	switch {
	case string(have) == word:
		return p + len(word), done
	case len(have) < len(word) && string(have) == word[:len(have)]:
		return 0, more
	}
	return v.fail("a value that starts with %q can only be %s", word[0], word)
}

func (v *validator) members(p, depth int) (int, state) {
	for first := true; ; first = false {
		if p = v.skip(p); p == len(v.b) {
			return 0, more
		}
		if first && v.b[p] == '}' {
			return p + 1, done
		}
		if v.b[p] != '"' {
			return v.fail("a key in quotes must come, not %q", v.b[p])
		}
		var st state
		if p, st = v.text(p + 1); st != done {
			return p, st
		}
		if p = v.skip(p); p == len(v.b) {
			return 0, more
		}
		if v.b[p] != ':' {
			return v.fail("a colon must follow the key, not %q", v.b[p])
		}
		if p, st = v.value(p+1, depth+1); st != done {
			return p, st
		}
		if p = v.skip(p); p == len(v.b) {
			return 0, more
		}
		switch v.b[p] {
		case '}':
			return p + 1, done
		case ',':
			p++
		default:
			return v.fail("a comma or } must follow the value, not %q", v.b[p])
		}
	}
}

func (v *validator) elements(p, depth int) (int, state) {
	for first := true; ; first = false {
		if p = v.skip(p); p == len(v.b) {
			return 0, more
		}
		if first && v.b[p] == ']' {
			return p + 1, done
		}
		var st state
		if p, st = v.value(p, depth+1); st != done {
			return p, st
		}
		if p = v.skip(p); p == len(v.b) {
			return 0, more
		}
		switch v.b[p] {
		case ']':
			return p + 1, done
		case ',':
			p++
		default:
			return v.fail("a comma or ] must follow the value, not %q", v.b[p])
		}
	}
}

// text reads to the end of a text whose opening quote is behind p.
func (v *validator) text(p int) (int, state) {
	start := p
	for p < len(v.b) {
		switch c := v.b[p]; {
		case c == '"':
			if !utf8.Valid(v.b[start:p]) {
				return v.fail("a text is not valid UTF-8")
			}
			return p + 1, done
		case c == '\\':
			n, st := v.escape(p + 1)
			if st != done {
				return n, st
			}
			p = n
		case c < 0x20:
			return v.fail("a text holds the control character %q", c)
		default:
			p++
		}
	}
	return 0, more
}

func (v *validator) escape(p int) (int, state) {
	if p == len(v.b) {
		return 0, more
	}
	if bytes.IndexByte([]byte(`"\/bfnrt`), v.b[p]) >= 0 {
		return p + 1, done
	}
	if v.b[p] != 'u' {
		return v.fail("\\%c is not an escape", v.b[p])
	}
	code, st := v.hex(p + 1)
	if st != done {
		return 0, st
	}
	p += 5
	if code < 0xD800 || code > 0xDFFF {
		return p, done
	}
	if len(v.b) < p+6 {
		if v.eof || bytes.IndexByte(v.b[p:], '"') == 0 {
			return v.fail("a text holds half of a surrogate pair")
		}
		return 0, more
	}
	low := 0
	if v.b[p] == '\\' && v.b[p+1] == 'u' {
		if low, st = v.hex(p + 2); st != done {
			return 0, st
		}
	}
	if code > 0xDBFF || low < 0xDC00 || low > 0xDFFF {
		return v.fail("a text holds half of a surrogate pair")
	}
	return p + 6, done
}

func (v *validator) hex(p int) (int, state) {
	if len(v.b) < p+4 {
		return 0, more
	}
	n := 0
	for _, c := range v.b[p : p+4] {
		switch {
		case c-'0' <= 9:
			n = n<<4 + int(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 + int(c|0x20-'a') + 10
		default:
			return v.fail("\\u must be followed by four hexadecimal digits")
		}
	}
	return n, done
}

// number reads a number. At the end of the bytes it may go on, unless the text ends there.
func (v *validator) number(p int) (int, state) {
	start := p
	for p < len(v.b) && bytes.IndexByte([]byte("+-.eE0123456789"), v.b[p]) >= 0 {
		p++
	}
	if p == len(v.b) && !v.eof {
		return 0, more
	}
	if !validNumber(v.b[start:p]) {
		return v.fail("%q is not a number", v.b[start:p])
	}
	return p, done
}

func validNumber(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("-"))
	n := digits(b)
	if n == 0 || n > 1 && b[0] == '0' {
		return false
	}
	if b = b[n:]; len(b) > 0 && b[0] == '.' {
		if n = digits(b[1:]); n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if n = digits(b); n == 0 {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

func digits(b []byte) int {
	for i, c := range b {
		if c-'0' > 9 {
			return i
		}
	}
	return len(b)
}
