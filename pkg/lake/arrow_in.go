package lake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// ArrowView is a stream of Arrow batches as a view that DuckDB scans, batch by batch: nothing is collected.
// It can be scanned once. A second scan, whose rows would be missing, fails instead.
type ArrowView struct {
	conn    *sql.Conn
	name    string
	once    *onceReader
	release func()
}

// NewArrowView names what reader gives on a connection, until Close. The reader is asked from DuckDB's threads,
// one at a time; it has to end by itself when its own context does, for an interrupt does not reach into it.
// A build without the tag duckdb_arrow cannot do this, and says so.
func NewArrowView(ctx context.Context, conn *sql.Conn, name string, reader array.RecordReader) (*ArrowView, error) {
	v := &ArrowView{conn: conn, name: name, once: &onceReader{RecordReader: reader, ctx: ctx}}
	err := conn.Raw(func(driver any) (err error) {
		v.release, err = registerArrow(driver, v.once, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read Arrow: %w", Scrub(err))
	}
	return v, nil
}

// Err is why the stream ended early, as the reader said it; DuckDB tells only its text. nil where it did not.
func (v *ArrowView) Err() error { return v.once.failed() }

// Close drops the view. The reader stays the caller's.
func (v *ArrowView) Close() error {
	_, err := v.conn.ExecContext(context.Background(), "DROP VIEW IF EXISTS "+QuoteIdent(v.name))
	v.release()
	return Scrub(err)
}

// Select reads the view in the types of the columns, in their order.
func (v *ArrowView) Select(columns []catalog.Column) string {
	if len(columns) == 0 {
		return "SELECT * FROM " + QuoteIdent(v.name)
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = "CAST(" + QuoteIdent(c.Name) + " AS " + c.Type + ") AS " + QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + QuoteIdent(v.name)
}

// ArrowCopy says how CopyArrow writes.
type ArrowCopy struct {
	// Path of the parquet file. One that is there is replaced; after an error there may be half of one.
	Path string
	// Columns that are kept, in the types they get; all as they come where there are none.
	Columns []catalog.Column
	// GroupRows is how many rows a row group has at most; zero means DuckDB's own number.
	GroupRows int64
}

// CopyArrow writes what reader gives into a parquet file, in the reader's order, and tells how many rows it has.
// An error of the reader is returned as it is.
func CopyArrow(ctx context.Context, db *DB, reader array.RecordReader, o ArrowCopy) (rows int64, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, fmt.Errorf("copy Arrow: %w", Scrub(err))
	}
	defer func() { _ = conn.Close() }()
	view, err := NewArrowView(ctx, conn, "agnes_arrow", reader)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	statement := "COPY (" + view.Select(o.Columns) + ") TO " + QuoteLiteral(o.Path) + " (FORMAT parquet, COMPRESSION zstd"
	if o.GroupRows > 0 {
		statement += fmt.Sprintf(", ROW_GROUP_SIZE %d", o.GroupRows)
	}
	err = conn.QueryRowContext(ctx, statement+")").Scan(&rows)
	switch failed := view.Err(); {
	case failed != nil:
		return 0, failed
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("copy Arrow: %w", ctx.Err())
	case err != nil:
		return 0, fmt.Errorf("copy Arrow: %w", Scrub(err))
	}
	return rows, nil
}

var errReadTwice = errors.New("a stream of Arrow can be read once")

// onceReader remembers the error of a reader, and refuses to be read again behind its end.
type onceReader struct {
	array.RecordReader
	ctx context.Context //nolint:containedctx // DuckDB calls it, without one

	mu    sync.Mutex
	ended bool
	err   error
}

func (r *onceReader) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *onceReader) Next() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return false
	case r.ended:
		r.err = errReadTwice
		return false
	case r.ctx.Err() != nil:
		r.err = r.ctx.Err()
		return false
	}
	if r.RecordReader.Next() {
		return true
	}
	r.ended, r.err = true, r.RecordReader.Err()
	return false
}

func (r *onceReader) Err() error { return r.failed() }

// Record is asked for by the export to DuckDB.
func (r *onceReader) Record() arrow.RecordBatch { return r.RecordBatch() }
