package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// keyFile holds the private key, as PKCS 8 in PEM.
const keyFile = "key"

// Open opens the record, making it where there is none. A last line that a killed process left
// unfinished was never confirmed, and is cut off. What else is wrong is told (Broken, and the log) and
// left as it is: the record goes on behind it. The logger is taken from ctx.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg.withDefaults(), log: *zerolog.Ctx(ctx), searches: make(chan struct{}, 2)}
	s.ids = newWindow(s.cfg.Window)
	if err := os.MkdirAll(s.path(chain.SegmentsDir), 0o700); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of the audit record cannot be made")
	}
	err := s.openKey()
	if err == nil {
		err = s.openPoints()
	}
	if err == nil {
		err = s.openSegments(ctx)
	}
	if err == nil {
		err = s.compare(ctx)
	}
	if err != nil {
		if s.points != nil {
			_ = s.points.Close()
		}
		if s.segment != nil {
			_ = s.segment.Close()
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the audit record cannot be opened")
	}
	if s.Broken != "" {
		s.log.Error().Str("what", s.Broken).Int64("seq", s.head.Seq).Msg("the audit record is not whole: verify it")
	}
	return s, nil
}

func (s *Store) broken(format string, args ...any) {
	if s.Broken == "" {
		s.Broken = fmt.Sprintf(format, args...)
	}
}

