package bigquery

import (
	"context"
	"fmt"

	"cloud.google.com/go/bigquery"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Result is a stream of rows. Somebody reads it to its end or closes it.
type Result struct {
	reader  array.RecordReader
	columns []catalog.Column
	job     string
	billed  int64
	rows    int64 // -1 where unknown
	close   func()
}

// Reader gives the rows as Arrow, a few batches ahead of who reads. Its Err has a kind of pkg/fault. The columns
// are those of Columns, by name, in types that DuckDB casts to those of Columns; they may be in another order.
func (r *Result) Reader() array.RecordReader { return r.reader }

// Columns are the columns in types of DuckDB.
func (r *Result) Columns() []catalog.Column { return r.columns }

// JobID is that of the query job; empty where there was none.
func (r *Result) JobID() string { return r.job }

// BytesBilled is what the query job was billed for.
func (r *Result) BytesBilled() int64 { return r.billed }

// Rows is how many there are; -1 where BigQuery did not say.
func (r *Result) Rows() int64 { return r.rows }

// Close ends the reading. It may be called more than once.
func (r *Result) Close() error {
	r.close()
	return nil
}

// results reads the rows of a job that is done, from the table it wrote them to.
func (c *Client) results(ctx context.Context, job *bigquery.Job) (*Result, error) {
	const doing = "read the result"
	config, err := job.Config()
	if err != nil {
		return nil, c.fail(ctx, err, doing)
	}
	query, ok := config.(*bigquery.QueryConfig)
	if !ok || query.Dst == nil || c.read == nil {
		return c.jobByREST(ctx, job)
	}
	ref := TableRef{query.Dst.ProjectID, query.Dst.DatasetID, query.Dst.TableID}
	call, cancel := context.WithTimeout(ctx, c.limits.Call)
	defer cancel()
	md, err := query.Dst.Metadata(call)
	if err != nil { // results of scripts and of DDL are in no table
		return c.jobByREST(ctx, job)
	}
	r, err := c.stream(ctx, session{ref: ref, schema: md.Schema, rows: int64(md.NumRows)})
	if err != nil && (denied(err) || notFound(err)) { // the job is billed: its rows are not given up
		c.metrics.byREST()
		return c.jobByREST(ctx, job)
	}
	if err != nil {
		return nil, c.fail(ctx, err, doing)
	}
	return r, nil
}

// ReadOptions bound what is read of a table.
type ReadOptions struct {
	// Columns that are read; all where there are none.
	Columns []string
	// Filter is a condition of GoogleSQL over columns of the table, as of WHERE: where the Storage Read API does not
	// take it, for it takes simple ones only, a query job answers.
	Filter string
	// Limit of rows; zero means all.
	Limit int64
	// Streams that are read side by side; zero leaves it to the client, Google may give fewer.
	Streams int
	// MaxBytesBilled and Labels are those of the query job that reads what no stream does: a view, an
	// external table.
	MaxBytesBilled int64
	Labels         map[string]string
}

// Read reads a table by the Storage Read API, and a view (trap B5) by a query job. Where read sessions are denied to
// the account, a table's rows come by REST.
func (c *Client) Read(ctx context.Context, ref TableRef, o ReadOptions) (*Result, error) {
	t, err := c.Table(ctx, ref)
	if err != nil {
		return nil, err
	}
	return c.ReadTable(ctx, t, o)
}

// ReadTable is Read of a table that was asked for by Table.
func (c *Client) ReadTable(ctx context.Context, t Table, o ReadOptions) (*Result, error) {
	if !t.Readable() {
		return c.Run(ctx, o.Query(t))
	}
	schema, err := selected(t, o.Columns)
	if err != nil {
		return nil, err
	}
	if c.read != nil {
		rows := t.Rows
		if o.Filter != "" || t.Streaming {
			rows = -1
		}
		r, err := c.stream(ctx, session{ref: t.Ref, schema: schema, columns: o.Columns, filter: o.Filter, limit: o.Limit, streams: o.Streams, rows: rows})
		if err == nil {
			return r, nil
		}
		if o.Filter != "" && refused(err) {
			return c.Run(ctx, o.Query(t)) // a condition that streams do not know, and queries do
		}
		if !denied(err) {
			return nil, c.fail(ctx, err, "read "+t.Ref.String())
		}
		c.metrics.byREST()
	}
	if o.Filter != "" {
		return c.Run(ctx, o.Query(t))
	}
	return c.tableByREST(ctx, t, schema, o.Limit)
}

// Query is the query that answers what the options ask of the table.
func (o ReadOptions) Query(t Table) Query {
	list := "*"
	if len(o.Columns) > 0 {
		list = ""
		for i, c := range o.Columns {
			if i > 0 {
				list += ", "
			}
			list += QuoteName(c)
		}
	}
	sql := "SELECT " + list + " FROM " + t.Ref.SQL()
	if o.Filter != "" {
		sql += " WHERE " + o.Filter
	}
	if o.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", o.Limit)
	}
	return Query{SQL: sql, MaxBytesBilled: o.MaxBytesBilled, Labels: o.Labels, Location: t.Location}
}

// selected are the fields of the columns that are read, in the table's own order, which streams have.
func selected(t Table, columns []string) (bigquery.Schema, error) {
	if len(columns) == 0 {
		return t.schema, nil
	}
	wanted := map[string]bool{}
	for _, c := range columns {
		wanted[c] = true
	}
	var schema bigquery.Schema
	for _, f := range t.schema {
		if wanted[f.Name] {
			schema = append(schema, f)
			delete(wanted, f.Name)
		}
	}
	for c := range wanted {
		return nil, fault.New(fault.Invalid, "%s has no column %.80q", t.Ref, c)
	}
	return schema, nil
}
