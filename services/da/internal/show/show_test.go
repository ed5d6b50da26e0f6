package show_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<63 - 1: "8.0 EiB", -2048: "-2.0 KiB",
	} {
		if got := show.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := show.Count(n); got != want {
			t.Errorf("Count(%d) = %s, want %s", n, got, want)
		}
	}
	if got := show.Plural(1, "table") + show.Plural(2, "table"); got != "1 table2 tables" {
		t.Error(got)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for ago, want := range map[time.Duration]string{
		time.Second: "just now", time.Minute: "1 minute ago", 5 * time.Hour: "5 hours ago", 72 * time.Hour: "3 days ago",
	} {
		if got := show.Ago(now.Add(-ago), now); got != want {
			t.Errorf("%s: %s", ago, got)
		}
	}
	if got := show.Ago(time.Time{}, now); got != "never" {
		t.Error(got)
	}
	for d, want := range map[time.Duration]string{12 * time.Millisecond: "12ms", 3400 * time.Millisecond: "3.4s", 125 * time.Second: "2m5s"} {
		if got := show.Duration(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}

func TestATableFitsTheTerminal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.SliceOfN(rapid.StringMatching(`[a-z日本]{0,30}`), 1, 12).Draw(t, "columns")
		table := show.Table{Columns: columns, Right: []bool{true}}
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			row := make([]show.Cell, len(columns))
			for i := range row {
				row[i] = show.Cell{Text: rapid.String().Draw(t, "cell"), Null: rapid.Bool().Draw(t, "null")}
			}
			table.Rows = append(table.Rows, row)
		}
		width := rapid.IntRange(12, 200).Draw(t, "width")
		var b strings.Builder
		hidden, err := table.Write(&b, width)
		if err != nil || hidden < 0 || hidden >= len(columns) {
			t.Fatalf("hidden %d of %d, %v", hidden, len(columns), err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(table.Rows)+2 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), len(table.Rows), b.String())
		}
		for _, line := range lines {
			if show.Width(line) > width {
				t.Fatalf("%d wide, and the terminal is %d:\n%s", show.Width(line), width, b.String())
			}
		}
	})
}

func TestWideTablesLoseTheirLastColumnsAndSaySo(t *testing.T) {
	t.Parallel()
	table := show.Table{
		Columns: []string{"id", "a rather long name of a column", "text", "more"}, Right: []bool{true},
		Rows: [][]show.Cell{{{Text: "1"}, {Text: "x"}, {Text: strings.Repeat("long ", 30)}, {Null: true}}},
	}
	var b strings.Builder
	hidden, err := table.Write(&b, 32)
	want := " id │ a rathe… │ text\n────┼──────────┼──────────\n  1 │ x        │ long lo…\n"
	if err != nil || hidden != 1 || b.String() != want {
		t.Errorf("hidden %d, %v:\n%s", hidden, err, b.String())
	}
	b.Reset()
	if hidden, err = table.Write(&b, 0); err != nil || hidden != 0 || !strings.Contains(b.String(), strings.Repeat("long ", 29)) {
		t.Errorf("without a terminal something was left out: %d, %v\n%s", hidden, err, b.String())
	}
}

func TestSafeKeepsLinesAndShowsWhatSteersATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"two\nlines\tand a tab – 日本語 👩\u200d🚀": "two\nlines\tand a tab – 日本語 👩\u200d🚀",
		"\x1b[31mred\r\x9bK\x07":               `\u001b[31mred\u000d` + "\ufffd" + `K\u0007`,
		"abc\u202egnp.exe":                     `abc\u202egnp.exe`,
	} {
		if got := show.Safe(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
