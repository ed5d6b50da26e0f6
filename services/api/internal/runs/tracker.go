package runs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Configured is a source that an extractor serves.
type Configured struct{ Name, Type string }

// Config says what the tracker works with. Store, Bus and Sources are required.
type Config struct {
	Store *state.Store
	Bus   *event.Bus
	// Sources gives the configured sources.
	Sources func() []Configured
	// DataDir is the root of all data, where the tracker sees whether an extract is published.
	DataDir string
	// StaleAfter is how long a run may give no sign of life before it is reported; zero means 15 minutes.
	StaleAfter time.Duration
	// KeepPerSource is how many finished runs are remembered per source; zero means 200.
	KeepPerSource int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	// giveUp is how long an unfinished run is remembered: as long as the bus keeps its request.
	giveUp       = 7 * 24 * time.Hour
	sweepEvery   = 2 * time.Second
	pruneEvery   = time.Hour
	stopBudget   = 5 * time.Second
	consumerName = "api-runs"
)

// Tracker follows runs. It is safe for concurrent use.
type Tracker struct {
	cfg     Config
	started time.Time

	// changing is held while a run is read, changed and written: one change at a time.
	changing sync.Mutex

	mu        sync.Mutex
	active    map[string]*live // unfinished runs
	followers map[string]map[chan struct{}]struct{}

	feeds        map[string]*fed // by source
	feedsWritten time.Time
}

// live is an unfinished run: what the state says, and what was heard since.
type live struct {
	run   state.Run
	seen  map[string]*seen // by source
	stale bool             // as its followers were told
}

