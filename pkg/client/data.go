package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Manifest lists what the caller may hold a copy of: every granted table with its parts.
type Manifest struct {
	// Tables is keyed by the table's id.
	Tables map[string]ManifestTable `json:"tables"`
	// RemoteTables stay where they live: there is nothing to download.
	RemoteTables map[string]ManifestTable `json:"remote_tables"`
	ServerTime   time.Time                `json:"server_time"`
	// ETag names this state of the manifest; give it to the next call.
	ETag string `json:"-"`
}

// ManifestTable is one table of the manifest.
type ManifestTable struct {
	Source string `json:"source"`
	Name   string `json:"name"`
	// Alias: the table's unqualified name stands for it alone.
	Alias       bool   `json:"alias"`
	QueryMode   string `json:"query_mode"`
	Description string `json:"description"`
	// Hash is the MD5 (hex) of the bytes that a download of the whole table sends, SHA256 its SHA-256.
	Hash   string `json:"hash"`
	SHA256 string `json:"sha256"`
	// SizeBytes is the size of the whole table as one file; the parts have sizes of their own.
	SizeBytes int64     `json:"size_bytes"`
	Rows      int64     `json:"rows"`
	Updated   time.Time `json:"updated"`
	// Fingerprint changes exactly when the content or the columns change.
	Fingerprint string           `json:"fingerprint"`
	Columns     []catalog.Column `json:"columns"`
	Parts       []ManifestPart   `json:"parts"`
	// BigQuery is where a remote table lives there; nil for all others.
	BigQuery *catalog.BigQueryTable `json:"bigquery"`
	// Wanted is false where the user switched the table off; nil, as from an older server, means wanted.
	Wanted *bool `json:"wanted"`
}

// ManifestPart is one file of a table.
type ManifestPart struct {
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"size_bytes"`
	Rows      int64  `json:"rows"`
}

// Manifest asks for the manifest. Where etag is that of the manifest as it stands, modified is false
// and the manifest is empty.
func (c *Client) Manifest(ctx context.Context, etag string) (m Manifest, modified bool, err error) {
	r := request{method: http.MethodGet, path: "/api/sync/manifest", header: http.Header{}}
	if etag != "" {
		r.header.Set("If-None-Match", etag)
	}
	header, err := c.callHeader(ctx, r, &m)
	if errors.Is(err, errNotModified) {
		return Manifest{ETag: etag}, false, nil
	}
	if err != nil {
		return Manifest{}, false, err
	}
	m.ETag = header.Get("ETag")
	return m, true, nil
}

// CatalogTable is one table that the caller can query.
type CatalogTable struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Source      string           `json:"source"`
	Alias       bool             `json:"alias"`
	Description string           `json:"description"`
	SourceType  string           `json:"source_type"`
	QueryMode   string           `json:"query_mode"`
	Rows        int64            `json:"rows"`
	SizeBytes   int64            `json:"size_bytes"`
	Updated     *time.Time       `json:"updated"`
	Columns     []catalog.Column `json:"columns"`
}

// Catalog lists the tables that the caller can query, and the answer as it came.
func (c *Client) Catalog(ctx context.Context) ([]CatalogTable, json.RawMessage, error) {
	var raw json.RawMessage
	if err := c.call(ctx, request{method: http.MethodGet, path: "/api/catalog/tables"}, &raw); err != nil {
		return nil, nil, err
	}
	var answer struct {
		Tables []CatalogTable `json:"tables"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, c.notTheAPI(err, http.MethodGet, "/api/catalog/tables")
	}
	return answer.Tables, raw, nil
}

// Profile gives what is known of a table's columns, as it came.
func (c *Client) Profile(ctx context.Context, table string) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "catalog", "profile", table)}, &raw)
	return raw, err
}
