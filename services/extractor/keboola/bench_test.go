package keboola

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// benchRows are those of the large table: 10 million are the goal's, AGNES_BENCH_ROWS says otherwise.
func benchRows() int64 {
	n, err := strconv.ParseInt(os.Getenv("AGNES_BENCH_ROWS"), 10, 64)
	if err != nil {
		return 1_000_000
	}
	return n
}

const benchSlices = 40

// exportedAs writes rows as an export of 40 gzip slices, by the ids of a query.
func exportedAs(b *testing.B, db *lake.DB, dir, ids, note string, slices int) (paths []string) {
	b.Helper()
	for i := range slices {
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.csv.gz", note, i))
		query := fmt.Sprintf(`COPY (SELECT i AS id, hash(i) %% 100000 AS customer, (TIMESTAMP '2024-01-01' + INTERVAL (i %% 50000000 + strlen(%s)) SECOND)::VARCHAR AS at,
			round((hash(i * 3) %% 1000000) / 100.0, 2) AS amount, 'status_' || ((i + strlen(%s)) %% 5) AS status, 'product ' || (hash(i * 7) %% 5000) AS product,
			i %% 3 = 0 AS flag, %s || i AS note FROM (%s) q(i) WHERE (i // 1000) %% %d = %d) TO %s (FORMAT csv, HEADER false, COMPRESSION gzip, FORCE_QUOTE *)`,
			lake.QuoteLiteral(note), lake.QuoteLiteral(note), lake.QuoteLiteral(note+", some text "), ids, slices, i, lake.QuoteLiteral(path))
		if _, err := db.Exec(query); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// BenchmarkWarehouse holds a full refresh against a bare COPY of the same slices from the disk, and runs that
// merge 1 % of the rows, the newest or any, against a full refresh.
func BenchmarkWarehouse(b *testing.B) {
	rows := benchRows()
	ctx := context.Background()
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: 2 << 30, TempDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	dir := b.TempDir()
	whole := exportedAs(b, db, dir, fmt.Sprintf("SELECT * FROM range(%d)", rows), "first", benchSlices)
	newest := exportedAs(b, db, dir, fmt.Sprintf("SELECT * FROM range(%d, %d)", rows-rows/100, rows), "newest", 4)
	scattered := exportedAs(b, db, dir, fmt.Sprintf("SELECT * FROM range(%d) r(i) WHERE hash(i + 1) %% 100 = 0", rows), "scattered", 4)
	for b.Loop() {
		h := newHouse(b, keboolatest.Config{})
		var mu sync.Mutex
		delta := whole
		h.project.Answer(func(e keboolatest.Export) []string {
			mu.Lock()
			defer mu.Unlock()
			if e.ChangedSince.IsZero() {
				return whole
			}
			return delta
		})
		table := keboolatest.Table{ID: orders, Columns: []string{"id", "customer", "at", "amount", "status", "product", "flag", "note"}, PrimaryKey: []string{"id"},
			Metadata: typed("id", "INTEGER", "customer", "INTEGER", "at", "TIMESTAMP", "amount", "FLOAT", "flag", "BOOLEAN")}
		h.project.Put(table)
		h.project.Claim(orders, rows, 0)
		run := func(key []string, strategy string) (time.Duration, *agnesv1.TableOutcome) {
			h.registry = nil
			h.register("orders", strategy, key, "")
			cfg := h.config()
			cfg.Limits = extract.Limits{Tables: 1, MemoryBytes: 1 << 30}
			began := time.Now()
			ready, err := extract.Run(ctx, cfg)
			took := time.Since(began)
			if err != nil || ready.GetTables()[0].GetOutcome() != extract.OutcomeUpdated {
				b.Fatalf("%v: %v", ready, err)
			}
			return took, ready.GetTables()[0]
		}
		began := time.Now()
		if _, err := db.Exec(fmt.Sprintf("COPY (FROM read_csv(%s)) TO %s (FORMAT parquet, COMPRESSION zstd)", lake.QuoteList(whole), lake.QuoteLiteral(dir+"/bare.parquet"))); err != nil {
			b.Fatal(err)
		}
		bare := time.Since(began)
		plain, _ := run(nil, "")
		sorted, _ := run([]string{"id"}, strategyIncremental)
		b.ReportMetric(bare.Seconds(), "s-bare")
		b.ReportMetric(plain.Seconds(), "s-full")
		b.ReportMetric(bare.Seconds()/plain.Seconds(), "×copy")
		b.ReportMetric(sorted.Seconds(), "s-sorted")
		for _, d := range []struct {
			name  string
			paths []string
		}{{"newest", newest}, {"scattered", scattered}} {
			mu.Lock()
			delta = d.paths
			mu.Unlock()
			h.project.Claim(orders, rows, 0)
			took, o := run([]string{"id"}, strategyIncremental)
			b.ReportMetric(took.Seconds(), "s-"+d.name)
			b.ReportMetric(took.Seconds()/sorted.Seconds()*100, "%-"+d.name)
			b.ReportMetric(float64(o.GetPartsWritten()), "parts-"+d.name)
		}
	}
}
