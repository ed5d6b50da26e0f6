package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const csvRows = 10_000_000

// wide is a table of ordinary columns: keys, names, amounts, flags, dates and moments.
func wide(rows int) string {
	return fmt.Sprintf(`SELECT range AS id, (range * 7919) %% 100003 AS customer_id, 'customer ' || (range %% 5000) AS customer,
		(range %% 100000) / 100 AS amount, round(random() * 1000, 3) AS score, range %% 3 = 0 AS paid,
		DATE '2024-01-01' + (range %% 730)::INT AS day, TIMESTAMP '2024-01-01' + INTERVAL (range %% 63072000) SECOND AS at,
		CASE WHEN range %% 11 = 0 THEN NULL ELSE ['card', 'wallet', 'transfer'][1 + range %% 3] END AS method,
		'note about order ' || range AS note FROM range(%d)`, rows)
}

// benchCSV takes ten million rows the whole way, from the file to a query, and compares it with a bare COPY.
func benchCSV(ctx context.Context, w *workplace) ([]row, error) {
	files := filepath.Join(w.dir, "csv")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: 4 << 30, Threads: 2, TempDir: w.dir})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	path := filepath.Join(files, "orders.csv")
	defer func() { _ = os.RemoveAll(files) }()
	if _, err := db.ExecContext(ctx, "COPY ("+wide(csvRows)+") TO "+lake.QuoteLiteral(path)); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s, err := w.start(ctx, "csv-house", files)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.call(ctx, "POST", "/api/admin/discover-and-register", map[string]string{"source": "files"}, nil); err != nil {
		return nil, err
	}
	bare := filepath.Join(w.dir, "bare.parquet")
	var ours, beside []float64
	for range 3 { // in turn, so that both see the same weather
		began := time.Now()
		if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY (FROM read_csv(%s)) TO %s (FORMAT parquet, COMPRESSION zstd)",
			lake.QuoteLiteral(path), lake.QuoteLiteral(bare))); err != nil {
			return nil, err
		}
		beside = append(beside, csvRows/time.Since(began).Seconds())
		if err := appendRow(path); err != nil { // a file that changed is read anew
			return nil, err
		}
		began = time.Now()
		if err := s.sync(ctx, false); err != nil {
			return nil, err
		}
		if err := s.query(ctx, "SELECT count(*) FROM files.orders", "application/json"); err != nil {
			return nil, err
		}
		ours = append(ours, csvRows/time.Since(began).Seconds())
	}
	peak, err := memory(s.cmd.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d rows × 10 columns, %.1f GB of CSV; beside: bare DuckDB COPY of the same file", csvRows, float64(info.Size())/1e9)
	return []row{
		atLeast("10 M row CSV → queryable", "rows/s", middle(ours), middle(beside), 0.8, note),
		below("peak memory meanwhile", "MB", peak/1e6, 1500, "the whole agnes process, api and bus included"),
	}, nil
}

// appendRow makes a file of another content.
func appendRow(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("0,0,customer 0,0.0,0.0,true,2024-01-01,2024-01-01 00:00:00,card,appended\n")
	return errors.Join(err, f.Close())
}

// benchRebuild publishes one source again beside ten and beside a thousand others.
func benchRebuild(ctx context.Context, w *workplace) ([]row, error) {
	few, err := rebuildTime(ctx, w, 10)
	if err != nil {
		return nil, err
	}
	many, err := rebuildTime(ctx, w, 1000)
	if err != nil {
		return nil, err
	}
	return []row{atMost("rebuild_source beside 1,000 sources", "ms", many*1000, few*1000, 2, "one table of 1,000 rows changes; beside: the same beside 10 sources")}, nil
}

func rebuildTime(ctx context.Context, w *workplace, others int) (seconds float64, err error) {
	name := fmt.Sprintf("rebuild-%d", others)
	extracts := filepath.Join(w.dir, name, "data", "extracts")
	for i := range others {
		if err := foreignExtract(ctx, filepath.Join(extracts, fmt.Sprintf("other_%04d", i)), 10); err != nil {
			return 0, err
		}
	}
	if err := foreignExtract(ctx, filepath.Join(extracts, "probe"), 1000); err != nil {
		return 0, err
	}
	s, err := w.start(ctx, name, filepath.Join(w.dir, "nothing"))
	if err != nil {
		return 0, err
	}
	defer s.stop()
	published := filepath.Join(w.dir, name, "data", "analytics", "sources")
	if err := wait(ctx, 3*time.Minute, func() bool {
		entries, err := os.ReadDir(published)
		return err == nil && countJSON(entries) >= others+1
	}); err != nil {
		return 0, fmt.Errorf("%d sources are not published: %w", others, err)
	}
	file := filepath.Join(published, "probe.json")
	var times []time.Duration
	for i := range 15 {
		if err := foreignExtract(ctx, filepath.Join(extracts, "probe"), 1001+i); err != nil {
			return 0, err
		}
		before, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		began := time.Now()
		if err := s.call(ctx, "POST", "/api/admin/rebuild", map[string]string{"source": "probe"}, nil); err != nil {
			return 0, err
		}
		if err := wait(ctx, 20*time.Second, func() bool {
			after, err := os.Stat(file)
			return err == nil && !os.SameFile(before, after)
		}); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	return percentile(times, 0.5) / 1000, nil
}

func countJSON(entries []os.DirEntry) int {
	n := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			n++
		}
	}
	return n
}

