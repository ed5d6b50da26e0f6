// Package serverdb derives analytics/server.duckdb from the published catalog, for people and tools
// that open DuckDB themselves: one schema per source with a view per local table, and a view in main
// for every unqualified name that stands for a table. Nothing in it serves requests of Agnes.
package serverdb

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
)

// FileName is the name of the file in the folder analytics. DuckDB names the catalog after it.
const FileName = "server.duckdb"

// Path is where the file of a data directory is.
func Path(dataDir string) string { return filepath.Join(dataDir, "analytics", FileName) }

// Report says what a Write put into the file.
type Report struct {
	Schemas, Views, Aliases int
	// Broken are the qualified names of tables that could not be made a view.
	Broken []string
}

// writer fills one file.
type writer struct {
	db      *lake.DB
	dataDir string
	report  Report
	broken  map[string]bool
}

// Write makes the file anew in the folder scratch and gives its path; the caller swaps it into place.
// A table that cannot be made a view is left out and hides no other.
func Write(ctx context.Context, dataDir, scratch string, index *catalog.Index) (string, Report, error) {
	file := filepath.Join(scratch, FileName)
	db, err := lake.Open(ctx, lake.Options{Path: file, Threads: 1, TempDir: scratch})
	if err != nil {
		return "", Report{}, fmt.Errorf("write %s: %w", FileName, err)
	}
	w := &writer{db: db, dataDir: dataDir, broken: make(map[string]bool)}
	err = w.fill(ctx, index)
	if err == nil {
		err = w.exec(ctx, "CHECKPOINT")
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", Report{}, fmt.Errorf("write %s: %w", FileName, err)
	}
	return file, w.report, nil
}

func (w *writer) fill(ctx context.Context, index *catalog.Index) error {
	// The file is thrown away if this process dies: there is nothing to log ahead for.
	if err := w.exec(ctx, "SET GLOBAL wal_autocheckpoint = '1GB'"); err != nil {
		return err
	}
	for _, s := range index.Sources() {
		if err := w.schema(ctx, s); err != nil {
			return err
		}
	}
	var aliases []view
	for _, a := range index.Aliases() {
		if id := a.Ref.ID(); !w.broken[id] {
			if v, ok := w.view("main", a.Name, a.Ref); ok {
				aliases = append(aliases, v)
			}
		}
	}
	made, err := w.create(ctx, aliases)
	w.report.Aliases = made
	return err
}

// schema makes the schema of a source with its views; one without any view gets none.
func (w *writer) schema(ctx context.Context, s catalog.Source) error {
	var views []view
	for _, t := range s.Tables {
		if v, ok := w.view(s.Name, t.Name, catalog.Ref{Source: s.Name, Table: t}); ok {
			views = append(views, v)
		}
	}
	if len(views) == 0 {
		return nil
	}
	if err := w.exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+lake.QuoteIdent(s.Name)); err != nil {
		return err
	}
	w.report.Schemas++
	made, err := w.create(ctx, views)
	w.report.Views += made
	return err
}

// view is one view to make.
type view struct{ id, sql string }

// view gives the statement for a table; ok is false for one that the file cannot hold: a remote
// table, whose catalog is attached only where that is allowed, and one of which nothing is known.
func (w *writer) view(schema, name string, ref catalog.Ref) (view, bool) {
	if ref.Table.QueryMode == catalog.ModeRemote {
		return view{}, false
	}
	from, ok := w.rows(ref.Table)
	return view{id: ref.ID(), sql: "CREATE VIEW " + lake.QuoteName(schema, name) + " AS " + from}, ok
}

// rows is a SELECT of the rows of a table. It needs nothing but the parts.
func (w *writer) rows(t catalog.Table) (string, bool) {
	if len(t.Parts) > 0 {
		return "SELECT * FROM read_parquet(" + lake.QuoteList(Files(w.dataDir, t)) + ", union_by_name = true, hive_partitioning = false)", true
	}
	if len(t.Columns) == 0 {
		return "", false
	}
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = "CAST(NULL AS " + c.Type + ") AS " + lake.QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(columns, ", ") + " WHERE false", true
}

// Files are the paths of a table's parts, for read_parquet.
func Files(dataDir string, t catalog.Table) []string {
	files := make([]string, len(t.Parts))
	for i, p := range t.Parts {
		files[i] = noPattern(filepath.Join(dataDir, filepath.FromSlash(p.Path)))
	}
	return files
}

// noPattern writes a path so that read_parquet, which expands patterns, takes it as it stands.
func noPattern(path string) string {
	return strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path)
}

// create makes views in one transaction, or one by one where one of them fails. It tells how many
// stand, and fails only if ctx ended.
func (w *writer) create(ctx context.Context, views []view) (int, error) {
	if len(views) == 0 {
		return 0, ctx.Err()
	}
	if w.createAll(ctx, views) == nil {
		return len(views), nil
	}
	made := 0
	for _, v := range views {
		err := w.exec(ctx, v.sql)
		if ctx.Err() != nil {
			return made, ctx.Err()
		}
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldTable, v.id).Msg("a table is left out of " + FileName)
			w.broken[v.id] = true
			w.report.Broken = append(w.report.Broken, v.id)
			continue
		}
		made++
	}
	return made, nil
}

func (w *writer) createAll(ctx context.Context, views []view) error {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, v := range views {
		if _, err := tx.ExecContext(ctx, v.sql); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (w *writer) exec(ctx context.Context, sql string) error {
	if _, err := w.db.ExecContext(ctx, sql); err != nil {
		return lake.Scrub(err)
	}
	return nil
}
