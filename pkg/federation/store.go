package federation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// StoreOptions say how much a Store keeps. Every zero has a meaning.
type StoreOptions struct {
	// Dir is the folder; it is emptied. It must belong to the store alone.
	Dir string
	// TTL is how long a fetched file answers for its table; zero means five minutes.
	TTL time.Duration
	// Bytes is how much is kept at most; zero means 4 GiB. What statements use at the moment is kept whatever its size.
	Bytes int64
	// Limits bound one scan; zeros mean 500,000 rows and 1 GiB.
	Limits Limits
	// Timeout ends a fetch; zero means five minutes.
	Timeout time.Duration
	now     func() time.Time
}

// Store keeps what was fetched, in a folder for each place: who may read the one may not read the other. It
// is safe for concurrent use.
type Store struct {
	opts StoreOptions

	mu    sync.Mutex
	files map[string]*file
	stats Stats
}

// Stats count what a store did.
type Stats struct {
	Fetches, Failed, Hits, Rows, Bytes int64
	Took                               time.Duration
}

// file is one that is fetched or being fetched.
type file struct {
	key, path string
	done      chan struct{} // closed when err and fetched are known
	cancel    context.CancelFunc
	err       error
	fetched   Amount
	at        time.Time // when it was fetched
	users     int
	gone      bool // nobody finds it any more
}

// NewStore empties the folder and keeps what is fetched there.
func NewStore(o StoreOptions) (*Store, error) {
	o.TTL = cmp.Or(o.TTL, 5*time.Minute)
	o.Bytes = cmp.Or(o.Bytes, 4<<30)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Minute)
	o.Limits.Rows = cmp.Or(o.Limits.Rows, 500_000)
	o.Limits.Bytes = cmp.Or(o.Limits.Bytes, 1<<30)
	if o.now == nil {
		o.now = time.Now
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("empty the store of fetched tables: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store of fetched tables: %w", err)
	}
	return &Store{opts: o, files: make(map[string]*file)}, nil
}

func (s *Store) dir(place string) string {
	sum := sha256.Sum256([]byte(place))
	return filepath.Join(s.opts.Dir, hex.EncodeToString(sum[:12]))
}

// Get gives the file of a scan: one that is kept, or one that is fetched now, once for all who ask at the
// same time. release ends its use; afterwards it may be removed.
func (s *Store) Get(ctx context.Context, place string, scan Scan, t Table, f Fetcher) (path string, release func(), err error) {
	if err := scan.Check(t.Columns); err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %s", place, t.ID, t.Remote, t.Path, t.Version, scan.Key()))
	key := hex.EncodeToString(sum[:])
	s.mu.Lock()
	found := s.files[key]
	if found != nil && !s.fresh(found) {
		s.drop(found)
		found = nil
	}
	if found == nil {
		dir := s.dir(place)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			s.mu.Unlock()
			return "", nil, fault.Wrap(err, fault.Unavailable, "there is no room for fetched rows at the moment")
		}
		found = s.begin(ctx, key, dir, scan, t, f)
	} else {
		s.stats.Hits++
	}
	found.users++
	s.mu.Unlock()
	release = sync.OnceFunc(func() { s.release(found) })
	select {
	case <-found.done:
	case <-ctx.Done():
		release()
		return "", nil, context.Cause(ctx)
	}
	if found.err != nil {
		release()
		return "", nil, found.err
	}
	return found.path, release, nil
}

// fresh tells whether a file may answer. s.mu is held.
func (s *Store) fresh(f *file) bool {
	select {
	case <-f.done:
		return f.err == nil && s.opts.now().Sub(f.at) < s.opts.TTL
	default:
		return true
	}
}

// begin fetches aside, for as long as somebody waits. s.mu is held.
func (s *Store) begin(ctx context.Context, key, dir string, scan Scan, t Table, f Fetcher) *file {
	var random = fmt.Sprintf("%s-%d.parquet", key[:32], s.opts.now().UnixNano())
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.opts.Timeout,
		fault.New(fault.TooLarge, "the table %s was not read within %v, which is the limit; filter it more", t.ID, s.opts.Timeout))
	made := &file{key: key, path: filepath.Join(dir, random), done: make(chan struct{}), cancel: cancel}
	s.files[key] = made
	s.stats.Fetches++
	go func() {
		defer cancel()
		begun := s.opts.now()
		fetched, err := f.Fetch(ctx, scan, t, s.opts.Limits, made.path)
		var known *fault.Error
		if err != nil && ctx.Err() != nil && errors.As(context.Cause(ctx), &known) {
			err = known
		}
		if err != nil {
			_ = os.Remove(made.path)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		made.fetched, made.err, made.at = fetched, err, s.opts.now()
		close(made.done)
		s.stats.Took += made.at.Sub(begun)
		if err != nil {
			s.stats.Failed++
			s.drop(made)
			return
		}
		s.stats.Rows += fetched.Rows
		s.stats.Bytes += fetched.Bytes
		s.shrink()
	}()
	return made
}

func (s *Store) release(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.users--
	select {
	case <-f.done:
	default:
		if f.users == 0 {
			f.cancel() // nobody waits for it
			s.drop(f)
		}
		return
	}
	if f.users == 0 && f.gone {
		_ = os.Remove(f.path)
	}
	s.shrink()
}

// drop has nobody find a file any more; it is removed where nobody uses it. s.mu is held.
func (s *Store) drop(f *file) {
	if s.files[f.key] == f {
		delete(s.files, f.key)
	}
	f.gone = true
	if f.users == 0 {
		_ = os.Remove(f.path) // one that is still written is removed by who writes it
	}
}

// shrink removes what is old, and the oldest of what is too much. s.mu is held.
func (s *Store) shrink() {
	var idle []*file
	var total int64
	for _, f := range s.files {
		if !s.fresh(f) {
			s.drop(f)
			continue
		}
		total += f.fetched.Bytes
		if f.users == 0 {
			idle = append(idle, f)
		}
	}
	slices.SortFunc(idle, func(a, b *file) int { return a.at.Compare(b.at) })
	for _, f := range idle {
		if total <= s.opts.Bytes {
			return
		}
		total -= f.fetched.Bytes
		s.drop(f)
	}
}

// restingPlace is how long the folder of a place stays without a file: processes may be let into it.
const restingPlace = time.Hour

// Sweep removes what is too old, and the folders of places that nobody asks from any more.
func (s *Store) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink()
	used := map[string]bool{}
	for _, f := range s.files {
		used[filepath.Dir(f.path)] = true
	}
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return // the next sweep may see more
	}
	for _, e := range entries {
		dir := filepath.Join(s.opts.Dir, e.Name())
		if info, err := e.Info(); err == nil && !used[dir] && s.opts.now().Sub(info.ModTime()) > restingPlace {
			_ = os.Remove(dir) // not one that still holds a file
		}
	}
}

// Stats tells what the store did so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends what is fetched and removes everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		f.cancel()
	}
	return os.RemoveAll(s.opts.Dir)
}
