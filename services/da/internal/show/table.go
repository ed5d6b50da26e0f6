package show

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// Table is rows to be shown to a person.
type Table struct {
	Columns []string
	// Right tells which columns hold numbers.
	Right []bool
	// Rows have as many cells as there are columns.
	Rows [][]Cell
}

// Cell is one value as text.
type Cell struct {
	Text string
	Null bool
}

// Most and least that one column may take where not everything fits.
const (
	maxColumn = 60
	minColumn = 8
)

// Write renders the table for a terminal of the width; 0 means that nothing is shortened. hidden is the
// number of columns that did not fit, from the right.
func (t Table) Write(w io.Writer, width int) (hidden int, err error) {
	cells := make([][]string, len(t.Rows))
	for i, row := range t.Rows {
		cells[i] = make([]string, len(row))
		for j, c := range row {
			cells[i][j] = c.Text
			if c.Null {
				cells[i][j] = "NULL"
			}
			cells[i][j] = OneLine(cells[i][j])
		}
	}
	names := make([]string, len(t.Columns))
	for i, n := range t.Columns {
		names[i] = OneLine(n)
	}
	widths := natural(names, cells)
	if width > 0 {
		widths = squeeze(widths, width)
	}
	shown := len(widths)
	out := bufio.NewWriter(w)
	writeRow(out, names[:shown], widths, nil)
	rule := make([]string, shown)
	for i, n := range widths {
		rule[i] = strings.Repeat("─", n+2)
	}
	_, _ = fmt.Fprintln(out, strings.Join(rule, "┼"))
	for _, row := range cells {
		writeRow(out, row[:shown], widths, t.Right)
	}
	return len(names) - shown, out.Flush() // bufio keeps the first error
}

func natural(names []string, cells [][]string) []int {
	widths := make([]int, len(names))
	for i, n := range names {
		widths[i] = max(Width(n), 1)
	}
	for _, row := range cells {
		for i, c := range row {
			widths[i] = max(widths[i], Width(c))
		}
	}
	return widths
}

// squeeze makes columns narrower, the widest first, and leaves out the last where that is not enough.
func squeeze(widths []int, width int) []int {
	widths = slices.Clone(widths)
	for i := range widths {
		widths[i] = min(widths[i], maxColumn)
	}
	for total(widths) > width {
		widest := 0
		for i, n := range widths {
			if n > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minColumn {
			break
		}
		widths[widest]--
	}
	for len(widths) > 1 && total(widths) > width {
		widths = widths[:len(widths)-1]
	}
	return widths
}

func total(widths []int) int {
	n := -1
	for _, w := range widths {
		n += w + 3
	}
	return n
}

func writeRow(w io.Writer, cells []string, widths []int, right []bool) {
	row := make([]string, len(cells))
	for i, c := range cells {
		c = Shorten(c, widths[i])
		gap := strings.Repeat(" ", widths[i]-Width(c))
		if i < len(right) && right[i] {
			row[i] = " " + gap + c + " "
			continue
		}
		row[i] = " " + c + gap + " "
	}
	_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "│"), " "))
}

// Width is how many cells of a terminal a text takes.
func Width(s string) int { return runewidth.StringWidth(s) }

// Shorten cuts a text to a width, with an ellipsis.
func Shorten(s string, width int) string { return runewidth.Truncate(s, width, "…") }

// Pad fills a text with spaces to a width.
func Pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-Width(s))) }

// Safe shows what could steer a terminal as escapes, and leaves lines and tabs.
func Safe(s string) string {
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// steers: control characters, and those that turn the direction of a line around.
func steers(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// OneLine shows line breaks, and what could steer a terminal, as escapes.
func OneLine(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r), r == '\u00a0', r == '\u200d':
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
