package bigquery

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Strategies of tables.
const (
	strategyFull        = "full_refresh"
	strategyIncremental = "incremental"
	strategyPartitioned = "partitioned"
)

// strategyOf checks the strategy of a table and what it needs.
func strategyOf(spec extract.TableSpec, o *tableOptions) (string, error) {
	invalid := func(format string, args ...any) (string, error) {
		return "", fault.New(fault.Invalid, "the table "+spec.Name+": "+format, args...)
	}
	strategy := cmp.Or(spec.SyncStrategy, strategyFull)
	if strategy != strategyFull && (spec.QueryMode == catalog.ModeMaterialized || spec.QueryMode == catalog.ModeRemote) {
		return invalid("the strategy %s is one of tables that are copied, and it is %s", strategy, spec.QueryMode)
	}
	switch strategy {
	case strategyFull:
	case strategyIncremental:
		if len(spec.PrimaryKey) == 0 {
			return invalid("incremental needs the primary key in the registry: without one nobody can tell a changed row from a new one")
		}
		if o.IncrementalBy == "" {
			return invalid("incremental needs `incremental_by`, a column that grows with every change of a row, such as the time of it")
		}
	case strategyPartitioned:
		if o.PartitionBy == "" {
			return invalid("partitioned needs `partition_by`, a column with dates")
		}
		if o.Partition = cmp.Or(o.Partition, "month"); !slices.Contains(extract.PartitionLengths, o.Partition) {
			return invalid("`partition` is day, week, month, quarter or year")
		}
	default:
		return invalid("the strategy %q is none of full_refresh, incremental and partitioned", strategy)
	}
	return strategy, nil
}

// changedSince is the condition for the rows that changed since the version that stands: those whose column
// has the highest value that it has there, or a higher one. It is empty where that version cannot tell, or
// is of other columns.
func (s *source) changedSince(ctx context.Context, spec extract.TableSpec, o tableOptions, t bigquery.Table, w *extract.TableWriter) (string, error) {
	kind := t.FieldType(o.IncrementalBy)
	if kind == "" || len(o.Columns) > 0 && !slices.Contains(o.Columns, o.IncrementalBy) {
		return "", fault.New(fault.Invalid, "incremental_by: the table %s has no column %q with single values, or it is not selected", spec.Name, o.IncrementalBy)
	}
	if kind == "STRING" {
		return "", fault.New(fault.Invalid, "incremental_by: the column %s is a text, which does not grow: choose one with times, dates or numbers", o.IncrementalBy)
	}
	last, err := parseToken(spec.Token)
	if err != nil || spec.Previous == nil || spec.Force || last.Shape != shapeOf(t, o) || last.Table != t.Ref.String() {
		return "", nil //nolint:nilerr // the token is of another version of Agnes
	}
	var highest *string
	query := "SELECT CAST(max(" + lake.QuoteIdent(o.IncrementalBy) + ") AS VARCHAR) FROM read_parquet(" + lake.QuoteList(literalPaths(spec.Previous.Files)) + ")"
	if err := w.Rows(ctx, query, func(scan func(...any) error) error { return scan(&highest) }); err != nil {
		return "", err
	}
	if highest == nil {
		return "", nil
	}
	literal, ok := bigquery.Literal(kind, *highest)
	if !ok {
		return "", nil
	}
	condition := bigquery.QuoteName(o.IncrementalBy) + " >= " + literal
	if o.Where != "" {
		condition = "(" + o.Where + ") AND " + condition
	}
	return condition, nil
}

func literalPaths(files []string) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = lake.LiteralPath(f)
	}
	return out
}

// merge reads the rows that a condition tells, and puts them in the place of those of the same key. It is
// false where the whole table is to be read instead: BigQuery does not tell of rows that were deleted, nor of
// rows that came late with an earlier value, but it counts all rows.
func (s *source) merge(ctx context.Context, o tableOptions, t bigquery.Table, condition string, w *extract.TableWriter, read reading) (bool, error) {
	o.Where = condition
	result, err := read(ctx, o)
	if err != nil {
		return false, err
	}
	defer func() { _ = result.Close() }()
	var done extract.Upserted
	err = w.Arrow(ctx, result.Reader(), result.Columns(), func(query string) (err error) {
		done, err = w.Upsert(ctx, query)
		return err
	})
	why := ""
	switch {
	case errors.Is(err, extract.ErrOtherColumns):
		why = "its columns are others now"
	case err != nil:
		return false, err
	case s.otherCount(ctx, o, t, done.Rows):
		why = "rows were deleted in BigQuery, or came late"
	}
	log := zerolog.Ctx(ctx)
	if why != "" {
		w.Reset()
		log.Info().Str("table", t.Ref.String()).Msg("the whole table is read, not what changed: " + why)
		return false, nil
	}
	log.Debug().Str("table", t.Ref.String()).Int64("changed", done.Given).Int64("inserted", done.Inserted).Int("parts", done.Touched).Msg("merged what changed")
	return true, nil
}

// otherCount tells whether BigQuery has another number of rows than the merged table. What it said may be
// older than the rows that were read, so it is asked again before it is believed. Of a part of the rows, of
// views, and of what waits in the streaming buffer, it says nothing.
func (s *source) otherCount(ctx context.Context, o tableOptions, t bigquery.Table, rows int64) bool {
	if o.partial || !t.Readable() || t.Streaming || t.Rows == rows {
		return false
	}
	now, err := s.client.Table(ctx, t.Ref)
	return err != nil || !now.Streaming && now.Rows != rows
}

// reading reads the table with options.
type reading func(ctx context.Context, o tableOptions) (*bigquery.Result, error)
