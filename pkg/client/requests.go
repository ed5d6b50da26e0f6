package client

import (
	"context"
	"net/http"
	"time"
)

// AccessRequest is a wish to read a table.
type AccessRequest struct {
	ID        string `json:"id"`
	UserID    string `json:"user_id"`
	UserEmail string `json:"user_email"`
	TableID   string `json:"table_id"`
	Reason    string `json:"reason"`
	// Status is "pending", "approved", "denied" or "cancelled".
	Status         string     `json:"status"`
	ReviewedBy     string     `json:"reviewed_by"`
	ReviewedAt     *time.Time `json:"reviewed_at"`
	DecisionReason string     `json:"decision_reason"`
	CreatedAt      *time.Time `json:"created_at"`
}

const accessRequests = "/api/access-requests"

// RequestAccess asks to be granted a table; reason may be empty.
func (c *Client) RequestAccess(ctx context.Context, table, reason string) (AccessRequest, error) {
	body := map[string]string{"table_id": table}
	if reason != "" {
		body["reason"] = reason
	}
	var r AccessRequest
	err := c.call(ctx, request{method: http.MethodPost, path: accessRequests, body: body}, &r)
	return r, err
}

type requestList struct {
	Requests []AccessRequest `json:"requests"`
	Count    int             `json:"count"`
	Total    int             `json:"total"`
}

// MyRequests lists the caller's requests.
func (c *Client) MyRequests(ctx context.Context) ([]AccessRequest, error) {
	var answer requestList
	err := c.call(ctx, request{method: http.MethodGet, path: accessRequests + "/my"}, &answer)
	return answer.Requests, err
}

// CancelRequest takes back one of the caller's requests that is pending.
func (c *Client) CancelRequest(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: accessRequests + at(id)}, nil)
}

// RequestFilter narrows a listing of requests; empty fields match all.
type RequestFilter struct {
	Status, UserID, TableID string
	Limit, Offset           int
}

// Requests lists everybody's requests, and tells how many there are beyond the page.
func (c *Client) Requests(ctx context.Context, f RequestFilter) (list []AccessRequest, total int, err error) {
	q := page(f.Limit, f.Offset)
	set(q, "status", f.Status)
	set(q, "user_id", f.UserID)
	set(q, "table_id", f.TableID)
	var answer requestList
	err = c.call(ctx, request{method: http.MethodGet, path: accessRequests, query: q}, &answer)
	return answer.Requests, max(answer.Total, answer.Count), err
}

// DecideRequest approves a pending request, which grants what it asks for, or denies it.
func (c *Client) DecideRequest(ctx context.Context, id string, approve bool, reason string) error {
	verb := "deny"
	if approve {
		verb = "approve"
	}
	body := map[string]string{}
	if reason != "" {
		body["reason"] = reason
	}
	return c.call(ctx, request{method: http.MethodPost, path: accessRequests + at(id, verb), body: body}, nil)
}

// DatasetSetting is a user's switch for a dataset.
type DatasetSetting struct {
	UserID    string          `json:"user_id"`
	Dataset   string          `json:"dataset"`
	Enabled   bool            `json:"enabled"`
	TableMode string          `json:"table_mode"`
	Tables    map[string]bool `json:"tables"`
	UpdatedAt *time.Time      `json:"updated_at"`
}

// Settings are what a user wants to have synced, and may read.
type Settings struct {
	UserID       string           `json:"user_id"`
	SyncSettings []DatasetSetting `json:"sync_settings"`
	Permissions  []Grant          `json:"permissions"`
}

// Settings gives the caller's.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/settings"}, &s)
	return s, err
}

// SetDataset switches the syncing of a dataset that the caller can read.
func (c *Client) SetDataset(ctx context.Context, dataset string, enabled bool) error {
	return c.call(ctx, request{method: http.MethodPut, path: "/api/settings/dataset", body: map[string]any{"dataset": dataset, "enabled": enabled}}, nil)
}

// SyncSettings are the caller's switches.
type SyncSettings struct {
	UserID          string           `json:"user_id"`
	Settings        []DatasetSetting `json:"settings"`
	EnabledDatasets []string         `json:"enabled_datasets"`
}

// SyncSettings gives the caller's switches.
func (c *Client) SyncSettings(ctx context.Context) (SyncSettings, error) {
	var s SyncSettings
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/sync/settings"}, &s)
	return s, err
}

// DatasetOutcome is what became of one switch.
type DatasetOutcome struct {
	Enabled bool   `json:"enabled"`
	Error   string `json:"error"`
}

// SetDatasets switches several datasets, and tells of each what became of it.
func (c *Client) SetDatasets(ctx context.Context, datasets map[string]bool) (map[string]DatasetOutcome, error) {
	var answer struct {
		Updated map[string]DatasetOutcome `json:"updated"`
	}
	err := c.call(ctx, request{method: http.MethodPost, path: "/api/sync/settings", body: map[string]any{"datasets": datasets}, repeatable: true}, &answer)
	return answer.Updated, err
}

// TableSubscriptions lists the caller's choices of tables.
func (c *Client) TableSubscriptions(ctx context.Context) ([]DatasetSetting, error) {
	var answer struct {
		Subscriptions []DatasetSetting `json:"subscriptions"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/sync/table-subscriptions"}, &answer)
	return answer.Subscriptions, err
}

// Subscribe stores which tables the caller wants; mode is "all" or "explicit". It gives how many changed.
func (c *Client) Subscribe(ctx context.Context, mode string, tables map[string]bool) (int, error) {
	var answer struct {
		Updated int `json:"updated"`
	}
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/api/sync/table-subscriptions", body: map[string]any{"table_mode": mode, "tables": tables}, repeatable: true,
	}, &answer)
	return answer.Updated, err
}

// Setup is what an administrator configures. Empty fields stay as they are.
type Setup struct {
	// DataSource is "keboola", "bigquery" or "local".
	DataSource       string `json:"data_source"`
	KeboolaToken     string `json:"keboola_token,omitempty"`
	KeboolaURL       string `json:"keboola_url,omitempty"`
	BigQueryProject  string `json:"bigquery_project,omitempty"`
	BigQueryLocation string `json:"bigquery_location,omitempty"`
	InstanceName     string `json:"instance_name,omitempty"`
	AllowedDomain    string `json:"allowed_domain,omitempty"`
	// DryRun tests and writes nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// SetupResult tells what was tested and changed.
type SetupResult struct {
	Status     string `json:"status"`
	DataSource string `json:"data_source"`
	// Connection is "verified", "not tested" or "local".
	Connection string `json:"connection"`
	// Tested are sentences: what was tried, and what it showed.
	Tested []string `json:"tested"`
	// Changed are the settings that are different now, in a dry run: that would be. Restart are the services
	// that take them over only when they are started again.
	Changed []string `json:"changed"`
	Restart []string `json:"restart"`
}

const configure = "/api/admin/configure"

// Configuration tells what is configured, by the name of the setting; secrets are "set" or empty.
func (c *Client) Configuration(ctx context.Context) (map[string]string, error) {
	var answer struct {
		Current map[string]string `json:"current"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: configure}, &answer)
	return answer.Current, err
}

// Configure tests a configuration and puts it in place.
func (c *Client) Configure(ctx context.Context, s Setup) (SetupResult, error) {
	var r SetupResult
	err := c.call(ctx, request{
		method: http.MethodPost, path: configure, body: s, secrets: []string{s.KeboolaToken}, timeout: 2 * time.Minute,
	}, &r)
	return r, err
}
