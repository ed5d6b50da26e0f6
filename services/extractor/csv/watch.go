package csv

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	// quiet is how long a file must stay as it is before it counts as complete.
	quiet = 500 * time.Millisecond
	// rescan is how often the folders are read without a notification: those of a network tell nothing.
	rescan = 10 * time.Second
	// gather is how long notifications are gathered before the folders are read.
	gather = 50 * time.Millisecond
)

// Watch notifies of every table whose files are not what they were, and at first of all tables, for
// what happened while nobody watched. A file counts when it has been at rest for half a second.
func (s *source) Watch(ctx context.Context, notify func(tables ...string)) error {
	w := &watcher{source: s, notify: notify, told: map[string]string{}, pending: map[string]pending{}, watched: map[string]bool{}}
	return w.run(ctx)
}

// watcher compares listings. Notifications of the operating system only tell when to look.
type watcher struct {
	source  *source
	notify  func(tables ...string)
	events  *fsnotify.Watcher // nil where there are none to be had
	watched map[string]bool
	told    map[string]string // the state of each table that was told
	pending map[string]pending
	away    bool // the last listing failed
}

// pending is a state that has not been at rest for long enough.
type pending struct {
	state string
	since time.Time
}

func (w *watcher) run(ctx context.Context) error {
	log := zerolog.Ctx(ctx)
	var changes chan fsnotify.Event
	var failures chan error
	if events, err := fsnotify.NewWatcher(); err != nil {
		log.Warn().Err(err).Dur("every", rescan).Msg("the system does not tell of changes; the folders are read from time to time")
	} else {
		defer func() { _ = events.Close() }()
		w.events, changes, failures = events, events.Events, events.Errors
	}
	next := time.NewTimer(0)
	defer next.Stop()
	var due time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			if soon := time.Now().Add(gather); due.After(soon) {
				due = soon
				next.Reset(gather)
			}
			continue
		case err := <-failures:
			log.Debug().Err(err).Msg("notifications were lost; the folders are read")
		case <-next.C:
		}
		pause := w.look(ctx)
		due = time.Now().Add(pause)
		next.Reset(pause)
	}
}

// look compares what is there with what was told, and says when to look again.
func (w *watcher) look(ctx context.Context) time.Duration {
	w.follow(ctx)
	tables, err := w.source.listing(ctx)
	if err != nil {
		if !w.away && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the files cannot be listed; it is tried again")
		}
		w.away = true
		return rescan / 5
	}
	w.away = false
	now := time.Now()
	var ready []string
	there := map[string]bool{}
	for _, t := range tables {
		there[t.name] = true
		state := t.state()
		switch p := w.pending[t.name]; {
		case w.told[t.name] == state:
			delete(w.pending, t.name)
		case p.state != state:
			w.pending[t.name] = pending{state, now}
		case now.Sub(p.since) >= quiet:
			delete(w.pending, t.name)
			w.told[t.name] = state
			if len(t.inputs) > 0 || t.problem != "" {
				ready = append(ready, t.name)
			}
		}
	}
	for _, seen := range []map[string]bool{keysOf(w.told), keysOf(w.pending)} {
		for name := range seen {
			if !there[name] { // when it comes again it is new
				delete(w.told, name)
				delete(w.pending, name)
			}
		}
	}
	if len(ready) > 0 {
		w.notify(slices.Compact(ready)...)
	}
	if len(w.pending) > 0 {
		return quiet / 2
	}
	return rescan
}

func keysOf[V any](m map[string]V) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// state tells one content of a table's files from another, as far as that shows without reading them.
func (t table) state() string {
	var b strings.Builder
	b.WriteString(t.problem)
	for _, in := range t.inputs {
		b.WriteByte(0)
		b.WriteString(in.rel)
		b.WriteByte(0)
		b.WriteString(in.modified.UTC().Format(time.RFC3339Nano))
		b.WriteByte(0)
		b.WriteString(strconv.FormatInt(in.size, 10))
	}
	return b.String()
}

// follow asks for notifications of the folders that are not followed yet. Folders that go away stop
// by themselves, and are asked for again when they are back.
func (w *watcher) follow(ctx context.Context) {
	if w.events == nil {
		return
	}
	listed := map[string]bool{}
	for _, dir := range w.events.WatchList() {
		listed[dir] = true
	}
	wanted := map[string]bool{}
	for _, r := range w.source.allRoots() {
		wanted[r.dir] = true
		if !strings.Contains(r.pattern, "/") {
			continue
		}
		_ = filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				wanted[path] = true
			}
			return ctx.Err()
		})
	}
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		if listed[dir] {
			continue
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if err := w.events.Add(dir); err != nil && !w.watched[dir] {
			zerolog.Ctx(ctx).Warn().Err(err).Str("folder", filepath.Base(dir)).Msg("the system does not tell of changes in this folder; it is read from time to time")
		}
		w.watched[dir] = true
	}
}

// allRoots are the folders that a listing reads, as far as they are there.
func (s *source) allRoots() []root {
	all, err := roots(s.cfg.ConfigDir, s.options.Path)
	if err != nil {
		return nil
	}
	base := s.cfg.ConfigDir
	if len(all) > 0 {
		base = all[0].dir
	}
	for _, t := range s.options.tables {
		more, err := roots(base, t.Path)
		if err == nil {
			all = append(all, more...)
		}
	}
	return all
}
