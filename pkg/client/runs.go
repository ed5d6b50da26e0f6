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
	RunID   string `json:"run_id"`
	Status  string `json:"status"`
	Message string `json:"message"`
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

// States of a run.
const (
	RunQueued     = "queued"
	RunRunning    = "running"
	RunPublishing = "publishing" // extracted, and not yet to be seen
	RunSucceeded  = "succeeded"
	RunPartial    = "partial" // some tables failed; the others are published
	RunFailed     = "failed"
)

// Run is one sync, of one source or several.
type Run struct {
	ID          string     `json:"id"`
	Status      string     `json:"status"`
	Reason      string     `json:"reason"`
	RequestedBy string     `json:"requested_by"`
	RequestedAt *time.Time `json:"requested_at"`
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	DurationMS  int64      `json:"duration_ms"`
	Force       bool       `json:"force"`
	// Source is set where the run has only one.
	Source   string      `json:"source"`
	Error    string      `json:"error"`
	Sources  []RunSource `json:"sources"`
	Tables   []RunTable  `json:"tables"`
	Progress RunProgress `json:"progress"`
}

// Ended tells whether nothing more will happen in the run.
func (r Run) Ended() bool {
	return r.Status == RunSucceeded || r.Status == RunPartial || r.Status == RunFailed
}

// RunSource is the part of a run that concerns one source.
type RunSource struct {
	Source    string `json:"source"`
	Status    string `json:"status"`
	Error     string `json:"error"`
	ErrorKind string `json:"error_kind"`
}

// RunTable is what became of one table in a run, or how far it is.
type RunTable struct {
	TableID string `json:"table_id"`
	Source  string `json:"source"`
	Table   string `json:"table"`
	// Outcome is "updated", "unchanged", "failed", "held_back" or "removed"; empty while it is worked on.
	Outcome      string `json:"outcome"`
	Phase        string `json:"phase"`
	Rows         int64  `json:"rows"`
	Bytes        int64  `json:"bytes"`
	BytesTotal   int64  `json:"bytes_total"`
	DurationMS   int64  `json:"duration_ms"`
	Error        string `json:"error"`
	ErrorKind    string `json:"error_kind"`
	RejectedRows int64  `json:"rejected_rows"`
	// SchemaChanges are the columns that are different from the version before; of a table that failed, those
	// that its schema contract refused.
	SchemaChanges []SchemaChange `json:"schema_changes"`
}

// SchemaChange is one column that is different from what it was.
type SchemaChange struct {
	Column   string `json:"column"`
	Change   string `json:"change"` // "added", "removed", "retyped" or "discarded"
	FromType string `json:"from_type"`
	ToType   string `json:"to_type"`
}

// TableRun is what became of one table in one run.
type TableRun struct {
	RunID         string         `json:"run_id"`
	Reason        string         `json:"reason"`
	At            time.Time      `json:"at"`
	Outcome       string         `json:"outcome"`
	Rows          int64          `json:"rows"`
	Bytes         int64          `json:"bytes"`
	DurationMS    int64          `json:"duration_ms"`
	PartsWritten  int            `json:"parts_written"`
	PartsReused   int            `json:"parts_reused"`
	RejectedRows  int64          `json:"rejected_rows"`
	Error         string         `json:"error"`
	ErrorKind     string         `json:"error_kind"`
	SchemaChanges []SchemaChange `json:"schema_changes"`
}

// TableHistory tells what became of a registered table in its runs, newest first; limit 0 leaves how many to
// the server.
func (c *Client) TableHistory(ctx context.Context, id string, limit int) ([]TableRun, error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var answer struct {
		Runs []TableRun `json:"runs"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "admin", "registry", id, "history"), query: q}, &answer)
	return answer.Runs, err
}

// RunProgress is how far a run is.
type RunProgress struct {
	TablesDone  int   `json:"tables_done"`
	TablesTotal int   `json:"tables_total"`
	Rows        int64 `json:"rows"`
	Bytes       int64 `json:"bytes"`
}

// RunFilter says which runs to list; the zero value lists the latest.
type RunFilter struct {
	Source, Status string
	Limit          int
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	q := url.Values{}
	if f.Source != "" {
		q.Set("source", f.Source)
	}
	if f.Status != "" {
		q.Set("status", f.Status)
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
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
