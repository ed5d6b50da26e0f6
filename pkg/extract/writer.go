package extract

import (
	"context"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// TableWriter receives one table in one of three ways: Query (DuckDB reads and streams it: the fast
// way), Columns and Append (row by row), or Remote (it stays where it is). It is used by one
// goroutine, and only until Extract returns.
type TableWriter struct{}

var errSkeleton = fault.New(fault.Internal, "pkg/extract: not written yet")

// Query makes the table the result of a SELECT, in the order the query gives. It runs in the
// session of Exec, so it sees what Exec created. rowBytes is the estimated width of a row in bytes
// and bounds the row groups; 0 means: measure the first rows, for which the query is run twice.
func (w *TableWriter) Query(ctx context.Context, query string, rowBytes int64) error {
	return errSkeleton
}

// Exec runs one statement in the writer's own DuckDB session: in memory, with limits on memory and
// threads, spilling under $DATA_DIR/tmp, free to read files. Use it for temporary tables and settings.
func (w *TableWriter) Exec(ctx context.Context, statement string, args ...any) error {
	return errSkeleton
}

// Rows runs a query in the session of Exec and calls scan for each row.
func (w *TableWriter) Rows(ctx context.Context, query string, scan func(scan func(dest ...any) error) error) error {
	return errSkeleton
}

// Columns declares the columns for Append. Columns without any Append is an empty, typed table.
func (w *TableWriter) Columns(ctx context.Context, columns []catalog.Column) error {
	return errSkeleton
}

// Append adds one row: one Go value per declared column, nil for NULL.
func (w *TableWriter) Append(ctx context.Context, row ...any) error { return errSkeleton }

// Remote makes the table a view over alias.schema.table of a catalog named by Attacher. columns may
// be empty where they are not known.
func (w *TableWriter) Remote(ctx context.Context, alias, schema, table string, columns []catalog.Column) error {
	return errSkeleton
}

// Companion gives a writer for <table><suffix>, such as "__rejects": a table that is published with
// this one, and disappears when a later successful run of this one does not write it.
func (w *TableWriter) Companion(suffix, description string) (*TableWriter, error) {
	return nil, errSkeleton
}

// SetToken keeps a word about the input (a content hash, a cursor) with the version; the next run
// finds it in TableSpec.Token. It is kept only if the table is published. No secrets.
func (w *TableWriter) SetToken(token string) {}

// SetRejected tells how many rows were set aside.
func (w *TableWriter) SetRejected(rows int64) {}

// Progress tells how far the reading is, in rows and bytes of the input; total is 0 where unknown.
// Cheap enough to be called per batch: what is published is throttled.
func (w *TableWriter) Progress(rows, bytes, total int64) {}

// ScratchDir gives a folder for half-finished files. It is removed when the run ends.
func (w *TableWriter) ScratchDir() (string, error) { return "", errSkeleton }
