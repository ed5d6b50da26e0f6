package localdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Form is how values are written.
type Form int

// The forms.
const (
	Text  Form = iota // as DuckDB shows them
	Plain             // as the server's CSV has them
	JSON              // as JSON values, without losing digits
)

// Value is one value of a row, written.
type Value struct {
	Text string
	Null bool
}

// Rows is an answer that is read row by row. It keeps the database open until Close.
type Rows struct {
	Columns []catalog.Column
	closers []func() error          // what the rows stand in, the innermost first
	next    func() ([]Value, error) // nil at the end
	close   func()
	explain func(error) error
	err     error
	row     []Value
}

// Next moves to the next row; false at the end, or where Err says why not.
func (r *Rows) Next() bool {
	if r.err == nil {
		r.row, r.err = r.next()
	}
	return r.err == nil && r.row != nil
}

// Row is the present row, until Next.
func (r *Rows) Row() []Value { return r.row }

// Err is what ended the rows; nil where that is their end.
func (r *Rows) Err() error { return r.explain(r.err) }

// Close ends the query and closes the database.
func (r *Rows) Close() error {
	r.close()
	var err error
	for _, c := range r.closers {
		err = errors.Join(err, c())
	}
	return err
}

// Then has something done once the rows are closed.
func (r *Rows) Then(do func() error) { r.closers = append(r.closers, do) }

// Question is SQL for the analyst's own database.
type Question struct {
	SQL string
	// Write lets the SQL change the database.
	Write bool
	Form  Form
	// Limit is the most rows that are needed; 0 means all.
	Limit int
}

// Query asks the database. One SELECT, or what can stand in its place, is streamed; several statements,
// and those that cannot be asked from, are run as they are, and the last one answers.
func (d *DB) Query(ctx context.Context, q Question) (*Rows, error) {
	db, err := d.open(ctx, !q.Write)
	if err != nil {
		return nil, err
	}
	rows, err := query(ctx, db, q)
	if err != nil {
		_ = db.Close()
		return nil, d.explain(err)
	}
	rows.closers, rows.explain = []func() error{db.Close}, d.explain
	return rows, nil
}

// asker answers one statement that only reads.
type asker func(ctx context.Context, sql string, args ...any) (array.RecordReader, error)

func query(ctx context.Context, db *lake.DB, q Question) (*Rows, error) {
	s, err := lake.OneStatement(q.SQL)
	if err == nil {
		if columns := describe(ctx, db.Arrow, s.Text); columns != nil {
			return stream(ctx, db.Arrow, s.Text, columns, q)
		}
	}
	return run(ctx, db, q)
}

// describe gives the columns of a statement that can be asked from; nil where it cannot.
func describe(ctx context.Context, ask asker, statement string) []catalog.Column {
	reader, err := ask(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM (\n"+statement+"\n) AS q)")
	if err != nil {
		return nil
	}
	defer reader.Release()
	b := &batches{reader: reader, columns: make([]catalog.Column, 2), row: make([]Value, 2)}
	var columns []catalog.Column
	for {
		row, err := b.next()
		switch {
		case err != nil:
			return nil
		case row == nil:
			return columns
		}
		columns = append(columns, catalog.Column{Name: row[0].Text, Type: row[1].Text})
	}
}

// stream has DuckDB write every value, and reads the texts as Arrow.
func stream(ctx context.Context, ask asker, statement string, columns []catalog.Column, q Question) (*Rows, error) {
	names, values := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i] = "c" + strconv.Itoa(i)
		switch q.Form {
		case JSON:
			values[i] = jsonOf(names[i], c.Type)
		case Plain:
			values[i] = plainOf(names[i], c.Type)
		case Text:
			values[i] = "CAST(" + names[i] + " AS VARCHAR)"
		}
		values[i] += " AS " + names[i]
	}
	text := "SELECT " + strings.Join(values, ", ") + " FROM (\n" + statement + "\n) AS q(" + strings.Join(names, ", ") + ")"
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	reader, err := ask(ctx, text)
	if err != nil {
		return nil, err
	}
	b := &batches{reader: reader, columns: columns, json: q.Form != Text, row: make([]Value, len(columns))}
	return &Rows{Columns: columns, next: b.next, close: reader.Release}, nil
}

// batches reads rows of texts out of Arrow.
type batches struct {
	reader  array.RecordReader
	columns []catalog.Column
	// json: nested values are JSON.
	json  bool
	texts []texts
	at, n int
	row   []Value
}

// texts is what Arrow's arrays of strings have in common.
type texts interface {
	IsNull(i int) bool
	Value(i int) string
}

