package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// A touched part that has no new rows keeps its rows where they are, and the columns in which nothing
// changed keep their bytes: to encode columns is what writing a part costs.

// rowNumber and fileIndex are the columns in which read_parquet gives the places of rows.
const (
	rowNumber = "file_row_number"
	fileIndex = "file_index"
)

// hidesPlaces tells whether a table has columns of these names: then its parts cannot be asked for places.
func hidesPlaces(columns []catalog.Column) bool {
	return slices.ContainsFunc(columns, func(c catalog.Column) bool {
		return strings.EqualFold(c.Name, rowNumber) || strings.EqualFold(c.Name, fileIndex)
	})
}

// learnFrom is in how many touched parts it pays to look at one before the others.
const learnFrom = 4

// find looks for the rows that changed in the parts that they fall into: where they are, and in which
// columns they differ.
func (u *upsert) find(ctx context.Context) error {
	if hidesPlaces(u.columns) || len(u.touched) == 0 {
		return nil
	}
	// Columns of which one part shows that they change need not be compared in the others.
	differ := make([]bool, len(u.columns))
	if len(u.touched) >= learnFrom {
		if err := u.learn(ctx, differ); err != nil {
			return err
		}
	}
	list := []string{"changed.agnes_part", "changed.agnes_row", "changed.agnes_cut", "standing." + fileIndex + " AS agnes_file", "standing." + rowNumber + " AS agnes_at"}
	sums := []string{"agnes_part", "count(*)", "count(DISTINCT agnes_row)", "min(agnes_file)", "max(agnes_file)", "count(*) FILTER (agnes_cut)", "bool_or(agnes_cut AND agnes_at > 0)"}
	for i, c := range u.columns {
		list = append(list, fmt.Sprintf("changed.%s AS agnes_value_%d", lake.QuoteIdent(c.Name), i))
		if !differ[i] {
			list = append(list, fmt.Sprintf("(%s) AS agnes_differs_%d", u.differs(c), i))
			sums = append(sums, fmt.Sprintf("coalesce(bool_or(agnes_differs_%d), false)", i))
		}
	}
	u.found = tempTable("found_" + u.w.name)
	s := u.w.table.session
	if err := s.exec(ctx, "CREATE TABLE "+u.found+" AS SELECT "+strings.Join(list, ", ")+" FROM "+u.join(u.touched)); err != nil {
		return err
	}
	for i, t := range u.touched {
		u.touched[i].found = found{clear: true, cuts: t.cuts}
	}
	return s.rows(ctx, "SELECT "+strings.Join(sums, ", ")+" FROM "+u.found+" GROUP BY agnes_part", func(scan func(...any) error) error {
		var part, first, last int
		var rows, cuts int64
		f := found{}
		here := make([]bool, len(u.columns))
		into := []any{&part, &f.rows, &rows, &first, &last, &cuts, &f.inside}
		for i := range here {
			if here[i] = differ[i]; !differ[i] {
				into = append(into, &here[i])
			}
		}
		if err := scan(into...); err != nil {
			return err
		}
		for i, d := range here {
			if d {
				f.changed = append(f.changed, i)
			}
		}
		n := slices.IndexFunc(u.touched, func(t touchedPart) bool { return t.part == part })
		f.cuts = u.touched[n].cuts - cuts
		f.clear = rows == f.rows && first == n && last == n
		u.touched[n].found = f
		return nil
	})
}

// found is what a part has of the rows that changed and fall into it.
type found struct {
	// clear tells that each is there once, and in no other part: else nothing of this counts.
	clear   bool
	rows    int64
	cuts    int64 // boundaries that it does not have
	inside  bool  // a boundary that it has, but does not begin with
	changed []int // columns in which a row differs
}

// learn looks into one part.
func (u *upsert) learn(ctx context.Context, differ []bool) error {
	conditions := make([]string, len(u.columns))
	into := make([]any, len(u.columns))
	for i, c := range u.columns {
		conditions[i] = "coalesce(bool_or(" + u.differs(c) + "), false)"
		into[i] = &differ[i]
	}
	query := "SELECT " + strings.Join(conditions, ", ") + " FROM " + u.join(u.touched[:1])
	return u.w.table.session.rows(ctx, query, func(scan func(...any) error) error { return scan(into...) })
}

// join is an SQL relation: the standing rows of parts with those that take their place.
func (u *upsert) join(parts []touchedPart) string {
	files, numbers := make([]string, len(parts)), make([]string, len(parts))
	for i, t := range parts {
		files[i], numbers[i] = u.w.spec.Previous.Files[t.part], fmt.Sprint(t.part)
	}
	same := make([]string, len(u.key))
	for i, k := range u.key {
		same[i] = "standing." + k + " IS NOT DISTINCT FROM changed." + k
	}
	return fmt.Sprintf("%s standing JOIN (SELECT *, rowid AS agnes_row, (%s) AS agnes_cut FROM %s WHERE agnes_part IN (%s)) changed ON %s",
		readParquet(files), u.boundary, u.delta, strings.Join(numbers, ", "), strings.Join(same, " AND "))
}

