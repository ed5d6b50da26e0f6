package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// A touched part that has no new rows keeps its rows where they are, and the columns in which nothing
// changed keep their bytes: to encode columns is what writing a part costs.

// rowNumber is the column in which read_parquet gives the place of a row in its file.
const rowNumber = "file_row_number"

// found are the rows of a part that changed, with their places in it.
type found struct {
	u       *upsert
	ctx     context.Context //nolint:containedctx // of the part that is written, for drop
	table   string
	rows    int64
	cut     bool  // the part falls into several, or may
	changed []int // columns in which a row differs
}

// find looks for the rows of a part that changed. Where the table has a column of the name that DuckDB
// gives to places, none are found.
func (u *upsert) find(ctx context.Context, t touchedPart) (*found, error) {
	f := &found{u: u, ctx: ctx}
	if u.opaque {
		f.cut = u.modulus > 0
		return f, nil
	}
	db := u.w.table.session.instance.db
	same := make([]string, len(u.key))
	for i, k := range u.key {
		same[i] = "standing." + k + " IS NOT DISTINCT FROM changed." + k
	}
	known := u.changed.known(len(u.columns))
	list := []string{"standing." + rowNumber + " AS agnes_at", "changed.agnes_cut"}
	sums := []string{"count(*)", "count(*) FILTER (agnes_cut)", "coalesce(bool_or(agnes_cut AND agnes_at > 0), false)"}
	for i, c := range u.columns {
		name := lake.QuoteIdent(c.Name)
		list = append(list, fmt.Sprintf("changed.%s AS agnes_value_%d", name, i))
		if !known[i] {
			list = append(list, fmt.Sprintf("(%s) AS agnes_differs_%d", differs(c, slices.Contains(u.key, name)), i))
			sums = append(sums, fmt.Sprintf("coalesce(bool_or(agnes_differs_%d), false)", i))
		}
	}
	f.table = stageTable(fmt.Sprintf("found_%d_%s", t.part, u.w.name))
	query := fmt.Sprintf("CREATE TABLE %s AS SELECT %s FROM %s standing JOIN (SELECT *, (%s) AS agnes_cut FROM %s WHERE agnes_part = %d) changed ON %s",
		f.table, strings.Join(list, ", "), u.numbered(t.part), u.boundary, u.delta, t.part, strings.Join(same, " AND "))
	if _, err := db.ExecContext(ctx, query); err != nil {
		return nil, ended(ctx, err)
	}
	var cuts int64
	differ := make([]bool, len(u.columns))
	into := []any{&f.rows, &cuts, &f.cut}
	for i := range u.columns {
		if !known[i] {
			into = append(into, &differ[i])
		}
	}
	err := queryRows(ctx, db, "SELECT "+strings.Join(sums, ", ")+" FROM "+f.table, func(scan func(...any) error) error { return scan(into...) })
	if err != nil {
		return nil, err
	}
	u.changed.learn(differ)
	for i := range u.columns {
		if known[i] || differ[i] {
			f.changed = append(f.changed, i)
		}
	}
	// A new row is a boundary, or makes one of the row that the table began with.
	f.cut = f.cut || t.cuts > cuts || (t.part == 0 && u.firstCut && t.rows > f.rows)
	return f, nil
}

// numbered reads a part with the places of its rows.
func (u *upsert) numbered(part int) string {
	return "read_parquet(" + lake.QuoteList(literalGlobs(u.w.spec.Previous.Files[part:part+1])) + ", " + rowNumber + " = true)"
}

func (f *found) drop() {
	if f.table != "" {
		_, _ = f.u.w.table.session.instance.db.ExecContext(context.WithoutCancel(f.ctx), "DROP TABLE IF EXISTS "+f.table) // else it goes with the rest of scratch
	}
}

// differs is an SQL condition: the standing value of a column is another one than the changed one, in a way
// that a file shows. What compares as equal need not be the same: 0 and -0, or a month and 30 days.
func differs(c catalog.Column, key bool) string {
	name := lake.QuoteIdent(c.Name)
	distinct := fmt.Sprintf("standing.%s IS DISTINCT FROM changed.%s", name, name)
	switch c.Type {
	case "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "VARCHAR", "JSON", "BLOB", "UUID",
		"DATE", "TIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE":
		if key {
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
func (u *upsert) patch(ctx context.Context, part int, f *found) (p writtenPart, patched bool, err error) {
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

// orderMark is a column of which the order of a file can be seen: a bit for each place, by chance.
const orderMark = "hash(" + rowNumber + ") % 2 = 0"

// patchQuery reads the columns that changed, in the order of the part: a scalar subquery leaves the rows
// that it is asked for where they are, as a join does not.
func (u *upsert) patchQuery(part int, f *found) string {
	outer := make([]string, len(f.changed))
	fields, inner := make([]string, len(f.changed)), make([]string, len(f.changed))
	for n, i := range f.changed {
		name := lake.QuoteIdent(u.columns[i].Name)
		inner[n] = "standing." + name
		fields[n] = fmt.Sprintf("'v%d': changed.agnes_value_%d", i, i)
		outer[n] = fmt.Sprintf("CASE WHEN agnes_new IS NULL THEN %s ELSE struct_extract(agnes_new, 'v%d') END AS %s", name, i, name)
	}
	return fmt.Sprintf("SELECT %s, %s AS agnes_mark FROM (SELECT %s, %s, (SELECT {%s} FROM %s changed WHERE changed.agnes_at = standing.%s) AS agnes_new FROM %s standing)",
		strings.Join(outer, ", "), orderMark, strings.Join(inner, ", "), rowNumber, strings.Join(fields, ", "), f.table, rowNumber, u.numbered(part))
}

// inOrder tells whether rows were written in the order in which they were read. DuckDB does not promise
// it, and columns that do not fit together must not be published.
func inOrder(ctx context.Context, q querier, file string) (ordered bool, err error) {
	query := "SELECT count(*) = 0 FROM read_parquet(" + lake.QuoteLiteral(lake.LiteralPath(file)) + ", " + rowNumber + " = true) WHERE agnes_mark IS DISTINCT FROM (" + orderMark + ")"
	err = queryRows(ctx, q, query, func(scan func(...any) error) error { return scan(&ordered) })
	return ordered, err
}

// changedColumns are those in which a row of an Upsert was seen to differ: it need not be looked for in
// the parts that follow.
type changedColumns struct {
	mu     sync.Mutex
	differ []bool
}

func (c *changedColumns) known(columns int) []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.differ == nil {
		c.differ = make([]bool, columns)
	}
	return slices.Clone(c.differ)
}

func (c *changedColumns) learn(differ []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, d := range differ {
		c.differ[i] = c.differ[i] || d
	}
}