func (b *batches) next() ([]Value, error) {
	for b.at >= b.n {
		if !b.reader.Next() {
			return nil, b.reader.Err()
		}
		batch := b.reader.RecordBatch()
		b.at, b.n = 0, int(batch.NumRows())
		if err := b.take(batch); err != nil {
			return nil, err
		}
	}
	for i, t := range b.texts {
		b.row[i] = Value{Null: t.IsNull(b.at)}
		if b.row[i].Null {
			continue
		}
		// The batch goes away before the row is used up by whoever keeps it.
		b.row[i].Text = strings.Clone(t.Value(b.at))
		if b.json && nested(b.columns[i].Type) {
			b.row[i].Text = plainJSON(b.row[i].Text)
		}
	}
	b.at++
	return b.row, nil
}

func (b *batches) take(batch arrow.RecordBatch) error {
	b.texts = b.texts[:0]
	for i := range int(batch.NumCols()) {
		t, ok := batch.Column(i).(texts)
		if !ok {
			return fault.New(fault.Internal, "column %s did not arrive as text", b.columns[i].Name)
		}
		b.texts = append(b.texts, t)
	}
	return nil
}

// plainOf writes a column as text, as the server's CSV has it.
func plainOf(name, kind string) string {
	text := "CAST(" + name + " AS VARCHAR)"
	switch {
	case kind == "FLOAT", kind == "DOUBLE":
		return "CASE WHEN isnan(" + name + ") THEN 'NaN' WHEN isinf(" + name + ") THEN replace(" + text + ", 'inf', 'Infinity') ELSE CAST(to_json(" + name + ") AS VARCHAR) END"
	case strings.HasPrefix(kind, "TIMESTAMP"):
		return "replace(regexp_replace(" + text + ", '\\+00$', 'Z'), ' ', 'T')"
	case kind == "BLOB":
		return "base64(" + name + ")"
	case nested(kind):
		return "CAST(to_json(" + name + ") AS VARCHAR)"
	}
	return text
}

// jsonOf writes a column as JSON, as the server does: what a JSON number cannot hold for every reader is
// text.
func jsonOf(name, kind string) string {
	text := "to_json(" + plainOf(name, kind) + ")"
	number := "to_json(" + name + ")"
	switch {
	case kind == "BOOLEAN", kind == "TINYINT", kind == "SMALLINT", kind == "INTEGER",
		kind == "UTINYINT", kind == "USMALLINT", kind == "UINTEGER", kind == "JSON", nested(kind):
		text = number
	case kind == "BIGINT", kind == "UBIGINT", kind == "HUGEINT", kind == "UHUGEINT":
		low := "-9007199254740992"
		if kind[0] == 'U' {
			low = "0"
		}
		text = "CASE WHEN " + name + " BETWEEN " + low + " AND 9007199254740992 THEN " + number + " ELSE " + text + " END"
	case kind == "FLOAT", kind == "DOUBLE":
		text = "CASE WHEN isfinite(" + name + ") THEN " + number + " ELSE " + text + " END"
	}
	return "CAST(" + text + " AS VARCHAR)"
}

// nested tells the types whose values hold others.
func nested(kind string) bool {
	return strings.HasPrefix(kind, "STRUCT(") || strings.HasPrefix(kind, "MAP(") || strings.HasPrefix(kind, "UNION(") || strings.HasSuffix(kind, "]")
}

