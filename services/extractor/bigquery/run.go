// Package bigquery is the connector for Google BigQuery: tables are copied into parts by the Storage Read API, views
// and statements of SQL by query jobs, or they stay where they are. docs/connector-bigquery.md says what operators
// need to know.
package bigquery

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/service"
)

// name is that of the service on the bus.
const name = "extractor-bigquery"

// Config of the service.
type Config struct {
	service.Base
	ParallelSources int           `envconfig:"AGNES_EXTRACTOR_BIGQUERY_SOURCES" default:"1" desc:"sources that are extracted at once"`
	ParallelTables  int           `envconfig:"AGNES_EXTRACTOR_BIGQUERY_TABLES" default:"4" desc:"tables of a source that are extracted at once"`
	MemoryMB        int64         `envconfig:"AGNES_EXTRACTOR_BIGQUERY_MEMORY_MB" default:"2048" desc:"memory of DuckDB over the tables of a source, in MiB"`
	Grace           time.Duration `envconfig:"AGNES_PART_GRACE" default:"1h" desc:"how long a part outlives its last publication"`
	StopBudget      time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"20s" desc:"how long work may take to finish after a stop"`
}

// Run extracts the sources of type bigquery on request until ctx ends: then runs that are under way have the
// stop budget to finish.
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
	runtime := extract.RuntimeConfig{
		Connector: sources{metrics: cfg.Registry()}.connector(), Bus: bus, DataDir: cfg.DataDir, ParallelSources: cfg.ParallelSources, StopBudget: cfg.StopBudget,
		Metrics: cfg.Registry(),
		Limits:  extract.Limits{Tables: cfg.ParallelTables, MemoryBytes: cfg.MemoryMB << 20, Grace: cfg.Grace},
	}
	for _, s := range instance.OfType(bigquery.Type) {
		if _, _, err := bigquery.ConfigOf(s.Options); err != nil { // its runs will fail with this; the others go on
			zerolog.Ctx(ctx).Error().Err(err).Str(service.FieldSource, s.Name).Msg("the source is not configured correctly")
		}
		runtime.Sources = append(runtime.Sources, extract.SourceConfig{Name: s.Name, Type: s.Type, Options: s.Options, ConfigDir: instance.Dir, DataDir: cfg.DataDir})
	}
	return extract.Serve(ctx, runtime)
}
