// Package jira is the connector for Jira Cloud. Webhooks come from the bus; the issues that they are about
// are fetched, kept as raw documents in a store of record, and folded into the parts of the months that
// they belong to. docs/jira.md says what operators need to know.
package jira

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/service"
)

// Config of the service.
type Config struct {
	service.Base
	ParallelTables int           `envconfig:"AGNES_EXTRACTOR_JIRA_TABLES" default:"2" desc:"tables of a site that are written at once"`
	MemoryMB       int64         `envconfig:"AGNES_EXTRACTOR_JIRA_MEMORY_MB" default:"512" desc:"memory of DuckDB over the tables of a site, in MiB"`
	Grace          time.Duration `envconfig:"AGNES_PART_GRACE" default:"1h" desc:"how long a part outlives its last publication"`
	StopBudget     time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"20s" desc:"how long work may take to finish after a stop"`
}

// Run takes in the webhooks of the configured sites, and extracts on request, until ctx ends: then runs
// that are under way have the stop budget to finish.
func Run(ctx context.Context, cfg Config) error {
	instance, err := service.LoadInstance(cfg.ConfigDir, cfg.DataDir)
	if err != nil {
		return err
	}
	bus, disconnect, err := cfg.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer disconnect()
	stopHealth, err := service.ServeHealth(ctx, cfg.HealthAddr, bus.Ready, cfg.Registry())
	if err != nil {
		return err
	}
	defer stopHealth()
	var sources []extract.SourceConfig
	for _, s := range instance.OfType(Type) {
		source := extract.SourceConfig{Name: s.Name, Type: Type, Options: s.Options, ConfigDir: instance.Dir, DataDir: cfg.DataDir}
		if _, err := readSettings(source); err != nil { // its runs will fail with this; the others go on
			zerolog.Ctx(ctx).Error().Err(err).Str(service.FieldSource, s.Name).Msg("the source is not configured correctly")
		}
		sources = append(sources, source)
	}
	return serve(ctx, bus, sources, extract.RuntimeConfig{
		DataDir: cfg.DataDir, StopBudget: cfg.StopBudget, Metrics: cfg.Registry(),
		Limits: extract.Limits{Tables: cfg.ParallelTables, MemoryBytes: cfg.MemoryMB << 20, Grace: cfg.Grace},
	})
}

// serve takes in and extracts these sources until ctx ends.
func serve(ctx context.Context, bus *event.Bus, sources []extract.SourceConfig, cfg extract.RuntimeConfig) (err error) {
	all := &sites{configs: map[string]extract.SourceConfig{}, metrics: cfg.Metrics}
	defer func() { err = errors.Join(err, all.close()) }()
	for _, source := range sources {
		all.configs[source.Name] = source
		cfg.Sources = append(cfg.Sources, visible(source))
	}
	cfg.Bus, cfg.Connector = bus, all.connector()
	cfg.Connector.Feed = func(ctx context.Context, source extract.SourceConfig, run extract.FeedRun) error {
		s, err := all.get(ctx, source)
		if err != nil {
			return err
		}
		return s.feed(ctx, bus, run)
	}
	return extract.Serve(ctx, cfg)
}

// visible is a source as the runtime sees it: with what its rows depend on, so that neither a new secret
// nor another schedule makes all tables be written anew.
func visible(source extract.SourceConfig) extract.SourceConfig {
	options := maps.Clone(source.Options)
	for option := range options {
		switch option {
		case "site", "fields", extract.OptionAutoRegister, extract.OptionWatch:
		default:
			delete(options, option)
		}
	}
	if options == nil {
		options = map[string]any{}
	}
	if _, set := options[extract.OptionAutoRegister]; !set {
		options[extract.OptionAutoRegister] = true
	}
	source.Options = options
	return source
}
