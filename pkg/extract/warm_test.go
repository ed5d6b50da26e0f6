package extract

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// kept gives what is idle.
func (w *warm) kept() (all []*instance) {
	w.idle.mu.Lock()
	defer w.idle.mu.Unlock()
	for _, k := range w.idle.kept {
		all = append(all, k.what)
	}
	return all
}

func newTestWarm(t *testing.T, dir string) *warm {
	t.Helper()
	w := newWarm(dir, 3, readerMemory)
	t.Cleanup(func() {
		w.close()
		if left, err := os.ReadDir(scratchRoot(dir)); err != nil || len(left) > 0 {
			t.Errorf("scratch was left behind: %v %v", left, err)
		}
	})
	return w
}

// settings are those of an instance, but for where it spills.
func settings(t *testing.T, i *instance) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := queryRows(t.Context(), i.conn, "SELECT name, coalesce(value, '') FROM duckdb_settings() WHERE name <> 'temp_directory'", func(scan func(...any) error) error {
		var name, value string
		err := scan(&name, &value)
		all[name] = value
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func count(t *testing.T, i *instance, query string) (n int64) {
	t.Helper()
	if err := i.conn.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// patched writes t by a temporary table, as a connector does that knows what changed.
func patched(s *scripted, query string) {
	s.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		if err := w.TempTable(ctx, "fresh rows", query+";"); err != nil {
			return err
		}
		rows := 0
		count := func(scan func(...any) error) error { return scan(&rows) }
		if err := w.Rows(ctx, `SELECT count(*) FROM "fresh rows";`, count); err != nil || rows == 0 {
			return fmt.Errorf("%d fresh rows: %w", rows, err)
		}
		_, err := w.WritePart(ctx, PartQuery{SQL: `SELECT * FROM "fresh rows"`})
		return err
	})
}

func TestRunsPassTheirInstanceOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	cfg.warm = newTestWarm(t, dir)
	var first *instance
	for n := range 3 {
		patched(src, "SELECT range AS i FROM range("+string(rune('4'+n))+")")
		if o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated); o.GetRows() != int64(4+n) {
			t.Fatalf("outcome %v", o)
		}
		if rows := ask(t, "SELECT count(*) FROM "+readParquet(mustTable(t, mustVersion(t, dir), "t").Files)); rows != string(rune('4'+n)) {
			t.Fatalf("%s rows in run %d", rows, n)
		}
		kept := cfg.warm.kept()
		if n == 0 {
			first = kept[0]
		}
		if len(kept) != 1 || kept[0] != first {
			t.Fatalf("run %d left %d instances", n, len(kept))
		}
	}
	again, err := cfg.warm.take(t.Context(), readerMemory)
	if err != nil || again != first {
		t.Fatal(err)
	}
	defer cfg.warm.give(again, false)
	fresh, err := newTestWarm(t, dir).take(t.Context(), readerMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.close()
	if a, b := settings(t, again), settings(t, fresh); !maps.Equal(a, b) {
		t.Errorf("settings\n%v instead of\n%v", a, b)
	}
	for what, query := range map[string]string{
		"catalogs":  "SELECT count(*) - 1 FROM duckdb_databases() WHERE NOT internal",
		"tables":    "SELECT count(*) FROM duckdb_tables() WHERE NOT internal",
		"views":     "SELECT count(*) FROM duckdb_views() WHERE NOT internal",
		"memory":    "SELECT CAST(sum(memory_usage_bytes + temporary_storage_bytes) // 10_000_000 AS BIGINT) FROM duckdb_memory()",
		"catalogue": "SELECT CAST(current_catalog() <> 'memory' AS BIGINT)",
	} {
		if n := count(t, again, query); n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
}

// What a connector did by itself, what failed and what crashed is not passed on: only the instance that
// built the extract is kept, if one was built.
func TestInstancesThatAreNotCleanAreClosed(t *testing.T) {
	t.Parallel()
	part := func(ctx context.Context, w *TableWriter) error {
		_, err := w.WritePart(ctx, PartQuery{SQL: "SELECT 1 AS i"})
		return err
	}
	for name, c := range map[string]struct {
		extract func(ctx context.Context, w *TableWriter) error
		kept    int
	}{
		"clean": {part, 1},
		"Exec before": {func(ctx context.Context, w *TableWriter) error {
			return errors.Join(w.Exec(ctx, "CREATE MACRO one() AS 1"), part(ctx, w))
		}, 1},
		"Exec after": {func(ctx context.Context, w *TableWriter) error {
			return errors.Join(part(ctx, w), w.Exec(ctx, "SET GLOBAL memory_limit = '99MB'"))
		}, 1},
		"Rows": {func(ctx context.Context, w *TableWriter) error {
			return errors.Join(part(ctx, w), w.Rows(ctx, "CREATE MACRO one() AS 1", func(func(...any) error) error { return nil }))
		}, 0},
		"Columns": {func(ctx context.Context, w *TableWriter) error {
			return errors.Join(w.Columns(ctx, []catalog.Column{{Name: "i", Type: "INTEGER"}}), w.Append(ctx, 1))
		}, 1},
		"Query": {func(ctx context.Context, w *TableWriter) error { return w.Query(ctx, "SELECT 1 AS i", 0) }, 1},
		"failed statement": {func(ctx context.Context, w *TableWriter) error {
			return errors.Join(part(ctx, w), w.TempTable(ctx, "t", "SELECT error('no')"))
		}, 0},
		"error": {func(ctx context.Context, w *TableWriter) error { return errors.Join(part(ctx, w), errors.New("no")) }, 0},
		"panic": {func(ctx context.Context, w *TableWriter) error { panic(part(ctx, w)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			src := &scripted{}
			cfg := runConfig(dir, src, register("t")...)
			mustRun(t, runConfig(dir, src)) // without a table; and without warm
			cfg.warm = newTestWarm(t, dir)
			before, err := cfg.warm.take(t.Context(), 1<<28)
			if err != nil {
				t.Fatal(err)
			}
			cfg.warm.give(before, true)
			src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error { return c.extract(ctx, w) })
			ready := mustRun(t, cfg)
			kept := cfg.warm.kept()
			if len(kept) != c.kept {
				t.Fatalf("%d instances after %v", len(kept), ready)
			}
			for _, i := range kept {
				if err := i.connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := count(t, i, "SELECT count(*) FROM duckdb_functions() WHERE NOT internal"); n != 0 {
					t.Errorf("%d macros are left", n)
				}
			}
		})
	}
}

// The catalogs that stand for remote ones while views over them are made stay with the instance.
func TestInstanceWithStubsIsClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newTestWarm(t, dir)
	s := newState()
	at := remoteTable{"bq", "data set", "t"}
	s.remotes = []catalog.Remote{{Alias: at.alias, Extension: "bigquery", URL: "project=x"}}
	s.entries["r"] = &entry{remote: at, Table: catalog.Table{
		Name: "r", QueryMode: catalog.ModeRemote, RemoteSQL: at.query(), Columns: []catalog.Column{{Name: "i", Type: "INTEGER"}},
	}}
	for n := range 2 {
		if err := buildExtract(t.Context(), w, dir, filepath.Join(dir, string(rune('a'+n))), s); err != nil {
			t.Fatal(err)
		}
		if len(w.kept()) != 0 {
			t.Fatal("an instance with catalogs was kept")
		}
	}
}

