package client

import (
	"context"
	"net/http"
)

// HybridPart is one query that is registered with BigQuery, and what it costs.
type HybridPart struct {
	Alias string `json:"alias"`
	// Tables of BigQuery that it reads, as project.dataset.table.
	Tables []string `json:"tables"`
	// Bytes that BigQuery estimates, and MaxBytes that may be billed at most.
	Bytes    int64   `json:"bytes"`
	MaxBytes int64   `json:"max_bytes_billed"`
	PriceUSD float64 `json:"price_usd"`
}

// ExplainHybrid tells what the registered queries of q would cost, and runs nothing.
func (c *Client) ExplainHybrid(ctx context.Context, q QueryRequest) ([]HybridPart, error) {
	var out struct {
		Stats struct {
			Parts []HybridPart `json:"parts"`
		} `json:"bq_stats"`
	}
	body := map[string]any{"sql": q.SQL, "register_bq": q.Registered, "explain": true}
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/query/hybrid", body: body, repeatable: true}, &out)
	return out.Stats.Parts, err
}
