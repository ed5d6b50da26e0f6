package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// A table with a primary key lies on the disk sorted by it, cut into parts (see segment.go), so that the
// rows of a change are found in the parts whose range of keys they fall into.

// Upserted is what an Upsert did.
type Upserted struct {
	Given    int64 // rows of the query
	Inserted int64 // of keys that the table did not have
	Rows     int64 // of the table now
	Touched  int   // parts that were written anew
}

// ErrOtherColumns is the error of an Upsert whose rows have other columns than the version that stands, or
// of a table that was not written by its key: the whole table is to be written anew, by Query.
var ErrOtherColumns = errors.New("the rows that changed have other columns than the table")

// Upsert makes the table the version that stands (there must be one), with the rows of a SELECT in the place of
// those of the same primary key, and beside the others. Only the parts whose range of keys holds one of these
// rows are read and written; the others are kept, at no cost. Two different rows of one key in the query are
// fault.Conflict: which of them is right nobody can tell. It runs in the session of Exec. What stands must
// have been written by Query or Upsert with the same primary key, which TableSpec.Token tells: it is empty
// where the table's definition changed. After an error the table may be written by Query.
func (w *TableWriter) Upsert(ctx context.Context, query string) (Upserted, error) {
	var done Upserted
	if err := w.partwise(); err != nil {
		return done, err
	}
	if w.spec.Previous == nil || len(w.spec.PrimaryKey) == 0 || len(w.out.files) > 0 {
		return done, fault.New(fault.Internal, "the table %s has no version, no primary key, or is written twice", w.name)
	}
	u, err := w.newUpsert(ctx, query)
	if err != nil {
		w.out = nil
		return done, err
	}
	if err := u.write(ctx); err != nil {
		w.out = nil
		return done, err
	}
	for i := range w.spec.Previous.Files {
		if pieces, touched := u.pieces[i]; touched {
			done.Touched++
			for _, p := range pieces {
				done.Rows += p.rows
				w.out.add(p)
			}
			if pieces[0].kept >= 0 {
				done.Touched--
			}
			continue
		}
		done.Rows += u.shapes[i].Rows
		if err := w.KeepPart(i); err != nil {
			return done, err
		}
	}
	done.Given = u.given
	done.Inserted = done.Rows - w.spec.Previous.Rows
	return done, u.drop(ctx)
}

// upsert is an Upsert under way.
type upsert struct {
	w        *TableWriter
	columns  []catalog.Column
	key      []string // quoted
	order    string
	delta    string // the table of the rows that changed, each with the part it falls into
	given    int64
	group    int64 // rows of a row group
	modulus  int64
	shapes   []lake.Shape // of each part that stands
	firstCut bool         // the first row of the first part is a boundary
	boundary string       // an SQL condition: a part may begin with this row
	touched  []touchedPart
	pieces   map[int][]writtenPart
	found    string // the table of the rows that changed and stand already, each with its place
}

// touchedPart is a part that rows which changed fall into.
type touchedPart struct {
	part  int
	rows  int64 // that changed
	cuts  int64 // of these, boundaries
	found found
}

// newUpsert reads the rows that changed, and finds the parts that they fall into.
func (w *TableWriter) newUpsert(ctx context.Context, query string) (*upsert, error) {
	s := w.table.session
	s.keep()
	conn, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.stage(ctx); err != nil {
		return nil, err
	}
	from := parenthesised(query)
	given, err := columnsOf(ctx, conn, "SELECT * FROM "+from)
	if err != nil {
		return nil, err
	}
	given, from = w.discard(given, from)
	u := &upsert{w: w, columns: w.spec.Previous.Columns, delta: tempTable("delta_" + w.name), pieces: map[int][]writtenPart{}}
	if u.key, err = keyColumns(u.columns, w.spec.PrimaryKey); err != nil {
		return nil, ErrOtherColumns
	}
	u.order = ascending(u.key)
	w.table.progress("reading", w.name, 0, 0, 0)
	fresh := tempTable("fresh_" + w.name)
	if err := s.exec(ctx, "CREATE TABLE "+fresh+" AS "+selectStored(given, from)); err != nil {
		return nil, err
	}
	stored, err := columnsOf(ctx, conn, "FROM "+fresh)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(stored, u.columns) {
		return nil, ErrOtherColumns
	}
	if err := u.single(ctx, fresh); err != nil {
		return nil, err
	}
	if err := u.place(ctx, fresh); err != nil {
		return nil, err
	}
	return u, s.exec(ctx, "DROP TABLE "+fresh)
}

func (u *upsert) keys() string { return strings.Join(u.key, ", ") }

