package localdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// mark begins the comment of every view that is ours.
const mark = "synced by da"

// books lists our views. A view in it is still ours where its comment bears the mark or its definition
// is the one written down: the analyst may comment on a view of ours, and another version of DuckDB may
// write definitions in another way. One that the analyst put in its place has neither.
const books = "agnes_meta.views"

// view is one view that the database should have, or has.
type view struct {
	schema, name string
	// table is the id of the table that it shows; alias tells that it is the unqualified name.
	table string
	alias bool
	// query is its SELECT, as we wrote it. That of an alias is the whole one of its table, so that the
	// view works in a database that is attached under any name.
	query   string
	comment string
}

func (v view) key() string    { return fold(v.schema) + "." + fold(v.name) }
func (v view) quoted() string { return lake.QuoteIdent(v.schema) + "." + lake.QuoteIdent(v.name) }

// fold is how DuckDB compares names.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// Publish makes the database show exactly these tables, all at once: one view per table in the schema
// of its source, and one in main under its plain name where that stands for it alone. What the analyst
// made stays. A table whose name the analyst's own object has, or whose parts cannot be read, is
// refused and keeps the view that it has.
func (d *DB) Publish(ctx context.Context, tables map[string]workspace.Table) (mirror.Published, error) {
	db, err := d.open(ctx, false)
	if err != nil {
		return mirror.Published{}, err
	}
	p := &publication{db: db, refused: map[string]error{}}
	err = p.run(ctx, d.wanted(tables))
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return mirror.Published{}, fault.Wrap(err, fault.Permanent, "the views in %s cannot be renewed: %s", d.ws.Database(), reason(err))
	}
	return mirror.Published{Refused: p.refused, Notes: p.notes}, nil
}

// wanted lists the views of tables, ordered.
func (d *DB) wanted(tables map[string]workspace.Table) []view {
	var views []view
	for _, id := range slices.Sorted(maps.Keys(tables)) {
		t := tables[id]
		comment := mark
		if t.Description != "" {
			comment += ": " + t.Description
		}
		v := view{schema: t.Source, name: t.Name, table: id, query: d.selectOf(id, t), comment: comment}
		views = append(views, v)
		if t.Alias {
			alias := v
			alias.schema, alias.alias = "main", true
			views = append(views, alias)
		}
	}
	return views
}

// selectOf reads the parts of a table; without parts it gives no rows of the table's columns.
func (d *DB) selectOf(id string, t workspace.Table) string {
	if len(t.Parts) == 0 {
		columns := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			columns[i] = "CAST(NULL AS " + typeName(c.Type) + ") AS " + lake.QuoteIdent(c.Name)
		}
		return "SELECT " + strings.Join(columns, ", ") + " WHERE false"
	}
	files := make([]string, len(t.Parts))
	for i, p := range t.Parts {
		files[i] = lake.QuoteLiteral(escapeGlob(filepath.ToSlash(d.ws.Part(id, p.SHA256))))
	}
	// The path of the workspace must not add columns, whatever the analyst calls the folders above it.
	return "SELECT * FROM read_parquet([" + strings.Join(files, ", ") + "], hive_partitioning = false, filename = false)"
}

var plainType = regexp.MustCompile(`\A[A-Z][A-Z0-9_ ]*(\([0-9]+(, ?[0-9]+)?\))?(\[[0-9]*\])*\z`)

// typeName lets a type of the manifest into SQL only where it can be nothing else. An empty column of
// another type is text.
func typeName(t string) string {
	if plainType.MatchString(t) {
		return t
	}
	return "VARCHAR"
}

// escapeGlob makes a path stand for itself where DuckDB expects a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path)
}

// publication is one Publish at work.
type publication struct {
	db      *lake.DB
	refused map[string]error
	notes   []string
	// has are all objects of the database, by key; ours those that we made.
	has  map[string]object
	ours map[string]view
}

type object struct{ kind, comment, definition string }

