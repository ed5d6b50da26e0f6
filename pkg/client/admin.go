package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Registered is a table of the registry.
type Registered struct {
	ID               string          `json:"id"`
	Name             string          `json:"name"`
	Source           string          `json:"source"`
	SourceType       string          `json:"source_type"`
	Bucket           string          `json:"bucket"`
	SourceTable      string          `json:"source_table"`
	SyncStrategy     string          `json:"sync_strategy"`
	QueryMode        string          `json:"query_mode"`
	SyncSchedule     string          `json:"sync_schedule"`
	ProfileAfterSync bool            `json:"profile_after_sync"`
	PrimaryKey       []string        `json:"primary_key"`
	Folder           string          `json:"folder"`
	Description      string          `json:"description"`
	RegisteredBy     string          `json:"registered_by"`
	IsPublic         bool            `json:"is_public"`
	RegisteredAt     *time.Time      `json:"registered_at"`
	Options          json.RawMessage `json:"options,omitempty"`
}

// TableFields are what can be set of a registered table. Only what is not nil is sent: the rest gets
// its default, or stays as it is.
type TableFields struct {
	Name             *string         `json:"name,omitempty"`
	Source           *string         `json:"source,omitempty"`
	SourceType       *string         `json:"source_type,omitempty"`
	Bucket           *string         `json:"bucket,omitempty"`
	SourceTable      *string         `json:"source_table,omitempty"`
	SyncStrategy     *string         `json:"sync_strategy,omitempty"`
	QueryMode        *string         `json:"query_mode,omitempty"`
	SyncSchedule     *string         `json:"sync_schedule,omitempty"`
	ProfileAfterSync *bool           `json:"profile_after_sync,omitempty"`
	PrimaryKey       *[]string       `json:"primary_key,omitempty"`
	Folder           *string         `json:"folder,omitempty"`
	Description      *string         `json:"description,omitempty"`
	IsPublic         *bool           `json:"is_public,omitempty"`
	Options          json.RawMessage `json:"options,omitempty"`
}

// NewTable names a table that was just registered.
type NewTable struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// Registry lists the registered tables.
func (c *Client) Registry(ctx context.Context) ([]Registered, error) {
	var answer struct {
		Tables []Registered `json:"tables"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/admin/registry"}, &answer)
	return answer.Tables, err
}

// RegisterTable adds a table to the registry. An existing one is an error of kind conflict.
func (c *Client) RegisterTable(ctx context.Context, fields TableFields) (NewTable, error) {
	var t NewTable
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/admin/register-table", body: fields}, &t)
	return t, err
}

// UpdateTable changes fields of a registered table.
func (c *Client) UpdateTable(ctx context.Context, id string, fields TableFields) error {
	return c.call(ctx, request{method: http.MethodPut, path: at("api", "admin", "registry", id), body: fields}, nil)
}

// RemoveTable takes a table out of the registry.
func (c *Client) RemoveTable(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("api", "admin", "registry", id)}, nil)
}

// Discovered is a table that a connector found.
type Discovered struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Bucket      string           `json:"bucket"`
	SourceTable string           `json:"source_table"`
	Description string           `json:"description"`
	Columns     []catalog.Column `json:"columns"`
	PrimaryKey  []string         `json:"primary_key"`
	// Rows is -1 where the source does not say.
	Rows       int64  `json:"rows"`
	SizeBytes  int64  `json:"size_bytes"`
	Registered bool   `json:"registered"`
	Problem    string `json:"problem"`
}

// discoverTimeout is longer than the others: a source may be slow to list what it has.
const discoverTimeout = 5 * time.Minute

// Discover asks a source what is there; an empty source means the only one.
func (c *Client) Discover(ctx context.Context, source string) ([]Discovered, error) {
	q := url.Values{}
	if source != "" {
		q.Set("source", source)
	}
	var answer struct {
		Tables []Discovered `json:"tables"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/admin/discover-tables", query: q, timeout: discoverTimeout}, &answer)
	return answer.Tables, err
}

// Registration is what came of discovering and registering.
type Registration struct {
	Registered int                `json:"registered"`
	Skipped    int                `json:"skipped"`
	Errors     []RegistrationFail `json:"errors"`
	Tables     []NewTable         `json:"tables"`
}

// RegistrationFail is a table that could not be registered; Table is empty for a source as a whole.
type RegistrationFail struct {
	Source string `json:"source"`
	Table  string `json:"table"`
	Error  string `json:"error"`
}

// DiscoverAndRegister registers what the source has and the registry has not.
func (c *Client) DiscoverAndRegister(ctx context.Context, source string) (Registration, error) {
	body := map[string]string{}
	if source != "" {
		body["source"] = source
	}
	var r Registration
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/admin/discover-and-register", body: body, timeout: discoverTimeout}, &r)
	return r, err
}

// SourceStatus is a configured source and what is published of it.
type SourceStatus struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Generation  uint64            `json:"generation"`
	PublishedAt *time.Time        `json:"published_at"`
	Tables      int               `json:"tables"`
	Problems    []catalog.Problem `json:"problems"`
}

