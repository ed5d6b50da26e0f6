package adf

import (
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// maxColumns bounds the width of a table; what is further right is dropped.
const maxColumns = 100

// table renders a table of GitHub's flavour, which has exactly one row of headers: the first row
// where its cells are headers, else an empty one. A header at the left of a row is bold. A cell that
// spans several columns or rows is followed by empty ones.
func (r *Renderer) table(n *jsontree.Value) {
	var rows [][]string
	var hanging []int // per column, for how many more rows a cell from above goes on
	width, headed := 0, false
	for i, row := range n.GetArray("content") {
		cells := row.GetArray("content")
		header := i == 0 && allHeaders(cells)
		headed = headed || header
		var line []string
		skip := func() {
			for len(line) < len(hanging) && hanging[len(line)] > 0 {
				hanging[len(line)]--
				line = append(line, "")
			}
		}
		for _, c := range cells {
			skip()
			if len(line) >= maxColumns || r.full {
				break
			}
			text := r.cellText(c, !header && kindOf(c) == "tableHeader")
			columns := min(max(c.GetInt("attrs", "colspan"), 1), maxColumns-len(line))
			below := min(max(c.GetInt("attrs", "rowspan"), 1), len(n.GetArray("content"))) - 1
			for k := range columns {
				for len(hanging) <= len(line) {
					hanging = append(hanging, 0)
				}
				hanging[len(line)] = below
				if k > 0 {
					text = ""
				}
				line = append(line, text)
			}
		}
		skip()
		width = max(width, len(line))
		rows = append(rows, line)
	}
	if width == 0 {
		return
	}
	if !headed {
		rows = append([][]string{nil}, rows...)
	}
	for i, line := range rows {
		r.separate(1)
		r.row(line, width, "")
		if i == 0 {
			r.separate(1)
			r.row(nil, width, "---")
		}
	}
}

func allHeaders(cells []*jsontree.Value) bool {
	for _, c := range cells {
		if kindOf(c) != "tableHeader" {
			return false
		}
	}
	return len(cells) > 0
}

func (r *Renderer) row(cells []string, width int, empty string) {
	var b strings.Builder
	b.WriteByte('|')
	for i := range width {
		text := empty
		if i < len(cells) {
			text = cells[i]
		}
		b.WriteByte(' ')
		if text != "" {
			b.WriteString(text)
			b.WriteByte(' ')
		}
		b.WriteByte('|')
	}
	r.write(b.String())
}

// cellText renders the content of a cell in one line.
func (r *Renderer) cellText(c *jsontree.Value, bold bool) string {
	outer, wasCell, wasLine := r.writer, r.cell, r.line
	r.cell, r.line = true, false
	r.writer = writer{buf: outer.buf, base: len(outer.buf), bol: true, full: outer.full}
	if isInline(c) {
		r.inline([]*jsontree.Value{c})
	} else {
		r.content(c, true)
	}
	text := strings.TrimSpace(string(r.buf[r.base:]))
	full, grown := r.full, r.buf[:r.base]
	r.writer, r.cell, r.line = outer, wasCell, wasLine
	r.buf, r.full = grown, full
	text = strings.ReplaceAll(text, "|", `\|`)
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n\n", "\n"), "\n", "<br>")
	if bold && text != "" && !strings.HasPrefix(text, "**") {
		text = "**" + text + "**"
	}
	return text
}
