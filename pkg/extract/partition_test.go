package extract

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

func TestPartitionWritesAPartForEachStretchOfTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &scripted{}
	columns := []catalog.Column{{Name: "id", Type: "INTEGER"}, {Name: "Day", Type: "VARCHAR"}}
	rows := func(rows, by, length string) {
		s.set("events", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			return w.Partition(ctx, "SELECT CAST(id AS INTEGER) AS id, CAST(day AS VARCHAR) AS Day FROM (VALUES "+rows+") t(id, day)", columns, by, length)
		})
	}
	cfg := runConfig(dir, s, register("events")...)
	parts := func() []catalog.Part { return mustTable(t, mustVersion(t, dir), "events").Parts }

	rows("(4, '2026-02-01'), (1, '2026-01-31'), (2, NULL), (3, 'no date'), (0, '2026-01-01 10:00:00')", "day", "month")
	mustOutcome(t, mustRun(t, cfg), "events", OutcomeUpdated)
	first := parts()
	if got := fmt.Sprint(first[0].Rows, first[1].Rows, first[2].Rows, len(first)); got != "2 1 2 3" {
		t.Errorf("January, February, and what has no date: %s", got)
	}
	rows("(0, '2026-01-01 10:00:00'), (5, '2026-02-02'), (2, NULL), (3, 'no date'), (4, '2026-02-01'), (1, '2026-01-31')", "DAY", "month")
	mustOutcome(t, mustRun(t, cfg), "events", OutcomeUpdated)
	if second := parts(); len(second) != 3 || second[0] != first[0] || second[1] == first[1] || second[2] != first[2] {
		t.Errorf("only February changed: %v became %v", first, second)
	}

	for _, c := range []struct{ by, length, want string }{{"other", "month", `no column "other"`}, {"day", "decade", "`partition` is day"}} {
		rows("(1, '2026-01-01')", c.by, c.length)
		if o := mustOutcome(t, mustRun(t, cfg), "events", OutcomeFailed); !strings.Contains(o.GetError(), c.want) {
			t.Errorf("%s", o.GetError())
		}
	}
	many := make([]string, maxPartitions+1)
	for i := range many {
		many[i] = fmt.Sprintf("(%d, CAST(DATE '2026-01-01' + %d AS VARCHAR))", i, i)
	}
	rows(strings.Join(many, ", "), "day", "day")
	if o := mustOutcome(t, mustRun(t, cfg), "events", OutcomeFailed); !strings.Contains(o.GetError(), "choose a longer `partition`") {
		t.Errorf("%s", o.GetError())
	}
	cfg.Force = true
	s.set("events", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		return w.Partition(ctx, "SELECT 1 AS id, '' AS Day WHERE false", columns, "day", "day")
	})
	mustOutcome(t, mustRun(t, cfg), "events", OutcomeUpdated)
	if table := mustTable(t, mustVersion(t, dir), "events"); table.Rows != 0 || len(table.Columns) != 2 {
		t.Errorf("an empty table: %+v", table)
	}
}
