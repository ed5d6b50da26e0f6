// Package orchestrator turns extracts into the published catalog. It reads only the extract that
// changed and writes only that source's document, so a publication costs the same among ten sources
// and among a thousand. It is the only writer of $DATA_DIR/analytics.
package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Options are what an Orchestrator needs. Fields without a word about zero are required.
type Options struct {
	DataDir string
	// Instance gives aliases and the allow-lists of remote attachments; nil means none.
	Instance *service.Instance
	// Announce sends analytics.published and returns when it is stored. A publication that is
	// announced again after a crash has the same id.
	Announce func(ctx context.Context, id string, m *agnesv1.AnalyticsPublished) error
	// Published is called after a source's document changed; nil for nothing. It must not block.
	Published func(source string)
	// OpenVersion reads the extract that stands of a source, such as an extract.Reader's; nil means
	// extract.OpenVersion.
	OpenVersion func(ctx context.Context, source string) (*extract.Version, error)
	// Grace is how long a generated part outlives its last publication; zero means an hour.
	Grace time.Duration
	// Metrics is where the metrics are registered; nil means nowhere.
	Metrics prometheus.Registerer
}

// Orchestrator publishes extracts. Its methods may be called from many goroutines, and by several
// processes on one data directory: a source is worked on by one at a time.
type Orchestrator struct {
	dataDir   string
	announce  func(ctx context.Context, id string, m *agnesv1.AnalyticsPublished) error
	published func(source string)
	open      func(ctx context.Context, source string) (*extract.Version, error)
	grace     time.Duration
	metrics   *metrics
	now       func() time.Time

	mu      sync.Mutex
	remote  service.AllowLists
	aliases map[string]string
	// recheck says that the allow-lists may be others than those with which attachments were refused.
	recheck    bool
	configured bool
	folders    []catalog.Problem // folders under extracts/ that name no source
	foldersNew bool              // they are others than were reported
	index      *catalog.Index    // names only: columns and parts stay on disk
}

// defaultGrace is longer than any query or download.
const defaultGrace = time.Hour

// New makes an orchestrator of a data directory and reads which names are taken.
func New(opts Options) (*Orchestrator, error) {
	switch {
	case opts.DataDir == "":
		return nil, fault.New(fault.Invalid, "the orchestrator needs a data directory: set DATA_DIR")
	case opts.Announce == nil:
		return nil, fault.New(fault.Internal, "the orchestrator needs somebody to announce publications")
	}
	dataDir, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolve DATA_DIR: %w", err)
	}
	for _, dir := range []string{catalog.SourcesDir(dataDir), catalog.ExtractsDir(dataDir), filepath.Join(dataDir, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "cannot make the folder %s of the data directory", filepath.Base(dir))
		}
	}
	o := &Orchestrator{
		dataDir: dataDir, announce: opts.Announce, published: opts.Published, open: opts.OpenVersion, grace: opts.Grace,
		metrics: newMetrics(opts.Metrics), now: time.Now,
	}
	if o.open == nil {
		o.open = func(ctx context.Context, source string) (*extract.Version, error) {
			return extract.OpenVersion(ctx, dataDir, source)
		}
	}
	if o.grace <= 0 {
		o.grace = defaultGrace
	}
	if o.published == nil {
		o.published = func(string) {}
	}
	o.index = catalog.NewIndex(nil, nil)
	if _, err := o.configure(opts.Instance); err != nil {
		return nil, err
	}
	return o, nil
}

// configure takes over aliases and allow-lists, and reads the names that are published. It tells
// whether the aliases are others than before.
func (o *Orchestrator) configure(i *service.Instance) (aliases bool, err error) {
	if i == nil {
		i = &service.Instance{}
	}
	// What is published meanwhile is remembered after this, on top of what is read here.
	o.mu.Lock()
	defer o.mu.Unlock()
	sources, _, err := catalog.LoadSources(o.dataDir)
	if err != nil {
		return false, fault.Wrap(err, fault.Unavailable, "the published catalog cannot be listed")
	}
	for n := range sources {
		sources[n] = namesOnly(sources[n])
	}
	aliases = !maps.Equal(o.aliases, i.Aliases)
	o.recheck = o.recheck || !o.configured || !equalLists(o.remote, i.RemoteAttach)
	o.configured = true
	o.remote = i.RemoteAttach
	o.aliases = maps.Clone(i.Aliases)
	o.index = catalog.NewIndex(sources, i.Aliases)
	return aliases, nil
}

// namesOnly drops what the index of names does not need.
func namesOnly(s catalog.Source) catalog.Source {
	out := catalog.Source{Name: s.Name, Tables: make([]catalog.Table, len(s.Tables))}
	for n, t := range s.Tables {
		out.Tables[n] = catalog.Table{Name: t.Name}
	}
	return out
}

// remember puts what was published into the index of names and tells which of the names collide.
func (o *Orchestrator) remember(s catalog.Source) []catalog.Problem {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.index.Set(namesOnly(s))
	return o.index.Collisions(s.Name)
}

// twinOf is the published source whose name differs from name only in letter case; "" for none. Two
// such sources could not both be schemas of one DuckDB file.
func (o *Orchestrator) twinOf(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.index.Sources() {
		if s.Name != name && strings.EqualFold(s.Name, name) {
			return s.Name
		}
	}
	return ""
}

func (o *Orchestrator) isPublished(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.index.Source(name)
	return ok
}

func (o *Orchestrator) forget(source string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.index.Remove(source)
}

func (o *Orchestrator) allowLists() service.AllowLists {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.remote
}

func (o *Orchestrator) configuredAliases() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.aliases
}

// takeRecheck tells once after a change of the allow-lists that refused attachments are to be judged anew.
func (o *Orchestrator) takeRecheck() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	recheck := o.recheck
	o.recheck = false
	return recheck
}

func equalLists(a, b service.AllowLists) bool {
	return slices.Equal(a.Extensions, b.Extensions) && slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.TokenEnvs, b.TokenEnvs)
}
