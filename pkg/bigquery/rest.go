package bigquery

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"cloud.google.com/go/bigquery"
	"cloud.google.com/go/civil"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/api/iterator"
)

// restBatch is how many rows of REST become a batch.
const restBatch = 4096

// jobByREST reads the rows of a job page by page.
func (c *Client) jobByREST(ctx context.Context, job *bigquery.Job) (*Result, error) {
	it, err := job.Read(ctx)
	if err != nil {
		return nil, c.fail(ctx, err, "read the result")
	}
	return c.byREST(ctx, it, nil, 0)
}

func (c *Client) tableByREST(ctx context.Context, t Table, schema bigquery.Schema, limit int64) (*Result, error) {
	it := c.rest.DatasetInProject(t.Ref.Project, t.Ref.Dataset).Table(t.Ref.Table).Read(ctx)
	it.Schema = t.schema
	return c.byREST(ctx, it, schema, limit)
}

// byREST makes Arrow of the rows of an iterator: of the fields of schema, or of all where it is nil.
func (c *Client) byREST(ctx context.Context, it *bigquery.RowIterator, schema bigquery.Schema, limit int64) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &pages{client: c, ctx: ctx, it: it, limit: limit}
	r.more = r.fetch() // with the first page comes the schema
	if r.err != nil {
		cancel()
		return nil, r.err
	}
	if schema == nil {
		schema = it.Schema
	}
	r.fields, r.schema = schema, arrowSchema(schema)
	at := map[string]int{}
	for i, f := range it.Schema {
		at[f.Name] = i
	}
	for _, f := range schema {
		r.at = append(r.at, at[f.Name])
	}
	rows := int64(it.TotalRows)
	if limit > 0 && rows > limit {
		rows = limit
	}
	return &Result{reader: r, columns: columnsOf(schema), rows: rows, close: cancel}, nil
}

// pages is the rows of an iterator as batches.
type pages struct {
	client  *Client
	ctx     context.Context //nolint:containedctx // array.RecordReader has none
	it      *bigquery.RowIterator
	fields  bigquery.Schema
	at      []int // of each field in a row
	schema  *arrow.Schema
	limit   int64
	row     []bigquery.Value // the next one
	more    bool
	given   int64
	current arrow.RecordBatch
	err     error
}

// fetch gets the next row; false at the end, and after an error. Google's library tries again for as long as it
// may, so a page has its time.
func (p *pages) fetch() bool {
	p.row = nil
	done := make(chan error, 1)
	go func() { done <- p.it.Next(&p.row) }()
	timer := time.NewTimer(p.client.limits.Call)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		err = context.DeadlineExceeded
	case <-p.ctx.Done():
		err = p.ctx.Err()
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, iterator.Done) {
		p.err = p.client.fail(p.ctx, err, "read rows")
	}
	return false
}

func (p *pages) Retain()  {}
func (p *pages) Release() {}

func (p *pages) Schema() *arrow.Schema { return p.schema }

func (p *pages) Next() bool {
	if p.current != nil {
		p.current.Release()
		p.current = nil
	}
	if p.err != nil {
		return false
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, p.schema)
	defer b.Release()
	rows := int64(0)
	for ; p.more && rows < restBatch && (p.limit <= 0 || p.given < p.limit); rows++ {
		for i, at := range p.at {
			if err := appendValue(b.Field(i), p.row[at]); err != nil {
				p.err = fmt.Errorf("the column %s of a result: %w", p.fields[i].Name, err)
				return false
			}
		}
		p.given++
		p.more = p.fetch()
	}
	if p.err != nil || rows == 0 {
		return false
	}
	p.current = b.NewRecordBatch()
	return true
}

func (p *pages) RecordBatch() arrow.RecordBatch { return p.current }

// Record is RecordBatch by its old name.
func (p *pages) Record() arrow.RecordBatch { return p.current }

func (p *pages) Err() error { return p.err }

