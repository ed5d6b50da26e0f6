package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// rowWriter writes an answer in one format.
type rowWriter interface {
	row(values []localdb.Value) error
	// end writes what is left, and tells how many columns did not fit.
	end() (hidden int, err error)
}

// newWriter gives the writer of a format; width is that of the terminal, 0 for none.
func newWriter(format string, w io.Writer, columns []catalog.Column, width int) rowWriter {
	out := bufio.NewWriterSize(w, 64<<10)
	switch format {
	case formatCSV:
		return newCSV(out, columns)
	case formatJSON, formatNDJSON:
		return newJSON(out, columns, format == formatJSON)
	}
	t := &tableWriter{out: out, width: width}
	for _, c := range columns {
		t.table.Columns = append(t.table.Columns, c.Name)
		t.table.Right = append(t.table.Right, isNumber(c.Type))
	}
	return t
}

func isNumber(kind string) bool {
	kind, _, _ = strings.Cut(kind, "(")
	switch kind {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL":
		return true
	}
	return false
}

// tableWriter collects the rows: their widths decide those of the columns.
type tableWriter struct {
	out   *bufio.Writer
	width int
	table show.Table
}

func (t *tableWriter) row(values []localdb.Value) error {
	cells := make([]show.Cell, len(values))
	for i, v := range values {
		cells[i] = show.Cell{Text: v.Text, Null: v.Null}
	}
	t.table.Rows = append(t.table.Rows, cells)
	return nil
}

func (t *tableWriter) end() (int, error) {
	hidden, err := t.table.Write(t.out, t.width)
	if err != nil {
		return 0, err
	}
	return hidden, t.out.Flush()
}

// csvWriter writes RFC 4180 with line feeds. A missing value is nothing, an empty text is "".
type csvWriter struct{ out *bufio.Writer }

func newCSV(out *bufio.Writer, columns []catalog.Column) *csvWriter {
	c := &csvWriter{out}
	for i, column := range columns {
		c.field(i, localdb.Value{Text: column.Name})
	}
	_ = out.WriteByte('\n') // bufio keeps the first error until Flush
	return c
}

func (c *csvWriter) field(i int, v localdb.Value) {
	if i > 0 {
		_ = c.out.WriteByte(',')
	}
	switch {
	case v.Null:
	case v.Text == "" || strings.ContainsAny(v.Text, "\",\r\n"):
		_, _ = c.out.WriteString(`"` + strings.ReplaceAll(v.Text, `"`, `""`) + `"`)
	default:
		_, _ = c.out.WriteString(v.Text)
	}
}

func (c *csvWriter) row(values []localdb.Value) error {
	for i, v := range values {
		c.field(i, v)
	}
	return c.out.WriteByte('\n')
}

func (c *csvWriter) end() (int, error) { return 0, c.out.Flush() }

// jsonWriter writes one object per row, in a list or a line each.
type jsonWriter struct {
	out  *bufio.Writer
	keys []string
	list bool
	rows int
}

func newJSON(out *bufio.Writer, columns []catalog.Column, list bool) *jsonWriter {
	j := &jsonWriter{out: out, list: list}
	for _, c := range columns {
		key, err := json.Marshal(c.Name)
		if err != nil {
			key = []byte(`""`) // no text is without JSON
		}
		j.keys = append(j.keys, string(key)+":")
	}
	return j
}

func (j *jsonWriter) row(values []localdb.Value) error {
	switch {
	case j.list && j.rows == 0:
		_, _ = j.out.WriteString("[\n")
	case j.list:
		_, _ = j.out.WriteString(",\n")
	}
	j.rows++
	for i, v := range values {
		_ = j.out.WriteByte("{,"[min(i, 1)])
		_, _ = j.out.WriteString(j.keys[i])
		if v.Null {
			v.Text = "null"
		}
		_, _ = j.out.WriteString(v.Text)
	}
	if len(values) == 0 {
		_ = j.out.WriteByte('{')
	}
	_ = j.out.WriteByte('}')
	if j.list {
		return nil
	}
	return j.out.WriteByte('\n')
}

func (j *jsonWriter) end() (int, error) {
	switch {
	case j.list && j.rows == 0:
		_, _ = j.out.WriteString("[]\n")
	case j.list:
		_, _ = j.out.WriteString("\n]\n")
	}
	return 0, j.out.Flush()
}
