package lake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	bindings "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Result is the answer of a query, as Arrow record batches of up to 2,048 rows. It streams: what was
// not asked for yet is computed as far as a small buffer allows, so that an answer of any size needs
// little memory and the first rows come early. It is an array.RecordReader, for one goroutine.
//
// The context of the query rules until Close: when it ends, the work ends, and Err tells why.
type Result struct {
	columns []catalog.Column
	convert converter

	ctx       context.Context //nolint:containedctx // as in database/sql: the query lives as long as its rows are read
	statement mapping.PreparedStatement
	result    mapping.Result
	release   func() // the connection

	batch  arrow.RecordBatch
	err    error
	refs   atomic.Int64
	closed bool
}

var _ array.RecordReader = (*Result)(nil)

// converter turns DuckDB's chunks into Arrow.
type converter interface {
	schema() *arrow.Schema
	batch(chunk mapping.DataChunk) (arrow.RecordBatch, error)
	close()
}

// prepareOne prepares text on the connection where it is exactly one statement. Nothing is executed.
func prepareOne(conn mapping.Connection, text string) (mapping.PreparedStatement, error) {
	var extracted mapping.ExtractedStatements
	var statement mapping.PreparedStatement
	n := mapping.ExtractStatements(conn, text, &extracted)
	defer mapping.DestroyExtracted(&extracted)
	switch {
	case n == 0:
		return statement, scrubText(mapping.ExtractStatementsError(extracted))
	case n > 1:
		return statement, fmt.Errorf("%d statements instead of one", n)
	}
	return prepareAt(conn, extracted, 0)
}

// prepareAt prepares one of extracted statements.
func prepareAt(conn mapping.Connection, extracted mapping.ExtractedStatements, i mapping.IdxT) (mapping.PreparedStatement, error) {
	var statement mapping.PreparedStatement
	if mapping.PrepareExtractedStatement(conn, extracted, i, &statement) == mapping.StateError {
		err := scrubText(mapping.PrepareError(statement))
		mapping.DestroyPrepare(&statement)
		return statement, err
	}
	return statement, nil
}

