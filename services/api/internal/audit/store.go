package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Heads keeps the newest head away from the folder of the record, so that a record that was cut back
// together with its checkpoints is noticed.
type Heads interface {
	// Head gives what Keep kept last; the zero Head for nothing yet.
	Head(ctx context.Context) (chain.Head, error)
	Keep(ctx context.Context, h chain.Head) error
}

// Config of a Store. Zeros have meanings.
type Config struct {
	// Dir is the folder of the record; it is made where it is missing.
	Dir string
	// Heads may be nil.
	Heads Heads
	// Keep is how long sealed segments are kept; zero means for ever.
	Keep time.Duration
	// SegmentBytes is the size at which a segment is sealed; zero means 64 MiB.
	SegmentBytes int64
	// PointRecords is after how many records a checkpoint is due; zero means 1,000.
	PointRecords int64
	// PointEvery is after how long one is due where something is new; zero means a minute.
	PointEvery time.Duration
	// Window is how many ids of events are remembered; zero means 100,000.
	Window int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.PointRecords <= 0 {
		c.PointRecords = 1000
	}
	if c.PointEvery <= 0 {
		c.PointEvery = time.Minute
	}
	if c.Window <= 0 {
		c.Window = 100_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Store is the record on disk. One goroutine appends at a time; readers see what is synced and are
// never waited for. It is safe for concurrent use.
type Store struct {
	cfg Config
	key ed25519.PrivateKey
	log zerolog.Logger
	// Broken says what Open found wrong with the record that stands; empty for nothing.
	Broken string

	mu      sync.Mutex // what is appended
	head    chain.Head
	segment *os.File // the open one; nil where the next record begins a new one
	size    int64
	month   string
	ids     *window
	points  *os.File
	point   chain.Head // of the last checkpoint
	prev    string     // hash of its line
	length  int64      // bytes of the checkpoints

	shown atomic.Pointer[view]
	// standing is held for reading by who needs the files to stay, and for writing while old ones go.
	standing sync.RWMutex
	searches chan struct{}
}

// view is what readers see: the synced part of the record.
type view struct {
	segments []segment
	head     chain.Head
}

type segment struct {
	first, size int64
	// written is when it was last appended to: no record in it is younger.
	written time.Time
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, parts...)...)
}

func (s *Store) segmentPath(first int64) string {
	return s.path(chain.SegmentsDir, chain.SegmentName(first))
}

// Head is the last record that is synced.
func (s *Store) Head() chain.Head { return s.shown.Load().head }

// PublicKey is the key that checkpoints are signed by.
func (s *Store) PublicKey() ed25519.PublicKey {
	public, _ := s.key.Public().(ed25519.PublicKey)
	return public
}

// entry is what goes into the chain as it stands.
type entry struct {
	id  string
	at  time.Time
	raw []byte
}

func entryOf(r chain.Record) (entry, error) {
	raw, err := chain.Entry(r)
	if err == nil {
		var e entry
		e.raw = raw
		if e.id, e.at, err = chain.ReadEntry(raw); err == nil {
			return e, nil
		}
	}
	return entry{}, fault.Wrap(err, fault.Permanent, "an entry of the record cannot be written")
}

// Append puts records behind the last one, in order, and returns when they are synced. A record whose
// event is in the record already is left out. Seq, Prev and Hash are set here.
func (s *Store) Append(ctx context.Context, records []chain.Record) error {
	list := make([]entry, len(records))
	for i, r := range records {
		var err error
		if list[i], err = entryOf(r); err != nil {
			return err
		}
	}
	return s.append(ctx, list)
}

func (s *Store) append(ctx context.Context, list []entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.known(ctx, list)
	if err != nil {
		return err
	}
	var buf []byte
	var taken []entry
	head := s.head
	for _, e := range list {
		if known[e.id] {
			continue
		}
		known[e.id] = true
		line, next, err := chain.LinkEntry(head, e.raw)
		if err != nil {
			return fault.Wrap(err, fault.Permanent, "an entry of the record cannot be written")
		}
		buf, head, taken = append(buf, line...), next, append(taken, e)
	}
	if len(taken) == 0 {
		return nil
	}
	if err := s.write(buf); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the record cannot be written")
	}
	s.head = head
	for _, e := range taken {
		s.ids.add(e.id, e.at)
	}
	s.show()
	if s.head.Seq-s.point.Seq >= s.cfg.PointRecords {
		s.checkpointOrLog(ctx)
	}
	return nil
}

// known tells which of the events are in the record: by the ids that are remembered, and for an event
// that is older than those by the files.
func (s *Store) known(ctx context.Context, list []entry) (map[string]bool, error) {
	known := map[string]bool{}
	older := map[string]bool{}
	for _, e := range list {
		switch {
		case s.ids.has(e.id):
			known[e.id] = true
		case !e.at.After(s.ids.forgotten):
			older[e.id] = true
		}
	}
	if len(older) == 0 {
		return known, nil
	}
	err := s.forwards(ctx, s.shown.Load(), 0, func(line []byte) error {
		if id := string(chain.IDOf(line)); older[id] {
			known[id] = true
		}
		return nil
	})
	return known, err
}

// write appends to the open segment and syncs. What was written in part is cut off again. The caller
// holds mu.
func (s *Store) write(buf []byte) error {
	month := s.cfg.Now().UTC().Format("2006-01")
	if s.segment != nil && (s.size >= s.cfg.SegmentBytes || month != s.month) {
		if err := s.seal(); err != nil {
			return err
		}
	}
	if s.segment == nil {
		if err := s.begin(month); err != nil {
			return err
		}
	}
	n, err := s.segment.WriteAt(buf, s.size)
	if err == nil {
		err = s.segment.Sync()
	}
	if err != nil {
		if n > 0 {
			err = errors.Join(err, s.segment.Truncate(s.size))
		}
		return err
	}
	s.size += int64(n)
	return nil
}

