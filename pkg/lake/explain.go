package lake

import (
	"regexp"
	"strings"

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
	for i, line := range cells {
		for at := range line {
			if strings.HasPrefix(string(line[at:]), filesLabel) {
				blankBelow(cells[i+1:], edge(line, at, -1), edge(line, at, 1))
			}
		}
	}
	for i := range lines {
		lines[i] = string(cells[i])
	}
	return strings.Join(lines, "\n")
}

// edge is where the box around at ends in a line, in the direction of step.
func edge(line []rune, at, step int) int {
	for at >= 0 && at < len(line) && line[at] != '│' {
		at += step
	}
	return at
}

// blankBelow blanks a box between two columns up to its first empty line.
func blankBelow(lines [][]rune, left, right int) {
	for _, line := range lines {
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
