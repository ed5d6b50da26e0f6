// Package catalog is the vocabulary of Agnes: sources, tables, parts, versions and the documents in
// which they are published. It imports the standard library only.
package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Query modes of a table.
const (
	ModeLocal        = "local"        // copied into parts
	ModeRemote       = "remote"       // asked where it lives
	ModeMaterialized = "materialized" // the result of a query, copied into parts
)

// Part is one immutable parquet file of a table, named by its content.
type Part struct {
	// Path is relative to the data directory, with forward slashes, and never leaves it.
	Path      string `json:"path"`
	SHA256    string `json:"sha256"`
	MD5       string `json:"md5"`
	SizeBytes int64  `json:"size_bytes"`
	Rows      int64  `json:"rows"`
}

// Column is a column of a table as readers see it.
type Column struct {
	Name string `json:"name"`
	// Type is a DuckDB type name, such as "BIGINT" or "DECIMAL(18,2)".
	Type string `json:"type"`
}

// Table is one published table of a source.
type Table struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	QueryMode   string    `json:"query_mode"`
	Rows        int64     `json:"rows"`
	SizeBytes   int64     `json:"size_bytes"`
	ExtractedAt time.Time `json:"extracted_at"`
	// Fingerprint changes exactly when the content or the columns change; see Fingerprint.
	Fingerprint string   `json:"fingerprint"`
	Columns     []Column `json:"columns"`
	Parts       []Part   `json:"parts,omitempty"`
	// RemoteSQL is the definition of a remote table's view; empty for local tables.
	RemoteSQL string `json:"remote_sql,omitempty"`
}

// Remote is a catalog outside that remote tables of a source live in.
type Remote struct {
	Alias     string `json:"alias"`
	Extension string `json:"extension"`
	URL       string `json:"url"`
	// TokenEnv is the name of an environment variable, never its value; empty where access is ambient.
	TokenEnv string `json:"token_env,omitempty"`
}

// Problem is something about a source that could not be published. It hides nothing else.
type Problem struct {
	Table   string `json:"table,omitempty"` // empty: the source as a whole
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of problems.
const (
	ProblemUnreadable    = "unreadable"     // the extract or the view cannot be read
	ProblemMissingFile   = "missing_file"   // a part is not where the extract says it is
	ProblemBadName       = "bad_name"       // a source or table name that cannot be published
	ProblemCollision     = "collision"      // two sources have a table of this name: no unqualified alias
	ProblemRemoteRefused = "remote_refused" // extension, host or token variable is not on the allow-list
)

// Source is the catalog of one source: the content of analytics/sources/<name>.json.
type Source struct {
	Name string `json:"name"`
	// Generation grows by one with every publication of this source.
	Generation uint64 `json:"generation"`
	// Version is a hash over the tables' fingerprints: equal content has an equal version.
	Version     string    `json:"version"`
	PublishedAt time.Time `json:"published_at"`
	// ExtractStamp identifies the extract.duckdb that this was read from, so that a restart can tell
	// whether there is something new without opening it.
	ExtractStamp string    `json:"extract_stamp"`
	Tables       []Table   `json:"tables"`
	Remotes      []Remote  `json:"remotes,omitempty"`
	Problems     []Problem `json:"problems,omitempty"`
}

// Table finds a table by its exact name.
func (s *Source) Table(name string) (Table, bool) {
	for _, t := range s.Tables {
		if t.Name == name {
			return t, true
		}
	}
	return Table{}, false
}

// Fingerprint identifies the content of a table: the SHA-256 (hex) over its query mode, columns and
// the hashes of its parts in order.
func Fingerprint(t Table) string {
	h := sha256.New()
	fmt.Fprintf(h, "mode %s\n", t.QueryMode)
	for _, c := range t.Columns {
		fmt.Fprintf(h, "column %q %s\n", c.Name, c.Type)
	}
	for _, p := range t.Parts {
		fmt.Fprintf(h, "part %s\n", p.SHA256)
	}
	if t.RemoteSQL != "" {
		fmt.Fprintf(h, "remote %q\n", t.RemoteSQL)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// VersionOf is the hash over the names and fingerprints of a source's tables, in the order given.
func VersionOf(tables []Table) string {
	h := sha256.New()
	for _, t := range tables {
		fmt.Fprintf(h, "%q %s %q\n", t.Name, t.Fingerprint, t.Description)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// MaxTableName is the longest name of a table in bytes; a file or folder name must hold it.
const MaxTableName = 200

var sourceName = regexp.MustCompile(`\A[a-zA-Z_][a-zA-Z0-9_-]{0,63}\z`)

// reserved source names would clash with schemas or catalogs of DuckDB.
var reserved = map[string]bool{
	"main": true, "temp": true, "system": true, "memory": true, "server": true,
	"information_schema": true, "pg_catalog": true,
	"analytics": true, // the catalog of an analyst's analytics.duckdb
}

// ValidSourceName tells why name cannot name a source; nil where it can. A source name is a folder, a
// NATS subject token and a schema: letters, digits, '_' and '-', at most 64, not starting with a digit.
func ValidSourceName(name string) error {
	if !sourceName.MatchString(name) {
		return fmt.Errorf("source name %q: use 1 to 64 letters, digits, '_' or '-', starting with a letter or '_'", name)
	}
	if reserved[strings.ToLower(name)] {
		return fmt.Errorf("source name %q is reserved", name)
	}
	return nil
}

// ValidTableName tells why name cannot name a table; nil where it can. Any text works in a view's
// quoted name, but a table is also a folder: no path separators, control characters or leading dots.
func ValidTableName(name string) error {
	switch {
	case name == "":
		return errors.New("the table name is empty")
	case len(name) > MaxTableName:
		return fmt.Errorf("table name %.40q… is %d bytes long; the limit is %d", name, len(name), MaxTableName)
	case strings.HasPrefix(name, "."):
		return fmt.Errorf("table name %q starts with a dot", name)
	case strings.HasPrefix(strings.ToLower(name), "_meta"), strings.HasPrefix(name, "_remote_attach"), name == "_parts":
		return fmt.Errorf("table name %q is reserved by the extract contract", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("table name %q starts or ends with a space", name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || r == '/' || r == '\\' || r == 0xFFFD {
			return fmt.Errorf("table name %q contains %q", name, r)
		}
	}
	return nil
}
