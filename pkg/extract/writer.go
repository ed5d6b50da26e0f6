package extract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// TableWriter receives one table in one of four ways: Query (DuckDB reads and streams it: the fast
// way), Columns and Append (row by row), KeepPart, ExtendPart and WritePart (what changed of it), or Remote (it
// stays where it is). It is used by one goroutine, and only until Extract returns.
type TableWriter struct {
	table *tableRun
	spec  TableSpec
	name  string
	dir   string // scratch of this writer

	description string
	out         *output
	declared    []catalog.Column // of Append
	pending     []any            // rows that are not in the stage yet
	pendingRows int
	token       string
	rejected    int64
	discarded   []catalog.Column // new ones that the table's contract leaves out
	companions  []*TableWriter
}

// output is what a writer holds when its table is complete, in scratch.
type output struct {
	files      []string
	rows       []int64
	parts      []writtenPart // of a part-wise table
	partwise   bool
	single     bool   // the session has one thread
	empty      string // of a part-wise table: a file with its columns and no rows
	duplicates int64
	remote     remoteTable
	columns    []catalog.Column // of a remote table
}

// remoteTable is where a remote table lives.
type remoteTable struct{ alias, schema, table string }

func (t remoteTable) query() string {
	return "SELECT * FROM " + lake.QuoteName(t.alias, t.schema, t.table)
}

// tableRun is the part of a run that a table's writers share.
type tableRun struct {
	session  *session
	dir      string
	progress func(phase, table string, rows, bytes, total int64)
}

const appendBatch = 4_096 // values that are inserted at once

func newWriter(t *tableRun, spec TableSpec) *TableWriter {
	return &TableWriter{table: t, spec: spec, name: spec.Name, description: spec.Description, dir: filepath.Join(t.dir, "main")}
}

// makeDir makes the folder of a table that is written: most are not, in a run that comes often.
func (w *TableWriter) makeDir() error {
	if err := os.MkdirAll(w.dir, dirMode); err != nil {
		return fmt.Errorf("make scratch: %w", err)
	}
	return nil
}

// Query makes the table the result of a SELECT, in the order the query gives. It runs in the
// session of Exec, so it sees what Exec created. rowBytes is the estimated width of a row in bytes
// and bounds the row groups; 0 means: measure the first rows, for which the query is run twice. For a
// table with a primary key both do not matter: it is sorted by the key and measured whole.
func (w *TableWriter) Query(ctx context.Context, query string, rowBytes int64) error {
	if w.out != nil || w.declared != nil {
		return fault.New(fault.Internal, "the table %s is written twice", w.name)
	}
	if err := w.makeDir(); err != nil {
		return err
	}
	from := parenthesised(query)
	w.table.session.keep()
	conn, err := w.table.session.open(ctx)
	if err != nil {
		return err
	}
	columns, err := columnsOf(ctx, conn, "SELECT * FROM "+from)
	if err != nil {
		return err
	}
	columns, from = w.discard(columns, from)
	if len(w.spec.PrimaryKey) > 0 {
		return w.copySorted(ctx, columns, from)
	}
	return w.copyStream(ctx, columns, from, rowBytes)
}

// Exec runs one statement in the writer's own DuckDB session: in memory, with limits on memory and
// threads, spilling under $DATA_DIR/tmp, free to read files. Use it for temporary tables and settings.
func (w *TableWriter) Exec(ctx context.Context, statement string, args ...any) error {
	w.table.session.keep()
	return w.table.session.exec(ctx, statement, args...)
}

// TempTable makes a temporary table of the rows of a SELECT, which the queries of WritePart see by its
// name. Where nothing but TempTable and WritePart works in a session, Serve passes its DuckDB on to the
// next table or run and need not open a new one, which Exec would make necessary. It may have one thread.
func (w *TableWriter) TempTable(ctx context.Context, name, query string) error {
	return w.table.session.exec(ctx, "CREATE TEMP TABLE "+lake.QuoteIdent(name)+" AS "+parenthesised(query))
}

// Rows runs a SELECT in the session of Exec and TempTable, and calls scan for each row.
func (w *TableWriter) Rows(ctx context.Context, query string, scan func(scan func(dest ...any) error) error) error {
	w.table.session.keepNew()
	return w.table.session.rows(ctx, "SELECT * FROM "+parenthesised(query), scan)
}

// parenthesised is a query as a part of another one: a SELECT, whatever else a connector wrote.
func parenthesised(query string) string {
	return "(" + strings.TrimRight(strings.TrimSpace(query), ";") + "\n)"
}

// Columns declares the columns for Append. Columns without any Append is an empty, typed table.
func (w *TableWriter) Columns(ctx context.Context, columns []catalog.Column) error {
	if w.out != nil || w.declared != nil {
		return fault.New(fault.Internal, "the table %s is written twice", w.name)
	}
	if len(columns) == 0 {
		return fault.New(fault.Invalid, "the table %s has no columns", w.name)
	}
	if err := w.makeDir(); err != nil {
		return err
	}
	if err := w.table.session.stage(ctx); err != nil {
		return err
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = lake.QuoteIdent(c.Name) + " " + c.Type
	}
	if err := w.Exec(ctx, "CREATE TABLE "+w.appended()+" ("+strings.Join(list, ", ")+")"); err != nil {
		return fmt.Errorf("declare the columns of %s: %w", w.name, err)
	}
	w.declared = columns
	return nil
}

