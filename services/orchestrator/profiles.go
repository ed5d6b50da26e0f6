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

// backlog holds the sources whose profiles are to be looked at, each once.
type backlog struct {
	mu      sync.Mutex
	waiting map[string]bool
	order   []string
	more    chan struct{}
}

func newBacklog() *backlog {
	return &backlog{waiting: make(map[string]bool), more: make(chan struct{}, 1)}
}

func (b *backlog) add(source string) {
	if source == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.waiting[source] {
		b.waiting[source] = true
		b.order = append(b.order, source)
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// next waits for a source; ok is false when ctx ended.
func (b *backlog) next(ctx context.Context) (source string, ok bool) {
	for {
		b.mu.Lock()
		if len(b.order) > 0 {
			source, b.order = b.order[0], b.order[1:]
			delete(b.waiting, source)
			b.mu.Unlock()
			return source, ctx.Err() == nil
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return "", false
		case <-b.more:
		}
	}
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
	for {
		source, ok := r.profiles.next(ctx)
		if !ok {
			return
		}
		if err := r.profileSource(ctx, source); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, source).Msg("cannot profile a source")
		}
	}
}

// profileSource profiles the local tables of a source that have no profile of their present content.
func (r *runner) profileSource(ctx context.Context, source string) error {
	s, err := catalog.LoadSource(r.o.dataDir, source)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(r.o.profilesDir(source))
	}
	if err != nil {
		return err
	}
	var registry map[string]*agnesv1.RegisteredTable
	for _, t := range s.Tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.QueryMode == catalog.ModeRemote || r.o.profiled(source, t) {
			continue
		}
		if registry == nil {
			registry = r.registry(ctx, source)
		}
		if row, ok := registry[t.Name]; ok && !row.GetProfileAfterSync() {
			continue
		}
		if err := r.profileTable(ctx, source, t, registry[t.Name]); err != nil && ctx.Err() == nil {
			r.o.metrics.profiles.WithLabelValues("failed").Inc()
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, source).Str(service.FieldTable, t.Name).Msg("cannot profile a table")
		}
	}
	return nil
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
