package federation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// TableWarehouse has its tables read too; *bigquery.Client is one.
type TableWarehouse interface {
	Warehouse
	Table(ctx context.Context, ref bigquery.TableRef) (bigquery.Table, error)
	ReadTable(ctx context.Context, t bigquery.Table, o bigquery.ReadOptions) (*bigquery.Result, error)
}

// refOf is what BigQuery calls a remote table.
func refOf(t Table) (bigquery.TableRef, error) {
	at, ok := t.Remote.BigQuery(t.Path)
	ref := bigquery.TableRef{Project: at.Project, Dataset: at.Dataset, Table: at.Table}
	if !ok || ref.Valid() != nil {
		return ref, fault.New(fault.Unavailable, "the table %s has no address in BigQuery that can be read", t.ID)
	}
	return ref, nil
}

// BigQueryTable fetches one table of BigQuery without an extension of DuckDB's: by the Storage Read API, and what it
// does not read by a query job.
type BigQueryTable struct {
	warehouse TableWarehouse
	spending  *Spending
	table     bigquery.Table
}

// OpenBigQueryTable asks BigQuery for the table as it is now. The Table that it gives back has a version that
// changes with the rows; of a view it changes with the definition alone.
func OpenBigQueryTable(ctx context.Context, w TableWarehouse, spending *Spending, t Table) (*BigQueryTable, Table, error) {
	ref, err := refOf(t)
	if err != nil {
		return nil, t, err
	}
	found, err := w.Table(ctx, ref)
	if err != nil {
		return nil, t, remoteFault(t.ID, err)
	}
	for _, c := range t.Columns {
		if !slices.ContainsFunc(found.Columns, func(f catalog.Column) bool { return f.Name == c.Name }) {
			return nil, t, fault.New(fault.Unavailable, "the table %s is not what it was when it was published (its column %.100q is gone): its source has to run again", t.ID, c.Name)
		}
	}
	t.Version = found.Modified.UTC().Format(time.RFC3339Nano)
	if found.Streaming {
		t.Version += fmt.Sprintf(" %d rows, %d bytes", found.Rows, found.Bytes)
	}
	return &BigQueryTable{warehouse: w, spending: spending, table: found}, t, nil
}

// labels of what is read for statements.
var tableLabels = map[string]string{"agnes": "remote-table"}

// Fetch has the scan estimated by a dry run, which costs nothing, reserves the estimate of the budget, and reads it. What
// cannot be estimated is not read.
func (b *BigQueryTable) Fetch(ctx context.Context, s Scan, t Table, l Limits, path string) (_ Amount, err error) {
	o := bigquery.ReadOptions{Columns: s.Columns, Filter: b.filter(s), Limit: s.Limit, Labels: tableLabels}
	if l.Rows > 0 && (o.Limit == 0 || o.Limit > l.Rows) {
		o.Limit = l.Rows + 1 // one more tells that there are more
	}
	estimate, err := b.warehouse.DryRun(ctx, o.Query(b.table))
	if err != nil {
		return Amount{}, remoteFault(t.ID, err)
	}
	o.MaxBytesBilled = reserveOf(estimate)
	settle, err := b.spending.Reserve(ctx, o.MaxBytesBilled)
	if err != nil {
		return Amount{}, err
	}
	billed := o.MaxBytesBilled // until it is known: a job that failed or was cancelled may be billed
	defer func() { settle(billed) }()
	result, err := b.warehouse.ReadTable(ctx, b.table, o)
	if err != nil {
		return Amount{}, remoteFault(t.ID, err)
	}
	if result.JobID() != "" {
		billed = result.BytesBilled()
	}
	return b.write(ctx, result, s, t, l, path)
}

func (b *BigQueryTable) write(ctx context.Context, result *bigquery.Result, s Scan, t Table, l Limits, path string) (Amount, error) {
	columns := make([]catalog.Column, 0, len(s.Columns))
	for _, c := range t.Columns {
		if slices.Contains(s.Columns, c.Name) {
			columns = append(columns, c)
		}
	}
	bounded := &boundedReader{RecordReader: result.Reader(), rows: orNone(l.Rows), bytes: orNone(l.Bytes)}
	rows, err := copyRows(ctx, bounded, lake.ArrowCopy{Path: path, Columns: columns}, filepath.Dir(path))
	if err = errors.Join(err, result.Close()); err != nil {
		var limit *limitError
		if errors.As(err, &limit) {
			return Amount{}, fault.Wrap(err, fault.TooLarge, "the statement needs more of %s than it may fetch: %s", t.ID, limit.Error())
		}
		return Amount{}, remoteFault(t.ID, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Amount{}, fmt.Errorf("look at what was fetched: %w", err)
	}
	return Amount{Rows: rows, Bytes: info.Size()}, nil
}

func orNone(limit int64) int64 {
	if limit <= 0 {
		return -1
	}
	return limit
}

// filter is what BigQuery is asked to leave out; what it cannot be told is left out later.
func (b *BigQueryTable) filter(s Scan) string {
	return s.where(func(p Predicate) string {
		kind := b.table.FieldType(p.Column)
		return p.render(bigquery.QuoteName(p.Column), func(v string) string {
			literal, ok := bigquery.Literal(kind, v)
			if !ok {
				return ""
			}
			return literal
		})
	})
}

// remoteFault is what the one who asked is told of an error of the warehouse: the name of the table that they know,
// and nothing of where it lives.
func remoteFault(table string, err error) error {
	switch kind := fault.KindOf(err); kind {
	case fault.Busy, fault.Unavailable:
		return fault.Wrap(err, kind, "the table %s cannot be read where it lives at the moment; try again", table)
	case fault.NotFound, fault.Forbidden, fault.Unauthenticated, fault.Permanent:
		return fault.Wrap(err, fault.Unavailable, "the table %s cannot be read where it lives: it is gone, or the account that asks may not read it", table)
	default:
		return fault.Wrap(err, fault.Unavailable, "the table %s could not be read where it lives", table)
	}
}
