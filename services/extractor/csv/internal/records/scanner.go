// Package records reads delimited text record by record: it finds the dialect of a file, splits it
// as RFC 4180 says, and tells what every column can hold. It accepts what DuckDB's strict reader
// accepts, and marks as Odd what only it accepts: such a file is rewritten before DuckDB sees it.
package records

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Dialect is how a file is delimited.
type Dialect struct {
	Delimiter byte
	// Quote and Escape are 0 for none. Escape is the quote itself where quotes are doubled.
	Quote, Escape byte
	// Newline is '\n' (with or without '\r' before it) or '\r'.
	Newline byte
	// Skip is how many lines come before the header.
	Skip int
	// Header tells that the first record holds the names.
	Header bool
	// Nulls are the texts that mean null where they are not in quotes.
	Nulls []string
}

// MaxRecord bounds a record in bytes. What is longer is taken for a quote that is never closed.
const MaxRecord = 64 << 20

const blockSize = 1 << 20

// maxLost bounds how many unclosed quotes are passed over: each costs a search to the end.
const maxLost = 1000

// Field is one value of a record: the bytes Start to End of its Raw.
type Field struct {
	Start, End int32
	Quoted     bool
	Escaped    bool // holds escapes, see Record.Value
}

// Record is one record, valid until the next call of Next.
type Record struct {
	// Line is where the record starts, counted from 1.
	Line int64
	// Raw is the record as it stands in the file, without its newline.
	Raw    []byte
	Fields []Field
	// Problem tells why the record cannot be read; Fields then are those before it.
	Problem string
}

// Scanner reads the records of a file in UTF-8. Blank lines are left out, unless records have only
// one field, where a blank line is a null.
type Scanner struct {
	// Single tells that the records have one field.
	Single bool
	// Odd tells that the file holds something that is only understood here.
	Odd bool
	// Multiline tells that a value holds a line break. DuckDB's parallel reader takes one at the border
	// of two buffers for the end of a record: such a file is read by one thread.
	Multiline bool
	// Longest is the length of the longest record so far.
	Longest int

	r        io.Reader
	d        Dialect
	buf      []byte
	pos, end int
	eof      bool
	err      error
	line     int64
	skip     int
	rec      Record
	fields   []Field
	checked  int  // bytes of buf that were looked at for zeros and invalid UTF-8
	dirty    bool // buf may hold zeros or invalid UTF-8: look at every record
	returns  bool // buf holds a '\r'
	crlf, lf bool // newlines seen: with and without a return before them
	lost     int
	read     int64
	limit    int64 // see Limit; 0 for none
}

// Limit ends the reading before the first record that starts at or after this many bytes.
func (s *Scanner) Limit(bytes int64) { s.limit = bytes }

// Offset is where the next record starts, in bytes from the start.
func (s *Scanner) Offset() int64 { return s.read - int64(s.end-s.pos) }

// Lines is how many line breaks come before Offset.
func (s *Scanner) Lines() int64 { return s.line - 1 }

// NewScanner reads r from its first byte.
func NewScanner(r io.Reader, d Dialect) *Scanner { return newScanner(r, d, blockSize) }

func newScanner(r io.Reader, d Dialect, block int) *Scanner {
	return &Scanner{r: r, d: d, buf: make([]byte, block), line: 1, skip: d.Skip}
}

// Record is what Next found.
func (s *Scanner) Record() *Record { return &s.rec }

// Err is the error that ended the reading; nil at the end of the file.
func (s *Scanner) Err() error { return s.err }

// Read is how many bytes of text were read.
func (s *Scanner) Read() int64 { return s.read }

