package bigquery

import (
	"context"
	"fmt"
	"slices"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// previewBytes is what a preview may have BigQuery bill where only a query job shows rows: of a view, an
// external table, a statement. A preview of a table is free of charge.
const previewBytes = 1 << 30

// Test lists the datasets of every project, and tries what a materialized table needs: a query job, which
// is only estimated.
func (s *source) Test(ctx context.Context) ([]string, error) {
	findings := []string{"query jobs are billed to the project " + s.client.Project()}
	for _, p := range s.Projects {
		datasets, err := s.client.Datasets(ctx, p.ID)
		if fault.Is(err, fault.Forbidden) {
			findings = append(findings, fmt.Sprintf("the account may not list the datasets of the project %s: tables that it was given can still be read", p.ID))
			continue
		}
		if err != nil {
			return nil, err
		}
		findings = append(findings, fmt.Sprintf("the project %s shows %d datasets", p.ID, len(datasets)))
		for _, d := range s.Datasets {
			if s.Projects[0].ID == p.ID && !slices.Contains(datasets, d) && !s.elsewhere(d) {
				return nil, fault.New(fault.NotFound, "the account sees no dataset %s in the project %s, which the source names", d, p.ID)
			}
		}
	}
	if _, err := s.client.DryRun(ctx, bigquery.Query{SQL: "SELECT 1", Location: s.Projects[0].Location}); err != nil {
		findings = append(findings, "query jobs cannot be run, which views and materialized tables need: "+fault.Message(err))
	} else {
		findings = append(findings, "query jobs can be run")
	}
	return findings, nil
}

// elsewhere tells whether a dataset that is named may be one of another project.
func (s *source) elsewhere(dataset string) bool {
	return len(s.Projects) > 1 || slices.ContainsFunc([]byte(dataset), func(c byte) bool { return c == '.' })
}

// Preview reads the first rows of a table, and of a view or a statement as far as that costs little.
func (s *source) Preview(ctx context.Context, spec extract.TableSpec, rows int) (extract.Preview, error) {
	o, err := s.optionsOf(spec)
	if err != nil {
		return extract.Preview{}, err
	}
	o.MaxBytesBilled = min(o.MaxBytesBilled, previewBytes)
	var result *bigquery.Result
	if spec.QueryMode == catalog.ModeMaterialized {
		result, err = s.run(ctx, spec, o)
	} else {
		result, err = s.firstRows(ctx, spec, o, rows)
	}
	if err != nil {
		return extract.Preview{}, err
	}
	defer func() { _ = result.Close() }()
	return extract.PreviewArrow(ctx, result.Reader(), result.Columns(), rows)
}

func (s *source) firstRows(ctx context.Context, spec extract.TableSpec, o tableOptions, rows int) (*bigquery.Result, error) {
	ref, err := s.find(spec)
	if err != nil {
		return nil, err
	}
	table, err := s.client.Table(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.client.ReadTable(ctx, table, bigquery.ReadOptions{
		Columns: o.Columns, Filter: o.Where, Limit: int64(rows), Streams: 1, MaxBytesBilled: o.MaxBytesBilled, Labels: map[string]string{"table": spec.Name},
	})
}

var _ interface {
	extract.Tester
	extract.Previewer
} = (*source)(nil)
