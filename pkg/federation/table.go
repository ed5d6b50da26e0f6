package federation

import (
	"context"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Table is where a remote table lives.
type Table struct {
	// ID is the qualified name, "source.table".
	ID string
	// Remote is the catalog that it lives in.
	Remote catalog.Remote
	// Path names it there: a schema and a table, or a table alone.
	Path []string
	// Columns are those published.
	Columns []catalog.Column
	// Version changes where what is known of the table does.
	Version string
}

// path is what the table is called by a DuckDB that has attached its catalog.
func (t Table) path() []string { return append([]string{t.Remote.Alias}, t.Path...) }

// Amount tells how much a Fetcher wrote.
type Amount struct {
	Rows, Bytes int64
}

// Limits bound what one scan may fetch. Zeros do not.
type Limits struct {
	Rows, Bytes int64
}

// Fetcher fetches one scan.
type Fetcher interface {
	// Fetch writes the scan of the table into a parquet file at path, which is not there yet. Errors are faults
	// that name the table and nothing else of where it lives. It ends with ctx.
	Fetch(ctx context.Context, s Scan, t Table, l Limits, path string) (Amount, error)
}
