package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Trigger is the answer to a request for a sync.
type Trigger struct {
	// RunIDs has one run per source; RunID is the first.
	RunID  string   `json:"run_id"`
	RunIDs []string `json:"run_ids"`
	Status string   `json:"status"`
	Tables any      `json:"tables"`
}

// IDs gives the runs that were triggered.
func (t Trigger) IDs() []string {
	if len(t.RunIDs) == 0 && t.RunID != "" {
		return []string{t.RunID}
	}
	return t.RunIDs
}

// SyncRequest says what to extract. The zero value means everything that is registered.
type SyncRequest struct {
	Tables []string `json:"tables,omitempty"`
	Source string   `json:"source,omitempty"`
	// Force publishes what a guard would hold back.
	Force bool `json:"force,omitempty"`
}

// TriggerSync asks the extractors to run.
func (c *Client) TriggerSync(ctx context.Context, what SyncRequest) (Trigger, error) {
	var t Trigger
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/sync/trigger", body: what}, &t)
	return t, err
}

// Run is one extraction of a source.
type Run struct {
	ID          string     `json:"id"`
	Source      string     `json:"source"`
	Status      string     `json:"status"`
	Reason      string     `json:"reason"`
	RequestedBy string     `json:"requested_by"`
	RequestedAt *time.Time `json:"requested_at"`
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	Error       string     `json:"error"`
	Tables      []RunTable `json:"tables"`
}

// RunTable is what became of one table in a run, or how far it is.
type RunTable struct {
	Table      string `json:"table"`
	Outcome    string `json:"outcome"`
	Phase      string `json:"phase"`
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"`
	BytesTotal int64  `json:"bytes_total"`
	DurationMS int64  `json:"duration_ms"`
	Error      string `json:"error"`
}

// Runs lists the latest runs, newest first.
func (c *Client) Runs(ctx context.Context, source string, limit int) ([]Run, error) {
	q := url.Values{}
	if source != "" {
		q.Set("source", source)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var answer struct {
		Runs []Run `json:"runs"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/sync/runs", query: q}, &answer)
	return answer.Runs, err
}

// Run gives one run.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	var r Run
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "sync", "runs", id)}, &r)
	return r, err
}