func (w *TableWriter) appended() string { return stageTable("appended_" + w.name) }

// Append adds one row: one Go value per declared column, nil for NULL. A text is cast to the type of
// its column.
func (w *TableWriter) Append(ctx context.Context, row ...any) error {
	if len(row) != len(w.declared) {
		return fault.New(fault.Internal, "the table %s has %d columns, a row has %d values", w.name, len(w.declared), len(row))
	}
	w.pending = append(w.pending, row...)
	w.pendingRows++
	if len(w.pending) < appendBatch {
		return nil
	}
	return w.flush(ctx)
}

// flush inserts what Append collected.
func (w *TableWriter) flush(ctx context.Context) error {
	if w.pendingRows == 0 {
		return nil
	}
	row := "(?" + strings.Repeat(", ?", len(w.declared)-1) + ")"
	statement := "INSERT INTO " + w.appended() + " VALUES " + row + strings.Repeat(", "+row, w.pendingRows-1)
	if err := w.Exec(ctx, statement, w.pending...); err != nil {
		return fmt.Errorf("append to %s: %w", w.name, err)
	}
	clear(w.pending)
	w.pending, w.pendingRows = w.pending[:0], 0
	return nil
}

// Large says, before anything else, that much is to be written: the table gets all threads, and memory of its own, for which
// a small one would wait longer than it takes to write.
func (w *TableWriter) Large() { w.table.session.keep() }

// Remote makes the table a view over alias.schema.table of a catalog named by Attacher. The columns
// are those that the view shows: there is at least one.
func (w *TableWriter) Remote(_ context.Context, alias, schema, table string, columns []catalog.Column) error {
	if w.out != nil || w.declared != nil {
		return fault.New(fault.Internal, "the table %s is written twice", w.name)
	}
	if alias == "" || schema == "" || table == "" || len(columns) == 0 {
		return fault.New(fault.Invalid, "the remote table %s needs a catalog, a schema, a table and its columns", w.name)
	}
	w.out = &output{columns: columns, remote: remoteTable{alias, schema, table}}
	return nil
}

// Companion gives a writer for <table><suffix>, such as "__rejects": a table that is published with
// this one, and disappears when a later successful run of this one does not write it. It shares the
// session of Exec and has no primary key.
func (w *TableWriter) Companion(suffix, description string) (*TableWriter, error) {
	name := w.name + suffix
	if suffix == "" || w.name != w.spec.Name {
		return nil, fault.New(fault.Internal, "the table %s cannot have a companion %q", w.name, suffix)
	}
	if err := catalog.ValidTableName(name); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s", err.Error())
	}
	for _, c := range w.companions {
		if strings.EqualFold(c.name, name) {
			return nil, fault.New(fault.Internal, "the table %s is written twice", name)
		}
	}
	spec := TableSpec{Name: name, Description: description, QueryMode: catalog.ModeLocal}
	c := &TableWriter{table: w.table, spec: spec, name: name, description: description, dir: filepath.Join(w.table.dir, fmt.Sprintf("companion-%d", len(w.companions)))}
	w.companions = append(w.companions, c)
	return c, nil
}

// SetToken keeps a word about the input (a content hash, a cursor) with the version; the next run
// finds it in TableSpec.Token. It is kept only if the table is published. No secrets.
func (w *TableWriter) SetToken(token string) { w.token = token }

// SetDescription says what the table is, where the registry does not.
func (w *TableWriter) SetDescription(text string) {
	if w.description == "" {
		w.description = text
	}
}

// SetRejected tells how many rows were set aside.
func (w *TableWriter) SetRejected(rows int64) { w.rejected = rows }

// Progress tells how far the reading is, in rows and bytes of the input; total is 0 where unknown.
// Cheap enough to be called per batch: what is published is throttled.
func (w *TableWriter) Progress(rows, bytes, total int64) {
	w.table.progress("reading", w.name, rows, bytes, total)
}

// ScratchDir gives a folder for half-finished files. It is removed when the run ends.
func (w *TableWriter) ScratchDir() (string, error) {
	dir := filepath.Join(w.table.dir, "connector")
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", fmt.Errorf("make scratch: %w", err)
	}
	return dir, nil
}

// finish completes what Extract wrote; afterwards out is set.
func (w *TableWriter) finish(ctx context.Context) error {
	if w.out == nil && w.declared != nil {
		if err := w.flush(ctx); err != nil {
			return err
		}
		from := w.appended()
		w.declared, w.pending = nil, nil
		if err := w.Query(ctx, "SELECT * FROM "+from, 0); err != nil {
			return err
		}
		if err := w.Exec(ctx, "DROP TABLE "+from); err != nil {
			return err
		}
	}
	if w.out != nil && w.out.partwise {
		w.out.settle()
	}
	if w.out == nil || (w.out.partwise && len(w.out.files) == 0) {
		return errNothing
	}
	return nil
}
