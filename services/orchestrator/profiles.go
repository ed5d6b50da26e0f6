package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/profile"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/serverdb"
)

const (
	profileMemory  = 512 << 20
	profileTimeout = 10 * time.Minute
	// registryPatience is how long the api may take to say what it knows of a source's tables.
	registryPatience = 2 * time.Second
)

// A source is looked at once it was not published for profileQuiet; one that keeps being published after
// profilePatience.
const (
	profileQuiet    = 2 * time.Second
	profilePatience = 2 * time.Minute
)

// backlog holds the sources whose profiles are to be looked at, each once.
type backlog struct {
	quiet, patience time.Duration

	mu      sync.Mutex
	waiting map[string]*wait
	more    chan struct{}
}

// wait is why a source waits: it was added from the first time to the last, or it is to be looked at later.
type wait struct{ first, last, later time.Time }

func newBacklog(quiet, patience time.Duration) *backlog {
	return &backlog{quiet: quiet, patience: patience, waiting: make(map[string]*wait), more: make(chan struct{}, 1)}
}

func (b *backlog) add(source string) {
	if source == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	w := b.waiting[source]
	if w == nil {
		w = &wait{}
		b.waiting[source] = w
	}
	if w.first.IsZero() {
		w.first = now
	}
	w.last = now
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// due is when a source is to be looked at.
func (b *backlog) due(w *wait) time.Time {
	due := w.later
	if w.first.IsZero() {
		return due
	}
	calm := w.last.Add(b.quiet)
	if end := w.first.Add(b.patience); end.Before(calm) {
		calm = end
	}
	if due.IsZero() || calm.Before(due) {
		due = calm
	}
	return due
}

// addAt adds a source at a time.
func (b *backlog) addAt(source string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting[source] == nil {
		b.waiting[source] = &wait{}
	}
	b.waiting[source].later = at
}

// take gives the source that is due the longest, and otherwise how long to wait for the next.
func (b *backlog) take() (source string, left time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due time.Time
	for name, w := range b.waiting {
		if at := b.due(w); source == "" || at.Before(due) {
			source, due = name, at
		}
	}
	if source == "" {
		return "", time.Hour
	}
	if left := time.Until(due); left > 0 {
		return "", left
	}
	delete(b.waiting, source)
	return source, 0
}

// next waits for a source; ok is false when ctx ended.
func (b *backlog) next(ctx context.Context) (source string, ok bool) {
	for {
		source, left := b.take()
		if source != "" {
			return source, ctx.Err() == nil
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", false
		case <-b.more:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// A table that keeps changing is profiled now and then: no sooner after its last profile than profileRest,
// and than what makes profiles of it a two-hundredth of one core.
const (
	profileRest  = time.Minute
	profileShare = 200
)

// rests says until when tables are left alone. It is of one goroutine.
type rests map[string]time.Time

func (r rests) begin(table string, took time.Duration) {
	r[table] = time.Now().Add(max(profileRest, profileShare*took))
}

// over tells whether a table may be profiled, and otherwise how long it rests yet.
func (r rests) over(table string) (left time.Duration, yes bool) {
	left = time.Until(r[table])
	if left > 0 {
		return left, false
	}
	delete(r, table)
	return 0, true
}

// profileLoop profiles what changed, one table at a time. What was published while nobody profiled
// is found at the start.
func (r *runner) profileLoop(ctx context.Context) {
	if r.cfg.NoProfiles {
		return
	}
	if sources, _, err := catalog.LoadSources(r.o.dataDir); err == nil {
		for _, s := range sources {
			r.profiles.add(s.Name)
		}
	}
	resting := rests{}
	for {
		source, ok := r.profiles.next(ctx)
		if !ok {
			return
		}
		again, err := r.profileSource(ctx, source, resting)
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, source).Msg("cannot profile a source")
		}
		if again > 0 {
			r.profiles.addAt(source, time.Now().Add(again))
		}
	}
}

// profileSource profiles the local tables of a source that have no profile of their present content.
// Where some of them rest, it says when to come back.
func (r *runner) profileSource(ctx context.Context, source string, resting rests) (again time.Duration, err error) {
	s, err := catalog.LoadSource(r.o.dataDir, source)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, os.RemoveAll(r.o.profilesDir(source))
	}
	if err != nil {
		return 0, err
	}
	var registry map[string]*agnesv1.RegisteredTable
	for _, t := range s.Tables {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if t.QueryMode == catalog.ModeRemote || r.o.profiled(source, t) {
			continue
		}
		id := catalog.TableID(source, t.Name)
		if left, yes := resting.over(id); !yes {
			if again == 0 || left < again {
				again = left
			}
			continue
		}
		if registry == nil {
			registry = r.registry(ctx, source)
		}
		if row, ok := registry[t.Name]; ok && !row.GetProfileAfterSync() {
			continue
		}
		began := time.Now()
		err := r.profileTable(ctx, source, t, registry[t.Name])
		resting.begin(id, time.Since(began))
		if err != nil && ctx.Err() == nil {
			r.o.metrics.profiles.WithLabelValues("failed").Inc()
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, source).Str(service.FieldTable, t.Name).Msg("cannot profile a table")
		}
	}
	return again, nil
}

