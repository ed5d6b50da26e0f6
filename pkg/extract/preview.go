package extract

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// previewMemory of DuckDB is enough for some rows, in bytes.
const previewMemory = 256 << 20

// PreviewQuery gives the first rows of a SELECT, with DuckDB's types.
func PreviewQuery(ctx context.Context, db *lake.DB, query string, rows int) (Preview, error) {
	return previewQuery(ctx, db.DB, query, rows)
}

// PreviewArrow gives the first rows of a stream of Arrow batches, in the columns that are named and their
// types. The reader stays the caller's, and may not be read to its end.
func PreviewArrow(ctx context.Context, reader array.RecordReader, columns []catalog.Column, rows int) (shown Preview, err error) {
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: previewMemory, Threads: 1})
	if err != nil {
		return Preview{}, err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return Preview{}, lake.Scrub(err)
	}
	defer func() { _ = conn.Close() }()
	view, err := lake.NewArrowView(ctx, conn, arrowName, reader, columns)
	if err != nil {
		return Preview{}, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	shown, err = previewQuery(ctx, conn, view.Select(), rows)
	if failed := view.Err(); failed != nil {
		return Preview{}, failed
	}
	return shown, err
}

func previewQuery(ctx context.Context, q querier, query string, rows int) (Preview, error) {
	from := parenthesised(query)
	columns, err := columnsOf(ctx, q, "SELECT * FROM "+from)
	if err != nil {
		return Preview{}, err
	}
	shown := Preview{Columns: columns}
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = "CAST(" + lake.QuoteIdent(c.Name) + " AS VARCHAR)"
	}
	limited := "SELECT " + strings.Join(texts, ", ") + " FROM " + from + " LIMIT " + strconv.Itoa(rows)
	err = queryRows(ctx, q, limited, func(scan func(dest ...any) error) error {
		row, into := make([]*string, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := scan(into...); err != nil {
			return err
		}
		shown.Rows = append(shown.Rows, row)
		return nil
	})
	return shown, err
}
