package extract

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// months makes t a table of one part per letter: those in anew are written, the others kept as they
// stand, in the order of the letters. The token remembers the letters.
func months(s *scripted, all, anew, query string) {
	s.set("t", func(ctx context.Context, spec TableSpec, w *TableWriter) error {
		var token strings.Builder
		for _, m := range all {
			if at := strings.IndexRune(spec.Token, m); at >= 0 && !strings.ContainsRune(anew, m) {
				if err := w.KeepPart(at); err != nil {
					return err
				}
				token.WriteRune(m)
				continue
			}
			rows, err := w.WritePart(ctx, PartQuery{SQL: strings.ReplaceAll(query, "$m", string(m))})
			if err != nil {
				return err
			}
			if rows > 0 {
				token.WriteRune(m)
			}
		}
		w.SetToken(token.String())
		return nil
	})
}

func paths(t VersionTable) []string {
	var out []string
	for _, p := range t.Parts {
		out = append(out, p.Path)
	}
	return out
}

func TestPartsAreKeptAndWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	query := "SELECT '$m' AS m, i AS id FROM range(3) r(i) ORDER BY id"
	months(src, "abc", "", query)
	if o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated); o.GetRows() != 9 || o.GetPartsWritten() != 3 {
		t.Fatalf("outcome %v", o)
	}
	first := mustTable(t, mustVersion(t, dir), "t")

	months(src, "abcd", "b", "SELECT '$m' AS m, i + 10 AS id FROM range(2) r(i) ORDER BY id")
	if o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated); o.GetRows() != 10 || o.GetPartsWritten() != 2 || o.GetPartsReused() != 2 {
		t.Fatalf("outcome %v", o)
	}
	second := mustTable(t, mustVersion(t, dir), "t")
	if a, b := paths(first), paths(second); a[0] != b[0] || a[1] == b[1] || a[2] != b[2] || len(b) != 4 {
		t.Fatalf("parts %v after %v", b, a)
	}
	if got := ask(t, "SELECT string_agg(m || id, ' ' ORDER BY m, id) FROM "+readParquet(second.Files)); got != "a0 a1 a2 b10 b11 c0 c1 c2 d10 d11" {
		t.Fatalf("rows %s", got)
	}

	// The same rows again are the same bytes: nothing is new.
	months(src, "abcd", "bd", "SELECT '$m' AS m, i + 10 AS id FROM range(2) r(i) ORDER BY id")
	if ready := mustRun(t, cfg); ready.GetChanged() {
		t.Fatalf("changed: %v", ready)
	}

	// A part that became empty is gone; a table without parts keeps its columns.
	months(src, "abcd", "bd", "SELECT '$m' AS m, 1::BIGINT AS id WHERE '$m' = 'd'")
	mustRun(t, cfg)
	if got := mustTable(t, mustVersion(t, dir), "t"); len(got.Parts) != 3 || got.Rows != 7 {
		t.Fatalf("table %+v", got)
	}
	months(src, "a", "a", "SELECT '$m' AS m, 1::BIGINT AS id WHERE false")
	mustRun(t, cfg)
	if got := mustTable(t, mustVersion(t, dir), "t"); got.Rows != 0 || len(got.Parts) != 1 || len(got.Columns) != 2 {
		t.Fatalf("empty table %+v", got)
	}
}

func TestPartsOfOneTableAreAlike(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	months(src, "ab", "", "SELECT '$m' AS m")
	mustRun(t, cfg)
	for name, extract := range map[string]func(context.Context, TableSpec, *TableWriter) error{
		"other columns": func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if _, err := w.WritePart(ctx, PartQuery{SQL: "SELECT 1 AS other"}); err != nil {
				return err
			}
			return w.KeepPart(0)
		},
		"no such part": func(_ context.Context, _ TableSpec, w *TableWriter) error { return w.KeepPart(2) },
		"nothing":      func(context.Context, TableSpec, *TableWriter) error { return nil },
		"two ways": func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if err := w.KeepPart(0); err != nil {
				return err
			}
			return w.Query(ctx, "SELECT 1", 0)
		},
		"two ways about": func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if err := w.Query(ctx, "SELECT 1", 0); err != nil {
				return err
			}
			return w.KeepPart(0)
		},
	} {
		src.set("t", extract)
		o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeFailed)
		if o.GetErrorKind() != string(fault.Internal) {
			t.Errorf("%s: %v", name, o)
		}
	}
	if got := mustTable(t, mustVersion(t, dir), "t"); got.Rows != 2 {
		t.Fatalf("the last good version is %+v", got)
	}
}

