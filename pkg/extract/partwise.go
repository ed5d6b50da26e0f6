package extract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// A connector that knows which rows changed writes its table part by part: parts that hold nothing
// new are kept as they stand, at no cost, and the others are written anew.

// KeepPart makes part i of TableSpec.Previous (the i-th of its Files) the next part of the table, as it
// stands. The parts of a table have the same columns: where they changed, all are written anew.
func (w *TableWriter) KeepPart(i int) error {
	if err := w.partwise(); err != nil {
		return err
	}
	if w.spec.Previous == nil || i < 0 || i >= len(w.spec.Previous.Files) {
		return fault.New(fault.Internal, "the table %s has no part %d to keep", w.name, i)
	}
	w.out.add("", 0, i)
	return nil
}

// PartQuery is a SELECT whose rows become a part.
type PartQuery struct {
	SQL string
	// Columns are those of the query and their types. Where the writer knows them, the query need not be
	// described, which costs a tenth of a small part.
	Columns []catalog.Column
	// RowBytes is the estimated width of a row in bytes and bounds the row groups; 0 means: measure the
	// first rows, for which the query is run twice.
	RowBytes int64
}

// WritePart makes the rows of a query the next part of the table, and tells how many they are. No rows
// are no part; a table without any part has the columns of the last such query and is empty. The query
// runs in the session of Exec on one thread: where it orders its rows completely, equal rows give equal
// bytes, and with them the part that stands already.
func (w *TableWriter) WritePart(ctx context.Context, q PartQuery) (rows int64, err error) {
	if err := w.partwise(); err != nil {
		return 0, err
	}
	s := w.table.session
	conn, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	if !w.out.single {
		if err := s.exec(ctx, "SET threads = 1"); err != nil {
			return 0, err
		}
		w.out.single = true
	}
	from := "(" + strings.TrimRight(strings.TrimSpace(q.SQL), ";") + "\n)"
	columns := q.Columns
	if columns == nil {
		if columns, err = columnsOf(ctx, conn, "SELECT * FROM "+from); err != nil {
			return 0, err
		}
	}
	rowBytes := q.RowBytes
	if rowBytes <= 0 {
		if rowBytes, err = s.width(ctx, columns, fmt.Sprintf("(SELECT * FROM %s LIMIT %d)", from, sampleRows)); err != nil {
			return 0, err
		}
	}
	file := filepath.Join(w.dir, fmt.Sprintf("part-%d.parquet", len(w.out.files)))
	if rows, err = runCopy(ctx, conn, copyStatement(selectStored(columns, from), file, groupRows(rowBytes))); err != nil {
		return 0, err
	}
	if rows > 0 {
		w.out.add(file, rows, -1)
		return rows, nil
	}
	w.out.empty = filepath.Join(w.dir, "empty.parquet")
	if err := os.Rename(file, w.out.empty); err != nil {
		return 0, fmt.Errorf("write scratch: %w", err)
	}
	return 0, nil
}

// settle makes a table without any part an empty one.
func (o *output) settle() {
	if len(o.files) == 0 && o.empty != "" {
		o.add(o.empty, 0, -1)
	}
}

// partwise begins a table that is written part by part.
func (w *TableWriter) partwise() error {
	if w.declared != nil || (w.out != nil && !w.out.partwise) {
		return fault.New(fault.Internal, "the table %s is written twice", w.name)
	}
	if w.out == nil {
		w.out = &output{partwise: true}
	}
	return nil
}

// add adds a part: a file of scratch, or the index of the part that is kept.
func (o *output) add(file string, rows int64, kept int) {
	o.files, o.rows, o.kept = append(o.files, file), append(o.rows, rows), append(o.kept, kept)
}

// keptParts completes what a part-wise writer says with the parts that it keeps: their rows, and the
// columns of the table, which all parts share.
func (r *run) keptParts(ctx context.Context, w *TableWriter, last *entry) (columns []catalog.Column, parts []catalog.Part, err error) {
	parts = make([]catalog.Part, len(w.out.files))
	for i, file := range w.out.files {
		var of []catalog.Column
		if kept := w.out.kept[i]; kept >= 0 {
			parts[i], of = last.Parts[kept], last.Columns
			w.out.rows[i] = parts[i].Rows
		} else if of, err = columnsOf(ctx, w.table.session.conn, "SELECT * FROM "+readParquet([]string{file})); err != nil {
			return nil, nil, err
		}
		if columns == nil {
			columns = of
		} else if !slices.Equal(columns, of) {
			return nil, nil, fault.New(fault.Internal, "the parts of the table %s have different columns", w.name)
		}
	}
	return columns, parts, nil
}