// New returns a tracker that knows the unfinished runs of the state. Run makes it follow them.
func New(ctx context.Context, cfg Config) (*Tracker, error) {
	if cfg.Store == nil || cfg.Bus == nil || cfg.Sources == nil {
		return nil, fault.New(fault.Invalid, "the tracker of runs needs the state, the bus and the configured sources")
	}
	if cfg.StaleAfter <= 0 {
		cfg.StaleAfter = 15 * time.Minute
	}
	if cfg.KeepPerSource <= 0 {
		cfg.KeepPerSource = 200
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tracker{cfg: cfg, active: make(map[string]*live), followers: make(map[string]map[chan struct{}]struct{}), feeds: make(map[string]*fed)}
	t.started = t.now()
	open, err := cfg.Store.Runs.List(ctx, state.RunFilter{Statuses: []string{Queued, Running, Publishing}, Limit: 10_000})
	if err != nil {
		return nil, err
	}
	for _, r := range open {
		t.active[r.ID] = &live{run: r, seen: make(map[string]*seen)}
	}
	return t, nil
}

func (t *Tracker) now() time.Time { return t.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run follows runs until ctx ends. Events that come while nobody follows are kept by the bus.
func (t *Tracker) Run(ctx context.Context) error {
	subs, err := t.subscribe(context.WithoutCancel(ctx))
	if err != nil {
		return errors.Join(err, event.StopAll(stopBudget, subs...))
	}
	t.upkeep(ctx)
	err = event.StopAll(stopBudget, subs...)
	t.writeFeeds(context.WithoutCancel(ctx), true)
	return err
}

func (t *Tracker) subscribe(ctx context.Context) (subs []*event.Subscription, err error) {
	consumer := event.Consumer{Name: consumerName}
	add := func(s *event.Subscription, serr error) {
		if serr == nil {
			subs = append(subs, s)
		} else if err == nil {
			err = serr
		}
	}
	add(event.Consume(ctx, t.cfg.Bus, event.ExtractReady, consumer, t.extractReady))
	add(event.Consume(ctx, t.cfg.Bus, event.ExtractFailed, consumer, t.extractFailed))
	add(event.Consume(ctx, t.cfg.Bus, event.AnalyticsPublished, consumer, t.analyticsPublished))
	add(event.Listen(ctx, t.cfg.Bus, event.ExtractProgress, event.Listener{}, t.extractProgress))
	return subs, err
}

// upkeep sends requests that could not be sent, finishes what is published, tells followers of runs
// that fell silent, and forgets old runs.
func (t *Tracker) upkeep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	var pruned time.Time
	for {
		t.sendRequested(ctx)
		t.finishPublished(ctx)
		t.tellStale()
		t.writeFeeds(ctx, false)
		if now := time.Now(); now.Sub(pruned) >= pruneEvery {
			pruned = now
			if err := t.Prune(ctx); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("old runs could not be forgotten")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Prune forgets old runs now.
func (t *Tracker) Prune(ctx context.Context) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	old := t.now().Add(-giveUp)
	if _, err := t.cfg.Store.Runs.Prune(ctx, t.cfg.KeepPerSource, old); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, l := range t.active {
		if l.run.RequestedAt.Before(old) {
			delete(t.active, id)
		}
	}
	return nil
}

// Get gives a run as it stands; fault.NotFound where there is none.
func (t *Tracker) Get(ctx context.Context, id string) (Run, error) {
	if r, ok := t.current(id); ok {
		return r, nil
	}
	stored, err := t.cfg.Store.Runs.Get(ctx, id)
	if err != nil {
		return Run{}, err
	}
	return t.view(stored, nil), nil
}

// current gives an unfinished run from memory.
func (t *Tracker) current(id string) (Run, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.active[id]
	if !ok {
		return Run{}, false
	}
	return t.view(l.run, l.seen), true
}

// Filter says which runs to list. The zero value means the latest 100.
type Filter struct {
	Source string
	Status string
	Limit  int
	// NoTables leaves the tables out.
	NoTables bool
}

// List gives runs as they stand, newest first.
func (t *Tracker) List(ctx context.Context, f Filter) ([]Run, error) {
	query := state.RunFilter{Source: f.Source, Limit: f.Limit, NoTables: f.NoTables}
	switch {
	case f.Status == "":
	case ended(f.Status):
		query.Statuses = []string{f.Status}
	default:
		// What is under way is known in memory only: the state says queued of what is running.
		query.Statuses, query.Limit = []string{Queued, Running, Publishing}, 10_000
	}
	stored, err := t.cfg.Store.Runs.List(ctx, query)
	if err != nil {
		return nil, err
	}
	list := make([]Run, 0, len(stored))
	for _, r := range stored {
		run, ok := t.current(r.ID)
		if !ok {
			run = t.view(r, nil)
		}
		if f.NoTables {
			for i := range run.Sources {
				run.Sources[i].Tables = nil
			}
		}
		if f.Status == "" || run.Status == f.Status {
			list = append(list, run)
		}
	}
	if f.Limit > 0 && len(list) > f.Limit {
		list = list[:f.Limit]
	}
	return list, nil
}

// History tells what became of a table in the runs that are remembered, newest first.
func (t *Tracker) History(ctx context.Context, source, table string, limit int) ([]state.TablePast, error) {
	return t.cfg.Store.Runs.History(ctx, source, table, limit)
}

// Follow gives the run as it stands, then again after every change, and closes the channel after the
// end of the run or of ctx. Who reads slowly misses steps between, never the last one.
func (t *Tracker) Follow(ctx context.Context, id string) (<-chan Run, error) {
	wake := t.watch(id)
	first, err := t.Get(ctx, id)
	if err != nil {
		t.unwatch(id, wake)
		return nil, err
	}
	out := make(chan Run)
	go func() {
		defer close(out)
		defer t.unwatch(id, wake)
		for run := first; ; {
			select {
			case out <- run:
			case <-ctx.Done():
				return
			}
			if run.Finished() {
				return
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
			next, err := t.Get(ctx, id)
			if err != nil {
				return
			}
			run = next
		}
	}()
	return out, nil
}

func (t *Tracker) watch(id string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	wake := make(chan struct{}, 1)
	if t.followers[id] == nil {
		t.followers[id] = make(map[chan struct{}]struct{})
	}
	t.followers[id][wake] = struct{}{}
	return wake
}

func (t *Tracker) unwatch(id string, wake chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.followers[id], wake)
	if len(t.followers[id]) == 0 {
		delete(t.followers, id)
	}
}

// wakeLocked tells the followers of a run to look. The caller holds mu.
func (t *Tracker) wakeLocked(id string) {
	for wake := range t.followers[id] {
		select {
		case wake <- struct{}{}:
		default: // one is pending already
		}
	}
}

// tellStale wakes those who follow a silent run: that it fell silent is a change too.
func (t *Tracker) tellStale() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.followers {
		l, ok := t.active[id]
		if !ok {
			continue
		}
		if stale := t.view(l.run, l.seen).Stale; stale != l.stale {
			l.stale = stale
			t.wakeLocked(id)
		}
	}
}

// change reads runs, changes each, writes them down with what the event did to tables, and wakes who
// follows them. A run that is not known is made by create, or left out where that is nil. apply tells
// whether it changed anything.
func (t *Tracker) change(ctx context.Context, ids []string, source string, record state.Recorded, create func(id string) state.Run, apply func(s *state.RunSource) bool) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	list := make([]state.Run, 0, len(ids))
	for _, id := range ids {
		r, err := t.load(ctx, id)
		if fault.Is(err, fault.NotFound) {
			if create == nil {
				continue
			}
			r, err = create(id), nil
		}
		if err != nil {
			return err
		}
		if apply(part(&r, source)) {
			settle(&r)
			list = append(list, r)
		}
	}
	if len(list) == 0 && len(record.Outcomes) == 0 {
		return nil
	}
	if err := t.cfg.Store.Runs.Save(ctx, list, source, record); err != nil {
		return err
	}
	t.keep(list...)
	return nil
}

// load gives a copy of a run that may be changed.
func (t *Tracker) load(ctx context.Context, id string) (state.Run, error) {
	t.mu.Lock()
	l, ok := t.active[id]
	t.mu.Unlock()
	if ok {
		r := l.run
		r.Sources = slices.Clone(r.Sources)
		return r, nil
	}
	return t.cfg.Store.Runs.Get(ctx, id)
}

// keep remembers runs that were written down while they are unfinished, and wakes who follows them.
func (t *Tracker) keep(list ...state.Run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range list {
		switch l := t.active[r.ID]; {
		case ended(r.Status):
			delete(t.active, r.ID)
		case l != nil:
			l.run = r
		default:
			t.active[r.ID] = &live{run: r, seen: make(map[string]*seen)}
		}
		t.wakeLocked(r.ID)
	}
}
