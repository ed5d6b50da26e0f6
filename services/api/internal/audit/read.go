package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	chain "github.com/agnes-platform/agnes/pkg/audit"
)

// errEnough ends a reading.
var errEnough = errors.New("enough")

// open opens a segment; nil where it was removed because of its age meanwhile.
func (s *Store) open(g segment) (*os.File, error) {
	f, err := os.Open(s.segmentPath(g.first))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // see above
	}
	return f, err
}

// forwards reads the lines behind a number, oldest first, until do gives an error; errEnough is none.
// A line stands only until do returns.
func (s *Store) forwards(ctx context.Context, v *view, after int64, do func(line []byte) error) error {
	for i, g := range v.segments {
		if i+1 < len(v.segments) && v.segments[i+1].first <= after+1 {
			continue
		}
		err := s.forwardsOne(ctx, g, after, do)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forwardsOne(ctx context.Context, g segment, after int64, do func(line []byte) error) error {
	f, err := s.open(g)
	if f == nil || err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := chain.NewLines(io.NewSectionReader(f, 0, g.size))
	for n := 0; lines.Next(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if after > 0 {
			if seq, ok := chain.SeqOf(lines.Line()); ok && seq <= after {
				continue
			}
		}
		if err := do(lines.Line()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// backwards reads lines newest first while do gives true. A line stands only until do returns.
func (s *Store) backwards(ctx context.Context, v *view, do func(line []byte) (bool, error)) error {
	for i := len(v.segments) - 1; i >= 0; i-- {
		more, err := s.backwardsOne(ctx, v.segments[i], do)
		if !more || err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) backwardsOne(ctx context.Context, g segment, do func(line []byte) (bool, error)) (more bool, err error) {
	f, err := s.open(g)
	if f == nil || err != nil {
		return true, err
	}
	defer func() { _ = f.Close() }()
	more = true
	n := 0
	err = backwards(f, g.size, func(line []byte) (bool, error) {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		var err error
		more, err = do(line)
		return more, err
	})
	return more, err
}

// readBlock is how much is read at once.
const readBlock = 256 << 10

// backwards reads the lines of a file that ends with a newline, last first, while do gives true.
func backwards(f io.ReaderAt, size int64, do func(line []byte) (bool, error)) error {
	var rest []byte      // the end of a line whose beginning was not read yet
	var blocks [2][]byte // used in turn: rest stands in the one before
	turn := 0
	for end := size; end > 0; {
		n := min(int64(readBlock), end)
		need := int(n) + len(rest)
		if cap(blocks[turn]) < need {
			blocks[turn] = make([]byte, need+need/4)
		}
		buf := blocks[turn][:need]
		turn = 1 - turn
		copy(buf[n:], rest)
		if _, err := f.ReadAt(buf[:n], end-n); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end -= n
		for len(buf) > 0 {
			line := bytes.TrimSuffix(buf, []byte("\n"))
			start := bytes.LastIndexByte(line, '\n') + 1
			if start == 0 && end > 0 {
				break
			}
			more, err := do(line[start:])
			if !more || err != nil {
				return err
			}
			buf = buf[:start]
		}
		rest = buf
	}
	return nil
}
