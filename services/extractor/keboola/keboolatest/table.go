package keboolatest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is a table with its rows.
type table struct {
	Table
	rows       []row
	created    time.Time
	imported   time.Time
	changed    time.Time
	rowsCount  int64 // -1: as many as rows
	bytesCount int64
}

// row is a row, and when it was last imported.
type row struct {
	values []*string
	at     time.Time
}

// Text is a value that is not NULL.
func Text(s string) *string { return &s }

// Row is a row without NULL.
func Row(values ...string) []*string {
	out := make([]*string, len(values))
	for i := range values {
		out[i] = &values[i]
	}
	return out
}

func bucketOf(id string) string {
	at := strings.LastIndexByte(id, '.')
	if strings.Count(id, ".") < 2 {
		misuse("%q is no id of a table, such as in.c-crm.orders", id)
	}
	return id[:at]
}

// Put makes the table with these rows, or loads it anew: every row counts as changed.
func (p *Project) Put(t Table, rows ...[]*string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	bucket := bucketOf(t.ID)
	if p.buckets[bucket] == nil {
		p.buckets[bucket] = &Bucket{ID: bucket}
	}
	old := p.tables[t.ID]
	n := &table{Table: t, created: now, imported: now, changed: now, rowsCount: -1}
	if old != nil {
		n.created = old.created
	}
	for _, r := range rows {
		if len(r) != len(t.Columns) {
			misuse("a row of %s has %d values, the table %d columns", t.ID, len(r), len(t.Columns))
		}
		n.rows = append(n.rows, row{r, now})
	}
	p.tables[t.ID] = n
}

// Import loads rows incrementally: those whose primary key is there replace what is there, if anything in
// them differs, and count as changed; the others are added.
func (p *Project) Import(id string, rows ...[]*string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	t := p.tables[id]
	key := t.keyOf()
	at := map[string]int{}
	for i, r := range t.rows {
		if key != nil {
			at[key(r.values)] = i
		}
	}
	for _, r := range rows {
		if len(r) != len(t.Columns) {
			misuse("a row of %s has %d values, the table %d columns", id, len(r), len(t.Columns))
		}
		if key != nil {
			if i, found := at[key(r)]; found {
				t.rows[i] = row{r, now}
				continue
			}
			at[key(r)] = len(t.rows)
		}
		t.rows = append(t.rows, row{r, now})
	}
	t.imported, t.changed = now, now
}

// AddRows adds rows without looking at the primary key: a table that breaks its own promise.
func (p *Project) AddRows(id string, rows ...[]*string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, t := p.tick(), p.tables[id]
	for _, r := range rows {
		t.rows = append(t.rows, row{r, now})
	}
	t.imported, t.changed = now, now
}

// DeleteRows deletes the rows of which gone says so. They leave no trace but the count of rows.
func (p *Project) DeleteRows(id string, gone func(values []*string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[id]
	t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return gone(r.values) })
	t.changed = p.tick()
}

// Touch says that the table was imported again without any change of a row.
func (p *Project) Touch(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tables[id].imported = p.tick()
}

// Claim makes the table say that it has so many rows and bytes: for benchmarks, beside Answer.
func (p *Project) Claim(id string, rows, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[id]
	t.rowsCount, t.bytesCount = rows, bytes
	t.imported = p.tick()
	t.changed = t.imported
}

// SetMetadata replaces the metadata of a column.
func (p *Project) SetMetadata(id, column string, entries ...Metadata) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tables[id]
	if t.Metadata == nil {
		t.Metadata = map[string][]Metadata{}
	}
	t.Metadata[column] = entries
}

// Drop removes a table.
func (p *Project) Drop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tables, id)
}

func (t *table) keyOf() func(values []*string) string {
	if len(t.PrimaryKey) == 0 {
		return nil
	}
	var at []int
	for _, k := range t.PrimaryKey {
		at = append(at, slices.Index(t.Columns, k))
	}
	return func(values []*string) string {
		var b strings.Builder
		for _, i := range at {
			if values[i] != nil {
				b.WriteString(strconv.Quote(*values[i]))
			}
			b.WriteByte(0)
		}
		return b.String()
	}
}

// selected are the rows and columns that an export is of.
func (t *table) selected(e Export) (columns []string, rows [][]*string) {
	columns = e.Columns
	if len(columns) == 0 {
		columns = t.Columns
	}
	at := make([]int, len(columns))
	for i, c := range columns {
		at[i] = slices.Index(t.Columns, c)
	}
	for _, r := range t.rows {
		if r.at.Before(e.ChangedSince) || !t.matches(r, e.Where) {
			continue
		}
		out := make([]*string, len(at))
		for i, n := range at {
			out[i] = r.values[n]
		}
		rows = append(rows, out)
	}
	return columns, rows
}

func (t *table) matches(r row, where []Where) bool {
	for _, w := range where {
		v := r.values[slices.Index(t.Columns, w.Column)]
		text := ""
		if v != nil {
			text = *v
		}
		ok := false
		switch w.Operator {
		case "eq", "":
			ok = slices.Contains(w.Values, text)
		case "ne":
			ok = !slices.Contains(w.Values, text)
		case "gt":
			ok = text > w.Values[0]
		case "ge":
			ok = text >= w.Values[0]
		case "lt":
			ok = text < w.Values[0]
		case "le":
			ok = text <= w.Values[0]
		}
		if !ok {
			return false
		}
	}
	return true
}