// Next finds the next record, and tells whether there is one.
func (s *Scanner) Next() bool {
	for s.skip > 0 {
		if !s.skipLine() {
			return false
		}
	}
	for {
		if s.pos == s.end && !s.fill() {
			return false
		}
		if s.limit > 0 && s.Offset() >= s.limit {
			return false
		}
		next, ok := s.parse()
		if !ok {
			if s.end-s.pos >= MaxRecord {
				next = s.lose()
			} else {
				s.fill()
				if s.err != nil {
					return false
				}
				continue
			}
		}
		blank := len(s.rec.Raw) == 0 && s.rec.Problem == ""
		s.pos += next
		if s.err != nil {
			return false
		}
		if blank && !s.Single {
			continue
		}
		s.Longest = max(s.Longest, len(s.rec.Raw))
		return true
	}
}

// fill reads more, keeping what is not consumed. It tells whether anything is there to parse.
func (s *Scanner) fill() bool {
	if s.eof || s.err != nil {
		return s.pos < s.end
	}
	kept := copy(s.buf, s.buf[s.pos:s.end])
	s.checked -= s.pos
	s.pos, s.end = 0, kept
	if s.checked <= 0 {
		s.checked, s.dirty, s.returns = 0, false, false
	}
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
	s.inspect()
	return s.end > 0
}

// inspect looks at what was read since the last time.
func (s *Scanner) inspect() {
	fresh := s.buf[s.checked:s.end]
	s.returns = s.returns || bytes.IndexByte(fresh, '\r') >= 0
	s.checked = s.end
	if s.dirty = s.dirty || bytes.IndexByte(fresh, 0) >= 0; s.dirty {
		return
	}
	whole := len(fresh)
	if !s.eof { // the last character may go on in the next block
		for i := 1; i < utf8.UTFMax && i <= len(fresh); i++ {
			if c := fresh[len(fresh)-i]; utf8.RuneStart(c) {
				if c >= utf8.RuneSelf && !utf8.FullRune(fresh[len(fresh)-i:]) {
					whole -= i
				}
				break
			}
		}
	}
	s.dirty = !utf8.Valid(fresh[:whole])
	s.checked -= len(fresh) - whole
}

// skipLine leaves out a line before the header.
func (s *Scanner) skipLine() bool {
	for {
		if s.pos == s.end && !s.fill() {
			return false
		}
		if i := bytes.IndexByte(s.buf[s.pos:s.end], s.d.Newline); i >= 0 {
			s.pos += i + 1
			s.line++
			s.skip--
			return true
		}
		if s.eof {
			s.pos = s.end
			return false
		}
		s.pos = s.end
	}
}

// parse reads the record at pos and gives the distance to the next one; false asks for more bytes.
func (s *Scanner) parse() (next int, ok bool) {
	b := s.buf[s.pos:s.end]
	s.fields = s.fields[:0]
	s.rec = Record{Line: s.line}
	nl := bytes.IndexByte(b, s.d.Newline)
	lines := int64(1)
	p := 0
	for {
		q, quoted := p, false
		if p < len(b) && (b[p] == s.d.Quote || b[p] == ' ') {
			q, quoted = s.openQuote(b, p)
		}
		if quoted {
			end, found, escaped := s.closeQuote(b, q+1)
			if !found {
				return s.unclosed(b, nl)
			}
			if end < 0 {
				return 0, false
			}
			s.fields = append(s.fields, Field{Start: int32(q + 1), End: int32(end), Quoted: true, Escaped: escaped})
			if nl >= 0 && nl < end {
				lines += int64(bytes.Count(b[q:end], []byte{s.d.Newline}))
				s.Multiline = true
				s.oddReturns(b[q:end])
				nl = index(b, end, s.d.Newline)
			}
			var more bool
			if p, more = s.afterQuote(b, end+1, nl); p < 0 {
				return 0, false
			} else if more {
				continue
			}
			break
		}
		stop := nl
		if stop < 0 {
			if !s.eof {
				return 0, false
			}
			stop = len(b)
		}
		if i := bytes.IndexByte(b[p:stop], s.d.Delimiter); i >= 0 {
			s.fields = append(s.fields, Field{Start: int32(p), End: int32(p + i)})
			p += i + 1
			continue
		}
		s.fields = append(s.fields, Field{Start: int32(p), End: int32(stop)})
		break
	}
	return s.finish(b, nl, lines), true
}