// single makes sure that there is one row of a key, and measures the rows.
func (u *upsert) single(ctx context.Context, fresh string) error {
	s := u.w.table.session
	var width, keys int64
	count := func() error {
		query := "SELECT count(*), CAST(coalesce(avg(" + widthOf(u.columns) + "), 0) AS BIGINT), (SELECT count(*) FROM (SELECT DISTINCT " + u.keys() + " FROM " + fresh + ")) FROM " + fresh
		return s.rows(ctx, query, func(scan func(...any) error) error { return scan(&u.given, &width, &keys) })
	}
	if err := count(); err != nil {
		return err
	}
	if keys != u.given { // rows that came twice
		if err := s.exec(ctx, "CREATE OR REPLACE TABLE "+fresh+" AS SELECT DISTINCT * FROM "+fresh); err != nil {
			return err
		}
		if err := count(); err != nil {
			return err
		}
	}
	if keys != u.given {
		return fault.New(fault.Conflict, "among the rows that changed, %d share their primary key (%s) with another one and differ from it", u.given-keys, strings.Join(u.w.spec.PrimaryKey, ", "))
	}
	u.group = groupRows(width)
	u.modulus = modulus(u.w.spec.Previous.Rows+u.given, width)
	return nil
}

// place gives every row that changed the number of the part it falls into: of the last one that begins
// with its key or an earlier one.
func (u *upsert) place(ctx context.Context, fresh string) error {
	s := u.w.table.session
	var first []string
	for i, file := range u.w.spec.Previous.Files {
		shape, err := lake.ShapeOf(file)
		if err != nil {
			return err
		}
		u.shapes = append(u.shapes, shape)
		if shape.Rows > 0 {
			first = append(first, fmt.Sprintf("(SELECT %s, %d AS agnes_part FROM %s LIMIT 1)", u.keys(), i, readParquet([]string{file})))
		}
	}
	if len(first) == 0 {
		first = []string{"(SELECT " + u.keys() + ", 0 AS agnes_part FROM " + fresh + " LIMIT 0)"}
	}
	bounds := tempTable("bounds_" + u.w.name)
	if err := s.exec(ctx, "CREATE TABLE "+bounds+" AS "+strings.Join(first, " UNION ALL ")); err != nil {
		return err
	}
	if err := u.sorted(ctx, bounds, len(first)); err != nil {
		return err
	}
	query := fmt.Sprintf(`CREATE TABLE %s AS SELECT * EXCLUDE (agnes_bound) REPLACE (coalesce(max(agnes_part) OVER (ORDER BY %s, agnes_bound DESC ROWS UNBOUNDED PRECEDING), 0) AS agnes_part)
		FROM (SELECT *, NULL::INTEGER AS agnes_part, 0 AS agnes_bound FROM %s UNION ALL BY NAME SELECT *, 1 AS agnes_bound FROM %s) QUALIFY agnes_bound = 0`,
		u.delta, u.order, fresh, bounds)
	if err := s.exec(ctx, query); err != nil {
		return err
	}
	u.boundary = "false"
	if u.modulus > 0 {
		u.boundary = fmt.Sprintf("hash(%s) %% %d = 0", u.keys(), u.modulus)
	}
	err := s.rows(ctx, "SELECT agnes_part, count(*), count(*) FILTER ("+u.boundary+") FROM "+u.delta+" GROUP BY agnes_part ORDER BY agnes_part", func(scan func(...any) error) error {
		var t touchedPart
		err := scan(&t.part, &t.rows, &t.cuts)
		u.touched = append(u.touched, t)
		return err
	})
	if err != nil {
		return err
	}
	err = s.rows(ctx, "SELECT coalesce(bool_or("+u.boundary+"), false) FROM "+bounds+" WHERE agnes_part = 0", func(scan func(...any) error) error { return scan(&u.firstCut) })
	return errors.Join(err, s.exec(ctx, "DROP TABLE "+bounds))
}

// sorted makes sure that the parts stand in the order of their first keys: a table that was written before
// it had this key does not.
func (u *upsert) sorted(ctx context.Context, bounds string, parts int) error {
	var wrong int64
	query := fmt.Sprintf("SELECT count(*) FROM (SELECT agnes_part, row_number() OVER (ORDER BY %s) AS n, row_number() OVER (ORDER BY agnes_part) AS m FROM %s) WHERE n <> m", u.order, bounds)
	err := u.w.table.session.rows(ctx, query, func(scan func(...any) error) error { return scan(&wrong) })
	if err == nil && wrong > 0 && parts > 1 {
		return ErrOtherColumns
	}
	return err
}

// write writes the touched parts, side by side, each on one thread.
func (u *upsert) write(ctx context.Context) error {
	s := u.w.table.session
	if err := u.find(ctx); err != nil {
		return err
	}
	if err := s.exec(ctx, "SET GLOBAL threads = 1"); err != nil {
		return err
	}
	written := make([][]writtenPart, len(u.touched))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.threads))
	for _, n := range u.largestFirst() {
		group.Go(func() (err error) {
			written[n], err = u.part(groupCtx, u.touched[n])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, t := range u.touched {
		u.pieces[t.part] = written[n]
	}
	return s.exec(ctx, fmt.Sprintf("SET GLOBAL threads = %d", max(1, s.threads)))
}

// largestFirst orders the touched parts by what they take, so that none is left for a thread alone at the end.
func (u *upsert) largestFirst() []int {
	order := make([]int, len(u.touched))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(u.shapes[u.touched[b].part].Rows, u.shapes[u.touched[a].part].Rows)
	})
	return order
}