// A kept instance spills, although the scratch of the run in which it was opened is gone, and what it
// spilled is gone with its tables.
func TestTrap_E3_KeptInstanceSpills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	cfg.warm = newTestWarm(t, dir)
	cfg.warm.memory = 40 << 20
	spilled := func(ctx context.Context, w *TableWriter) (bytes int64, err error) {
		err = w.table.session.rows(ctx, "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM duckdb_temporary_files()",
			func(scan func(...any) error) error { return scan(&bytes) })
		return bytes, err
	}
	for n := range 3 {
		src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if before, err := spilled(ctx, w); err != nil || before != 0 {
				t.Errorf("run %d found %d spilled bytes: %v", n, before, err)
			}
			if err := w.TempTable(ctx, "big", "SELECT md5(CAST(range AS VARCHAR)) AS a, md5(CAST(range + 1 AS VARCHAR)) AS b FROM range(1_000_000)"); err != nil {
				return err
			}
			if bytes, err := spilled(ctx, w); err != nil || bytes == 0 {
				t.Errorf("nothing was spilled in run %d: %v", n, err)
			}
			_, err := w.WritePart(ctx, PartQuery{SQL: "SELECT max(a) AS a, " + string(rune('0'+n)) + " AS n FROM big", RowBytes: 50})
			return err
		})
		if n == 0 { // so that the run has a session from the start
			i, err := cfg.warm.take(t.Context(), 1<<28)
			if err != nil {
				t.Fatal(err)
			}
			cfg.warm.give(i, true)
		}
		mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
		kept := cfg.warm.kept()
		if len(kept) != 1 {
			t.Fatalf("%d instances are kept", len(kept))
		}
		if files, err := os.ReadDir(kept[0].spill.Dir); err != nil || len(files) > 0 {
			t.Errorf("run %d left spilled files: %v %v", n, files, err)
		}
		if err := lake.SweepScratch(scratchRoot(dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// An instance that DuckDB itself gave up is replaced.
func TestBrokenInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newTestWarm(t, dir)
	i, err := w.take(t.Context(), 1<<28)
	if err != nil {
		t.Fatal(err)
	}
	w.give(i, true)
	if err := i.db.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := w.take(t.Context(), 1<<28)
	if err != nil || next == i {
		t.Fatal(err)
	}
	w.give(next, true)
}

func TestIdle(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 8)
	i := newIdle(2, func(s string) { ended <- s })
	i.give("a", "a1")
	i.give("b", "b1")
	i.give("a", "a2")
	if got := <-ended; got != "a1" {
		t.Fatalf("%s made room", got)
	}
	if got, found := i.take("b"); !found || got != "b1" {
		t.Fatal(got, found)
	}
	if got, found := i.take("b"); found {
		t.Fatal(got)
	}
	i.close()
	if got := <-ended; got != "a2" {
		t.Fatalf("%s was closed", got)
	}
	i.give("a", "a3")
	if got := <-ended; got != "a3" {
		t.Fatalf("%s was closed", got)
	}

	i = newIdle(2, func(s string) { ended <- s })
	defer i.close()
	i.after = time.Millisecond
	for _, s := range []string{"one", "two", "three"} { // the timer comes again
		i.give("", s)
		if got := <-ended; got != s {
			t.Fatalf("%s was closed in place of %s", got, s)
		}
	}
	if len(i.kept) != 0 {
		t.Fatal(i.kept)
	}
}

// A connector's own statements have all threads, unless it began with what is passed on.
func TestThreadsOfASession(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	cfg.warm = newTestWarm(t, dir)
	for _, begin := range []string{"", "TempTable"} {
		src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			want := cfg.Threads
			if begin != "" {
				want = 1
				if err := w.TempTable(ctx, "x", "SELECT 1 AS i"); err != nil {
					return err
				}
			}
			threads := 0
			err := w.Rows(ctx, "SELECT current_setting('threads')", func(scan func(...any) error) error { return scan(&threads) })
			if err != nil || threads != want {
				t.Errorf("%d threads after %q, want %d: %v", threads, begin, want, err)
			}
			return w.Query(ctx, "SELECT 1 AS i", 0)
		})
		mustRun(t, cfg)
	}
}