// finish cuts the record off at its newline.
func (s *Scanner) finish(b []byte, nl int, lines int64) int {
	stop, next := len(b), len(b)
	if nl >= 0 {
		stop, next = nl, nl+1
	}
	if nl >= 0 || bytes.HasSuffix(b, []byte("\r")) {
		s.newline(b[:stop])
	}
	if s.d.Newline == '\n' && s.returns {
		for stop > 0 && b[stop-1] == '\r' {
			stop--
		}
		last := &s.fields[len(s.fields)-1]
		last.End = max(last.Start, min(last.End, int32(stop)))
	}
	s.rec.Raw = b[:stop]
	s.rec.Fields = s.fields
	s.line += lines
	s.examine()
	return next
}

// newline notes which newlines the file uses. DuckDB takes one kind only.
func (s *Scanner) newline(before []byte) {
	if s.d.Newline == '\r' {
		s.Odd = true
		return
	}
	n := len(before)
	if n > 0 && before[n-1] == '\r' {
		s.crlf = true
		s.Odd = s.Odd || s.lf || n > 1 && before[n-2] == '\r'
		return
	}
	s.lf = true
	s.Odd = s.Odd || s.crlf
}

// examine looks for what does not belong into text, and for returns inside of unquoted values.
func (s *Scanner) examine() {
	r := &s.rec
	if s.returns && bytes.IndexByte(r.Raw, '\r') >= 0 {
		for _, f := range r.Fields {
			if !f.Quoted && bytes.IndexByte(r.Raw[f.Start:f.End], '\r') >= 0 {
				s.Odd = true
			}
		}
	}
	if !s.dirty || r.Problem != "" {
		return
	}
	switch {
	case bytes.IndexByte(r.Raw, 0) >= 0:
		r.Problem = "there is a NUL byte: the file is damaged, or not text"
	case !utf8.Valid(r.Raw):
		r.Problem = ProblemEncoding
	}
}

// ProblemEncoding is the problem of a record that is not UTF-8.
const ProblemEncoding = "the text is not valid UTF-8: the file is damaged, or `encoding` must be set"

// openQuote tells whether the field at p is quoted, and where its quote stands: spaces may come before.
func (s *Scanner) openQuote(b []byte, p int) (int, bool) {
	if s.d.Quote == 0 {
		return p, false
	}
	q := p
	for q < len(b) && b[q] == ' ' && s.d.Delimiter != ' ' {
		q++
	}
	if q < len(b) && b[q] == s.d.Quote {
		s.Odd = s.Odd || q > p
		return q, true
	}
	return p, false
}

// closeQuote finds the end of the quoted text at p. Without found there is no closing quote; a
// negative end asks for more bytes.
func (s *Scanner) closeQuote(b []byte, p int) (end int, found, escaped bool) {
	for {
		i := bytes.IndexByte(b[p:], s.d.Quote)
		if s.d.Escape != s.d.Quote && s.d.Escape != 0 {
			stop := len(b) - p
			if i >= 0 {
				stop = i
			}
			if e := bytes.IndexByte(b[p:p+stop], s.d.Escape); e >= 0 {
				escaped = true
				s.Odd = true
				if p+e+2 > len(b) {
					return -1, !s.eof, escaped
				}
				p += e + 2
				continue
			}
		}
		if i < 0 {
			return -1, !s.eof, escaped
		}
		p += i
		if p+1 == len(b) && !s.eof {
			return -1, true, escaped
		}
		if s.d.Escape == s.d.Quote && p+1 < len(b) && b[p+1] == s.d.Quote {
			escaped = true
			p += 2
			continue
		}
		return p, true, escaped
	}
}