// openKey reads the key, or makes it where there is no record yet.
func (s *Store) openKey() error {
	raw, err := os.ReadFile(s.path(keyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.makeKey(); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		block, _ := pem.Decode(raw)
		if block == nil {
			return fault.New(fault.Permanent, "the key of the audit record is broken: restore state/audit/key")
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return fault.Wrap(err, fault.Permanent, "the key of the audit record is broken: restore state/audit/key")
		}
		key, ok := parsed.(ed25519.PrivateKey)
		if !ok {
			return fault.New(fault.Permanent, "the key of the audit record is no Ed25519 key: restore state/audit/key")
		}
		s.key = key
	}
	text := chain.FormatPublicKey(s.PublicKey())
	if stands, err := os.ReadFile(s.path(chain.PublicKeyFile)); err == nil && string(stands) == text {
		return nil
	}
	return lake.WriteFileAtomic(s.path(chain.PublicKeyFile), []byte(text), 0o644)
}

func (s *Store) makeKey() error {
	if info, err := os.Stat(s.path(chain.CheckpointsFile)); err == nil && info.Size() > 0 {
		s.broken("the key is missing, though there are checkpoints: a new one was made")
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	s.key = key
	return lake.WriteFileAtomic(s.path(keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600)
}

// openPoints finds the last checkpoint.
func (s *Store) openPoints() error {
	s.prev = chain.ZeroHash
	if raw, err := os.ReadFile(s.path(chain.BaseFile)); err == nil {
		base, err := chain.ReadCheckpoint(bytes.TrimSuffix(raw, []byte("\n")), s.PublicKey())
		if err != nil {
			s.broken("the base of the record: %s", fault.Message(err))
		}
		s.point, s.prev = base.Head(), base.Prev
	}
	f, err := os.OpenFile(s.path(chain.CheckpointsFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.points = f
	if s.length, err = whole(f); err != nil {
		return err
	}
	return backwards(f, s.length, func(line []byte) (bool, error) {
		c, err := chain.ReadCheckpoint(line, s.PublicKey())
		if err != nil {
			s.broken("the last checkpoint: %s", fault.Message(err))
		}
		s.prev = chain.LineHash(line)
		if c.Seq > s.point.Seq {
			s.point = c.Head()
		}
		return false, nil
	})
}

// whole is the size of a file of lines without an unfinished last one, which is cut off.
func whole(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	size := info.Size()
	tail := make([]byte, min(size, chain.MaxLine))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == len(tail) {
		return size, nil
	}
	if end == 0 && int64(len(tail)) < size {
		return size, nil // longer than any line: not ours to cut
	}
	size -= int64(len(tail) - end)
	return size, errors.Join(f.Truncate(size), f.Sync())
}

func (s *Store) openSegments(ctx context.Context) error {
	entries, err := os.ReadDir(s.path(chain.SegmentsDir))
	if err != nil {
		return err
	}
	v := &view{}
	for _, e := range entries {
		first, ok := chain.SegmentFirst(e.Name())
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		v.segments = append(v.segments, segment{first: first, size: info.Size(), written: info.ModTime()})
	}
	slices.SortFunc(v.segments, func(a, b segment) int { return int(a.first - b.first) })
	s.head = chain.Head{Hash: chain.ZeroHash}
	if _, err := os.Stat(s.path(chain.BaseFile)); err == nil {
		s.head = s.point
	}
	if n := len(v.segments); n > 0 {
		if err := s.openLast(&v.segments[n-1]); err != nil {
			return err
		}
		if v.segments[n-1].size == 0 {
			v.segments = v.segments[:n-1]
		}
	}
	v.head = s.head
	s.shown.Store(v)
	return s.remember(ctx, v)
}

// openLast reads the last segment to its end.
func (s *Store) openLast(last *segment) error {
	path := s.segmentPath(last.first)
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.segment = f
	if s.size, err = whole(f); err != nil {
		return err
	}
	if s.size == 0 { // made, and killed before the first record
		s.head.Seq = last.first - 1
		if s.point.Seq == s.head.Seq {
			s.head = s.point
		}
		last.size, s.segment = 0, nil
		return errors.Join(f.Close(), os.Remove(path))
	}
	lines := chain.NewLines(io.NewSectionReader(f, 0, s.size))
	for n := 1; lines.Next(); n++ {
		link, err := chain.ReadLink(lines.Line())
		if err != nil || !link.Whole {
			s.broken("line %d of %s is no record, or was edited", n, filepath.Base(path))
		}
		if err != nil {
			link.Seq, link.Hash = s.head.Seq+1, chain.LineHash(lines.Line())
		}
		s.head = chain.Head{Seq: link.Seq, Hash: link.Hash}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	last.size, s.month = s.size, last.written.UTC().Format("2006-01")
	return nil
}

// remember reads the ids of the last records.
func (s *Store) remember(ctx context.Context, v *view) error {
	var tail []remembered
	err := s.backwards(ctx, v, func(line []byte) (bool, error) {
		at, _ := time.Parse(chain.TimeFormat, string(chain.TimeOf(line)))
		tail = append(tail, remembered{string(chain.IDOf(line)), at})
		return len(tail) <= s.cfg.Window, nil // one more, to know since when
	})
	for _, r := range slices.Backward(tail) {
		s.ids.add(r.id, r.time)
	}
	if len(tail) > s.cfg.Window && s.ids.forgotten.Before(tail[len(tail)-2].time) {
		s.ids.forgotten = tail[len(tail)-2].time // what came earlier may be a little younger
	}
	return err
}

// compare looks for a record that ends before what is known of it elsewhere. It goes on behind what is
// missing, so that the gap stays visible.
func (s *Store) compare(ctx context.Context) error {
	known := []chain.Head{s.point}
	if s.cfg.Heads != nil {
		kept, err := s.cfg.Heads.Head(ctx)
		if err != nil {
			return err
		}
		known = append(known, kept)
	}
	for _, k := range known {
		if k.Seq <= s.head.Seq {
			if found, err := s.hashAt(ctx, k.Seq); err != nil || (found != "" && found != k.Hash) {
				s.broken("record %d is not the one that was vouched for", k.Seq)
			}
			continue
		}
		s.broken("it ends with record %d, but %d was written", s.head.Seq, k.Seq)
		s.head = k
		if s.segment != nil {
			if err := s.segment.Close(); err != nil {
				return err
			}
			s.segment = nil
		}
		v := *s.shown.Load()
		v.head = s.head
		s.shown.Store(&v)
	}
	return nil
}

// hashAt is the hash of one record; empty where it is not there.
func (s *Store) hashAt(ctx context.Context, seq int64) (string, error) {
	hash := ""
	if seq <= 0 {
		return "", nil
	}
	err := s.forwards(ctx, s.shown.Load(), seq-1, func(line []byte) error {
		link, err := chain.ReadLink(line)
		if err != nil {
			return err
		}
		if link.Seq == seq {
			hash = link.Hash
		}
		return errEnough
	})
	return hash, err
}