// plainJSON makes DuckDB's JSON of nested values JSON: not-a-number and the infinities become texts.
func plainJSON(text string) string {
	if json.Valid([]byte(text)) {
		return text
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '\\':
			b.WriteByte(c)
			i++
			c = text[i]
		case c == '"':
			quoted = !quoted
		case !quoted:
			if word := notNumber(text[i:]); word != "" {
				b.WriteString(`"` + word + `"`)
				i += len(word) - 1
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

func notNumber(text string) string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity", "-NaN"} {
		if strings.HasPrefix(text, word) {
			return word
		}
	}
	return ""
}

// run runs statements as they are.
func run(ctx context.Context, db *lake.DB, q Question) (*Rows, error) {
	rows, err := db.QueryContext(ctx, q.SQL) //nolint:rowserrcheck // scan looks at it, at the end
	if err != nil {
		return nil, err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	columns := make([]catalog.Column, len(types))
	for i, t := range types {
		columns[i] = catalog.Column{Name: t.Name(), Type: t.DatabaseTypeName()}
	}
	return &Rows{
		Columns: columns,
		next:    func() ([]Value, error) { return scan(rows, len(columns), q.Form) },
		close:   func() { _ = rows.Close() },
	}, nil
}

func scan(rows *sql.Rows, n int, form Form) ([]Value, error) {
	if !rows.Next() {
		return nil, rows.Err()
	}
	values, into := make([]any, n), make([]any, n)
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	row := make([]Value, n)
	for i, v := range values {
		row[i] = valueOf(v, form)
	}
	return row, nil
}

// valueOf writes what a statement answers that is no query: counts, names, plans.
func valueOf(v any, form Form) Value {
	var text string
	switch v := v.(type) {
	case nil:
		return Value{Null: true}
	case bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return Value{Text: fmt.Sprint(v)}
	case string:
		text = v
	case []byte:
		text = string(v)
	case time.Time:
		text = v.Format("2006-01-02 15:04:05.999999999")
	default:
		text = fmt.Sprint(v)
	}
	if form == JSON {
		if raw, err := json.Marshal(text); err == nil {
			text = string(raw)
		}
	}
	return Value{Text: text}
}

// CopyParquet writes the answer of one SELECT into a parquet file, and tells how many rows it has.
func (d *DB) CopyParquet(ctx context.Context, q Question, path string) (rows int64, err error) {
	s, err := lake.OneStatement(q.SQL)
	if err != nil {
		return 0, err
	}
	db, err := d.open(ctx, !q.Write)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	text := "SELECT * FROM (\n" + s.Text + "\n) AS q"
	if q.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(q.Limit)
	}
	result, err := db.ExecContext(ctx, "COPY ("+text+") TO "+lake.QuoteLiteral(path)+" ("+lake.ParquetFormat+", USE_TMP_FILE false)")
	if err != nil {
		return 0, d.explain(err)
	}
	return result.RowsAffected()
}

// Column is a column of a table or view.
type Column struct {
	Name, Type string
	Nullable   bool
}

// Columns describes a table or view; its name is quoted, part by part. Unknown is fault.NotFound.
func (d *DB) Columns(ctx context.Context, name string) ([]Column, error) {
	rows, err := d.Query(ctx, Question{SQL: `SELECT column_name, column_type, "null" FROM (DESCRIBE ` + name + ")"})
	if err != nil {
		return nil, err
	}
	var columns []Column
	for rows.Next() {
		r := rows.Row()
		columns = append(columns, Column{Name: r[0].Text, Type: r[1].Text, Nullable: r[2].Text != "NO"})
	}
	return columns, errors.Join(rows.Err(), rows.Close())
}

// Objects lists the tables and views of the database, as they are written in SQL.
func (d *DB) Objects(ctx context.Context) ([]string, error) {
	rows, err := d.Query(ctx, Question{SQL: `SELECT schema_name, name FROM (
		SELECT schema_name, table_name AS name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name <> 'agnes_meta'
		UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal)`})
	if err != nil {
		return nil, err
	}
	var names []string
	for rows.Next() {
		r := rows.Row()
		if r[0].Text == "main" {
			names = append(names, r[1].Text)
			continue
		}
		names = append(names, r[0].Text+"."+r[1].Text)
	}
	slices.Sort(names)
	return names, errors.Join(rows.Err(), rows.Close())
}

// Broken tries every view, and gives those that cannot be read and why.
func (d *DB) Broken(ctx context.Context) (map[string]error, error) {
	db, err := d.open(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal")
	if err != nil {
		return nil, d.explain(err)
	}
	defer func() { _ = rows.Close() }()
	var views []view
	for rows.Next() {
		var v view
		if err := rows.Scan(&v.schema, &v.name); err != nil {
			return nil, d.explain(err)
		}
		views = append(views, v)
	}
	if err := rows.Err(); err != nil {
		return nil, d.explain(err)
	}
	broken := map[string]error{}
	for _, v := range views {
		if _, err := db.ExecContext(ctx, "SELECT * FROM "+v.quoted()+" LIMIT 1"); err != nil {
			broken[v.schema+"."+v.name] = d.explain(err)
		}
	}
	return broken, ctx.Err()
}

// explain gives an error of a query the sentence for the one who asked.
func (d *DB) explain(err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	kind := fault.Invalid
	text := lake.UserMessage(err)
	switch lake.ClassOf(lake.Scrub(err)) {
	case lake.ClassIO:
		kind = fault.Unavailable
		if d.missingParts(err) {
			return fault.Wrap(err, fault.Conflict, "files of this table are missing or were just replaced: run `da sync` and ask again")
		}
	case lake.ClassCatalog:
		kind = fault.NotFound
	case lake.ClassOutOfMemory:
		kind = fault.TooLarge
	case lake.ClassInterrupt:
		kind = fault.Unavailable
	}
	if text == "" {
		text = err.Error()
	}
	if strings.Contains(err.Error(), "attached in read-only mode") {
		return fault.Wrap(err, fault.Invalid, "the database is opened for reading only: add --write to change it")
	}
	return fault.Wrap(err, kind, "%s", text)
}

func (d *DB) missingParts(err error) bool {
	return strings.Contains(err.Error(), filepath.ToSlash(d.ws.Parquet())) || strings.Contains(err.Error(), "No files found that match") ||
		errors.Is(err, os.ErrNotExist)
}
