// Package csv is the connector for files: CSV, TSV, JSON and Parquet in folders that this service can
// read. What it does with every kind of file, and with bad ones, is written in docs/connector-csv.md.
package csv

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/service"
)

// name is that of the service on the bus.
const name = "extractor-csv"

// Config of the service.
type Config struct {
	service.Base
	ParallelSources int           `envconfig:"AGNES_EXTRACTOR_CSV_SOURCES" default:"2" desc:"sources that are extracted at once"`
	ParallelTables  int           `envconfig:"AGNES_EXTRACTOR_CSV_TABLES" default:"2" desc:"tables of a source that are extracted at once"`
	MemoryMB        int64         `envconfig:"AGNES_EXTRACTOR_CSV_MEMORY_MB" default:"1024" desc:"memory of DuckDB over the tables of a source, in MiB"`
	Grace           time.Duration `envconfig:"AGNES_PART_GRACE" default:"1h" desc:"how long a part outlives its last publication"`
	StopBudget      time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"20s" desc:"how long work may take to finish after a stop"`
}

// Run extracts the sources of type csv on request until ctx ends: then runs that are under way have
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
	var sources []extract.SourceConfig
	for _, s := range instance.OfType(Type) {
		cfg := extract.SourceConfig{Name: s.Name, Type: s.Type, Options: s.Options, ConfigDir: instance.Dir, DataDir: cfg.DataDir}
		if _, err := readOptions(cfg); err != nil { // its runs will fail with this; the others go on
			zerolog.Ctx(ctx).Error().Err(err).Str(service.FieldSource, s.Name).Msg("the source is not configured correctly")
		}
		sources = append(sources, cfg)
	}
	return extract.Serve(ctx, extract.RuntimeConfig{
		Connector: Connector, Bus: bus, Sources: sources, DataDir: cfg.DataDir,
		ParallelSources: cfg.ParallelSources, StopBudget: cfg.StopBudget,
		Limits: extract.Limits{Tables: cfg.ParallelTables, MemoryBytes: cfg.MemoryMB << 20, Grace: cfg.Grace},
	})
}
