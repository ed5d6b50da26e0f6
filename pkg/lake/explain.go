package lake

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// explained runs an EXPLAIN and prepares a statement that gives its answer without the names of files:
// EXPLAIN ANALYZE tells them of every table that it read.
func explained(conn mapping.Connection, text string) (mapping.PreparedStatement, error) {
	var none mapping.PreparedStatement
	statement, err := prepareOne(conn, text)
	if err != nil {
		return none, err
	}
	kind := mapping.PreparedStatementType(statement)
	mapping.DestroyPrepare(&statement)
	if kind != mapping.StatementTypeExplain {
		return none, fault.New(fault.Invalid, refusal, "this")
	}
	cells, err := texts(conn, text)
	if err != nil {
		return none, err
	}
	rows := make([]string, 0, len(cells)/2)
	for i := 0; i+1 < len(cells); i += 2 {
		rows = append(rows, "("+QuoteLiteral(cells[i])+", "+QuoteLiteral(withoutFiles(cells[i+1]))+")")
	}
	if len(rows) == 0 {
		return none, fault.New(fault.Internal, "DuckDB explained nothing")
	}
	return prepareOne(conn, "SELECT * FROM (VALUES "+strings.Join(rows, ", ")+") AS t(explain_key, explain_value)")
}

const filesLabel = "Filename(s):"

var filesField = regexp.MustCompile(`("Filename\(s\)"\s*:\s*)"(?:[^"\\]|\\.)*"`)

// withoutFiles takes the names of files out of a plan, be it JSON or drawn in boxes.
func withoutFiles(plan string) string {
	plan = filesField.ReplaceAllString(plan, `${1}""`)
	if !strings.Contains(plan, filesLabel) {
		return plan
	}
	lines := strings.Split(plan, "\n")
	cells := make([][]rune, len(lines))
	for i, line := range lines {
		cells[i] = []rune(line)
	}
	for i, line := range lines { // as it was: a label that is blanked still tells where files stand
		if !strings.Contains(line, filesLabel) {
			continue
		}
		known, left := oneWide([]rune(line)), -1
		for box := range strings.SplitSeq(line, "│") {
			right := left + 1 + utf8.RuneCountInString(box)
			if strings.Contains(box, filesLabel) {
				blankBelow(cells[i+1:], left, right, known)
			}
			left = right
		}
	}
	for i := range lines {
		lines[i] = string(cells[i])
	}
	return strings.Join(lines, "\n")
}

// oneWide tells whether each character of a line takes one place on a screen for certain. Where one does
// not, DuckDB draws the boxes of that line elsewhere than those of others, counted in characters.
func oneWide(line []rune) bool {
	return !slices.ContainsFunc(line, func(r rune) bool {
		return (r < ' ' || r > '~') && (r < firstBox || r > lastBox)
	})
}

// firstBox to lastBox are what boxes are drawn with.
const firstBox, lastBox = '\u2500', '\u257f'

// blankBelow blanks a box between two columns up to its first empty line. A line on which the box may stand
// elsewhere is blanked whole, and so are all that follow in that row of boxes: what is lost is what the
// boxes beside it say there. known tells that the columns are those of the box.
func blankBelow(lines [][]rune, left, right int, known bool) {
	for _, line := range lines {
		known = known && oneWide(line)
		if !known {
			if strings.Trim(string(line), drawn) == "" {
				return
			}
			blankText(line)
			continue
		}
		if left+1 >= len(line) {
			return
		}
		box := line[left+1 : min(right, len(line))]
		if strings.Trim(string(box), " ") == "" || strings.ContainsAny(string(box), "─└┘") {
			return
		}
		for i := range box {
			box[i] = ' '
		}
	}
}

// drawn is what lines without words are made of. One that a text of the statement is made of too says
// nothing either.
const drawn = " │┌┐└┘├┤┬┴┼─"

// blankText leaves of a line what is drawn.
func blankText(line []rune) {
	for i, r := range line {
		if !strings.ContainsRune(drawn, r) {
			line[i] = ' '
		}
	}
}
