package published

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/service"
)

// stamp tells one version of a document from another without reading it.
type stamp struct {
	modified time.Time
	size     int64
	file     os.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.modified.Equal(o.modified) && s.file != nil && o.file != nil && os.SameFile(s.file, o.file)
}

// Store holds the current snapshot and replaces it when the orchestrator publishes.
type Store struct {
	dataDir string
	aliases map[string]string
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex // held while a snapshot is made
	stamps  map[string]stamp
	broken  map[string]catalog.Problem // by source: documents that cannot be read
	rows    map[string]*Registered     // the registry, by qualified name
	moves   int                        // counts what was read or forgotten, to know whether anything was
	folder  time.Time                  // the folder's time at the last complete scan
	watches []func(*Snapshot)
}

// Open reads the whole catalog. Documents that cannot be read are problems of the snapshot; an error
// means that the folder itself cannot be listed.
func Open(ctx context.Context, dataDir string, aliases map[string]string) (*Store, error) {
	s := &Store{dataDir: dataDir, aliases: aliases, stamps: map[string]stamp{}, broken: map[string]catalog.Problem{}}
	s.current.Store(newSnapshot(content{aliases: aliases}, nil, time.Now()))
	if _, err := s.Scan(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Current is the catalog as it stands.
func (s *Store) Current() *Snapshot { return s.current.Load() }

// SetRegistry tells what is registered. It replaces what was told before.
func (s *Store) SetRegistry(rows []Registered) {
	byName := make(map[string]*Registered, len(rows))
	for _, r := range rows {
		byName[catalog.TableID(r.Source, r.Name)] = &r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = byName
	s.moves++
	s.swap(s.Current().sources)
}

// SetAliases takes over which table an unqualified name stands for: name → "source.table".
func (s *Store) SetAliases(aliases map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases = maps.Clone(aliases)
	s.moves++
	s.swap(s.Current().sources)
}

// OnChange calls f after each change with the new snapshot, one call at a time. Set it before Watch.
func (s *Store) OnChange(f func(*Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches = append(s.watches, f)
}

// Refresh reads the document of one source, and nothing else. It tells whether anything changed.
func (s *Store) Refresh(ctx context.Context, source string) (bool, error) {
	if err := catalog.ValidSourceName(source); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(catalog.SourcePath(s.dataDir, source))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look at the catalog of source %s: %w", source, err)
	}
	next := s.cloned()
	if err != nil {
		s.forget(next, source)
	} else {
		s.read(ctx, next, source, stampOf(info))
	}
	return s.swap(next), nil
}

func (s *Store) cloned() map[string]catalog.Source {
	if next := maps.Clone(s.Current().sources); next != nil {
		return next
	}
	return map[string]catalog.Source{}
}

func stampOf(info os.FileInfo) stamp {
	return stamp{modified: info.ModTime(), size: info.Size(), file: info}
}

// Scan looks at every document and reads those that changed. It tells whether anything did.
func (s *Store) Scan(ctx context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := catalog.SourcesDir(s.dataDir)
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		next := s.cloned() // nothing was published yet, or all of it is gone
		for name := range next {
			s.forget(next, name)
		}
		return s.swap(next), nil
	}
	if err != nil {
		return false, fmt.Errorf("list the catalog: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("list the catalog: %w", err)
	}
	next := s.cloned()
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		name, isDoc := strings.CutSuffix(e.Name(), ".json")
		if !isDoc || catalog.ValidSourceName(name) != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		seen[name] = true
		if err == nil && !s.stamps[name].same(stampOf(info)) {
			s.read(ctx, next, name, stampOf(info))
		}
	}
	for name := range s.stamps {
		if !seen[name] {
			s.forget(next, name)
		}
	}
	s.folder = info.ModTime()
	return s.swap(next), nil
}

// read puts the source as it stands on disk into next. A document that cannot be read leaves what
// stood before: "could not read" is never "empty".
func (s *Store) read(ctx context.Context, next map[string]catalog.Source, source string, seen stamp) {
	s.moves++
	src, err := catalog.LoadSource(s.dataDir, source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.forget(next, source)
		return
	case err != nil:
		if _, known := s.broken[source]; !known {
			zerolog.Ctx(ctx).Error().Err(err).Str(service.FieldSource, source).Msg("the published catalog of a source cannot be read; the version before it stays")
		}
		s.broken[source] = catalog.Problem{
			Code:    catalog.ProblemUnreadable,
			Message: fmt.Sprintf("the published catalog of source %q cannot be read; rebuild the source to write it anew", source),
		}
	default:
		delete(s.broken, source)
		next[source] = src
	}
	s.stamps[source] = seen
}

func (s *Store) forget(next map[string]catalog.Source, source string) {
	s.moves++
	delete(next, source)
	delete(s.stamps, source)
	delete(s.broken, source)
}

// swap makes next the current snapshot where it differs from the one before. s.mu is held.
func (s *Store) swap(next map[string]catalog.Source) bool {
	before := s.Current()
	if s.moves == 0 {
		return false
	}
	s.moves = 0
	broken := make([]catalog.Problem, 0, len(s.broken))
	for _, p := range s.broken {
		broken = append(broken, p)
	}
	snapshot := newSnapshot(content{sources: next, broken: broken, aliases: s.aliases, registry: s.rows}, before, time.Now())
	changed := snapshot.Version != before.Version
	s.current.Store(snapshot)
	if changed {
		for _, f := range s.watches {
			f(snapshot)
		}
	}
	return changed
}

// Watch scans again whenever the folder's time moves, until ctx is done: a safety net under the
// events, which may be lost.
func (s *Store) Watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !s.moved() {
			continue
		}
		if _, err := s.Scan(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Error().Err(err).Msg("the published catalog cannot be listed; what was read before stays")
		}
	}
}

// settled is how old a folder's time must be to be trusted: two renames within one tick of the file
// system's clock leave the same time.
const settled = 3 * time.Second

func (s *Store) moved() bool {
	info, err := os.Stat(catalog.SourcesDir(s.dataDir))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return !s.folder.IsZero() || !errors.Is(err, fs.ErrNotExist)
	}
	return !info.ModTime().Equal(s.folder) || time.Since(s.folder) < settled
}

// Check tells why the catalog cannot be read at the moment; nil where it can.
func (s *Store) Check() error {
	_, err := os.ReadDir(catalog.SourcesDir(s.dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(s.dataDir)
	}
	if err != nil {
		return fmt.Errorf("list the catalog: %w", err)
	}
	return nil
}

// IDOf is the id of a table that need not be published: that of its row in the registry, or its
// qualified name.
func (s *Store) IDOf(source, table string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.rows[catalog.TableID(source, table)]; ok {
		return r.ID
	}
	return catalog.TableID(source, table)
}
