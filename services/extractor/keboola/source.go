package keboola

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// Connector reads the tables of a Keboola project.
var Connector = sources{}.connector()

// remoteAlias is the catalog of tables that stay in Keboola, under the predecessor's name.
const remoteAlias = "kbc"

// sources are those of one process.
type sources struct {
	configs map[string]extract.SourceConfig // with their secrets, where the runtime's are without
	metrics prometheus.Registerer
	client  func(*storage.Config) // changes the client's configuration, in tests
}

func (s sources) connector() extract.Connector {
	return extract.Connector{Type: Type, Open: s.open}
}

// source is one open source.
type source struct {
	options
	name   string
	client *storage.Client
	token  storage.Token
}

// open signs in: a token that is worth nothing fails the whole run, before a table is touched (trap S2).
func (s sources) open(ctx context.Context, cfg extract.SourceConfig) (extract.Source, error) {
	if whole, found := s.configs[cfg.Name]; found {
		cfg.Options = whole.Options
	}
	o, err := readOptions(cfg)
	if err != nil {
		return nil, err
	}
	c := storage.Config{Source: cfg.Name, Stack: o.StackURL, Token: o.Token, Metrics: s.metrics}
	if s.client != nil {
		s.client(&c)
	}
	client, err := storage.New(c)
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "the source %s: %s", cfg.Name, fault.Message(err))
	}
	token, err := client.Verify(ctx)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("verify the token of %s: %w", cfg.Name, err)
	}
	if len(token.Buckets) == 0 {
		zerolog.Ctx(ctx).Warn().Str("project", token.Owner.Name).Msg("the token may read no bucket of the project")
	}
	return &source{options: o, name: cfg.Name, client: client, token: token}, nil
}

// Close ends idle connections.
func (s *source) Close() error {
	s.client.Close()
	return nil
}

// Remotes names the project as a catalog of DuckDB's extension, where that is wanted.
func (s *source) Remotes(context.Context) ([]catalog.Remote, error) {
	if !s.RemoteAttach {
		return nil, nil
	}
	return []catalog.Remote{{Alias: remoteAlias, Extension: Type, URL: s.StackURL, TokenEnv: s.TokenEnv}}, nil
}

// find reads a registered table. Its bucket may lack the stage (trap K5), as the predecessor wrote it: then
// it is the one of the stages in and out that has it.
func (s *source) find(ctx context.Context, spec extract.TableSpec) (storage.Table, error) {
	name := first(spec.SourceTable, spec.Name)
	bucket := spec.Bucket
	if bucket == "" {
		if strings.Count(name, ".") < 2 {
			return storage.Table{}, fault.New(fault.Invalid, "the table %s is registered without its bucket, such as in.c-crm", spec.Name)
		}
		return s.client.Table(ctx, name)
	}
	name = strings.TrimPrefix(name, bucket+".")
	if strings.Contains(bucket, ".") {
		return s.client.Table(ctx, bucket+"."+name)
	}
	var found []storage.Table
	for _, stage := range []string{"in.", "out."} {
		t, err := s.client.Table(ctx, stage+bucket+"."+name)
		switch {
		case err == nil:
			found = append(found, t)
		case !fault.Is(err, fault.NotFound):
			return storage.Table{}, err
		}
	}
	switch len(found) {
	case 0:
		return storage.Table{}, fault.New(fault.NotFound, "Keboola has no table %s in a bucket %s of the stages in and out", name, bucket)
	case 1:
		return found[0], nil
	}
	return storage.Table{}, fault.New(fault.Invalid, "the stages in and out both have a table %s.%s: register it with the stage, such as in.%s", bucket, name, bucket)
}
