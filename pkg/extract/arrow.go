package extract

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// arrowName is that of the view over a stream of Arrow.
const arrowName = "agnes_arrow"

// Arrow lets DuckDB read a stream of Arrow batches: use is given a SELECT of its columns in the types that they
// get (all as they come where there are none), for one call of Query with a width of rows, or of Upsert. The
// stream is read as the table is written, and once: an error of the reader is returned as it is.
func (w *TableWriter) Arrow(ctx context.Context, reader array.RecordReader, columns []catalog.Column, use func(query string) error) (err error) {
	w.table.session.keep()
	conn, err := w.table.session.open(ctx)
	if err != nil {
		return err
	}
	view, err := lake.NewArrowView(ctx, conn, arrowName, reader, columns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	err = use(view.Select())
	if failed := view.Err(); failed != nil {
		return failed
	}
	return err
}
