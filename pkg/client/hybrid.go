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
	// SemiJoin is what is sent along with it.
	SemiJoin SemiJoin `json:"semi_join"`
}

// SemiJoin tells which keys of local tables are sent along with a registered query, so that only rows travel that can match.
type SemiJoin struct {
	// Columns of the registered query, and for each the local table that its keys come from. Where there are none, Why says so.
	Columns []string `json:"columns"`
	Tables  []string `json:"tables"`
	Keys    int      `json:"keys"`
	Why     string   `json:"why,omitempty"`
}

// ExplainHybrid tells what the registered queries of q would cost, and runs nothing.
func (c *Client) ExplainHybrid(ctx context.Context, q QueryRequest) ([]HybridPart, error) {
	var out struct {
		Stats struct {
			Parts []HybridPart `json:"parts"`
		} `json:"bq_stats"`
	}
	body := map[string]any{"sql": q.SQL, "register_bq": q.Registered, "explain": true}
	if q.NoSemiJoin {
		body["semi_join"] = false
	}
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/query/hybrid", body: body, repeatable: true}, &out)
	return out.Stats.Parts, err
}
