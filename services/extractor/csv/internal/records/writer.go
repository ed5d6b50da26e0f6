package records

import (
	"bufio"
	"bytes"
	"io"
)

// Canonical is the dialect that Writer writes: what every reader understands alike.
var Canonical = Dialect{Delimiter: ',', Quote: '"', Escape: '"', Newline: '\n'}

// Writer rewrites records in the Canonical dialect, without a header. Null is nothing between the
// delimiters, and an empty text is "".
type Writer struct {
	w       *bufio.Writer
	scratch []byte
	// Longest is the length of the longest record written.
	Longest int
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 256<<10)} }

// Record writes a record that was read in the dialect d.
func (w *Writer) Record(d *Dialect, r *Record) error {
	n := 0
	for i := range r.Fields {
		v, null := r.Value(d, i, w.scratch)
		if r.Fields[i].Escaped {
			w.scratch = v
		}
		n += w.field(i, v, null)
	}
	return w.end(n, len(r.Fields))
}

// Values writes a record of these values.
func (w *Writer) Values(values ...[]byte) error {
	n := 0
	for i, v := range values {
		n += w.field(i, v, v == nil)
	}
	return w.end(n, len(values))
}

// field writes a value. An error of the writer shows in end, or in Flush.
func (w *Writer) field(i int, v []byte, null bool) int {
	n := 0
	if i > 0 {
		_ = w.w.WriteByte(',')
		n++
	}
	if null {
		return n
	}
	if len(v) > 0 && !bytes.ContainsAny(v, ",\"\r\n") && v[0] != ' ' {
		m, _ := w.w.Write(v)
		return n + m
	}
	_ = w.w.WriteByte('"')
	n += 2
	for {
		q := bytes.IndexByte(v, '"')
		if q < 0 {
			break
		}
		_, _ = w.w.Write(v[:q+1])
		_ = w.w.WriteByte('"')
		n += q + 2
		v = v[q+1:]
	}
	m, _ := w.w.Write(v)
	_ = w.w.WriteByte('"')
	return n + m
}

func (w *Writer) end(n, fields int) error {
	w.Longest = max(w.Longest, n)
	if n == 0 && fields == 0 {
		return nil
	}
	return w.w.WriteByte('\n')
}

// Flush writes what is buffered.
func (w *Writer) Flush() error { return w.w.Flush() }
