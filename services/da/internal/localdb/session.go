package localdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// sessionMemory bounds a statement over tables that stay where they live; what needs more is spilled.
const sessionMemory = 4 << 30

// session opens one over views alone: what is fetched for one statement is never a part of the database.
func (d *DB) session(ctx context.Context, o lake.SessionOptions) (*lake.Session, error) {
	o.MemoryBytes, o.TempDir = sessionMemory, filepath.Join(filepath.Dir(d.ws.Database()), "tmp")
	s, err := lake.OpenSession(ctx, o)
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the tables of the workspace cannot be opened: %s", reason(err))
	}
	return s, nil
}

// Views are the synced tables, as a session shows them.
func (d *DB) Views(tables map[string]workspace.Table) []lake.View {
	var views []lake.View
	for id, t := range tables {
		v := lake.View{Schema: t.Source, Name: t.Name, Columns: t.Columns}
		if t.Alias {
			v.Aliases = []string{t.Name}
		}
		for _, p := range t.Parts {
			v.Files = append(v.Files, d.ws.Part(id, p.SHA256))
		}
		views = append(views, v)
	}
	return views
}

// Needs tells what a statement needs of the remote tables among the views; known is false where its plan does not tell.
func (d *DB) Needs(ctx context.Context, views []lake.View, q Question) (scans []federation.Scan, known bool, err error) {
	s, err := d.session(ctx, lake.SessionOptions{Views: views, Plan: true})
	if err != nil {
		return nil, false, err
	}
	defer s.Close()
	plan, err := s.Plan(ctx, q.SQL)
	switch {
	case fault.Is(err, fault.NotFound) && lake.ClassOf(err) == "":
		return nil, false, nil
	case err != nil:
		return nil, false, d.explain(err)
	}
	scans, known = federation.Scans(plan, views, int64(q.Limit))
	return scans, known, nil
}

// Over answers a statement in a session over the views. An error that lake.IsRemote knows tells that it reads what none of
// them holds; rows that are given were read as far as the first of them.
func (d *DB) Over(ctx context.Context, views []lake.View, q Question) (*Rows, error) {
	s, err := d.session(ctx, lake.SessionOptions{Views: views})
	if err != nil {
		return nil, err
	}
	rows, err := overSession(ctx, s, q)
	if err != nil {
		s.Close()
		if lake.IsRemote(err) {
			return nil, err
		}
		return nil, d.explain(err)
	}
	rows.explain = d.explain
	rows.closers = []func() error{func() error { s.Close(); return nil }}
	return rows, nil
}

func overSession(ctx context.Context, s *lake.Session, q Question) (*Rows, error) {
	ask := asking(s)
	statement, err := lake.OneStatement(q.SQL)
	if err != nil {
		return nil, err
	}
	columns := describe(ctx, ask, statement.Text)
	if columns == nil { // it is wrong, or something that cannot be asked from, such as an EXPLAIN
		return plain(ctx, s, statement.Text)
	}
	rows, err := stream(ctx, ask, statement.Text, columns, q)
	if err != nil {
		return nil, err
	}
	return rows.ahead()
}

// asking is a session as one who answers.
func asking(s *lake.Session) asker {
	return func(ctx context.Context, sql string, _ ...any) (array.RecordReader, error) { return s.Query(ctx, sql) }
}

// plain answers a statement whose columns are all texts.
func plain(ctx context.Context, s *lake.Session, statement string) (*Rows, error) {
	result, err := s.Query(ctx, statement)
	if err != nil {
		return nil, err
	}
	for _, c := range result.Columns() {
		if c.Type != "VARCHAR" {
			result.Close()
			return nil, fault.New(fault.Invalid, "a statement over tables that stay where they live is a SELECT")
		}
	}
	b := &batches{reader: result, columns: result.Columns(), row: make([]Value, len(result.Columns()))}
	return (&Rows{Columns: result.Columns(), next: b.next, close: result.Close}).ahead()
}

// ahead reads the first row now, so that what is wrong with it is told before anything is shown.
func (r *Rows) ahead() (*Rows, error) {
	first, err := r.next()
	if err != nil {
		r.close()
		return nil, err
	}
	first = append([]Value(nil), first...)
	next, given := r.next, false
	r.next = func() ([]Value, error) {
		if !given {
			given = true
			if len(first) == 0 {
				return nil, nil
			}
			return first, nil
		}
		return next()
	}
	return r, nil
}

// OverParquet writes the answer of a statement over the views into a parquet file, and tells how many rows it has.
func (d *DB) OverParquet(ctx context.Context, views []lake.View, q Question, path string) (rows int64, err error) {
	s, err := d.session(ctx, lake.SessionOptions{Views: views, Output: path})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if rows, err = s.Copy(ctx, q.SQL, int64(q.Limit)); err != nil {
		return 0, d.overError(err)
	}
	return rows, nil
}

func (d *DB) overError(err error) error {
	if lake.IsRemote(err) {
		return err
	}
	return d.explain(err)
}

// Own writes the analyst's own tables and views that a statement mentions into files of dir, and gives them as views
// of a session. What has the name of one in taken ("schema.name", folded) is not own.
func (d *DB) Own(ctx context.Context, q Question, taken map[string]bool, dir string) (views []lake.View, err error) {
	if _, missing := os.Stat(d.ws.Database()); missing != nil {
		return nil, nil // nothing was made there yet
	}
	db, err := d.open(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	own, names, err := ownObjects(ctx, db, taken)
	if err != nil {
		return nil, d.explain(err)
	}
	for _, name := range lake.Mentioned(q.SQL, names).Names {
		for _, o := range own[name] {
			path := filepath.Join(dir, fmt.Sprintf("own-%d.parquet", len(views)))
			if _, err := db.ExecContext(ctx, "COPY (SELECT * FROM "+lake.QuoteName(o.Schema, o.Name)+") TO "+lake.QuoteLiteral(path)+" (FORMAT parquet)"); err != nil {
				return nil, d.explain(err)
			}
			o.Files = []string{path}
			views = append(views, o)
		}
	}
	return views, nil
}

func ownObjects(ctx context.Context, db *lake.DB, taken map[string]bool) (own map[string][]lake.View, names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name <> 'agnes_meta'
		UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	own = map[string][]lake.View{}
	for rows.Next() {
		var schema, name string
		if err := rows.Scan(&schema, &name); err != nil {
			return nil, nil, err
		}
		if taken[fold(schema+"."+name)] {
			continue
		}
		if own[fold(name)] == nil {
			names = append(names, fold(name))
		}
		own[fold(name)] = append(own[fold(name)], lake.View{Schema: schema, Name: name})
	}
	return own, names, rows.Err()
}