// afterQuote looks at what follows a closing quote: the next field at p (more), or the end of the
// record. A negative p asks for more bytes.
func (s *Scanner) afterQuote(b []byte, p, nl int) (next int, more bool) {
	stop := nl
	if stop < 0 {
		if !s.eof {
			return -1, false
		}
		stop = len(b)
	}
	q := p
	for q < stop && b[q] == ' ' && s.d.Delimiter != ' ' {
		q++
	}
	if q < stop && b[q] == s.d.Delimiter {
		s.Odd = s.Odd || q > p
		return q + 1, true
	}
	if rest := b[q:stop]; len(bytes.TrimRight(rest, "\r")) > 0 {
		s.rec.Problem = fmt.Sprintf("value %d goes on after its closing quote", len(s.fields))
	}
	s.Odd = s.Odd || q > p
	return q, false
}

// unclosed gives up on the line that opened a quote which the file never closes.
func (s *Scanner) unclosed(b []byte, nl int) (int, bool) {
	s.rec.Problem = fmt.Sprintf("value %d opens a quote that is never closed", len(s.fields)+1)
	if first := index(b, 0, s.d.Newline); first >= 0 {
		nl = first
	}
	s.fields = append(s.fields[:0], Field{})
	if s.lost++; s.lost > maxLost {
		s.err = &LineError{Line: s.line, Reason: fmt.Sprintf("more than %d quotes are never closed", maxLost)}
	}
	return s.finish(b, nl, 1), true
}

// lose is unclosed for a record that is too long.
func (s *Scanner) lose() int {
	b := s.buf[s.pos:s.end]
	nl := index(b, 0, s.d.Newline)
	if nl < 0 {
		s.err = &LineError{Line: s.line, Reason: fmt.Sprintf("it is longer than %d MiB", MaxRecord>>20)}
		return len(b)
	}
	s.rec = Record{Line: s.line}
	next, _ := s.unclosed(b, nl)
	s.rec.Problem = fmt.Sprintf("the record is longer than %d MiB, or it opens a quote that is never closed", MaxRecord>>20)
	return next
}

// oddReturns marks quoted text whose line breaks are a lone '\r', which DuckDB may take for the end.
func (s *Scanner) oddReturns(quoted []byte) {
	if !s.Odd && s.returns && bytes.Count(quoted, []byte("\r")) != bytes.Count(quoted, []byte("\r\n")) {
		s.Odd = true
	}
}

func index(b []byte, from int, c byte) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return -1
}

// Value is the text of field i with its escapes resolved, and whether it is null. It may use
// scratch, and is valid until the next call of Next.
func (r *Record) Value(d *Dialect, i int, scratch []byte) (value []byte, null bool) {
	f := r.Fields[i]
	value = r.Raw[f.Start:f.End]
	if !f.Quoted {
		return value, d.isNull(value)
	}
	if !f.Escaped {
		return value, false
	}
	scratch = scratch[:0]
	for k := 0; k < len(value); k++ {
		if value[k] == d.Escape && k+1 < len(value) {
			k++
		}
		scratch = append(scratch, value[k])
	}
	return scratch, false
}

func (d *Dialect) isNull(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	for _, n := range d.Nulls {
		if string(v) == n {
			return true
		}
	}
	return false
}

// Validate tells why the dialect cannot be used; nil where it can.
func (d *Dialect) Validate() error {
	if d.Newline != '\n' && d.Newline != '\r' {
		return errors.New("the newline must be \\n or \\r")
	}
	for name, c := range map[string]byte{"delimiter": d.Delimiter, "quote": d.Quote, "escape": d.Escape} {
		if c == '\n' || c == '\r' || c >= utf8.RuneSelf || (c == 0 && name == "delimiter") {
			return fmt.Errorf("the %s must be one ASCII character, not %q", name, c)
		}
	}
	switch {
	case d.Delimiter == d.Quote, d.Delimiter == d.Escape:
		return fmt.Errorf("the delimiter %q is also the quote or the escape", d.Delimiter)
	case d.Quote == 0 && d.Escape != 0:
		return errors.New("an escape needs a quote")
	case d.Quote == ' ':
		return errors.New("the quote cannot be a space")
	}
	return nil
}
