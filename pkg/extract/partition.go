package extract

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// PartitionLengths are the stretches of time that Partition knows.
var PartitionLengths = []string{"day", "week", "month", "quarter", "year"}

// maxPartitions of a table are parts of their own.
const maxPartitions = 400

// partitionRows is the table that Partition works with.
const partitionRows = "agnes_rows"

// Partition makes the table the result of a SELECT of these columns, with a part for each stretch of time that
// the date in a column falls into, and one for rows without a date. Parts in which nothing changed have the
// bytes they had, so they stay as they stand. The query runs once, in the session of Exec.
func (w *TableWriter) Partition(ctx context.Context, query string, columns []catalog.Column, by, length string) error {
	at := slices.IndexFunc(columns, func(c catalog.Column) bool { return strings.EqualFold(c.Name, by) })
	if at < 0 {
		return fault.New(fault.Invalid, "partition_by: the table %s has no column %q, or it is not selected", w.name, by)
	}
	if !slices.Contains(PartitionLengths, length) {
		return fault.New(fault.Invalid, "the table %s: `partition` is day, week, month, quarter or year", w.name)
	}
	err := w.Exec(ctx, fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT *, CAST(date_trunc(%s, TRY_CAST(%s AS DATE)) AS DATE) AS agnes_partition FROM %s ORDER BY agnes_partition",
		partitionRows, lake.QuoteLiteral(length), lake.QuoteIdent(columns[at].Name), parenthesised(query)))
	if err != nil {
		return err
	}
	filters, err := w.partitions(ctx, length)
	if err != nil {
		return err
	}
	order := "ALL"
	if len(w.spec.PrimaryKey) > 0 {
		keys := make([]string, len(w.spec.PrimaryKey))
		for i, k := range w.spec.PrimaryKey {
			keys[i] = lake.QuoteIdent(k)
		}
		order = strings.Join(keys, ", ")
	}
	for _, filter := range filters {
		part := PartQuery{SQL: "SELECT * EXCLUDE (agnes_partition) FROM " + partitionRows + " WHERE " + filter + " ORDER BY " + order, Columns: columns}
		if _, err := w.WritePart(ctx, part); err != nil {
			return err
		}
	}
	return w.Exec(ctx, "DROP TABLE "+partitionRows)
}

// partitions are the conditions of the parts, in the order of time: at least one.
func (w *TableWriter) partitions(ctx context.Context, length string) (filters []string, err error) {
	err = w.Rows(ctx, "SELECT CAST(agnes_partition AS VARCHAR) FROM "+partitionRows+" GROUP BY agnes_partition ORDER BY agnes_partition NULLS LAST", func(scan func(...any) error) error {
		var day *string
		err := scan(&day)
		if day == nil {
			filters = append(filters, "agnes_partition IS NULL")
		} else {
			filters = append(filters, "agnes_partition = DATE "+lake.QuoteLiteral(*day))
		}
		return err
	})
	if len(filters) > maxPartitions {
		return nil, fault.New(fault.Invalid, "the table %s would have %d parts, one for each %s: choose a longer `partition`", w.name, len(filters), length)
	}
	if len(filters) == 0 {
		filters = []string{"false"} // its columns
	}
	return filters, err
}
