package bigquery

import (
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Connector reads tables of BigQuery.
var Connector = sources{}.connector()

// remoteAlias is the catalog of tables that stay in BigQuery, under the predecessor's name; those of further
// projects have a name of their own.
const remoteAlias = "bq"

// sources are those of one process.
type sources struct {
	metrics prometheus.Registerer
	client  func(*bigquery.Config) // changes the client's configuration, in tests
}

func (s sources) connector() extract.Connector {
	return extract.Connector{Type: bigquery.Type, Open: s.open}
}

// source is one open source.
type source struct {
	bigquery.Options
	name   string
	client *bigquery.Client
}

func (s sources) open(ctx context.Context, cfg extract.SourceConfig) (extract.Source, error) {
	config, options, err := bigquery.ConfigOf(cfg.Options)
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "the source %s: %s", cfg.Name, fault.Message(err))
	}
	config.Metrics = s.metrics
	config.Labels = labels(config.Labels, cfg.Name)
	if s.client != nil {
		s.client(&config)
	}
	client, err := bigquery.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	o := &source{Options: options, name: cfg.Name, client: client}
	// An account that is worth nothing fails the whole run, before a table is touched (trap S2). One that
	// may list nothing, but read what it was given, is fine.
	if _, err := client.Datasets(ctx, options.Projects[0].ID); err != nil && !fault.Is(err, fault.Forbidden) {
		_ = client.Close()
		return nil, err
	}
	return o, nil
}

// labels are those of the source's jobs, by which Google's bill can be split.
func labels(configured map[string]string, source string) map[string]string {
	out := map[string]string{"app": "agnes", "source": source}
	for k, v := range configured {
		out[k] = v
	}
	return out
}

// Close ends connections.
func (s *source) Close() error { return s.client.Close() }

// Remotes names the projects as catalogs of DuckDB's extension.
func (s *source) Remotes(context.Context) ([]catalog.Remote, error) {
	if !s.RemoteAttach {
		return nil, nil
	}
	var out []catalog.Remote
	for _, p := range s.Projects {
		out = append(out, catalog.Remote{Alias: s.alias(p.ID), Extension: bigquery.Type, URL: "project=" + p.ID})
	}
	return out, nil
}

func (s *source) alias(project string) string {
	if project == s.Projects[0].ID {
		return remoteAlias
	}
	return remoteAlias + "_" + strings.NewReplacer("-", "_", ".", "_", ":", "_").Replace(project)
}

// find names the table that is registered: its bucket is a dataset, with or without the project.
func (s *source) find(spec extract.TableSpec) (bigquery.TableRef, error) {
	table := spec.SourceTable
	if table == "" {
		table = spec.Name
	}
	if spec.Bucket != "" {
		table = spec.Bucket + "." + table
	}
	ref, err := bigquery.ParseTable(table, s.Projects[0].ID)
	if err != nil {
		return ref, fault.Wrap(err, fault.Invalid, "the table %s: %s", spec.Name, fault.Message(err))
	}
	if !slices.ContainsFunc(s.Projects, func(p bigquery.Project) bool { return p.ID == ref.Project }) {
		return ref, fault.New(fault.Invalid, "the table %s is in the project %s, which is none of the source's `projects`", spec.Name, ref.Project)
	}
	return ref, nil
}

// Discover lists the tables and views of the datasets. It fails as a whole.
func (s *source) Discover(ctx context.Context) ([]extract.DiscoveredTable, error) {
	var out []extract.DiscoveredTable
	taken := map[string]string{}
	for _, p := range s.Projects {
		datasets, err := s.client.Datasets(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		for _, d := range datasets {
			if len(s.Datasets) > 0 && !slices.Contains(s.Datasets, d) && !slices.Contains(s.Datasets, p.ID+"."+d) {
				continue
			}
			refs, err := s.client.Tables(ctx, p.ID, d)
			if err != nil {
				return nil, err
			}
			for _, ref := range refs {
				t, err := s.client.Table(ctx, ref)
				if fault.Is(err, fault.NotFound) { // it went in between
					continue
				}
				if err != nil && !fault.Is(err, fault.Forbidden) {
					return nil, err
				}
				out = append(out, s.propose(ref, t, err, taken))
			}
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Name < out[j].Name || out[i].Name == out[j].Name && out[i].Bucket < out[j].Bucket
	})
	return out, nil
}

// propose is a table as it would be registered.
func (s *source) propose(ref bigquery.TableRef, t bigquery.Table, err error, taken map[string]string) extract.DiscoveredTable {
	d := extract.DiscoveredTable{
		Name: ref.Table, Bucket: ref.Dataset, SourceTable: ref.Table, Description: t.Description, Columns: t.Columns,
		PrimaryKey: t.PrimaryKey, Rows: t.Rows, SizeBytes: t.Bytes, ChangedAt: t.Modified,
	}
	if s.Names != bigquery.NamesTable {
		d.Name = ref.Dataset + "_" + ref.Table
	}
	if ref.Project != s.Projects[0].ID {
		d.Bucket = ref.Project + "." + ref.Dataset
	}
	if err != nil {
		d.Rows, d.SizeBytes, d.Problem = -1, -1, fault.Message(err)
	} else if err := catalog.ValidTableName(d.Name); err != nil {
		d.Problem = err.Error()
	}
	lower := strings.ToLower(d.Name)
	if other := taken[lower]; other != "" && d.Problem == "" {
		d.Problem = "the table " + other + " has the name " + d.Name + " already: register this one under another name"
	}
	taken[lower] = ref.String()
	return d
}