// Sources lists the sources.
func (c *Client) Sources(ctx context.Context) ([]SourceStatus, error) {
	var answer struct {
		Sources []SourceStatus `json:"sources"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/admin/sources"}, &answer)
	return answer.Sources, err
}

// Rebuild has the catalog of a source built from its extract again, and gives the sources that were
// announced; an empty source means all.
func (c *Client) Rebuild(ctx context.Context, source string) ([]string, error) {
	body := map[string]string{}
	if source != "" {
		body["source"] = source
	}
	var answer struct {
		Sources []string `json:"sources"`
	}
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/admin/rebuild", body: body, repeatable: true}, &answer)
	return answer.Sources, err
}

// DeadLetter is an event that nobody could handle.
type DeadLetter struct {
	Seq      uint64          `json:"seq"`
	Subject  string          `json:"subject"`
	Consumer string          `json:"consumer"`
	Error    string          `json:"error"`
	Kind     string          `json:"kind"`
	Attempts int             `json:"attempts"`
	Time     *time.Time      `json:"time"`
	EventID  string          `json:"event_id"`
	Payload  json.RawMessage `json:"payload"`
}

// DeadLetters lists the events that nobody could handle.
func (c *Client) DeadLetters(ctx context.Context) ([]DeadLetter, error) {
	var answer struct {
		DeadLetters []DeadLetter `json:"dead_letters"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/admin/dead-letters"}, &answer)
	return answer.DeadLetters, err
}

// ReplayDeadLetter hands an event to its consumer again.
func (c *Client) ReplayDeadLetter(ctx context.Context, seq uint64) error {
	return c.call(ctx, request{method: http.MethodPost, path: at("api", "admin", "dead-letters", strconv.FormatUint(seq, 10), "replay")}, nil)
}

// DropDeadLetter deletes an event for good.
func (c *Client) DropDeadLetter(ctx context.Context, seq uint64) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("api", "admin", "dead-letters", strconv.FormatUint(seq, 10))}, nil)
}

// TestSource has the extractor of a source test its connection, and gives what that showed in sentences. A
// connection that does not work is an error.
func (c *Client) TestSource(ctx context.Context, source string) ([]string, error) {
	var answer struct {
		Findings []string `json:"findings"`
	}
	err := c.call(ctx, request{method: http.MethodPost, path: at("api", "admin", "sources", source, "test"), repeatable: true, timeout: discoverTimeout}, &answer)
	return answer.Findings, err
}

// Preview is the first rows of a table as its source has it.
type Preview struct {
	Table   string           `json:"table"`
	Columns []catalog.Column `json:"columns"`
	// Rows have a text for each column; nil where there is no value.
	Rows [][]*string `json:"rows"`
	// Cut tells that values were shortened, or rows left out because they are too large.
	Cut bool `json:"cut"`
}

// PreviewTable shows at most 20 rows of a table of a source, which need not be registered.
func (c *Client) PreviewTable(ctx context.Context, source, table string, rows int) (Preview, error) {
	var p Preview
	body := map[string]any{"table": table, "rows": rows}
	err := c.call(ctx, request{method: http.MethodPost, path: at("api", "admin", "sources", source, "preview"), body: body, repeatable: true, timeout: discoverTimeout}, &p)
	return p, err
}

// ColumnNote is what is said of a column; what is empty is left as it is. Type is one of DuckDB.
type ColumnNote struct {
	Name        string `json:"name"`
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
}

// MetadataPushed tells what was written to a source.
type MetadataPushed struct {
	Target string `json:"target"`
	Pushed []struct {
		Column string `json:"column"`
		Key    string `json:"key"`
		Value  string `json:"value"`
	} `json:"pushed"`
	// Problems are what was not written, and why.
	Problems []string `json:"problems"`
	DryRun   bool     `json:"dry_run"`
}

// PushMetadata writes descriptions and types of columns of a registered table to its source, or tells what it
// would write.
func (c *Client) PushMetadata(ctx context.Context, id string, notes []ColumnNote, dryRun bool) (MetadataPushed, error) {
	var m MetadataPushed
	body := map[string]any{"columns": notes, "dry_run": dryRun}
	err := c.call(ctx, request{method: http.MethodPost, path: at("api", "admin", "registry", id, "push-metadata"), body: body, repeatable: true, timeout: discoverTimeout}, &m)
	return m, err
}
