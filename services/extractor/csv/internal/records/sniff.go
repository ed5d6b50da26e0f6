package records

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// Hints are what is known about a file before it is looked at. The zero value knows nothing.
type Hints struct {
	Delimiter byte
	// Quote and Escape are used where they are set; NoQuote tells that there are no quotes.
	Quote, Escape byte
	NoQuote       bool
	Header        *bool
	Skip          int
	Nulls         []string
	Formats       kind.Formats
}

// Shape is what the start of a file tells.
type Shape struct {
	Dialect Dialect
	// Names of the columns, all different, whatever the case.
	Names []string
	// Headless tells that the first record was found to be data, not names.
	Headless bool
}

// sniffed is how many records the delimiter and the header are judged by.
const sniffed = 1000

// Sniff finds the dialect and the names of a file in UTF-8 by its start. With whole, head is all of
// the file. It never fails: what is wrong with the file shows when its records are read.
func Sniff(head []byte, whole bool, h Hints) Shape {
	d := Dialect{Delimiter: h.Delimiter, Quote: h.Quote, Escape: h.Escape, Skip: h.Skip, Nulls: h.Nulls, Newline: '\n'}
	if bytes.IndexByte(head, '\n') < 0 && bytes.IndexByte(head, '\r') >= 0 {
		d.Newline = '\r'
	}
	if d.Quote == 0 && !h.NoQuote {
		d.Quote = '"'
	}
	if d.Escape == 0 {
		d.Escape = d.Quote
	}
	if !whole { // the last line is cut off
		head = head[:bytes.LastIndexByte(head, d.Newline)+1]
	}
	if named, ok := separatorLine(head, d.Newline); ok && d.Skip == 0 {
		d.Skip = 1
		if d.Delimiter == 0 {
			d.Delimiter = named
		}
	}
	if d.Delimiter == 0 {
		d.Delimiter = delimiter(head, d)
	}
	d.Header = true
	s := Shape{Dialect: d}
	rows := sample(head, d)
	if h.Header != nil {
		s.Dialect.Header = *h.Header
	} else if len(rows) > 0 && !hasHeader(rows, h.Formats) {
		s.Dialect.Header, s.Headless = false, true
	}
	if len(rows) > 0 {
		s.Names = Names(rows[0], s.Dialect.Header)
	}
	return s
}

// separatorLine reads the line "sep=;" that Excel puts before the header.
func separatorLine(head []byte, newline byte) (byte, bool) {
	line, _, found := bytes.Cut(head, []byte{newline})
	line = bytes.TrimRight(line, "\r")
	if !found || len(line) != len("sep=;") || !strings.EqualFold(string(line[:4]), "sep=") {
		return 0, false
	}
	return line[4], true
}

// sample reads the first records of head: the values, with nil for null. Records that cannot be read
// are left out.
func sample(head []byte, d Dialect) [][][]byte {
	s := newScanner(bytes.NewReader(head), d, len(head)+1)
	var rows [][][]byte
	for len(rows) < sniffed && s.Next() {
		r := s.Record()
		if r.Problem != "" && (r.Problem != ProblemEncoding || len(r.Fields) == 0) {
			continue
		}
		row := make([][]byte, len(r.Fields))
		for i := range r.Fields {
			v, null := r.Value(&d, i, nil)
			if null {
				continue
			}
			row[i] = append([]byte{}, v...)
		}
		rows = append(rows, row)
	}
	return rows
}

// delimiter gives the character that splits the records most evenly: at least half of them into as
// many values as the first, which must be more than one. Without one it is the comma.
func delimiter(head []byte, d Dialect) byte {
	best, bestScore := byte(','), 0.0
	for _, c := range []byte{',', ';', '\t', '|'} {
		if c == d.Quote {
			continue
		}
		d.Delimiter = c
		rows := sample(head, d)
		if len(rows) == 0 || len(rows[0]) < 2 {
			continue
		}
		even := 0
		for _, r := range rows {
			if len(r) == len(rows[0]) {
				even++
			}
		}
		score := float64(even) / float64(len(rows))
		if score >= 0.5 && score > bestScore+0.001 { // a clear lead: among equals the first one wins
			best, bestScore = c, score
		}
	}
	return best
}

// hasHeader tells whether the first record holds names: where the records below it have numbers,
// dates and so on, it must not fit them. A table of texts has a header.
func hasHeader(rows [][][]byte, f kind.Formats) bool {
	first := rows[0]
	columns := make([]kind.Column, len(first))
	for i := range columns {
		columns[i] = kind.NewColumn(&f)
	}
	for _, r := range rows[1:] {
		if len(r) != len(first) {
			continue
		}
		for i, v := range r {
			if v != nil {
				columns[i].Add(&f, v)
			}
		}
	}
	fits, differs := false, false
	for i, c := range columns {
		if len(first[i]) == 0 {
			continue
		}
		k := c.Kind()
		if len(rows) == 1 {
			k = kind.Best(f.Of(first[i], f.Start()))
		}
		switch {
		case k == 0:
		case f.Of(first[i], k) != 0:
			fits = true
		default:
			differs = true
		}
	}
	return differs || !fits
}

// Names makes column names of the first record: trimmed, and made different, whatever the case, by
// _1, _2 and so on. A column without a name is called columnN, counted from 0, as is every column of
// a file without a header.
func Names(first [][]byte, header bool) []string {
	names := make([]string, len(first))
	taken := make(map[string]bool, len(first))
	next := map[string]int{} // the next suffix to try: a thousand equal names are not a million tries
	for i, v := range first {
		name := strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(string(v), "?"), "\x00", ""))
		if name == "" || !header {
			name = fmt.Sprintf("column%d", i)
		}
		unique := name
		for key := strings.ToLower(name); taken[strings.ToLower(unique)]; {
			next[key]++
			unique = fmt.Sprintf("%s_%d", name, next[key])
		}
		taken[strings.ToLower(unique)] = true
		names[i] = unique
	}
	return names
}
