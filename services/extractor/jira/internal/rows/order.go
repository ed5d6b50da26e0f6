package rows

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// order gives the positions of the columns of OrderBy.
func (t Table) order() []int {
	positions := make([]int, len(t.OrderBy))
	for i, name := range t.OrderBy {
		positions[i] = t.column(name)
	}
	return positions
}

// sortRows sorts rows by the columns at the positions, and by the other columns where these are equal,
// so that the order of the input is of no account.
func sortRows(rows [][]any, positions []int) {
	slices.SortFunc(rows, func(a, b []any) int {
		if c := compareRows(a, b, positions); c != 0 {
			return c
		}
		return compareRows(a, b, nil)
	})
}

// compareRows compares the columns at the positions; nil means all from the left.
func compareRows(a, b []any, positions []int) int {
	if positions == nil {
		for i := range a {
			if c := compare(a[i], b[i]); c != 0 {
				return c
			}
		}
		return 0
	}
	for _, i := range positions {
		if c := compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// compare orders two values of one column as DuckDB does: NULL comes last.
func compare(a, b any) int {
	switch a := a.(type) {
	case nil:
		if b == nil {
			return 0
		}
		return 1
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b)
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b)
		}
	case bool:
		if b, ok := b.(bool); ok && a != b {
			if a {
				return 1
			}
			return -1
		} else if ok {
			return 0
		}
	}
	return -1 // b is NULL: the values of a column have one type
}