// registry is what the api knows of the tables of a source, by name. Without an answer profiles are
// taken all the same.
func (r *runner) registry(ctx context.Context, source string) map[string]*agnesv1.RegisteredTable {
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	rows := make(map[string]*agnesv1.RegisteredTable)
	answer, err := event.Call(ctx, r.bus, event.ListRegistry, &agnesv1.ListRegistryRequest{Source: source})
	if err != nil {
		zerolog.Ctx(ctx).Debug().Err(err).Msg("the registry did not answer; profiles go without it")
		return rows
	}
	for _, row := range answer.GetTables() {
		rows[row.GetName()] = row
	}
	return rows
}

func (r *runner) profileTable(ctx context.Context, source string, t catalog.Table, row *agnesv1.RegisteredTable) error {
	ctx, cancel := context.WithTimeout(ctx, profileTimeout)
	defer cancel()
	scratch, err := lake.NewScratch(r.o.tmpDir(), name)
	if err != nil {
		return err
	}
	defer func() { _ = scratch.Close() }()
	p, err := profile.Take(ctx, profile.Options{
		Table: t, Files: serverdb.Files(r.o.dataDir, t), TempDir: scratch.Dir, MemoryBytes: profileMemory, Threads: 1,
		TableID: row.GetId(), PrimaryKey: row.GetPrimaryKey(), SyncStrategy: row.GetSyncStrategy(),
	})
	if err != nil {
		return err
	}
	if p.TableID == "" {
		p.TableID = t.Name
	}
	content, err := p.Struct()
	if err != nil {
		return err
	}
	err = event.Publish(ctx, r.bus, event.TableProfiled, source, &agnesv1.TableProfiled{
		Source: source, Table: t.Name, Hash: t.Fingerprint, Profile: content, ProfiledAt: timestamppb.Now(),
	}, event.Key(t.Name))
	if err != nil {
		return err
	}
	r.o.metrics.profiles.WithLabelValues("published").Inc()
	return r.o.noteProfiled(source, t)
}

func (o *Orchestrator) profilesDir(source string) string {
	return filepath.Join(o.dataDir, "analytics", "profiles", source)
}

func (o *Orchestrator) profilePath(source, table string) string {
	sum := sha256.Sum256([]byte(table)) // any name is a file name then
	return filepath.Join(o.profilesDir(source), hex.EncodeToString(sum[:])+".json")
}

// profileNote says of which content a profile was published.
type profileNote struct {
	Fingerprint string `json:"fingerprint"`
}

func (o *Orchestrator) profiled(source string, t catalog.Table) bool {
	var note profileNote
	raw, err := os.ReadFile(o.profilePath(source, t.Name))
	return err == nil && json.Unmarshal(raw, &note) == nil && note.Fingerprint == t.Fingerprint
}

// noteProfiled remembers it. Losing the note costs a profile that is published again.
func (o *Orchestrator) noteProfiled(source string, t catalog.Table) error {
	raw, err := json.Marshal(profileNote{Fingerprint: t.Fingerprint})
	if err != nil {
		return fmt.Errorf("note the profile: %w", err)
	}
	if err := o.replace(o.profilePath(source, t.Name), raw); err != nil {
		return fmt.Errorf("note the profile: %w", err)
	}
	return nil
}
