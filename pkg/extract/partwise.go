package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// A connector that knows which rows changed writes its table part by part: parts that hold nothing
// new are kept as they stand, at no cost, and the others are written anew.

// KeepPart makes part i of TableSpec.Previous (the i-th of its Files) the next part of the table, as it
// stands. The parts of a table have the same columns: where they changed, all are written anew.
func (w *TableWriter) KeepPart(i int) error {
	if _, err := w.previous(i); err != nil {
		return err
	}
	w.out.add(writtenPart{kept: i})
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
	file := w.partFile("part")
	if rows, err = w.copyPart(ctx, &q, file); err != nil {
		return 0, err
	}
	if rows > 0 {
		w.out.add(writtenPart{file: file, rows: rows, columns: q.Columns, kept: -1})
		return rows, nil
	}
	w.out.empty = filepath.Join(w.dir, "empty.parquet")
	if err := os.Rename(file, w.out.empty); err != nil {
		return 0, fmt.Errorf("write scratch: %w", err)
	}
	return 0, nil
}

// mostExtensions is how often a part is extended before it is written anew: each leaves a row group, of
// which readers read all footers.
const mostExtensions = 16

// ExtendPart makes the next part of the table one that has the rows of part i of TableSpec.Previous, and
// those of the query behind them. The former are copied as they stand, which takes a tenth of the time of
// WritePart. extended is false, and nothing was done, where that happened too often to the part or where it
// has other columns: it is to be written anew. No rows keep the part as it stands.
func (w *TableWriter) ExtendPart(ctx context.Context, i int, q PartQuery) (extended bool, err error) {
	previous, err := w.previous(i)
	if err != nil {
		return false, err
	}
	shape, err := lake.ShapeOf(previous)
	if err != nil {
		return false, err
	}
	if q.RowBytes <= 0 || int64(shape.RowGroups) > shape.Rows/groupRows(q.RowBytes)+mostExtensions {
		return false, nil
	}
	more := w.partFile("more")
	rows, err := w.copyPart(ctx, &q, more)
	if err != nil {
		return false, err
	}
	if rows == 0 {
		w.out.add(writtenPart{kept: i})
		return true, nil
	}
	file := w.partFile("part")
	if err := stitch(file, previous, more); err != nil {
		if fault.Is(err, fault.Conflict) {
			return false, nil
		}
		return false, err
	}
	w.out.add(writtenPart{file: file, rows: shape.Rows + rows, extends: true, kept: -1})
	return true, os.Remove(more)
}

// previous is the file of a part of the version that stands.
func (w *TableWriter) previous(i int) (string, error) {
	if err := w.partwise(); err != nil {
		return "", err
	}
	if w.spec.Previous == nil || i < 0 || i >= len(w.spec.Previous.Files) {
		return "", fault.New(fault.Internal, "the table %s has no part %d to keep", w.name, i)
	}
	return w.spec.Previous.Files[i], nil
}

func (w *TableWriter) partFile(word string) string {
	return filepath.Join(w.dir, fmt.Sprintf("%s-%d.parquet", word, len(w.out.files)))
}

// copyPart writes the rows of a query to a file. It fills in the columns of the query.
func (w *TableWriter) copyPart(ctx context.Context, q *PartQuery, file string) (rows int64, err error) {
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
	if q.Columns == nil {
		if q.Columns, err = columnsOf(ctx, conn, "SELECT * FROM "+from); err != nil {
			return 0, err
		}
	}
	rowBytes := q.RowBytes
	if rowBytes <= 0 {
		if rowBytes, err = s.width(ctx, q.Columns, fmt.Sprintf("(SELECT * FROM %s LIMIT %d)", from, sampleRows)); err != nil {
			return 0, err
		}
	}
	return runCopy(ctx, conn, copyStatement(selectStored(q.Columns, from), file, groupRows(rowBytes)))
}

// stitch writes parquet files as one, without decoding them.
func stitch(to string, files ...string) error {
	whole, err := lake.Stitch(files)
	if err != nil {
		return err
	}
	return writeWhole(to, whole)
}

// writeWhole writes a file that is made of others, and closes these.
func writeWhole(to string, whole *lake.Stitched) (err error) {
	defer func() { err = errors.Join(err, whole.Close()) }()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write scratch: %w", err)
	}
	if _, err := io.Copy(out, whole); err != nil {
		return errors.Join(fmt.Errorf("write scratch: %w", err), out.Close())
	}
	return out.Close()
}

// settle makes a table without any part an empty one.
func (o *output) settle() {
	if len(o.files) == 0 && o.empty != "" {
		o.add(writtenPart{file: o.empty, kept: -1})
	}
}

// partwise begins a table that is written part by part.
func (w *TableWriter) partwise() error {
	if w.declared != nil || (w.out != nil && !w.out.partwise) {
		return fault.New(fault.Internal, "the table %s is written twice", w.name)
	}
	if w.out == nil {
		w.out = &output{partwise: true}
		return w.makeDir()
	}
	return nil
}

// writtenPart is a part of a part-wise table.
type writtenPart struct {
	file string // in scratch
	rows int64
	// columns are those of the query, as it was given; nil for not known.
	columns []catalog.Column
	extends bool // it has the columns of the version that stands
	kept    int  // the part of that version which stays, instead of a file; or -1
}

func (o *output) add(p writtenPart) {
	o.files, o.rows, o.parts = append(o.files, p.file), append(o.rows, p.rows), append(o.parts, p)
}

// keptParts completes what a part-wise writer says with the parts that it keeps: their rows, and the
// columns of the table, which all parts share.
func (r *run) keptParts(ctx context.Context, w *TableWriter, last *entry) (columns []catalog.Column, parts []catalog.Part, err error) {
	parts = make([]catalog.Part, len(w.out.files))
	var asked, stored []catalog.Column // of a query, and of its file
	for i, p := range w.out.parts {
		var of []catalog.Column
		switch {
		case p.kept >= 0:
			parts[i], of = last.Parts[p.kept], last.Columns
			w.out.rows[i] = parts[i].Rows
		case p.extends:
			of = last.Columns
		case stored != nil && p.columns != nil && slices.Equal(p.columns, asked):
			of = stored // what is written of the same columns has the same types
		default:
			if of, err = columnsOf(ctx, w.table.session.conn, "SELECT * FROM "+readParquet([]string{p.file})); err != nil {
				return nil, nil, err
			}
			asked, stored = p.columns, of
		}
		if columns == nil {
			columns = of
		} else if !slices.Equal(columns, of) {
			return nil, nil, fault.New(fault.Internal, "the parts of the table %s have different columns", w.name)
		}
	}
	return columns, parts, nil
}