// merged is the SELECT of a part with its rows that changed.
func (u *upsert) merged(part int) string {
	list := make([]string, len(u.columns))
	for i, c := range u.columns {
		list[i] = lake.QuoteIdent(c.Name)
	}
	columns := strings.Join(list, ", ")
	changed := fmt.Sprintf("(SELECT %s FROM %s WHERE agnes_part = %d)", columns, u.delta, part)
	same := make([]string, len(u.key))
	for i, k := range u.key {
		same[i] = "standing." + k + " IS NOT DISTINCT FROM changed." + k
	}
	return fmt.Sprintf("SELECT %s FROM %s standing WHERE NOT EXISTS (SELECT 1 FROM %s changed WHERE %s) UNION ALL SELECT * FROM %s",
		columns, readParquet(u.w.spec.Previous.Files[part:part+1]), changed, strings.Join(same, " AND "), changed)
}

// part writes a touched part: only the columns that changed, where it has no new rows; else all of it.
func (u *upsert) part(ctx context.Context, t touchedPart) ([]writtenPart, error) {
	if !t.found.clear {
		return u.rewrite(ctx, t.part, u.modulus > 0)
	}
	fresh := t.rows > t.found.rows
	// A new row is a boundary, or makes one of the row that the table began with.
	cut := t.found.cuts > 0 || t.found.inside || (fresh && t.part == 0 && u.firstCut)
	if !fresh && !cut {
		p, patched, err := u.patch(ctx, t.part, t.found)
		if err != nil || patched {
			return []writtenPart{p}, err
		}
	}
	return u.rewrite(ctx, t.part, cut)
}

// rewrite writes all of a part: as one, or as several where a row that is new there is a boundary.
func (u *upsert) rewrite(ctx context.Context, part int, cut bool) ([]writtenPart, error) {
	s := u.w.table.session
	file := filepath.Join(u.w.dir, fmt.Sprintf("upsert-%d.parquet", part))
	query := "SELECT * FROM (" + u.merged(part) + ") ORDER BY " + u.order
	if !cut {
		rows, err := runCopy(ctx, s.instance.db, copyStatement(query, file, u.group))
		return []writtenPart{{file: file, rows: rows, extends: true, kept: -1}}, err
	}
	whole := stageTable(fmt.Sprintf("cut_%d_%s", part, u.w.name))
	if _, err := s.instance.db.ExecContext(ctx, "CREATE TABLE "+whole+" AS "+query); err != nil {
		return nil, ended(ctx, err)
	}
	var starts []int64
	// Rows of one key, which a whole reading may bring, stay together.
	boundaries := fmt.Sprintf("SELECT 0 UNION SELECT min(rowid) FROM %s WHERE %s GROUP BY %s UNION SELECT count(*) FROM %s ORDER BY 1", whole, u.boundary, u.keys(), whole)
	err := queryRows(ctx, s.instance.db, boundaries, func(scan func(...any) error) error {
		var start int64
		err := scan(&start)
		starts = append(starts, start)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []writtenPart
	for n, start := range starts[:len(starts)-1] {
		end := starts[n+1]
		piece := filepath.Join(u.w.dir, fmt.Sprintf("upsert-%d-%d.parquet", part, n))
		rows, err := runCopy(ctx, s.instance.db, copyStatement(fmt.Sprintf("SELECT * FROM %s WHERE rowid >= %d AND rowid < %d ORDER BY %s", whole, start, end, u.order), piece, u.group))
		if err != nil {
			return nil, err
		}
		if rows != end-start {
			return nil, fault.New(fault.Internal, "a piece of a part has %d rows instead of %d", rows, end-start)
		}
		out = append(out, writtenPart{file: piece, rows: rows, extends: true, kept: -1})
	}
	if _, err := s.instance.db.ExecContext(ctx, "DROP TABLE "+whole); err != nil {
		return nil, ended(ctx, err)
	}
	return out, nil
}

func (u *upsert) drop(ctx context.Context) error {
	if u.found != "" {
		if err := u.w.table.session.exec(ctx, "DROP TABLE "+u.found); err != nil {
			return err
		}
	}
	return u.w.table.session.exec(ctx, "DROP TABLE "+u.delta)
}

// Reset forgets what was written, for a connector that finds that it is not what it should be: the table
// may then be written again, in whatever way.
func (w *TableWriter) Reset() {
	if w.out != nil {
		for _, file := range w.out.files {
			if file != "" {
				_ = os.Remove(file) // else it goes with the rest of scratch
			}
		}
	}
	w.out = nil
}