// Trap S2: a part that is lost is no empty part; the table is made anew.
func TestTrap_S2_ALostPartIsNotKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	months(src, "ab", "", "SELECT '$m' AS m")
	mustRun(t, cfg)
	if err := os.Remove(mustTable(t, mustVersion(t, dir), "t").Files[0]); err != nil {
		t.Fatal(err)
	}
	mustRun(t, cfg)
	if got := mustTable(t, mustVersion(t, dir), "t"); got.Rows != 2 {
		t.Fatalf("table %+v", got)
	}
}

func TestAFeedRunsAndIsMerged(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.src.query("a", "SELECT 1 AS id")
	s.src.query("b", "SELECT 1 AS id")
	runs := make(chan FeedRun, 1)
	s.cfg.Connector.Feed = func(ctx context.Context, cfg SourceConfig, run FeedRun) error {
		if cfg.Name != "src" || cfg.RawDir == "" {
			return fmt.Errorf("fed as %+v", cfg)
		}
		runs <- run
		<-ctx.Done()
		return nil
	}
	s.start()
	run := receive(t, runs, "the feed")
	ready, err := run(t.Context(), "a")
	if err != nil || len(ready.GetTables()) != 1 || !ready.GetChanged() {
		t.Fatalf("ready %v: %v", ready, err)
	}
	receive(t, s.ready, "extract.ready of the feed")

	gate, busy := make(chan struct{}), make(chan struct{}, 1)
	s.src.set("a", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		select {
		case busy <- struct{}{}:
		default:
		}
		<-gate
		return w.Query(ctx, "SELECT 2 AS id", 0)
	})
	s.request("src", &agnesv1.ExtractRequested{RunId: "asked", Tables: []string{"a"}})
	receive(t, busy, "the run")
	answers := make(chan *agnesv1.ExtractReady, 2)
	for _, table := range []string{"a", "b"} {
		go func() {
			ready, err := run(t.Context(), table)
			if err != nil {
				t.Error(err)
			}
			answers <- ready
		}()
	}
	s.waitWaiting(2)
	close(gate)
	one, two := receive(t, answers, "the first answer"), receive(t, answers, "the second answer")
	var tables []string
	for _, o := range one.GetTables() {
		tables = append(tables, o.GetTable())
	}
	if one != two || !slices.Equal(tables, []string{"a", "b"}) {
		t.Fatalf("answers %v and %v", one, two)
	}
}

func TestPartsAreExtended(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	extended := true
	// extend writes a first part, and later tries to have more rows in it.
	extend := func(query string) {
		src.set("t", func(ctx context.Context, spec TableSpec, w *TableWriter) error {
			q := PartQuery{SQL: query, RowBytes: 16}
			if spec.Previous != nil {
				var err error
				if extended, err = w.ExtendPart(ctx, 0, q); err != nil || extended {
					return err
				}
				q.SQL = "SELECT * FROM " + readParquet(spec.Previous.Files) + " UNION ALL " + query
			}
			_, err := w.WritePart(ctx, q)
			return err
		})
	}
	rows := func() (string, lake.Shape) {
		table := mustTable(t, mustVersion(t, dir), "t")
		shape, err := lake.ShapeOf(table.Files[0])
		if err != nil || len(table.Files) != 1 || table.Rows != shape.Rows {
			t.Fatalf("%d files with %+v (%d rows): %v", len(table.Files), shape, table.Rows, err)
		}
		return ask(t, "SELECT string_agg(id, ' ' ORDER BY id) FROM "+readParquet(table.Files)), shape
	}
	want := "0"
	extend("SELECT 0 AS id, 'x' AS v")
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
	for i := range mostExtensions + 4 {
		extend(fmt.Sprintf("SELECT %d AS id, NULL::VARCHAR AS v", 100+i))
		mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
		want += fmt.Sprint(" ", 100+i)
		got, shape := rows()
		if got != want || shape.RowGroups > mostExtensions+1 || extended == (i == mostExtensions) {
			t.Fatalf("after %d: %s in %+v, extended %v", i, got, shape, extended)
		}
	}
	extend("SELECT 1 AS id, 'y' AS v WHERE false")
	if ready := mustRun(t, cfg); ready.GetChanged() || !extended {
		t.Errorf("nothing more changed the table: %v", ready)
	}
	// A part with other columns cannot be extended.
	src.set("t", func(ctx context.Context, spec TableSpec, w *TableWriter) error {
		var err error
		if extended, err = w.ExtendPart(ctx, 0, PartQuery{SQL: "SELECT 1 AS other, 'y' AS v", RowBytes: 16}); err != nil {
			return err
		}
		_, err = w.WritePart(ctx, PartQuery{SQL: "SELECT i AS other, 'y' AS v FROM range(20) r(i)"})
		return err
	})
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
	if got := ask(t, "SELECT count(other) FROM "+readParquet(mustTable(t, mustVersion(t, dir), "t").Files)); extended || got != "20" {
		t.Errorf("extended %v: %s", extended, got)
	}
}