// appendValue adds a value of Google's library to a column.
func appendValue(b array.Builder, v bigquery.Value) error {
	if v == nil {
		b.AppendNull()
		return nil
	}
	switch b := b.(type) {
	case *array.ListBuilder:
		return appendList(b, v)
	case *array.StructBuilder:
		return appendStruct(b, v)
	}
	if appendPlain(b, v) {
		return nil
	}
	return fmt.Errorf("a %T is no %s", v, b.Type())
}

func appendList(b *array.ListBuilder, v bigquery.Value) error {
	elements, ok := v.([]bigquery.Value)
	if !ok {
		return fmt.Errorf("a %T is no list", v)
	}
	b.Append(true)
	for _, e := range elements {
		if err := appendValue(b.ValueBuilder(), e); err != nil {
			return err
		}
	}
	return nil
}

func appendStruct(b *array.StructBuilder, v bigquery.Value) error {
	var fields []bigquery.Value
	switch v := v.(type) {
	case []bigquery.Value:
		fields = v
	case *bigquery.RangeValue:
		fields = []bigquery.Value{v.Start, v.End}
	}
	if len(fields) != b.NumField() {
		return fmt.Errorf("a %T is no struct of %d fields", v, b.NumField())
	}
	b.Append(true)
	for i, f := range fields {
		if err := appendValue(b.FieldBuilder(i), f); err != nil {
			return err
		}
	}
	return nil
}

// appendPlain adds a value that is no list and no struct; false where it is of another type.
func appendPlain(b array.Builder, v bigquery.Value) bool {
	switch v := v.(type) {
	case string:
		return appended(b, func(b *array.StringBuilder) { b.Append(v) })
	case int64:
		return appended(b, func(b *array.Int64Builder) { b.Append(v) })
	case float64:
		return appended(b, func(b *array.Float64Builder) { b.Append(v) })
	case bool:
		return appended(b, func(b *array.BooleanBuilder) { b.Append(v) })
	case []byte:
		return appended(b, func(b *array.BinaryBuilder) { b.Append(v) })
	case time.Time:
		return appended(b, func(b *array.TimestampBuilder) { b.Append(arrow.Timestamp(v.UnixMicro())) })
	case civil.Date:
		return appended(b, func(b *array.Date32Builder) { b.Append(arrow.Date32FromTime(v.In(time.UTC))) })
	case civil.Time:
		return appended(b, func(b *array.Time64Builder) { b.Append(arrow.Time64(micros(v))) })
	case civil.DateTime:
		return appended(b, func(b *array.TimestampBuilder) { b.Append(arrow.Timestamp(v.In(time.UTC).UnixMicro())) })
	case *bigquery.IntervalValue:
		return appended(b, func(b *array.MonthDayNanoIntervalBuilder) { b.Append(interval(v)) })
	case *big.Rat:
		return appendNumber(b, v)
	}
	return false
}

func appended[B array.Builder](b array.Builder, add func(B)) bool {
	typed, ok := b.(B)
	if ok {
		add(typed)
	}
	return ok
}

func micros(t civil.Time) int64 {
	return (int64(t.Hour)*3600+int64(t.Minute)*60+int64(t.Second))*1_000_000 + int64(t.Nanosecond)/1000
}

func interval(v *bigquery.IntervalValue) arrow.MonthDayNanoInterval {
	seconds := int64(v.Hours)*3600 + int64(v.Minutes)*60 + int64(v.Seconds)
	return arrow.MonthDayNanoInterval{Months: v.Years*12 + v.Months, Days: v.Days, Nanoseconds: seconds*1_000_000_000 + int64(v.SubSecondNanos)}
}

// appendNumber adds a NUMERIC or BIGNUMERIC: as a decimal, or as a text where there are too many digits.
func appendNumber(b array.Builder, v *big.Rat) bool {
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(trimmed(bigquery.BigNumericString(v)))
		return true
	case *array.Decimal128Builder:
		t, _ := b.Type().(*arrow.Decimal128Type)
		scaled := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)
		n := new(big.Int).Quo(new(big.Int).Mul(v.Num(), scaled), v.Denom())
		b.Append(decimal128.FromBigInt(n))
		return true
	}
	return false
}
