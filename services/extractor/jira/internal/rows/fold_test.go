package rows

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The users of a month are what the issue that was fetched last tells, in whatever order the issues
// come and however they are gathered.
func TestFoldUsers(t *testing.T) {
	t.Parallel()
	users := Tables(mustMap(t))[Users]
	at := func(s int) any {
		if s == 0 {
			return nil
		}
		return time.Unix(int64(s), 0).UTC()
	}
	row := func(account, month, name, synced any, seen int) []any {
		return []any{account, month, name, nil, true, nil, nil, at(seen), synced}
	}
	rows := [][]any{
		row("b", "2024-05", "Old Name", "2024-05-01T10:00:00Z", 9),
		row("b", "2024-05", "New Name", "2024-05-01T10:00:00.5Z", 3),
		row("b", "2024-05", "No time", nil, 0),
		row("b", "2024-04", "Old Name", "2024-04-01T10:00:00Z", 1),
		row("a", "2024-05", "A", nil, 0),
		row("a", "2024-05", "B", nil, 5),
	}
	want := [][]any{
		row("b", "2024-04", "Old Name", "2024-04-01T10:00:00Z", 1),
		row("a", "2024-05", "B", nil, 5),
		row("b", "2024-05", "New Name", "2024-05-01T10:00:00.5Z", 9),
	}
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.Permutation(rows).Draw(t, "rows")
		cut := rapid.IntRange(0, len(order)).Draw(t, "cut")
		// Some may be merged before the others come.
		got := users.Fold(append(users.Fold(slices.Clone(order[:cut])), order[cut:]...))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
	if rows[0][7] != at(9) || rows[1][7] != at(3) {
		t.Error("a row of the input was changed")
	}
}

// Folding leaves the rows of other tables, in order.
func TestFoldOrders(t *testing.T) {
	t.Parallel()
	tables := Tables(mustMap(t))
	var rows [][]any
	for i := range 50 {
		doc := bigDocument(i)
		got, err := Flatten(doc, mustMap(t), Site{URL: site})
		if err != nil {
			t.Fatal(err)
		}
		rows = append(got.Tables[Changelog], rows...)
	}
	n := len(rows)
	folded := tables[Changelog].Fold(rows)
	if len(folded) != n || n != 50*20 {
		t.Errorf("%d rows became %d", n, len(folded))
	}
	seen := map[string]bool{}
	for i, r := range folded {
		seen[fmt.Sprint(r[0], r[len(r)-1])] = true
		if i > 0 && compareRows(folded[i-1], r, tables[Changelog].order()) >= 0 {
			t.Fatalf("row %d comes after %d", i-1, i)
		}
	}
	if len(seen) != n {
		t.Errorf("%d keys for %d rows", len(seen), n)
	}
}