// differs is an SQL condition: the standing value of a column is another one than the changed one, in a way
// that a file shows. What compares as equal need not be the same: 0 and -0, or a month and 30 days.
func (u *upsert) differs(c catalog.Column) string {
	name := lake.QuoteIdent(c.Name)
	distinct := fmt.Sprintf("standing.%s IS DISTINCT FROM changed.%s", name, name)
	switch c.Type {
	case "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "VARCHAR", "JSON", "BLOB", "UUID",
		"DATE", "TIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE":
		if slices.Contains(u.key, name) {
			return "false"
		}
		return distinct
	case "FLOAT", "DOUBLE":
		return fmt.Sprintf("%s OR coalesce(signbit(standing.%s) <> signbit(changed.%s), false)", distinct, name, name)
	}
	if strings.HasPrefix(c.Type, "DECIMAL(") && !strings.HasSuffix(c.Type, "]") {
		return distinct
	}
	return "true"
}

// patch writes a part of which rows changed and none is new: the columns in which they differ are written,
// in the order of the standing ones, and the others are copied as they are. patched is false, and nothing
// was done, where the part is not laid out as it would be written.
func (u *upsert) patch(ctx context.Context, part int, f found) (p writtenPart, patched bool, err error) {
	if len(f.changed) == 0 {
		return writtenPart{kept: part, rows: u.shapes[part].Rows}, true, nil
	}
	fresh := filepath.Join(u.w.dir, fmt.Sprintf("patch-%d.parquet", part))
	group := u.shapes[part].GroupRows
	if u.shapes[part].RowGroups == 1 {
		group = max(group, u.group)
	}
	db := u.w.table.session.instance.db
	rows, err := runCopy(ctx, db, copyStatement(u.patchQuery(part, f), fresh, group))
	if err != nil {
		return p, false, err
	}
	defer func() { err = errors.Join(err, os.Remove(fresh)) }()
	ordered, err := inOrder(ctx, db, fresh)
	if err != nil || !ordered || rows != u.shapes[part].Rows {
		return p, false, err
	}
	names := make([]string, len(f.changed))
	for n, i := range f.changed {
		names[n] = u.columns[i].Name
	}
	whole, err := lake.Graft(u.w.spec.Previous.Files[part], fresh, names)
	if fault.Is(err, fault.Conflict) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	file := filepath.Join(u.w.dir, fmt.Sprintf("upsert-%d.parquet", part))
	if err := writeWhole(file, whole); err != nil {
		return p, false, err
	}
	return writtenPart{file: file, rows: rows, extends: true, kept: -1}, true, nil
}

// orderMark is a column of which the order of a file can be seen: a bit for each place, by chance (the highest one of
// a hash, which a comparison gives at less cost than a division).
const orderMark = "hash(" + rowNumber + ") < 9223372036854775808"

// patchQuery reads the columns that changed, in the order of the part. What stands is laid beside a relation of as
// many rows, in which those between two that changed are made of nothing: that leaves the rows where they are, as a
// join does not, and costs less than a subquery that is asked for each.
func (u *upsert) patchQuery(part int, f found) string {
	outer, values := make([]string, len(f.changed)), make([]string, len(f.changed))
	for n, i := range f.changed {
		name := lake.QuoteIdent(u.columns[i].Name)
		values[n] = fmt.Sprintf("agnes_value_%d", i)
		outer[n] = fmt.Sprintf("CASE WHEN beside.agnes_new THEN beside.%s ELSE standing.%s END AS %s", values[n], name, name)
	}
	list := strings.Join(values, ", ")
	changed := fmt.Sprintf("SELECT agnes_at, agnes_at - lag(agnes_at, 1, -1) OVER (ORDER BY agnes_at) - 1 AS agnes_gap, %s FROM %s WHERE agnes_part = %d ORDER BY agnes_at", list, u.found, part)
	beside := fmt.Sprintf("SELECT agnes_at, agnes_step = agnes_gap AS agnes_new, %s FROM (SELECT *, unnest(range(agnes_gap + 1)) AS agnes_step FROM (%s))", list, changed)
	// A row that came to lie beside another one is seen as one that is not in its place.
	return fmt.Sprintf("SELECT %s, (%s) <> coalesce(beside.agnes_new AND beside.agnes_at <> standing.%s, false) AS agnes_mark FROM %s standing POSITIONAL JOIN (%s) beside",
		strings.Join(outer, ", "), orderMark, rowNumber, readParquet(u.w.spec.Previous.Files[part:part+1]), beside)
}

// inOrder tells whether rows were written in the order in which they were read. DuckDB does not promise
// it, and columns that do not fit together must not be published.
func inOrder(ctx context.Context, q querier, file string) (ordered bool, err error) {
	query := "SELECT count(*) = 0 FROM read_parquet(" + lake.QuoteLiteral(lake.LiteralPath(file)) + ") WHERE agnes_mark IS DISTINCT FROM (" + orderMark + ")"
	err = queryRows(ctx, q, query, func(scan func(...any) error) error { return scan(&ordered) })
	return ordered, err
}
