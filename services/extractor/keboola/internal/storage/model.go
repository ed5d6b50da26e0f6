package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Token is who a token is and what it may see.
type Token struct {
	Description string     `json:"description"`
	Master      bool       `json:"isMasterToken"`
	Expired     bool       `json:"isExpired"`
	Disabled    bool       `json:"isDisabled"`
	Expires     stamp      `json:"expires"`
	Buckets     stringsMap `json:"bucketPermissions"` // a bucket's id to read, write or manage
	Owner       struct {
		ID       json.Number `json:"id"`
		Name     string      `json:"name"`
		Features []string    `json:"features"`
	} `json:"owner"`
}

// Bucket holds tables. Linked ones show those of another project.
type Bucket struct {
	ID          string          `json:"id"` // with its stage: in.c-crm
	Name        string          `json:"name"`
	DisplayName string          `json:"displayName"`
	Stage       string          `json:"stage"`
	Description string          `json:"description"`
	Source      json.RawMessage `json:"sourceBucket"`
}

// Linked tells whether the bucket is one of another project.
func (b Bucket) Linked() bool { return len(b.Source) > 0 && !bytes.Equal(b.Source, []byte("null")) }

// Metadata is an entry about a table or a column, by whoever provided it.
type Metadata struct {
	Provider string `json:"provider"`
	Key      string `json:"key"`
	Value    string `json:"value"`
}

// Columns are the metadata of columns by name. PHP writes an empty one as a list.
type Columns map[string][]Metadata

// UnmarshalJSON reads an object, or an empty list.
func (c *Columns) UnmarshalJSON(raw []byte) error {
	return objectOrList(raw, (*map[string][]Metadata)(c))
}

type stringsMap map[string]string

// UnmarshalJSON reads an object, or an empty list.
func (m *stringsMap) UnmarshalJSON(raw []byte) error {
	return objectOrList(raw, (*map[string]string)(m))
}

func objectOrList[V any](raw []byte, into *map[string]V) error {
	if raw = bytes.TrimSpace(raw); bytes.Equal(raw, []byte("[]")) || bytes.Equal(raw, []byte("null")) {
		*into = nil
		return nil
	}
	return json.Unmarshal(raw, into)
}

// stamp is a time as the API writes it; zero for null.
type stamp struct{ time.Time }

// UnmarshalJSON reads the forms of ISO 8601 that the API has had.
func (s *stamp) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "" || text == "null" {
		return nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05-0700", time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			s.Time = t
			return nil
		}
	}
	return fault.New(fault.Unavailable, "%q is no time as Keboola writes it", text)
}

// Table is a table of a bucket.
type Table struct {
	ID             string     `json:"id"` // in.c-crm.orders
	Name           string     `json:"name"`
	DisplayName    string     `json:"displayName"`
	PrimaryKey     []string   `json:"primaryKey"`
	LastImport     stamp      `json:"lastImportDate"`
	LastChange     stamp      `json:"lastChangeDate"`
	Rows           *int64     `json:"rowsCount"`
	SizeBytes      *int64     `json:"dataSizeBytes"`
	Alias          bool       `json:"isAlias"`
	Columns        []string   `json:"columns"`
	Metadata       []Metadata `json:"metadata"`
	ColumnMetadata Columns    `json:"columnMetadata"`
	Bucket         Bucket     `json:"bucket"`
	Source         *struct {
		ID             string  `json:"id"`
		ColumnMetadata Columns `json:"columnMetadata"`
	} `json:"sourceTable"`
}

// Verify asks who the token is. A token that is expired or disabled is fault.Unauthenticated.
func (c *Client) Verify(ctx context.Context) (Token, error) {
	var t Token
	err := c.do(ctx, call{route: "verify", what: "verify the token", method: http.MethodGet, path: []string{"tokens", "verify"}}, &t)
	if err == nil && (t.Expired || t.Disabled) {
		err = fault.New(fault.Unauthenticated, "the Storage API token is expired or disabled: make a new one in the project")
	}
	return t, err
}

// Buckets lists the buckets that the token may see.
func (c *Client) Buckets(ctx context.Context) ([]Bucket, error) {
	var out []Bucket
	return out, c.do(ctx, call{route: "buckets", what: "list the buckets", method: http.MethodGet, path: []string{"buckets"}}, &out)
}

// Tables lists all tables that the token may see, with columns, metadata and buckets.
func (c *Client) Tables(ctx context.Context) ([]Table, error) {
	var out []Table
	return out, c.do(ctx, call{
		route: "tables", what: "list the tables", method: http.MethodGet, path: []string{"tables"},
		query: url.Values{"include": {"columns,buckets,metadata,columnMetadata"}},
	}, &out)
}

// Table reads one table, with all that is known of it.
func (c *Client) Table(ctx context.Context, id string) (Table, error) {
	var out Table
	err := c.do(ctx, call{route: "table", what: "read the table " + id, method: http.MethodGet, path: []string{"tables", id}}, &out)
	if err == nil && (out.ID != id || len(out.Columns) == 0) {
		err = fault.New(fault.Unavailable, "Keboola answers something else than the table %s", id)
	}
	return out, err
}

// Preview gives the first rows of a table, at most 1,000, as CSV with a first line that names the columns.
func (c *Client) Preview(ctx context.Context, id string, limit int, columns ...string) ([]byte, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if len(columns) > 0 {
		query.Set("columns", strings.Join(columns, ","))
	}
	return c.raw(ctx, call{route: "preview", what: "preview the table " + id, method: http.MethodGet, path: []string{"tables", id, "data-preview"}, query: query}, nil)
}

// PushColumnMetadata sets metadata of a column in the name of provider.
func (c *Client) PushColumnMetadata(ctx context.Context, table, column, provider string, entries []Metadata) error {
	type entry struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	body := struct {
		Provider string  `json:"provider"`
		Metadata []entry `json:"metadata"`
	}{Provider: provider}
	for _, m := range entries {
		body.Metadata = append(body.Metadata, entry{m.Key, m.Value})
	}
	return c.do(ctx, call{
		route: "metadata", what: "write the metadata of the column " + column + " of " + table, method: http.MethodPost,
		path: []string{"tables", table, "columns", column, "metadata"}, json: body,
	}, nil)
}

// Where keeps the rows whose column is one of the values (eq), is none of them (ne), or compares with the
// first one (gt, ge, lt, le).
type Where struct {
	Column   string   `json:"column"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
	// DataType compares as numbers: INTEGER, REAL, DOUBLE, BIGINT or DECIMAL; empty as text.
	DataType string `json:"data_type"`
}

// Valid tells what is wrong with a filter; nil where nothing is.
func (w Where) Valid() error {
	switch {
	case w.Column == "":
		return fault.New(fault.Invalid, "a filter has no column")
	case !slices.Contains([]string{"eq", "ne", "gt", "ge", "lt", "le"}, w.Operator):
		return fault.New(fault.Invalid, "the filter of %s: operator must be eq, ne, gt, ge, lt or le", w.Column)
	case len(w.Values) == 0:
		return fault.New(fault.Invalid, "the filter of %s has no values", w.Column)
	case len(w.Values) > 1 && w.Operator != "eq" && w.Operator != "ne":
		return fault.New(fault.Invalid, "the filter of %s compares with one value, not with %d", w.Column, len(w.Values))
	case !slices.Contains([]string{"", "INTEGER", "REAL", "DOUBLE", "BIGINT", "DECIMAL"}, w.DataType):
		return fault.New(fault.Invalid, "the filter of %s: data_type must be INTEGER, BIGINT, DECIMAL, DOUBLE or REAL", w.Column)
	}
	return nil
}