// stream executes a prepared statement, which it owns from now on. release is called with the end of
// the result, or now where there is none.
func stream(ctx context.Context, statement mapping.PreparedStatement, release func()) (*Result, error) {
	r := &Result{ctx: ctx, statement: statement, release: release}
	r.refs.Store(1)
	if err := r.start(); err != nil {
		err = r.cause(err)
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Result) start() error {
	var pending mapping.PendingResult
	// The C API calls streaming deprecated since its next version is not decided; there is no other
	// way to keep a large answer out of memory.
	state := bindings.PendingPreparedStreaming(r.statement, &pending)
	defer mapping.DestroyPending(&pending)
	if state == mapping.StateError {
		return scrubText(mapping.PendingError(pending))
	}
	if mapping.ExecutePending(pending, &r.result) == mapping.StateError {
		return scrubText(mapping.ResultError(&r.result))
	}
	count := mapping.ColumnCount(&r.result)
	types, names := make([]mapping.LogicalType, count), make([]string, count)
	defer func() {
		for i := range types {
			mapping.DestroyLogicalType(&types[i])
		}
	}()
	r.columns = make([]catalog.Column, count)
	for i := range types {
		names[i], types[i] = mapping.ColumnName(&r.result, mapping.IdxT(i)), mapping.ColumnLogicalType(&r.result, mapping.IdxT(i))
		r.columns[i] = catalog.Column{Name: names[i], Type: typeName(types[i])}
	}
	var err error
	r.convert, err = newConverter(&r.result, types, names)
	return err
}

// cause prefers the reason of the context to DuckDB's "interrupted".
func (r *Result) cause(err error) error {
	if ended := context.Cause(r.ctx); ended != nil {
		return ended
	}
	return err
}

// Columns are the names of the answer's columns and DuckDB's names of their types.
func (r *Result) Columns() []catalog.Column { return r.columns }

// Schema is that of the batches.
func (r *Result) Schema() *arrow.Schema { return r.convert.schema() }

// Next goes to the next batch; it is false at the end and after an error, which Err tells.
func (r *Result) Next() bool {
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
	if r.err != nil || r.closed {
		return false
	}
	if r.ctx.Err() != nil {
		r.err = r.cause(nil)
		return false
	}
	chunk := mapping.FetchChunk(r.result)
	if chunk.Ptr == nil {
		if message := mapping.ResultError(&r.result); message != "" {
			r.err = r.cause(scrubText(message))
		}
		return false
	}
	defer mapping.DestroyDataChunk(&chunk)
	r.batch, r.err = r.convert.batch(chunk)
	return r.err == nil
}

// RecordBatch is the batch that Next went to. It stays valid until the next Next, unless retained.
func (r *Result) RecordBatch() arrow.RecordBatch { return r.batch }

// Record is RecordBatch by its former name.
func (r *Result) Record() arrow.RecordBatch { return r.batch }

// Err is what ended the answer early; nil at its end.
func (r *Result) Err() error { return r.err }

// Retain keeps the result open beyond one more Release.
func (r *Result) Retain() { r.refs.Add(1) }

// Release closes the result with the last reference to it.
func (r *Result) Release() {
	if r.refs.Add(-1) == 0 {
		r.Close()
	}
}

// Close ends the query, wherever it is, and frees what it held. It may be called more than once.
func (r *Result) Close() {
	if r.closed {
		return
	}
	r.closed = true
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
	if r.convert != nil {
		r.convert.close()
	}
	mapping.DestroyResult(&r.result)
	mapping.DestroyPrepare(&r.statement)
	r.release()
}

// Arrow runs one statement and streams its answer; Close or Release it. It keeps a connection of the
// pool until then. Arguments are those of database/sql: nil, bool, int64, float64, string, []byte and
// time.Time, and int for convenience.
func (d *DB) Arrow(ctx context.Context, query string, args ...any) (array.RecordReader, error) {
	pooled, err := d.Conn(ctx)
	if err != nil {
		return nil, Scrub(err)
	}
	conn, err := rawConnection(pooled)
	if err != nil {
		_ = pooled.Close()
		return nil, err
	}
	unwatch := interruptOn(ctx, conn)
	release := func() {
		unwatch()
		_ = pooled.Close()
	}
	statement, err := prepareOne(conn, query)
	if err == nil {
		if err = bind(statement, args); err != nil {
			mapping.DestroyPrepare(&statement)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return stream(ctx, statement, release)
}

// rawConnection is the handle beneath a connection of database/sql, which duckdb-go keeps to itself:
// there is no other way to stream Arrow out of an instance that database/sql opened. It is valid as
// long as the caller holds the connection.
func rawConnection(pooled *sql.Conn) (mapping.Connection, error) {
	var raw mapping.Connection
	err := pooled.Raw(func(driverConn any) error {
		v := reflect.Indirect(reflect.ValueOf(driverConn))
		if v.Kind() == reflect.Struct {
			v = v.FieldByName("conn")
		}
		if !v.IsValid() || v.Type() != reflect.TypeFor[mapping.Connection]() {
			return errors.New("this version of duckdb-go keeps its connection elsewhere")
		}
		raw.Ptr = v.FieldByName("Ptr").UnsafePointer()
		return nil
	})
	return raw, err
}

func bind(statement mapping.PreparedStatement, args []any) error {
	if n := int(mapping.NParams(statement)); n != len(args) {
		return fmt.Errorf("the statement has %d parameters and was given %d arguments", n, len(args))
	}
	for i, arg := range args {
		at := mapping.IdxT(i + 1)
		var state mapping.State
		switch v := arg.(type) {
		case nil:
			state = mapping.BindNull(statement, at)
		case bool:
			state = mapping.BindBoolean(statement, at, v)
		case int:
			state = mapping.BindInt64(statement, at, int64(v))
		case int64:
			state = mapping.BindInt64(statement, at, v)
		case float64:
			state = mapping.BindDouble(statement, at, v)
		case string:
			state = mapping.BindVarcharLength(statement, at, v, mapping.IdxT(len(v)))
		case []byte:
			state = mapping.BindBlob(statement, at, v)
		case time.Time:
			state = mapping.BindTimestampTZ(statement, at, mapping.NewTimestamp(v.UnixMicro()))
		default:
			return fmt.Errorf("argument %d is of a type that cannot be bound: %T", i+1, arg)
		}
		if state == mapping.StateError {
			return errors.New("DuckDB refused argument " + fmt.Sprint(i+1))
		}
	}
	return nil
}
