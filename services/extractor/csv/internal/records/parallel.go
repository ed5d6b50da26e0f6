package records

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// errStop ends a segment at its first bad record.
var errStop = errors.New("a bad record")

// segment is a piece of a file that is read by itself, on the assumption that a record starts at its
// start.
type segment struct {
	start, end int64
	res        *Result
	bad        *Bad
	err        error
}

// RunParallel is Run over a file of the given size, by several workers at once, and up to the first
// bad record, which it gives. Bad and Good are not called, and Batch is called by all workers.
//
// Each worker takes it that the first line break of its piece ends a record. Where it stands inside
// of a quoted value instead, the piece before ends elsewhere, and the pieces are read again from there.
func (c *Check) RunParallel(ctx context.Context, r io.ReaderAt, size int64, workers int) (*Result, *Bad, error) {
	segments, err := c.cut(r, size, max(workers, 1))
	if err != nil {
		return nil, nil, err
	}
	var group sync.WaitGroup
	for i := range segments {
		group.Go(func() { c.runSegment(ctx, r, size, &segments[i], i == 0) })
	}
	group.Wait()
	total := segments[0].res
	if segments[0].bad != nil || segments[0].err != nil {
		return total, segments[0].bad, segments[0].err
	}
	for i := 1; i < len(segments); i++ {
		s := &segments[i]
		if s.start != total.Offset {
			*s = segment{start: total.Offset, end: s.end}
			if s.start >= s.end && s.end < size {
				continue
			}
			c.runSegment(ctx, r, size, s, false)
		}
		if s.bad != nil {
			s.bad.Line += total.Lines
		}
		if line := (*LineError)(nil); errors.As(s.err, &line) {
			line.Line += total.Lines
		}
		if s.bad != nil || s.err != nil {
			return total, s.bad, s.err
		}
		total.add(s.res, s.start)
	}
	return total, nil, nil
}

// cut finds the line breaks nearest to equal pieces.
func (c *Check) cut(r io.ReaderAt, size int64, workers int) ([]segment, error) {
	starts := []int64{0}
	buf := make([]byte, 64<<10)
	for i := 1; i < workers; i++ {
		at := max(size/int64(workers)*int64(i), starts[len(starts)-1])
		for at < size {
			n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
			if nl := bytes.IndexByte(buf[:n], c.Dialect.Newline); nl >= 0 {
				if at += int64(nl) + 1; at < size {
					starts = append(starts, at)
				}
				break
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			if n == 0 {
				break
			}
			at += int64(n)
		}
	}
	segments := make([]segment, len(starts))
	for i, start := range starts {
		segments[i] = segment{start: start, end: size}
		if i+1 < len(starts) {
			segments[i].end = starts[i+1]
		}
	}
	return segments, nil
}

// runSegment reads one piece. Its offsets and lines are relative to its start. An error counts only if
// the piece turns out to start where a record does.
func (c *Check) runSegment(ctx context.Context, r io.ReaderAt, size int64, seg *segment, first bool) {
	part := *c
	part.Good = nil
	part.Bad = func(b Bad) error {
		b.Raw = append([]byte(nil), b.Raw...)
		seg.bad = &b
		return errStop
	}
	if !first {
		part.Dialect.Header, part.Dialect.Skip = false, 0
	}
	s := NewScanner(io.NewSectionReader(r, seg.start, size-seg.start), part.Dialect)
	s.Limit(seg.end - seg.start)
	res, err := part.run(ctx, s)
	if errors.Is(err, errStop) {
		res, err = &Result{}, nil
	}
	seg.res, seg.err = res, err
}

// add takes the result of the piece that follows, which started at start.
func (r *Result) add(o *Result, start int64) {
	r.Records += o.Records
	for i := range r.Columns {
		r.Columns[i].Merge(o.Columns[i])
	}
	r.crlf, r.lf = r.crlf || o.crlf, r.lf || o.lf
	r.Odd = r.Odd || o.Odd || r.crlf && r.lf
	r.Multiline = r.Multiline || o.Multiline
	r.Longest = max(r.Longest, o.Longest)
	r.Bytes += o.Bytes
	r.Lines += o.Lines
	r.Offset = start + o.Offset
}
