// Package keboola is the connector for Keboola projects: their tables are exported by the Storage API, and
// read into parts, whole, by what changed, or by date. docs/connector-keboola.md says what operators need
// to know.
package keboola

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/service"
)

// name is that of the service on the bus.
const name = "extractor-keboola"

// Config of the service.
type Config struct {
	service.Base
	ParallelSources int           `envconfig:"AGNES_EXTRACTOR_KEBOOLA_SOURCES" default:"1" desc:"projects that are extracted at once"`
	ParallelTables  int           `envconfig:"AGNES_EXTRACTOR_KEBOOLA_TABLES" default:"8" desc:"tables of a project that are extracted at once"`
	MemoryMB        int64         `envconfig:"AGNES_EXTRACTOR_KEBOOLA_MEMORY_MB" default:"2048" desc:"memory of DuckDB over the tables of a project, in MiB"`
	Grace           time.Duration `envconfig:"AGNES_PART_GRACE" default:"1h" desc:"how long a part outlives its last publication"`
	StopBudget      time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"20s" desc:"how long work may take to finish after a stop"`
}

// Run extracts the sources of type keboola on request until ctx ends: then runs that are under way have
// the stop budget to finish.
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
	all := sources{configs: map[string]extract.SourceConfig{}, metrics: cfg.Registry()}
	runtime := extract.RuntimeConfig{
		Connector: all.connector(), Bus: bus, DataDir: cfg.DataDir, ParallelSources: cfg.ParallelSources, StopBudget: cfg.StopBudget,
		Metrics: cfg.Registry(),
		Limits:  extract.Limits{Tables: cfg.ParallelTables, MemoryBytes: cfg.MemoryMB << 20, Grace: cfg.Grace},
	}
	for _, s := range instance.OfType(Type) {
		source := extract.SourceConfig{Name: s.Name, Type: s.Type, Options: s.Options, ConfigDir: instance.Dir, DataDir: cfg.DataDir}
		if _, err := readOptions(source); err != nil { // its runs will fail with this; the others go on
			zerolog.Ctx(ctx).Error().Err(err).Str(service.FieldSource, s.Name).Msg("the source is not configured correctly")
		}
		all.configs[s.Name] = source
		runtime.Sources = append(runtime.Sources, visible(source))
	}
	return extract.Serve(ctx, runtime)
}
