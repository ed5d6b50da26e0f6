package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

const (
	warehouseRows   = 10_000_000
	warehouseSlices = 40
	warehouseBucket = "in.c-crm"
)

// exports are what a project answers exports with: files that were made before, so that it costs next to
// nothing beside what reads them.
type exports struct {
	dir     string
	db      *lake.DB
	project *keboolatest.Project

	mu    sync.Mutex
	whole []string
	delta []string // of exports of what changed
}

// write makes slices of the rows with the ids of a query each: those of a later version have another state, time
// and note.
func (e *exports) write(ctx context.Context, name string, version int, ids ...string) (paths []string, err error) {
	for i, of := range ids {
		path := filepath.Join(e.dir, fmt.Sprintf("%s-%d.csv.gz", name, i))
		query := fmt.Sprintf(`COPY (SELECT i AS id, hash(i) %% 100000 AS customer, (TIMESTAMP '2024-01-01' + INTERVAL (i %% 50000000 + %[1]d * 1000) SECOND)::VARCHAR AS at,
			round((hash(i * 3) %% 1000000) / 100.0, 2) AS amount, 'status_' || ((i + %[1]d) %% 5) AS status, 'product ' || (hash(i * 7) %% 5000) AS product,
			i %% 3 = 0 AS flag, 'version %[1]d of the note ' || i AS note FROM (%[2]s) q(i)) TO %[3]s (FORMAT csv, HEADER false, COMPRESSION gzip, FORCE_QUOTE *)`,
			version, of, lake.QuoteLiteral(path))
		if _, err := e.db.ExecContext(ctx, query); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// changed makes an export of what changed the answer from now on.
func (e *exports) changed(ctx context.Context, ids string, version int, rows int64) (err error) {
	const slices = 4
	var parts [slices]string
	for i := range parts {
		parts[i] = fmt.Sprintf("SELECT i FROM (%s) q(i) WHERE i %% %d = %d", ids, slices, i)
	}
	paths, err := e.write(ctx, "changed", version, parts[:]...)
	if err != nil {
		return err
	}
	e.set(e.whole, paths, "keyed", rows)
	return nil
}

// set makes these the answers, and a table one that changed.
func (e *exports) set(whole, delta []string, table string, rows int64) {
	e.mu.Lock()
	e.whole, e.delta = whole, delta
	e.mu.Unlock()
	e.project.Claim(warehouseBucket+"."+table, rows, 0)
}

func (e *exports) answer(asked keboolatest.Export) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if asked.ChangedSince.IsZero() {
		return e.whole
	}
	return e.delta
}

// newExports makes a project of two tables with the same rows, one with a key.
func newExports(ctx context.Context, w *workplace) (*exports, func(), error) {
	e := &exports{dir: filepath.Join(w.dir, "exports")}
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return nil, nil, err
	}
	var err error
	if e.db, err = lake.Open(ctx, lake.Options{MemoryBytes: 2 << 30, Threads: 2, TempDir: w.dir}); err != nil {
		return nil, nil, err
	}
	e.project = keboolatest.New(keboolatest.Config{})
	stop := func() {
		e.project.Close()
		_ = e.db.Close()
		_ = os.RemoveAll(e.dir)
	}
	e.project.Answer(e.answer)
	for _, name := range []string{"plain", "keyed"} {
		t := keboolatest.Table{ID: warehouseBucket + "." + name, Columns: []string{"id", "customer", "at", "amount", "status", "product", "flag", "note"}}
		if name == "keyed" {
			t.PrimaryKey = []string{"id"}
		}
		t.Metadata = map[string][]keboolatest.Metadata{}
		for column, kind := range map[string]string{"id": "INTEGER", "customer": "INTEGER", "at": "TIMESTAMP", "amount": "FLOAT", "flag": "BOOLEAN"} {
			t.Metadata[column] = []keboolatest.Metadata{keboolatest.BaseType("user", kind)}
		}
		e.project.Put(t)
	}
	ids := make([]string, warehouseSlices)
	for i := range ids { // no slice is a range of keys
		ids[i] = fmt.Sprintf("SELECT (b * %d + %d) * 1000 + k FROM range(%d) blocks(b), range(1000) inside(k) ORDER BY ALL", warehouseSlices, i, warehouseRows/warehouseSlices/1000)
	}
	if e.whole, err = e.write(ctx, "whole", 0, ids...); err != nil {
		stop()
		return nil, nil, err
	}
	return e, stop, nil
}

