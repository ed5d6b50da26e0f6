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
	columns []catalog.Column
	once    *onceReader
	release func()
}

// NewArrowView names what reader gives on a connection, until Close. The reader is asked from DuckDB's threads,
// one at a time; it has to end by itself when its own context does, for an interrupt does not reach into it.
// The view has the columns, in their types and order; all as they come where there are none. DuckDB asks the stream for
// no other columns than it needs and cannot be told that it gets all the same: a query has to use every one of them.
// A build without the tag duckdb_arrow cannot do this, and says so.
func NewArrowView(ctx context.Context, conn *sql.Conn, name string, reader array.RecordReader, columns []catalog.Column) (*ArrowView, error) {
	reader, err := project(reader, columns)
	if err != nil {
		return nil, err
	}
	v := &ArrowView{conn: conn, name: name, columns: columns, once: &onceReader{RecordReader: reader, ctx: ctx}}
	err = conn.Raw(func(driver any) (err error) {
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

// Select reads the view.
func (v *ArrowView) Select() string {
	if len(v.columns) == 0 {
		return "SELECT * FROM " + QuoteIdent(v.name)
	}
	list := make([]string, len(v.columns))
	for i, c := range v.columns {
		list[i] = "CAST(" + QuoteIdent(c.Name) + " AS " + c.Type + ") AS " + QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + QuoteIdent(v.name)
}

// projected gives some of the columns of a reader, in another order.
type projected struct {
	array.RecordReader
	schema *arrow.Schema
	at     []int
	batch  arrow.RecordBatch
}

// project leaves the reader as it is where it has the columns already.
func project(reader array.RecordReader, columns []catalog.Column) (array.RecordReader, error) {
	schema := reader.Schema()
	p := &projected{RecordReader: reader, at: make([]int, len(columns))}
	fields := make([]arrow.Field, len(columns))
	same := len(columns) == 0 || len(columns) == schema.NumFields()
	for i, c := range columns {
		found := schema.FieldIndices(c.Name)
		if len(found) == 0 {
			return nil, fmt.Errorf("read Arrow: there is no column %q", c.Name)
		}
		p.at[i], fields[i] = found[0], schema.Field(found[0])
		same = same && found[0] == i
	}
	if same {
		return reader, nil
	}
	p.schema = arrow.NewSchema(fields, nil)
	return p, nil
}

func (p *projected) Schema() *arrow.Schema { return p.schema }

func (p *projected) Next() bool {
	if p.batch != nil {
		p.batch.Release()
		p.batch = nil
	}
	if !p.RecordReader.Next() {
		return false
	}
	whole := p.RecordReader.RecordBatch()
	columns := make([]arrow.Array, len(p.at))
	for i, at := range p.at {
		columns[i] = whole.Column(at)
	}
	p.batch = array.NewRecordBatch(p.schema, columns, whole.NumRows())
	return true
}

func (p *projected) RecordBatch() arrow.RecordBatch { return p.batch }

// Record is asked for by the export to DuckDB.
func (p *projected) Record() arrow.RecordBatch { return p.batch }

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
	view, err := NewArrowView(ctx, conn, "agnes_arrow", reader, o.Columns)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	statement := "COPY (" + view.Select() + ") TO " + QuoteLiteral(o.Path) + " (" + ParquetFormat
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