func wait(ctx context.Context, limit time.Duration, done func() bool) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		if done() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("not within %s", limit)
}

// foreignExtract writes an extract with one real table, swapped into place.
func foreignExtract(ctx context.Context, dir string, rows int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	aside := filepath.Join(dir, "extract.duckdb.tmp")
	_ = os.Remove(aside)
	db, err := lake.Open(ctx, lake.Options{Path: aside, Threads: 1})
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE TABLE _meta (table_name VARCHAR NOT NULL, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR DEFAULT 'local')",
		fmt.Sprintf("CREATE TABLE events AS SELECT range AS id, 'name ' || range AS name FROM range(%d)", rows),
		fmt.Sprintf("INSERT INTO _meta VALUES ('events', '', %d, 0, TIMESTAMP '2025-01-01', 'local')", rows),
		"CHECKPOINT",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			_ = db.Close()
			return err
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(dir, "extract.duckdb"))
}

// benchIdle starts agnes on an empty folder.
func benchIdle(ctx context.Context, w *workplace) ([]row, error) {
	s, err := w.start(ctx, "idle", filepath.Join(w.dir, "nothing"))
	if err != nil {
		return nil, err
	}
	defer s.stop()
	time.Sleep(5 * time.Second)
	rss, err := wholeMemory(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	return []row{
		below("agnes idle", "MB", rss/1e6, 250, "with its children, shared pages divided (PSS), 5 s after the start"),
		below("agnes ready", "s", s.ready.Seconds(), 2, "from exec to /readyz, first start"),
	}, nil
}

// benchManifest has a thousand tables and an analyst who may read them all.
func benchManifest(ctx context.Context, w *workplace) ([]row, error) {
	files := filepath.Join(w.dir, "thousand")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	for i := range 1000 {
		text := fmt.Sprintf("id,name,amount\n1,table %d,%d.5\n2,second,7\n", i, i)
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("table_%04d.csv", i)), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	s, err := w.start(ctx, "manifest", files)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	analyst, err := s.analyst(ctx)
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for range 30 {
		began := time.Now()
		var manifest struct {
			Tables map[string]any `json:"tables"`
		}
		if err := analyst.call(ctx, "GET", "/api/sync/manifest", nil, &manifest); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
		if len(manifest.Tables) != 1000 {
			return nil, fmt.Errorf("the manifest has %d tables", len(manifest.Tables))
		}
	}
	da := func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(w.bin, "da"), "sync", "--quiet")
		cmd.Env = append(os.Environ(), "DA_SERVER=http://"+s.addr, "DA_TOKEN="+analyst.token,
			"DA_CONFIG_DIR="+filepath.Join(s.dir, "da"), "DA_LOCAL_DIR="+filepath.Join(s.dir, "workspace"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("da sync: %w: %.500s", err, out)
		}
		return nil
	}
	if err := da(); err != nil {
		return nil, err
	}
	nothing, err := median(9, da)
	if err != nil {
		return nil, err
	}
	return []row{
		below("manifest of 1,000 tables", "ms", percentile(times, 0.5), 50, "for an analyst, p50 of 30, decoding included"),
		below("da sync with nothing to do", "ms", nothing*1000, 300, "1,000 tables, the whole process"),
	}, nil
}

// analyst makes a user without rights of their own and signs them in.
func (s *server) analyst(ctx context.Context) (*server, error) {
	email := fmt.Sprintf("analyst.%d@example.com", rand.IntN(1_000_000))
	if err := s.call(ctx, "POST", "/api/users", map[string]string{"email": email, "password": adminPassword, "role": "analyst"}, nil); err != nil {
		return nil, err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := s.call(ctx, "POST", "/auth/token", map[string]string{"email": email, "password": adminPassword}, &answer); err != nil {
		return nil, err
	}
	other := &server{cmd: s.cmd, dir: s.dir, addr: s.addr, http: s.http, token: answer.Token}
	return other, nil
}

// partFiles gives the parts of a table as absolute paths, from the published catalog.
func (s *server) partFiles(table string) (catalog.Table, []string, error) {
	return s.partFilesOf("files", table)
}

func (s *server) partFilesOf(of, table string) (catalog.Table, []string, error) {
	data := filepath.Join(s.dir, "data")
	source, err := catalog.LoadSource(data, of)
	if err != nil {
		return catalog.Table{}, nil, err
	}
	t, ok := source.Table(table)
	if !ok {
		return catalog.Table{}, nil, fmt.Errorf("%s is not published", table)
	}
	var paths []string
	for _, p := range t.Parts {
		paths = append(paths, filepath.Join(data, filepath.FromSlash(p.Path)))
	}
	return t, paths, nil
}

func middle(of []float64) float64 {
	sorted := slices.Clone(of)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