// startKeboola runs an agnes that has the tables of the project.
func startKeboola(ctx context.Context, w *workplace, e *exports) (*server, error) {
	s, err := w.startWith(ctx, "keboola", fmt.Sprintf("sources:\n  - {name: crm, type: keboola, stack_url: %q, token: %q}\n", e.project.URL, keboolatest.DefaultToken))
	if err != nil {
		return nil, err
	}
	for name, more := range map[string]map[string]any{
		"plain": {}, "keyed": {"sync_strategy": "incremental", "primary_key": []string{"id"}},
	} {
		table := map[string]any{"name": name, "source": "crm", "bucket": warehouseBucket, "source_table": name, "sync_schedule": "daily 03:00"}
		for k, v := range more {
			table[k] = v
		}
		if err := s.call(ctx, "POST", "/api/admin/register-table", table, nil); err != nil {
			s.stop()
			return nil, err
		}
	}
	return s, nil
}

// benchKeboola holds a full refresh against a bare COPY of the same slices from the disk, and merges of 1 % of
// the rows against a full refresh.
func benchKeboola(ctx context.Context, w *workplace) ([]row, error) {
	e, stop, err := newExports(ctx, w)
	if err != nil {
		return nil, err
	}
	defer stop()
	s, err := startKeboola(ctx, w, e)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var fulls, bares []time.Duration
	whole := e.whole
	for round := range 3 { // in turn, so that both see the same weather
		// A table that is read again has changed: it has some rows more.
		more, err := e.write(ctx, fmt.Sprintf("more-%d", round), 0, fmt.Sprintf("SELECT i FROM range(%d, %d) r(i)", warehouseRows, warehouseRows+1000*(round+1)))
		if err != nil {
			return nil, err
		}
		files := append(slices.Clone(whole), more...)
		bareCopy := fmt.Sprintf("COPY (FROM read_csv(%s)) TO %s (FORMAT parquet, COMPRESSION zstd)", lake.QuoteList(files), lake.QuoteLiteral(filepath.Join(e.dir, "bare.parquet")))
		e.set(files, nil, "plain", warehouseRows+1000*int64(round+1))
		took, err := s.timed(ctx, func() error { return s.syncTables(ctx, true, "plain") })
		if err != nil {
			return nil, err
		}
		fulls = append(fulls, took)
		took, err = s.timed(ctx, func() error {
			_, err := e.db.ExecContext(ctx, bareCopy)
			return err
		})
		if err != nil {
			return nil, err
		}
		bares = append(bares, took)
	}
	e.set(whole, nil, "plain", warehouseRows)
	ours, beside := percentile(fulls, 0.5)/1000, percentile(bares, 0.5)/1000
	peak, err := memory(s.cmd.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	rows := []row{
		atLeast("Keboola: 10 M rows in 40 gzip slices → published", "rows/s", warehouseRows/ours, warehouseRows/beside, 0.7, "8 columns, all in agnes; beside: bare DuckDB COPY of the same slices from the disk"),
		below("peak memory meanwhile", "MB", peak/1e6, 2000, "the whole agnes process, api and bus included"),
	}
	merges, err := s.merges(ctx, e)
	if err != nil {
		return nil, err
	}
	if peak, err = memory(s.cmd.Process.Pid, "VmHWM"); err != nil {
		return nil, err
	}
	return append(append(rows, merges...), below("peak memory of all that", "MB", peak/1e6, 2000, "full refreshes sorted by the key, and merges")), nil
}

// timed runs something when the server is at rest: it profiles what it published, after a while.
func (s *server) timed(ctx context.Context, do func() error) (time.Duration, error) {
	if err := s.rest(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// merge is a kind of change that is merged.
type merge struct {
	name  string
	ids   string
	rows  int64 // of the table then
	goal  float64
	note  string
	times []time.Duration
	wrote int
	had   int // parts that a key of the change falls into
	all   int
}

// merges measures full refreshes of the table with a key and merges into it, in turn.
func (s *server) merges(ctx context.Context, e *exports) ([]row, error) {
	const one = warehouseRows / 100
	kinds := []*merge{
		{name: "merge of 1 % at random", ids: fmt.Sprintf("SELECT i FROM range(%d) r(i) WHERE hash(i + 1) %% 100 = 0", warehouseRows), rows: warehouseRows, goal: 0.15, note: "100,000 rows anywhere, three of eight columns changed"},
		{name: "merge of a recent 1 %", ids: fmt.Sprintf("SELECT * FROM range(%d, %d)", warehouseRows-one/2, warehouseRows+one/2), rows: warehouseRows + one/2, goal: 0.15, note: "50,000 of the newest rows changed and 50,000 new"},
	}
	var full []time.Duration
	for round := range 3 {
		e.set(e.whole, nil, "keyed", warehouseRows)
		took, err := s.timed(ctx, func() error { return s.syncTables(ctx, true, "keyed") })
		if err != nil {
			return nil, err
		}
		full = append(full, took)
		for n, m := range kinds {
			if err := e.changed(ctx, m.ids, 2*round+n+1, m.rows); err != nil {
				return nil, err
			}
			before, files, err := s.partFilesOf("crm", "keyed")
			if err != nil {
				return nil, err
			}
			if took, err = s.timed(ctx, func() error { return s.syncTables(ctx, false, "keyed") }); err != nil {
				return nil, err
			}
			m.times = append(m.times, took)
			after, _, err := s.partFilesOf("crm", "keyed")
			if err != nil {
				return nil, err
			}
			if after.Rows != m.rows {
				return nil, fmt.Errorf("after the %s the table has %d rows, not %d", m.name, after.Rows, m.rows)
			}
			m.wrote, m.all = fresh(before.Parts, after.Parts), len(after.Parts)
			if m.had, err = e.touched(ctx, files, m.ids); err != nil {
				return nil, err
			}
		}
	}
	var rows []row
	for _, m := range kinds {
		rows = append(rows,
			atMost("Keboola: "+m.name, "s", percentile(m.times, 0.5)/1000, percentile(full, 0.5)/1000, m.goal, m.note+"; beside: full refresh of the same table, by its key"),
			atMost("parts that it writes", "parts", float64(m.wrote), float64(m.had), 1, fmt.Sprintf("of %d; beside: those whose range of keys a change falls into, and those cut off them", m.all)))
	}
	return rows, nil
}

// fresh counts the parts that were not there before.
func fresh(before, after []catalog.Part) (n int) {
	for _, p := range after {
		if !slices.ContainsFunc(before, func(o catalog.Part) bool { return o.SHA256 == p.SHA256 }) {
			n++
		}
	}
	return n
}

// touched counts the parts into whose range of keys some ids fall, and the new boundaries among these.
func (e *exports) touched(ctx context.Context, files []string, ids string) (n int, err error) {
	if len(files) == 0 {
		return 0, errors.New("the table has no parts")
	}
	// A part reaches to where the next one begins.
	query := fmt.Sprintf(`WITH parts AS (SELECT filename, min(id) AS low, lead(min(id)) OVER (ORDER BY min(id)) AS high FROM read_parquet(%s, filename = true) GROUP BY filename)
		SELECT count(*) FROM parts WHERE EXISTS (SELECT 1 FROM (%s) q(i) WHERE i >= low AND (high IS NULL OR i < high))`, lake.QuoteList(files), ids)
	err = e.db.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}
