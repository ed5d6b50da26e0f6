package extract

import (
	"context"
	"errors"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Connector is one kind of source. A connector package exports one variable of this type.
type Connector struct {
	// Type is the word in `sources: [{type: …}]` and in the subject of extract.requested: lower-case
	// letters, digits and '_'.
	Type string
	// Open checks the configuration and gives the source. It is called once per run and once per
	// discovery, and Close is called on what it returns. An error fails the whole run, and what stood
	// before still stands. Give it a fault kind: only Busy, Unavailable and Internal are tried again.
	Open func(ctx context.Context, cfg SourceConfig) (Source, error)
	// Feed is set by connectors whose sources push: it is called once per source, takes in what comes
	// until ctx ends, and calls run for the tables that changed. An error is logged, and Feed is called
	// again after a pause.
	Feed func(ctx context.Context, cfg SourceConfig, run FeedRun) error
}

// FeedRun extracts tables of a source (all where none are named) and gives what extract.ready
// announced, once it is announced. Calls that wait for a run under way are merged into the next one.
type FeedRun func(ctx context.Context, tables ...string) (*agnesv1.ExtractReady, error)

// SourceConfig is one configured source as its connector sees it.
type SourceConfig struct {
	// Name of the source: a folder under extracts/, a schema, a token of NATS subjects.
	Name string
	// Type of the connector that owns the source.
	Type string
	// Options are the other keys of the source's block in instance.yaml, with variables replaced.
	Options map[string]any
	// ConfigDir is the folder that relative paths in Options start from.
	ConfigDir string
	// DataDir is the root of all data. A connector writes nowhere in it but in RawDir.
	DataDir string
	// RawDir is extracts/<source>/raw: what the connector must remember between runs. It exists.
	RawDir string
}

// Source is one open source. Its methods are called from several goroutines at once.
type Source interface {
	// Discover lists what is there, as proposals for the registry, sorted by name. A listing that
	// could not be completed is an error, never a shorter list.
	Discover(ctx context.Context) ([]DiscoveredTable, error)
	// Extract writes the table into w. Returning nil publishes what was written, returning
	// ErrUnchanged keeps the table as it stands, and any other error keeps the last good version of
	// the table with the error in its outcome. Writing nothing and returning nil is an error too: an
	// empty table is declared with TableWriter.Columns.
	Extract(ctx context.Context, table TableSpec, w *TableWriter) error
	// Close releases what Open acquired.
	Close() error
}

// Watcher is implemented by sources that notice changes by themselves.
type Watcher interface {
	// Watch blocks until ctx ends, and calls notify with the names of tables that may have changed;
	// without names: the listing itself may have changed. Notifications are coalesced.
	Watch(ctx context.Context, notify func(tables ...string)) error
}

// Attacher is implemented by sources that have remote tables.
type Attacher interface {
	// Remotes names the catalogs that the views of remote tables live in: _remote_attach.
	Remotes(ctx context.Context) ([]catalog.Remote, error)
}

// ErrUnchanged is returned by Source.Extract when the table is what it was at TableSpec.Token. Where
// there is no last good version the runtime treats it as a defect of the connector.
var ErrUnchanged = errors.New("the table is unchanged")

// DiscoveredTable is a proposal for the registry.
type DiscoveredTable struct {
	Name        string
	Bucket      string
	SourceTable string
	Description string
	Columns     []catalog.Column
	PrimaryKey  []string
	Rows        int64 // -1 where unknown
	SizeBytes   int64 // -1 where unknown
	ChangedAt   time.Time
	Problem     string // why it cannot be extracted as it stands; empty where it can
	QueryMode   string // empty means local
}

// TableSpec is one table to extract: its row in the registry, and what the last good run left.
type TableSpec struct {
	Name         string
	Bucket       string
	SourceTable  string
	Description  string
	QueryMode    string // catalog.ModeLocal where the registry has none
	SyncStrategy string
	Folder       string
	PrimaryKey   []string
	// Options are the connector options of this table (the registry's options_json).
	Options map[string]any
	// Contract says what becomes of the table when its columns change, see OptionSchemaContract. The runtime
	// sees to it.
	Contract string

	// Token is what TableWriter.SetToken kept with the last good version; empty where there is none,
	// where the table's definition changed since, and in a forced run. A connector that finds its
	// input still at Token returns ErrUnchanged.
	Token string
	// Previous is the last good version of the table; nil where there is none. Its parts stay
	// readable for the whole run, so that an incremental connector can merge into them.
	Previous *PreviousTable
	// Force asks to read everything again and lifts the mass-drop guard.
	Force bool
}

// PreviousTable is what stands on disk of a table.
type PreviousTable struct {
	Columns     []catalog.Column
	Rows        int64
	Files       []string // absolute paths of the parts, in order
	ExtractedAt time.Time
}
