package answer

import (
	"maps"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Media types of answers.
const (
	TypeJSON    = "application/json"
	TypeNDJSON  = "application/x-ndjson"
	TypeCSV     = "text/csv"
	TypeArrow   = "application/vnd.apache.arrow.stream"
	TypeParquet = "application/vnd.apache.parquet"
)

// encoder writes an answer to its sink.
type encoder interface {
	begin() error
	batch(arrow.RecordBatch) error
	end(rows int64, truncated bool) error
	// close frees what was not freed by end.
	close()
}

type formatter func(*lake.Result, *sink) encoder

var formats = map[string]formatter{
	TypeJSON: newJSON, TypeNDJSON: newNDJSON, TypeCSV: newCSV, TypeArrow: newArrow, TypeParquet: newParquet,
}

// MediaTypes are those of answers, sorted.
func MediaTypes() []string { return slices.Sorted(maps.Keys(formats)) }

// uniqueNames gives every column a name of its own, as DuckDB does in a subquery: a, a_1, a_2.
func uniqueNames(columns []catalog.Column) []string {
	taken := make(map[string]bool, len(columns))
	for _, c := range columns {
		taken[c.Name] = true
	}
	names := make([]string, len(columns))
	seen := make(map[string]bool, len(columns))
	for i, c := range columns {
		names[i] = c.Name
		for n := 1; seen[names[i]]; n++ {
			if candidate := c.Name + "_" + strconv.Itoa(n); !taken[candidate] {
				names[i] = candidate
			}
		}
		seen[names[i]] = true
	}
	return names
}

// rowText is what the formats of text share: the columns' cells of one batch.
type rowText struct {
	out     *sink
	columns []catalog.Column
	cells   []cell
	style   style
}

// bind prepares the cells for a batch.
func (t *rowText) bind(batch arrow.RecordBatch) {
	t.cells = t.cells[:0]
	for i, column := range batch.Columns() {
		t.cells = append(t.cells, t.style.cell(column, t.columns[i].Type))
	}
}

// jsonRows is {"columns": […], "types": […], "rows": [[…], …], "row_count": n, "truncated": false}.
type jsonRows struct {
	rowText
	any bool
}

func newJSON(r *lake.Result, out *sink) encoder {
	return &jsonRows{rowText: rowText{out: out, columns: r.Columns(), style: jsonStyle}}
}

func (e *jsonRows) begin() error {
	b := e.out.buf
	b = append(b, `{"columns":[`...)
	for i, c := range e.columns {
		b = appendJSONString(comma(b, i), c.Name)
	}
	b = append(b, `],"types":[`...)
	for i, c := range e.columns {
		b = appendJSONString(comma(b, i), c.Type)
	}
	b = append(b, `],"rows":[`...)
	e.out.buf = b
	return nil
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func (e *jsonRows) batch(batch arrow.RecordBatch) error {
	e.bind(batch)
	b := e.out.buf
	for row := range int(batch.NumRows()) {
		if e.any {
			b = append(b, ',')
		}
		e.any = true
		b = append(b, '[')
		for i, cell := range e.cells {
			if i > 0 {
				b = append(b, ',')
			}
			b = cell(b, row)
		}
		b = append(b, ']')
	}
	e.out.buf = b
	return nil
}

func (e *jsonRows) end(rows int64, truncated bool) error {
	b := e.out.buf
	b = strconv.AppendInt(append(b, `],"row_count":`...), rows, 10)
	b = strconv.AppendBool(append(b, `,"truncated":`...), truncated)
	b = append(b, "}\n"...)
	e.out.buf = b
	return nil
}

func (*jsonRows) close() {}

// ndjson is one object per row and line.
type ndjson struct {
	rowText
	keys [][]byte // `{"a":`, `,"b":`, …
}

func newNDJSON(r *lake.Result, out *sink) encoder {
	e := &ndjson{rowText: rowText{out: out, columns: r.Columns(), style: jsonStyle}}
	for i, name := range uniqueNames(e.columns) {
		key := []byte{'{'}
		if i > 0 {
			key[0] = ','
		}
		e.keys = append(e.keys, append(appendJSONString(key, name), ':'))
	}
	return e
}

func (*ndjson) begin() error { return nil }

func (e *ndjson) batch(batch arrow.RecordBatch) error {
	e.bind(batch)
	b := e.out.buf
	for row := range int(batch.NumRows()) {
		for i, cell := range e.cells {
			b = cell(append(b, e.keys[i]...), row)
		}
		b = append(b, "}\n"...)
	}
	e.out.buf = b
	return nil
}

func (*ndjson) end(int64, bool) error { return nil }

func (*ndjson) close() {}

// csvRows is CSV with a header (RFC 4180): nothing stands for NULL, and "" for the empty text.
type csvRows struct{ rowText }

func newCSV(r *lake.Result, out *sink) encoder {
	return &csvRows{rowText{out: out, columns: r.Columns(), style: csvStyle}}
}

const csvNewline = "\r\n"

func (e *csvRows) begin() error {
	b := e.out.buf
	for i, c := range e.columns {
		b = appendCSVString(comma(b, i), c.Name)
	}
	b = append(b, csvNewline...)
	e.out.buf = b
	return nil
}

func (e *csvRows) batch(batch arrow.RecordBatch) error {
	e.bind(batch)
	b := e.out.buf
	for row := range int(batch.NumRows()) {
		for i, cell := range e.cells {
			if i > 0 {
				b = append(b, ',')
			}
			b = cell(b, row)
		}
		b = append(b, csvNewline...)
	}
	e.out.buf = b
	return nil
}

func (*csvRows) end(int64, bool) error { return nil }

func (*csvRows) close() {}