// begin makes the next segment.
func (s *Store) begin(month string) error {
	f, err := os.OpenFile(s.segmentPath(s.head.Seq+1), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(0), lake.SyncDir(s.path(chain.SegmentsDir))); err != nil {
		return errors.Join(err, f.Close())
	}
	s.segment, s.size, s.month = f, 0, month
	return nil
}

// seal ends the open segment with a checkpoint.
func (s *Store) seal() error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	err := errors.Join(s.segment.Chmod(0o400), s.segment.Close())
	s.segment = nil
	return err
}

// show lets readers see what was appended.
func (s *Store) show() {
	old := s.shown.Load()
	next := &view{head: s.head}
	if old != nil {
		next.segments = slices.Clone(old.segments)
	}
	first, _ := chain.SegmentFirst(filepath.Base(s.segment.Name()))
	now := segment{first: first, size: s.size, written: s.cfg.Now()}
	if n := len(next.segments); n > 0 && next.segments[n-1].first == first {
		if before := next.segments[n-1].written; before.After(now.written) {
			now.written = before // the clock went back: what stands in it is still as young
		}
		next.segments[n-1] = now
	} else {
		next.segments = append(next.segments, now)
	}
	s.shown.Store(next)
}

// Checkpoint signs the head where something is new, and keeps it elsewhere too.
func (s *Store) Checkpoint(ctx context.Context) error {
	s.mu.Lock()
	before := s.point
	err := s.checkpoint()
	point := s.point
	s.mu.Unlock()
	if err != nil || point == before {
		return err
	}
	s.tell(ctx, point)
	return nil
}

// tell keeps a head where the record is not: in the state and in the log.
func (s *Store) tell(ctx context.Context, h chain.Head) {
	s.log.Info().Int64("seq", h.Seq).Str("hash", h.Hash).Msg("checkpoint of the audit record")
	if s.cfg.Heads == nil {
		return
	}
	if err := s.cfg.Heads.Keep(ctx, h); err != nil {
		s.log.Warn().Err(err).Msg("the head of the audit record could not be kept in the state")
	}
}

// checkpointOrLog is for callers whose own work is done: the checkpoint is made later. The caller holds mu.
func (s *Store) checkpointOrLog(ctx context.Context) {
	if err := s.checkpoint(); err != nil {
		s.log.Error().Err(err).Msg("no checkpoint of the audit record can be written")
		return
	}
	s.tell(ctx, s.point)
}

// checkpoint appends a checkpoint and syncs it. The caller holds mu.
func (s *Store) checkpoint() error {
	if s.head.Seq <= s.point.Seq {
		return nil
	}
	line, err := chain.Sign(chain.Checkpoint{
		Kind: chain.KindCheckpoint, Seq: s.head.Seq, Hash: s.head.Hash, Time: chain.Time{Time: s.cfg.Now()}, Records: s.head.Seq - s.point.Seq, Prev: s.prev,
	}, s.key)
	if err != nil {
		return err
	}
	n, err := s.points.WriteAt(line, s.length)
	if err == nil {
		err = s.points.Sync()
	}
	if err != nil {
		if n > 0 {
			err = errors.Join(err, s.points.Truncate(s.length))
		}
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	s.length += int64(n)
	s.prev = chain.LineHash(line[:len(line)-1])
	s.point = s.head
	return nil
}

// Run makes checkpoints that are due and removes what is too old, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	every := time.NewTicker(min(s.cfg.PointEvery, time.Minute))
	defer every.Stop()
	var swept time.Time
	for {
		if s.cfg.Keep > 0 && time.Since(swept) > time.Hour {
			done, err := s.Sweep()
			if done {
				swept = time.Now()
			}
			if err != nil {
				s.log.Error().Err(err).Msg("old segments of the audit record could not be removed")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if err := s.Checkpoint(ctx); err != nil {
			s.log.Error().Err(err).Msg("no checkpoint of the audit record can be written")
		}
	}
}

// Close makes a last checkpoint and closes the files.
func (s *Store) Close(ctx context.Context) error {
	err := s.Checkpoint(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.segment != nil {
		err = errors.Join(err, s.segment.Close())
		s.segment = nil
	}
	return errors.Join(err, s.points.Close())
}

// window remembers ids of events.
type window struct {
	most int
	ring []remembered
	next int
	set  map[string]struct{}
	// forgotten is the latest time of an event that is no longer remembered.
	forgotten time.Time
}

type remembered struct {
	id   string
	time time.Time
}

func newWindow(most int) *window { return &window{most: most, set: map[string]struct{}{}} }

func (w *window) has(id string) bool {
	_, ok := w.set[id]
	return ok
}

func (w *window) add(id string, at time.Time) {
	if len(w.ring) < w.most {
		w.ring = append(w.ring, remembered{id, at})
	} else {
		old := w.ring[w.next]
		delete(w.set, old.id)
		if old.time.After(w.forgotten) {
			w.forgotten = old.time
		}
		w.ring[w.next] = remembered{id, at}
		w.next = (w.next + 1) % w.most
	}
	w.set[id] = struct{}{}
}

// HeadText writes a head as one line of JSON, for where it is kept; ParseHead reads it.
func HeadText(h chain.Head) string {
	return fmt.Sprintf(`{"seq":%d,"hash":%q}`, h.Seq, h.Hash)
}

// ParseHead reads what HeadText wrote.
func ParseHead(text string) (chain.Head, error) {
	var h chain.Head
	err := json.Unmarshal([]byte(text), &h)
	return h, err
}