func (p *publication) run(ctx context.Context, want []view) error {
	for _, s := range []string{
		"CREATE SCHEMA IF NOT EXISTS agnes_meta",
		"CREATE TABLE IF NOT EXISTS " + books + " (schema_name VARCHAR, view_name VARCHAR, table_id VARCHAR, alias BOOLEAN, query VARCHAR, comment VARCHAR, definition VARCHAR)",
	} {
		if _, err := p.db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	if err := p.read(ctx); err != nil {
		return err
	}
	want = p.admit(want)
	err := p.apply(ctx, want)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// One broken table must not hide the others: find it, and go on without.
	broken, checkErr := p.broken(ctx, want)
	if checkErr != nil || !broken {
		return err
	}
	return p.apply(ctx, p.admit(want))
}

// read lists what the database has, and what of it is ours.
func (p *publication) read(ctx context.Context) error {
	p.has, p.ours = map[string]object{}, map[string]view{}
	err := p.each(ctx, `SELECT schema_name, table_name, 'table', '', '' FROM duckdb_tables() WHERE database_name = current_database()
		UNION ALL SELECT schema_name, view_name, 'view', coalesce(comment, ''), coalesce(sql, '') FROM duckdb_views() WHERE database_name = current_database() AND NOT internal`,
		func(rows *sql.Rows) error {
			var schema, name string
			var o object
			if err := rows.Scan(&schema, &name, &o.kind, &o.comment, &o.definition); err != nil {
				return err
			}
			p.has[view{schema: schema, name: name}.key()] = o
			return nil
		})
	if err != nil {
		return err
	}
	return p.each(ctx, "SELECT schema_name, view_name, table_id, alias, query, comment, coalesce(definition, '') FROM "+books, func(rows *sql.Rows) error {
		var v view
		var definition string
		if err := rows.Scan(&v.schema, &v.name, &v.table, &v.alias, &v.query, &v.comment, &definition); err != nil {
			return err
		}
		o, is := p.has[v.key()]
		if is && o.kind == "view" && (strings.HasPrefix(o.comment, mark) || o.definition == definition) {
			p.ours[v.key()] = v
		}
		return nil
	})
}

func (p *publication) each(ctx context.Context, query string, row func(*sql.Rows) error) error {
	rows, err := p.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// admit leaves out the views whose place the analyst has taken, and those of refused tables.
func (p *publication) admit(want []view) []view {
	var admitted []view
	for _, v := range want {
		_, taken := p.has[v.key()]
		_, own := p.ours[v.key()]
		switch {
		case p.refused[v.table] != nil:
		case fold(v.schema) == fold(p.db.Catalog()), fold(v.schema) == "agnes_meta":
			p.refused[v.table] = fault.New(fault.Conflict, "its source is called %s, as something in the database itself is: the views cannot be told apart", v.schema)
		case taken && !own && v.alias:
			p.notes = append(p.notes, fmt.Sprintf("your own %s stays; the synced table of that name is %s", v.name, v.table))
		case taken && !own:
			p.refused[v.table] = fault.New(fault.Conflict, "your own %s.%s stands where it should be: rename or drop yours, then run `da sync` again", v.schema, v.name)
		default:
			admitted = append(admitted, v)
		}
	}
	return admitted
}

// apply makes ours equal to want in one transaction. Views of refused tables stay as they are.
func (p *publication) apply(ctx context.Context, want []view) (err error) {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	exec := func(s string) {
		if err == nil {
			_, err = conn.ExecContext(ctx, s)
		}
	}
	drop, create, next := p.difference(want)
	exec("BEGIN")
	for _, v := range drop {
		exec("DROP VIEW IF EXISTS " + v.quoted())
	}
	schemas := map[string]bool{"main": true}
	for _, v := range create {
		if !schemas[v.schema] {
			exec("CREATE SCHEMA IF NOT EXISTS " + lake.QuoteIdent(v.schema))
			schemas[v.schema] = true
		}
		exec("CREATE OR REPLACE VIEW " + v.quoted() + " AS " + v.query)
		exec("COMMENT ON VIEW " + v.quoted() + " IS " + lake.QuoteLiteral(v.comment))
	}
	if len(drop)+len(create) > 0 {
		exec("DELETE FROM " + books)
		for rows := range slices.Chunk(next, 200) {
			exec("INSERT INTO " + books + " SELECT b.*, v.sql FROM (VALUES " + values(rows) + ") b(s, n, t, a, q, c)" +
				" LEFT JOIN duckdb_views() v ON v.database_name = current_database() AND v.schema_name = b.s AND v.view_name = b.n")
		}
	}
	if err != nil {
		// DuckDB would answer COMMIT with success, and roll back.
		_, rollbackErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, rollbackErr)
	}
	if exec("COMMIT"); err != nil {
		return err
	}
	for _, v := range drop {
		// Refused where something is left in the schema, and that is well.
		if fold(v.schema) != "main" {
			_, _ = conn.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+lake.QuoteIdent(v.schema))
		}
	}
	return nil
}

// difference tells what of ours goes, what is made or made anew, and what is ours then.
func (p *publication) difference(want []view) (drop, create, next []view) {
	keep := map[string]bool{}
	for _, v := range want {
		keep[v.key()] = true
		if now, is := p.ours[v.key()]; !is || now != v {
			create = append(create, v)
		}
		next = append(next, v)
	}
	for _, key := range slices.Sorted(maps.Keys(p.ours)) {
		v := p.ours[key]
		switch {
		case keep[key]:
		case p.refused[v.table] != nil:
			next = append(next, v)
		default:
			drop = append(drop, v)
		}
	}
	return drop, create, next
}

func values(views []view) string {
	rows := make([]string, len(views))
	for i, v := range views {
		fields := []string{v.schema, v.name, v.table}
		for n := range fields {
			fields[n] = lake.QuoteLiteral(fields[n])
		}
		rows[i] = fmt.Sprintf("(%s, %t, %s, %s)", strings.Join(fields, ", "), v.alias, lake.QuoteLiteral(v.query), lake.QuoteLiteral(v.comment))
	}
	return strings.Join(rows, ", ")
}

// broken refuses the tables whose parts cannot be read, and tells whether there are any.
func (p *publication) broken(ctx context.Context, want []view) (bool, error) {
	var found []string
	for _, v := range want {
		if v.alias || p.ours[v.key()] == v {
			continue
		}
		_, err := p.db.ExecContext(ctx, "DESCRIBE "+v.query)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			p.refused[v.table] = fault.Wrap(err, fault.Invalid, "its parts cannot be read: %s", reason(err))
			found = append(found, v.table)
		}
	}
	sort.Strings(found)
	return len(found) > 0, nil
}
