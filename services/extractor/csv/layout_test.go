package csv

import (
	"fmt"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// What Layout accepts DuckDB must read, and as the same day: a value that passed the check must not
// fail the table, nor become another.
func TestLayoutsAreReadAsDuckDBReadsThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	day := time.Date(2024, 2, 9, 15, 4, 5, 123456000, time.UTC)
	for layout, values := range map[string][]string{
		"%d/%m/%Y":                {"09/02/2024", "9/2/2024", " 09/02/2024 "},
		"%m-%d-%y":                {"02-09-24", "2-9-24"},
		"%d.%m.%Y":                {"09.02.2024"},
		"%Y%m%d":                  {"20240209"},
		"%d %b %Y":                {"09 Feb 2024", "9 feb 2024"},
		"%d %B %Y":                {"09 February 2024"},
		"%a %d.%m.%Y":             {"Fri 09.02.2024"},
		"%A, %d %B %Y":            {"Friday, 09 February 2024"},
		"%d/%m/%Y %H:%M":          {"09/02/2024 15:04", "9/2/2024 15:04"},
		"%d/%m/%Y %I:%M %p":       {"09/02/2024 03:04 PM", "9/2/2024 3:04 pm"},
		"%d/%m/%Y %H:%M:%S.%f":    {"09/02/2024 15:04:05.123456"},
		"%Y-%m-%dT%H:%M:%S%z":     {"2024-02-09T17:04:05+0200", "2024-02-09T17:04:05+02:00", "2024-02-09T17:04:05+02"},
		"100%% %d/%m/%Y":          {"100% 09/02/2024"},
		"%d/%m/%Y at %H h %M m":   {"09/02/2024 at 15 h 4 m"},
		"%Y-%m-%d %H:%M:%S UTC%z": {"2024-02-09 17:04:05 UTC+0200"},
	} {
		l, err := kind.ParseLayout(layout)
		if err != nil {
			t.Fatal(err)
		}
		columnType, want := "DATE", day.Format("2006-01-02")
		if l.HasTime {
			columnType, want = "TIMESTAMP", day.Format("2006-01-02 15:04")
		}
		for _, v := range values {
			if (&kind.Formats{Date: l}).Of([]byte(v), kind.DateAs) == 0 {
				t.Errorf("%q does not accept %q", layout, v)
				continue
			}
			got := h.query(fmt.Sprintf("SELECT left(CAST(%s AS VARCHAR), %d)", strptime(quote(v), l, columnType), len(want)))
			if len(got) != 1 || got[0] != want {
				t.Errorf("%q reads %q as %v, want %s", layout, v, got, want)
			}
		}
	}
}
