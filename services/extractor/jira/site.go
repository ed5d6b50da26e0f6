package jira

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// site is one Jira site: what is configured, what is kept of it, and the way to ask it.
type site struct {
	settings
	name    string
	dataDir string
	tables  map[string]table
	layout  string // what rows are made by
	store   *store.Store
	client  *cloud.Client // nil where no account is configured
	keeper  *keeper       // nil where the content of attachments is not kept
	now     func() time.Time

	merging     sync.Mutex
	flat        *rows.Flattener // of merging
	leftOut     leftOut
	toldRefused atomic.Int64 // when it was last logged that Jira keeps something from the account, in nanoseconds
}

// name is that of the service on the bus.
const name = "extractor-jira"

// openSite opens what is kept of a source, and makes it where there is nothing yet.
func openSite(ctx context.Context, cfg extract.SourceConfig, metrics prometheus.Registerer) (*site, error) {
	set, err := readSettings(cfg)
	if err != nil {
		return nil, err
	}
	s := &site{settings: set, name: cfg.Name, dataDir: cfg.DataDir, tables: tablesOf(set.fields), now: time.Now}
	if set.Email != "" {
		c := cloud.Config{
			Source: cfg.Name, Site: set.Site, Email: set.Email, Token: set.APIToken, CloudID: set.CloudID,
			SkipRemoteLinks: set.RemoteLinks != nil && !*set.RemoteLinks, Concurrency: set.Concurrency, Metrics: metrics,
			AppToken: set.OAuth.tokens(), MediaHosts: set.MediaHosts,
		}
		if set.SLAEmail != "" {
			c.SLA, c.SLAFields = cloud.Account{Email: set.SLAEmail, Token: set.SLAAPIToken}, set.SLAFields
		}
		if s.client, err = cloud.New(c); err != nil {
			return nil, err
		}
	}
	if s.leftOut, err = newLeftOut(cfg.Name, metrics); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, cfg.RawDir); err != nil {
		return nil, err
	}
	s.layout = layoutOf(set) + " " + s.store.Identity()
	s.keeper = newKeeper(s)
	s.flat = s.flattener()
	return s, nil
}

// layoutOf is what the rows of a site are made by: where it changes, all tables are made anew.
func layoutOf(set settings) string {
	layout := set.fields.Fingerprint() + " " + set.Site
	if set.Attachments != nil && set.Attachments.Content {
		layout += " with files"
	}
	return layout
}

func (s *site) close() error {
	if s.client != nil {
		s.client.Close()
	}
	return s.store.Close()
}

func (s *site) flattener() *rows.Flattener {
	return rows.NewFlattener(s.fields, rows.Site{URL: s.Site, LocalPath: s.localPath})
}

func (s *site) scratch() (*lake.Scratch, error) {
	return lake.NewScratch(filepath.Join(s.dataDir, "tmp"), name)
}

// sites are the open sites of a process: one store is opened once.
type sites struct {
	configs map[string]extract.SourceConfig // with all options
	metrics prometheus.Registerer
	mu      sync.Mutex
	open    map[string]*site
}

func (all *sites) get(ctx context.Context, cfg extract.SourceConfig) (*site, error) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if s := all.open[cfg.Name]; s != nil {
		return s, nil
	}
	if whole, found := all.configs[cfg.Name]; found {
		cfg.Options = whole.Options
	}
	s, err := openSite(ctx, cfg, all.metrics)
	if err != nil {
		return nil, err
	}
	if all.open == nil {
		all.open = map[string]*site{}
	}
	all.open[cfg.Name] = s
	return s, nil
}

func (all *sites) close() error {
	all.mu.Lock()
	defer all.mu.Unlock()
	var first error
	for name, s := range all.open {
		if err := s.close(); err != nil && first == nil {
			first = err
		}
		delete(all.open, name)
	}
	return first
}

// connector is the Jira connector over these sites.
func (all *sites) connector() extract.Connector {
	return extract.Connector{Type: Type, Open: func(ctx context.Context, cfg extract.SourceConfig) (extract.Source, error) {
		s, err := all.get(ctx, cfg)
		if err != nil {
			return nil, err
		}
		upto, err := s.store.Seq(ctx)
		if err != nil {
			return nil, err
		}
		st, err := newStage(s)
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "there is no scratch space")
		}
		return &source{site: s, upto: upto, stage: st}, nil
	}}
}
