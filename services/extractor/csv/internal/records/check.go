package records

import (
	"context"
	"fmt"
	"io"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// Check reads a whole file and tells whether it is what it seems: every record has one value per
// column, every value of a declared column fits, and what the other columns can hold.
type Check struct {
	Dialect Dialect
	Formats kind.Formats
	Names   []string
	// Declared tells per column why a value that is not null cannot become its declared type, or "".
	// A nil function means that the type is to be found.
	Declared []func(value []byte) string

	// Bad is called for each record that cannot be taken; an error ends the reading.
	Bad func(Bad) error
	// Good, if set, is called for each other record.
	Good func(*Record) error
	// Batch, if set, is called now and then, and at the end; an error ends the reading.
	Batch func(*Result) error
}

// Bad is a record that cannot be taken.
type Bad struct {
	Line   int64
	Column string // empty where it is the record as a whole
	Reason string
	Raw    []byte // valid until the call returns
}

// Result is what is known about the file so far.
type Result struct {
	// Records that were taken, and those that were not.
	Records, Rejected int64
	Columns           []kind.Column
	// Odd, Multiline and Longest are those of Scanner.
	Odd, Multiline bool
	Longest        int
	// Bytes of text that were read, where the next record would start, and the line breaks before it.
	Bytes, Offset, Lines int64

	crlf, lf bool
}

// batch is how many records are read between two calls of Batch.
const batch = 4096

// Run reads r, which gives text in UTF-8 without a mark. A file that cannot be read to its end is an
// error; bad records are not, unless Bad says so.
func (c *Check) Run(ctx context.Context, r io.Reader) (*Result, error) {
	return c.run(ctx, NewScanner(r, c.Dialect))
}

func (c *Check) run(ctx context.Context, s *Scanner) (*Result, error) {
	s.Single = len(c.Names) == 1
	res := &Result{Columns: make([]kind.Column, len(c.Names))}
	for i := range res.Columns {
		res.Columns[i] = kind.NewColumn(&c.Formats)
	}
	declared := false
	for _, d := range c.Declared {
		declared = declared || d != nil
	}
	limit := s.limit
	s.limit = 0 // the header belongs to the start, however far it goes
	if c.Dialect.Header && s.Next() {
		if p := s.Record().Problem; p != "" {
			return nil, &LineError{Line: s.Record().Line, Reason: "the header: " + p}
		}
	}
	s.limit = limit
	for n := 1; s.Next(); n++ {
		bad := c.inspect(s.Record(), res, declared)
		var err error
		switch {
		case bad != nil:
			res.Rejected++
			err = c.Bad(*bad)
		default:
			res.Records++
			if c.Good != nil {
				err = c.Good(s.Record())
			}
		}
		if err == nil && n%batch == 0 {
			err = c.report(ctx, s, res)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.Err() != nil {
		return nil, s.Err()
	}
	return res, c.report(ctx, s, res)
}

// LineError tells that a file cannot be read beyond a line.
type LineError struct {
	Line   int64
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

func (c *Check) report(ctx context.Context, s *Scanner, res *Result) error {
	res.Odd, res.Multiline, res.Longest = s.Odd, s.Multiline, s.Longest
	res.Bytes, res.Offset, res.Lines = s.Read(), s.Offset(), s.Lines()
	res.crlf, res.lf = s.crlf, s.lf
	if c.Batch != nil {
		if err := c.Batch(res); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// inspect looks at one record. The kinds of its values count only if all of it is taken.
func (c *Check) inspect(r *Record, res *Result, declared bool) *Bad {
	if r.Problem != "" {
		return &Bad{Line: r.Line, Reason: r.Problem, Raw: r.Raw}
	}
	if len(r.Fields) != len(c.Names) {
		return &Bad{Line: r.Line, Raw: r.Raw, Reason: fmt.Sprintf("%s, but there %s", count(len(r.Fields), "value"), are(len(c.Names), "column"))}
	}
	if declared {
		if bad := c.fit(r, res); bad != nil {
			return bad
		}
	}
	var scratch [64]byte
	columns := res.Columns[:len(r.Fields)]
	for i := range r.Fields {
		col := &columns[i]
		if col.Kinds == 0 || (declared && c.Declared[i] != nil) {
			continue
		}
		f := &r.Fields[i]
		v := r.Raw[f.Start:f.End]
		switch {
		case f.Escaped:
			v, _ = r.Value(&c.Dialect, i, scratch[:0])
		case !f.Quoted && (len(v) == 0 || len(c.Dialect.Nulls) > 0 && c.Dialect.isNull(v)):
			continue
		}
		col.Add(&c.Formats, v)
	}
	return nil
}

// fit holds the values of declared columns against their types. An empty text in quotes counts as
// null there: a number or a date cannot be empty.
func (c *Check) fit(r *Record, res *Result) *Bad {
	for i, fits := range c.Declared {
		if fits == nil {
			continue
		}
		v, null := r.Value(&c.Dialect, i, nil)
		if null {
			continue
		}
		if len(v) == 0 {
			res.Columns[i].EmptyText = true
			continue
		}
		if reason := fits(v); reason != "" {
			return &Bad{Line: r.Line, Column: c.Names[i], Reason: reason, Raw: r.Raw}
		}
	}
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func are(n int, what string) string {
	if n == 1 {
		return "is 1 " + what
	}
	return fmt.Sprintf("are %d %ss", n, what)
}
