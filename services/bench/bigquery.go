package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	allocator "github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
)

const (
	bigqueryProject = "data-project"
	bigqueryRows    = 10_000_000
	bigqueryTables  = 4 // of the same rows: each is copied once
	// joinedRows of crm.events are joined to crm.few, which has a thousandth of their ids.
	joinedRows = 100_000
	fewRows    = joinedRows / 1000
)

// warehouse is a BigQuery that can be reached without credentials, with tables crm.orders_<n>.
type warehouse struct {
	name          string
	rest, storage string // host:port
	queries       bool   // it runs statements
	stop          func()
}

// newWarehouse is bqemulator, which others wrote, where make installed it; else the fake of our tests.
func newWarehouse(ctx context.Context, w *workplace) (*warehouse, error) {
	tools := os.Getenv("AGNES_VERIFY_TOOLS")
	if tools == "" {
		tools = filepath.Join("..", ".tools")
	}
	python := filepath.Join(tools, "python", "bin")
	if _, err := os.Stat(filepath.Join(python, "bqemulator")); err == nil {
		return newEmulator(ctx, w, python)
	}
	return newFakeWarehouse(ctx)
}

func newEmulator(ctx context.Context, w *workplace, python string) (*warehouse, error) {
	e := &warehouse{name: "bqemulator", queries: true}
	home := filepath.Join(w.dir, "bqemulator")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	// It wants DuckDB's extension for GEOGRAPHY from a folder of its own home, and would otherwise download it.
	install := exec.CommandContext(ctx, filepath.Join(python, "python"), "-c", `
import pathlib, duckdb, numpy, duckdb_extension_spatial as spatial
duckdb.sql("INSTALL '%s'" % next(pathlib.Path(spatial.__file__).parent.rglob("*.duckdb_extension")))`)
	install.Env = append(os.Environ(), "HOME="+home)
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("bqemulator lacks what it needs: %w: %s", err, out)
	}
	var err error
	if e.rest, err = freeAddr(); err != nil {
		return nil, err
	}
	if e.storage, err = freeAddr(); err != nil {
		return nil, err
	}
	_, rest, _ := net.SplitHostPort(e.rest)
	_, grpc, _ := net.SplitHostPort(e.storage)
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(python, "bqemulator"), "start")
	cmd.Env = append(os.Environ(), "HOME="+home, "BQEMU_REST_PORT="+rest, "BQEMU_GRPC_PORT="+grpc, "BQEMU_ENABLE_FORMAT_EXTENSIONS=false")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	e.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	err = wait(ctx, time.Minute, func() bool {
		answer, err := http.Get("http://" + e.rest + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	if err == nil {
		err = e.fill(ctx)
	}
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("bqemulator: %w: %.500s", err, log.String())
	}
	return e, nil
}

// fill makes the tables, as the emulator's own documentation says.
func (e *warehouse) fill(ctx context.Context) error {
	err := e.post(ctx, "datasets", map[string]any{"datasetReference": map[string]string{"projectId": bigqueryProject, "datasetId": "crm"}, "location": "US"})
	statements := []string{
		fmt.Sprintf("CREATE TABLE crm.events AS SELECT id, CONCAT('event ', CAST(id AS STRING)) AS note FROM UNNEST(GENERATE_ARRAY(1, %d)) AS id", joinedRows),
		fmt.Sprintf("CREATE TABLE crm.few AS SELECT id * 1000 AS id FROM UNNEST(GENERATE_ARRAY(1, %d)) AS id", fewRows),
	}
	for i := range bigqueryTables {
		statements = append(statements, fmt.Sprintf(`CREATE TABLE crm.orders_%d AS SELECT id, MOD(id * 7919, 100003) AS customer, MOD(id, 100000) / 100 AS amount,
			CONCAT('status_', CAST(MOD(id, 5) AS STRING)) AS status, CONCAT('note ', CAST(id AS STRING)) AS note FROM UNNEST(GENERATE_ARRAY(1, %d)) AS id`, i, bigqueryRows))
	}
	for _, statement := range statements {
		if err == nil {
			err = e.post(ctx, "queries", map[string]any{"useLegacySql": false, "query": statement})
		}
	}
	return err
}

func (e *warehouse) post(ctx context.Context, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.rest+"/bigquery/v2/projects/"+bigqueryProject+"/"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %.300s (%w)", path, answer.Status, text, err)
	}
	return nil
}

