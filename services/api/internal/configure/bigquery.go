package configure

import (
	"context"
	"fmt"

	bq "github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// testBigQuery has BigQuery check a query that reads nothing, by the credentials of the server: it costs
// nothing, and shows that they may run jobs in the project.
func (s *Service) testBigQuery(ctx context.Context, project, location string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	failed := func(err error) error {
		kind := fault.Invalid
		if ctx.Err() != nil {
			kind = fault.Unavailable
		}
		return fault.Wrap(err, kind, "connection failed: %s", fault.Message(err))
	}
	cfg, _, err := bq.ConfigOf(map[string]any{"project": project, "location": location})
	if err != nil {
		return nil, failed(err)
	}
	c, err := bq.Open(ctx, cfg)
	if err != nil {
		return nil, failed(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.DryRun(ctx, bq.Query{SQL: "SELECT 1", Location: location}); err != nil {
		return nil, failed(err)
	}
	return []string{fmt.Sprintf("BigQuery accepted the credentials of the server, which may run queries in the project %s (a dry run, at no cost)", project)}, nil
}
