package api

import (
	"context"
	"fmt"
	"sync"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// typeBigQuery is the connector whose sources name the warehouse.
const typeBigQuery = "bigquery"

// warehouses keeps a client of BigQuery for each source that needs one.
type warehouses struct {
	instance func() *service.Instance

	mu   sync.Mutex
	open map[string]warehouse // by source
}

type warehouse struct {
	client *bigquery.Client
	of     string // the configuration that it has
}

// of gives the client of a source, as it is configured; of the first source of BigQuery, or of BIGQUERY_PROJECT, where
// the name is not one of them.
func (w *warehouses) of(ctx context.Context, source string) (*bigquery.Client, error) {
	options, name := map[string]any{}, ""
	for i, s := range w.instance().OfType(typeBigQuery) {
		if i == 0 || s.Name == source {
			options, name = s.Options, s.Name
		}
	}
	cfg, _, err := bigquery.ConfigOf(options)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "BigQuery is not configured here: add a source of the type bigquery, or set BIGQUERY_PROJECT (%s)", fault.Message(err))
	}
	configured := fmt.Sprint(options, cfg.Project)
	w.mu.Lock()
	defer w.mu.Unlock()
	before, had := w.open[name]
	if had && before.of == configured {
		return before.client, nil
	}
	client, err := bigquery.Open(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, err
	}
	if had {
		_ = before.client.Close() // queries that still run end with an error, and the configuration is another one
	}
	if w.open == nil {
		w.open = make(map[string]warehouse)
	}
	w.open[name] = warehouse{client, configured}
	return client, nil
}

func (w *warehouses) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.open {
		_ = one.client.Close() // nothing is left to do for it
	}
	w.open = nil
}
