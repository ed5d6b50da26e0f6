package lake

import (
	"context"
	"fmt"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// ParquetColumns gives the columns of parquet files of one schema, with DuckDB's names of the types.
func ParquetColumns(ctx context.Context, db *DB, files []string) ([]catalog.Column, error) {
	patterns := make([]string, len(files))
	for i, f := range files {
		patterns[i] = LiteralPath(f)
	}
	rows, err := db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet("+
		QuoteList(patterns)+", hive_partitioning = false))")
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", Scrub(err))
	}
	defer func() { _ = rows.Close() }()
	var columns []catalog.Column
	for rows.Next() {
		var c catalog.Column
		if err := rows.Scan(&c.Name, &c.Type); err != nil {
			return nil, fmt.Errorf("read the columns: %w", Scrub(err))
		}
		columns = append(columns, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the columns: %w", Scrub(err))
	}
	return columns, nil
}
