package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agnes-platform/agnes/pkg/lake"
)

const resultRows = 1_000_000

// eight is a million rows of eight columns, as parquet in the source's folder.
func eight(ctx context.Context, w *workplace, name string, rows int) (*server, error) {
	files := filepath.Join(w.dir, name+"-files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: 4 << 30, Threads: 2, TempDir: w.dir})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, fmt.Sprintf(`COPY (SELECT range AS id, range %% 977 AS customer, 'name ' || (range %% 5000) AS name,
		random() AS score, ((range * 31) %% 100000) / 100 AS amount, range %% 2 = 0 AS paid, DATE '2024-01-01' + (range %% 700)::INT AS day,
		TIMESTAMP '2024-01-01' + INTERVAL (range) SECOND AS at FROM range(%d)) TO %s (FORMAT parquet, COMPRESSION zstd)`,
		rows, lake.QuoteLiteral(filepath.Join(files, "million.parquet"))))
	if err != nil {
		return nil, err
	}
	s, err := w.start(ctx, name, files)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// beside opens the table's parts in this process, as the same view.
func (s *server) beside(ctx context.Context, table string) (*lake.DB, error) {
	_, files, err := s.partFiles(table)
	if err != nil {
		return nil, err
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = lake.QuoteLiteral(f)
	}
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: 4 << 30, Threads: 2})
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		"CREATE SCHEMA files",
		"CREATE VIEW files." + lake.QuoteIdent(table) + " AS SELECT * FROM read_parquet([" + strings.Join(quoted, ", ") + "])",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			_ = db.Close()
			return nil, err
		}
	}
	return db, nil
}

func benchQuery(ctx context.Context, w *workplace) ([]row, error) {
	s, err := eight(ctx, w, "query", 10_000)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	db, err := s.beside(ctx, "million")
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	const sql = "SELECT * FROM files.million WHERE id = 4242"
	var ours, inProcess []time.Duration
	for i := range 300 {
		began := time.Now()
		if err := s.query(ctx, sql, "application/json"); err != nil {
			return nil, err
		}
		if i >= 50 {
			ours = append(ours, time.Since(began))
		}
		began = time.Now()
		rows, err := db.QueryContext(ctx, sql)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
		if i >= 50 {
			inProcess = append(inProcess, time.Since(began))
		}
	}
	http50, own50 := percentile(ours, 0.5), percentile(inProcess, 0.5)
	r := below("warm query over HTTP, one row: more than in process", "ms", http50-own50, 2,
		fmt.Sprintf("p50 of 250: %.2f ms over HTTP, %.2f ms in process", http50, own50))
	return []row{r}, nil
}

func benchResults(ctx context.Context, w *workplace) ([]row, error) {
	s, err := eight(ctx, w, "results", resultRows)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	db, err := s.beside(ctx, "million")
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	const sql = "SELECT * FROM files.million"
	target := filepath.Join(w.dir, "results.out")
	copyTo := func(options string) func() error {
		return func() error {
			_, err := db.ExecContext(ctx, "COPY ("+sql+") TO "+lake.QuoteLiteral(target)+" ("+options+")")
			return err
		}
	}
	arrow := func() error {
		reader, err := db.Arrow(ctx, sql)
		if err != nil {
			return err
		}
		defer reader.Release()
		for reader.Next() {
		}
		return reader.Err()
	}
	note := fmt.Sprintf("%d rows × 8 columns; beside: ", resultRows)
	var rows []row
	for _, c := range []struct {
		name, accept string
		beside       func() error
		goal         float64
		peer         string
	}{
		{"1 M rows as Arrow", "application/vnd.apache.arrow.stream", arrow, 0.7, "in-process Arrow"},
		{"1 M rows as NDJSON", "application/x-ndjson", copyTo("FORMAT json"), 0.9, "DuckDB COPY to JSON"},
		{"1 M rows as CSV", "text/csv", copyTo("FORMAT csv"), 0.9, "DuckDB COPY to CSV"},
	} {
		ours, theirs, err := pairs(5, func() error {
			return s.query(ctx, sql, c.accept)
		}, c.beside)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, atLeast(c.name, "rows/s", resultRows/ours, resultRows/theirs, c.goal, note+c.peer))
	}
	return rows, nil
}

// pairs runs two things in turn and gives their medians in seconds.
func pairs(runs int, a, b func() error) (ours, beside float64, err error) {
	var as, bs []time.Duration
	for i := range runs + 1 {
		began := time.Now()
		if err := a(); err != nil {
			return 0, 0, err
		}
		took := time.Since(began)
		began = time.Now()
		if err := b(); err != nil {
			return 0, 0, err
		}
		if i > 0 { // the first pair warms up
			as, bs = append(as, took), append(bs, time.Since(began))
		}
	}
	return percentile(as, 0.5) / 1000, percentile(bs, 0.5) / 1000, nil
}

func benchFairness(ctx context.Context, w *workplace) ([]row, error) {
	s, err := eight(ctx, w, "fairness", 3_000_000)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	other, err := s.analyst(ctx)
	if err != nil {
		return nil, err
	}
	const heavy = "SELECT customer, name, count(*), sum(amount), quantile_cont(score, 0.9) FROM files.million GROUP BY ALL ORDER BY 3 DESC LIMIT 10"
	const light = "SELECT count(*) FROM files.million WHERE id = 77"
	single, err := median(5, func() error {
		return s.query(ctx, heavy, "application/json")
	})
	if err != nil {
		return nil, err
	}
	if err := other.query(ctx, light, "application/json"); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all, lights []time.Duration
	var failure error
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			began := time.Now()
			err := s.query(ctx, heavy, "application/json")
			mu.Lock()
			defer mu.Unlock()
			all = append(all, time.Since(began))
			failure = errors.Join(failure, err)
		})
	}
	busy := make(chan struct{})
	go func() {
		clients.Wait()
		close(busy)
	}()
	for done := false; !done; {
		began := time.Now()
		if err := other.query(ctx, light, "application/json"); err != nil {
			return nil, err
		}
		lights = append(lights, time.Since(began))
		select {
		case <-busy:
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	if failure != nil {
		return nil, failure
	}
	fair := 64 * single / 2 * 1000
	return []row{
		atMost("64 clients on a heavy aggregate, p99", "ms", percentile(all, 0.99), fair, 2,
			fmt.Sprintf("3 M rows; beside: 64 × %.0f ms alone ÷ 2 cores", single*1000)),
		below("light queries of another user meanwhile, p99", "ms", percentile(lights, 0.99), 500, fmt.Sprintf("%d queries", len(lights))),
	}, nil
}

func benchDownload(ctx context.Context, w *workplace) ([]row, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errors.New("nginx is not installed (Debian: apt-get install nginx-light)")
	}
	s, err := eight(ctx, w, "download", 4_000_000)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	table, files, err := s.partFiles("million")
	if err != nil {
		return nil, err
	}
	part := table.Parts[0]
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(w.dir, "nginx")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// The peer runs as whoever runs this, so that it can read the part.
	config := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events { worker_connections 64; }
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]s; root %[3]s; } }`, dir, addr, filepath.Dir(files[0]))
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	peer := exec.CommandContext(ctx, nginx, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	peer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := peer.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = peer.Process.Signal(syscall.SIGTERM)
		_ = peer.Wait()
	}()
	theirs := "http://" + addr + "/" + filepath.Base(files[0])
	if err := wait(ctx, 10*time.Second, func() bool { return fetch(ctx, s.http, theirs, "") == nil }); err != nil {
		return nil, fmt.Errorf("nginx does not serve: %w", err)
	}
	ours := "http://" + s.addr + "/api/data/million/download?part=" + part.SHA256
	a, b, err := pairs(15, func() error { return fetch(ctx, s.http, ours, s.token) }, func() error { return fetch(ctx, s.http, theirs, "") })
	if err != nil {
		return nil, err
	}
	size := float64(part.SizeBytes)
	return []row{atLeast("download of a part", "MB/s", size/a/1e6, size/b/1e6, 0.9, fmt.Sprintf("%.0f MB; beside: nginx, sendfile", size/1e6))}, nil
}

func fetch(ctx context.Context, client *http.Client, url, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