func newFakeWarehouse(ctx context.Context) (*warehouse, error) {
	fake, stop, err := bigquerytest.Start(ctx)
	if err != nil {
		return nil, err
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "customer", Type: arrow.PrimitiveTypes.Int64}, {Name: "amount", Type: arrow.PrimitiveTypes.Float64},
		{Name: "status", Type: arrow.BinaryTypes.String}, {Name: "note", Type: arrow.BinaryTypes.String},
	}, nil)
	var batches []arrow.RecordBatch
	b := array.NewRecordBuilder(allocator.DefaultAllocator, schema)
	defer b.Release()
	for id := int64(1); id <= bigqueryRows; id++ {
		b.Field(0).(*array.Int64Builder).Append(id)
		b.Field(1).(*array.Int64Builder).Append(id * 7919 % 100003)
		b.Field(2).(*array.Float64Builder).Append(float64(id%100000) / 100)
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprint("status_", id%5))
		b.Field(4).(*array.StringBuilder).Append(fmt.Sprint("note ", id))
		if id%20_000 == 0 {
			batches = append(batches, b.NewRecordBatch())
		}
	}
	for i := range bigqueryTables {
		fake.Put(bigquerytest.Table{Project: bigqueryProject, Dataset: "crm", Name: fmt.Sprintf("orders_%d", i), Batches: batches, Modified: time.Now(),
			Fields: bigquerytest.Fields("id", "INTEGER", "customer", "INTEGER", "amount", "FLOAT", "status", "STRING", "note", "STRING")})
	}
	return &warehouse{name: "the fake of our tests (bqemulator is not installed)", rest: fake.Endpoint, storage: fake.StorageEndpoint, stop: stop}, nil
}

// benchBigQuery copies tables of BigQuery into parts, beside a bare client that reads them and drops what comes.
func benchBigQuery(ctx context.Context, w *workplace) ([]row, error) {
	from, err := newWarehouse(ctx, w)
	if err != nil {
		return nil, err
	}
	defer from.stop()
	s, err := w.startWith(ctx, "bigquery", "sources:\n  - {name: bq, type: bigquery, project: "+bigqueryProject+"}\n",
		"BIGQUERY_EMULATOR_HOST="+from.rest, "BIGQUERY_STORAGE_EMULATOR_HOST="+from.storage)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	for i := range bigqueryTables {
		if err := s.registerBigQuery(ctx, fmt.Sprintf("orders_%d", i)); err != nil {
			return nil, err
		}
	}
	var copies, reads []time.Duration
	for i := range bigqueryTables { // in turn, so that both see the same weather
		name := fmt.Sprintf("orders_%d", i)
		took, err := s.timed(ctx, func() error { return s.syncTables(ctx, false, name) })
		if err != nil {
			return nil, err
		}
		copies = append(copies, took)
		t, _, err := s.partFilesOf("bq", name)
		if err != nil {
			return nil, err
		}
		if t.Rows != bigqueryRows {
			return nil, fmt.Errorf("%s has %d rows", name, t.Rows)
		}
		took, err = s.timed(ctx, func() error { return from.drain(ctx, name) })
		if err != nil {
			return nil, err
		}
		reads = append(reads, took)
	}
	ours, beside := percentile(copies, 0.5)/1000, percentile(reads, 0.5)/1000
	rows := []row{atLeast("BigQuery: local copy → published", "rows/s", bigqueryRows/ours, bigqueryRows/beside, 0.7, fmt.Sprintf("10 M rows × 5 columns of %s; beside: a bare client that drops the same Arrow", from.name))}
	if !from.queries {
		return rows, nil
	}
	joined, err := s.semiJoin(ctx)
	return append(rows, joined), err
}

// drain reads a table as a bare client does that drops what it gets.
func (e *warehouse) drain(ctx context.Context, table string) error {
	const of = "projects/" + bigqueryProject
	rows, err := bigquerytest.Drain(ctx, e.storage, of, of+"/datasets/crm/tables/"+table, 8)
	if err == nil && rows != bigqueryRows {
		err = fmt.Errorf("the bare client read %d rows", rows)
	}
	return err
}

func (s *server) registerBigQuery(ctx context.Context, name string) error {
	table := map[string]any{"name": name, "source": "bq", "bucket": "crm", "source_table": name, "sync_schedule": "daily 03:00"}
	return s.call(ctx, http.MethodPost, "/api/admin/register-table", table, nil)
}

// semiJoin joins a registered query to a local table that one row in a thousand matches, with the keys of the
// table sent along and without, and counts the rows that travel.
func (s *server) semiJoin(ctx context.Context) (row, error) {
	if err := s.registerBigQuery(ctx, "few"); err != nil {
		return row{}, err
	}
	if err := s.syncTables(ctx, false, "few"); err != nil {
		return row{}, err
	}
	travelled := func(keys bool) (float64, error) {
		var answer struct {
			Rows  [][]any
			Stats struct{ Parts []struct{ Rows float64 } } `json:"bq_stats"`
		}
		err := s.call(ctx, http.MethodPost, "/api/query/hybrid", map[string]any{
			"sql": "SELECT count(*), min(e.note) FROM bq.few f JOIN e ON e.id = f.id", "register_bq": map[string]string{"e": "SELECT * FROM crm.events"}, "semi_join": keys,
		}, &answer)
		if err != nil {
			return 0, err
		}
		if len(answer.Stats.Parts) != 1 || fmt.Sprint(answer.Rows) != fmt.Sprintf("[[%d event 1000]]", fewRows) {
			return 0, fmt.Errorf("the join answered %v", answer)
		}
		return answer.Stats.Parts[0].Rows, nil
	}
	with, err := travelled(true)
	if err != nil {
		return row{}, err
	}
	without, err := travelled(false)
	return atMost("BigQuery: rows that travel in a 1 : 1,000 join", "rows", with, without, 0.02, "a registered query joined to a local table; beside: no keys sent along"), err
}
