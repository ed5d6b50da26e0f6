package audit

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Archive writes the record as a tar.gz that chain.VerifyArchive takes: everything up to a checkpoint
// that is made for it. Recording goes on meanwhile; nothing is removed until it is written.
func (s *Store) Archive(ctx context.Context, w io.Writer) error {
	s.standing.RLock()
	defer s.standing.RUnlock()
	s.mu.Lock()
	err := s.checkpoint()
	v, length := s.shown.Load(), s.length
	s.mu.Unlock()
	if err != nil {
		return err
	}
	zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	files := tar.NewWriter(zipped)
	put := func(name string, size int64) error {
		return s.put(ctx, files, name, size)
	}
	err = put(chain.PublicKeyFile, -1)
	if err == nil {
		if err = put(chain.BaseFile, -1); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = put(chain.CheckpointsFile, length)
	}
	for _, g := range v.segments {
		if err == nil {
			err = put(path.Join(chain.SegmentsDir, chain.SegmentName(g.first)), g.size)
		}
	}
	if err != nil {
		return fmt.Errorf("write the archive of the record: %w", err)
	}
	return errors.Join(files.Close(), zipped.Close())
}

// put adds the first size bytes of a file; all of it where size is negative.
func (s *Store) put(ctx context.Context, files *tar.Writer, name string, size int64) error {
	f, err := os.Open(s.path(name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size < 0 {
		size = info.Size()
	}
	if err := files.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: info.ModTime()}); err != nil {
		return err
	}
	for left := size; left > 0; {
		n, err := io.CopyN(files, f, min(left, 8<<20))
		if err != nil {
			return err
		}
		left -= n
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Sweep removes sealed segments whose youngest record is older than Keep. A base, signed like a
// checkpoint, is written first: verification begins behind it. It is not done while somebody fetches an
// archive, however long they take.
func (s *Store) Sweep() (done bool, err error) {
	if !s.standing.TryLock() {
		return false, nil
	}
	defer s.standing.Unlock()
	return true, s.sweep()
}

// sweep is Sweep; the caller holds standing.
func (s *Store) sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.shown.Load()
	limit := s.cfg.Now().Add(-s.cfg.Keep)
	old := 0
	for old < len(v.segments)-1 && v.segments[old].written.Before(limit) {
		old++
	}
	for ; old > 0; old-- {
		point, line, err := s.pointAtSeq(v.segments[old].first - 1)
		if err != nil {
			return err
		}
		if line != nil {
			return s.removeTo(v, old, point, line)
		}
	}
	return s.removeLeft()
}

// pointAtSeq finds the checkpoint that stands behind a record; a nil line where there is none.
func (s *Store) pointAtSeq(seq int64) (chain.Checkpoint, []byte, error) {
	lines := chain.NewLines(io.NewSectionReader(s.points, 0, s.length))
	mark := fmt.Appendf(nil, `"seq":%d,`, seq)
	for lines.Next() {
		if !bytes.Contains(lines.Line(), mark) {
			continue
		}
		c, err := chain.ReadCheckpoint(lines.Line(), s.PublicKey())
		if err == nil && c.Seq == seq {
			return c, bytes.Clone(lines.Line()), nil
		}
	}
	return chain.Checkpoint{}, nil, lines.Err()
}

// removeTo removes the first segments up to the checkpoint behind them. Each step can be the last one
// before a kill -9: the record is whole after each, and the next sweep goes on.
func (s *Store) removeTo(v *view, old int, point chain.Checkpoint, line []byte) error {
	base, err := chain.Sign(chain.Checkpoint{
		Kind: chain.KindBase, Seq: point.Seq, Hash: point.Hash, Time: chain.Time{Time: s.cfg.Now()}, Records: point.Seq, Prev: chain.LineHash(line),
	}, s.key)
	if err != nil {
		return err
	}
	if err := lake.WriteFileAtomic(s.path(chain.BaseFile), base, 0o600); err != nil {
		return err
	}
	if err := s.dropPoints(line); err != nil {
		return err
	}
	gone := v.segments[:old]
	s.shown.Store(&view{head: v.head, segments: v.segments[old:]})
	for _, g := range gone {
		if err := os.Remove(s.segmentPath(g.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.log.Info().Int64("seq", point.Seq).Int("segments", old).Msg("old segments of the audit record were removed")
	return lake.SyncDir(s.path(chain.SegmentsDir))
}

// dropPoints writes the checkpoints behind a line into a file of their own, and puts it in place.
func (s *Store) dropPoints(upTo []byte) error {
	tmp := s.path(chain.CheckpointsFile + ".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	lines := chain.NewLines(io.NewSectionReader(s.points, 0, s.length))
	var length int64
	for kept := false; lines.Next(); {
		if kept {
			n, _ := out.Write(append(bytes.Clone(lines.Line()), '\n')) // Flush tells
			length += int64(n)
		}
		kept = kept || bytes.Equal(lines.Line(), upTo)
	}
	if err := errors.Join(lines.Err(), out.Flush(), f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := os.Rename(tmp, s.path(chain.CheckpointsFile)); err != nil {
		return errors.Join(err, f.Close())
	}
	old := s.points
	s.points, s.length = f, length
	return errors.Join(old.Close(), lake.SyncDir(s.cfg.Dir))
}

// removeLeft removes what an interrupted sweep left behind.
func (s *Store) removeLeft() error {
	raw, err := os.ReadFile(s.path(chain.BaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	base, err := chain.ReadCheckpoint(bytes.TrimSuffix(raw, []byte("\n")), s.PublicKey())
	if err != nil {
		return err
	}
	v := s.shown.Load()
	left := 0
	for left < len(v.segments)-1 && v.segments[left+1].first <= base.Seq+1 {
		left++
	}
	if left == 0 {
		return nil
	}
	s.shown.Store(&view{head: v.head, segments: v.segments[left:]})
	for _, g := range v.segments[:left] {
		if err := os.Remove(s.segmentPath(g.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, line, err := s.pointAtSeq(base.Seq)
	if err != nil || line == nil {
		return err
	}
	return s.dropPoints(line)
}

// ParseKeep reads how long segments are kept: a duration of Go, or days such as 365d; empty for ever.
func ParseKeep(text string) (time.Duration, error) {
	var days int
	var rest string
	if n, _ := fmt.Sscanf(text, "%d%s", &days, &rest); n == 2 && rest == "d" && days > 0 && days < 100_000 {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	if text == "" || text == "0" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
