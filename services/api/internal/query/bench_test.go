package query

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// million is a table of a million rows and eight columns.
func million(tb testing.TB) (*Engine, *Scope, *lake.DB, string) {
	tb.Helper()
	dir := tb.TempDir()
	v := tableOf(tb, dir, "million", `SELECT i AS id, 'customer ' || (i % 1000) AS customer, i % 7 AS kind, i * 1.25 AS amount, (i * 3)::DECIMAL(18,2) AS price,
		DATE '2020-01-01' + (i % 2000)::INTEGER AS day, TIMESTAMP '2020-01-01' + INTERVAL (i) SECOND AS seen, i % 3 = 0 AS paid FROM range(1000000) r(i)`)
	return engine(tb, Config{}), NewScope("million", []lake.View{v}), duck(tb), v.Files[0]
}

func mustRun(tb testing.TB, e *Engine, scope *Scope, user, media, sql string) Summary {
	tb.Helper()
	s, err := e.Run(context.Background(), Request{User: user, Scope: scope, SQL: sql, MediaType: media}, func() io.Writer { return io.Discard })
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// BenchmarkFormats writes a million rows in every format.
func BenchmarkFormats(b *testing.B) {
	e, scope, _, _ := million(b)
	for _, media := range MediaTypes() {
		b.Run(media, func(b *testing.B) {
			for b.Loop() {
				s := mustRun(b, e, scope, "ann", media, "FROM million")
				b.SetBytes(s.Bytes)
			}
		})
	}
}

// BenchmarkPeers is what DuckDB itself needs for the same.
func BenchmarkPeers(b *testing.B) {
	_, _, db, part := million(b)
	from := "read_parquet(" + lake.QuoteLiteral(part) + ")"
	for _, format := range []string{"json", "csv", "parquet"} {
		b.Run("copy "+format, func(b *testing.B) {
			target := filepath.Join(b.TempDir(), "x."+format)
			for b.Loop() {
				if _, err := db.ExecContext(context.Background(), "COPY (FROM "+from+") TO "+lake.QuoteLiteral(target)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("arrow", func(b *testing.B) {
		for b.Loop() {
			r, err := db.Arrow(context.Background(), "FROM "+from)
			if err != nil {
				b.Fatal(err)
			}
			for r.Next() {
			}
			r.Release()
		}
	})
}

// BenchmarkOneRow is a warm query of one row; its peer is the same in a plain DuckDB.
func BenchmarkOneRow(b *testing.B) {
	e, scope, db, part := million(b)
	const sql = "SELECT count(*) FROM million"
	b.Run("engine", func(b *testing.B) {
		for b.Loop() {
			mustRun(b, e, scope, "ann", TypeJSON, sql)
		}
	})
	if _, err := db.ExecContext(context.Background(), "CREATE VIEW million AS FROM read_parquet("+lake.QuoteLiteral(part)+")"); err != nil {
		b.Fatal(err)
	}
	b.Run("duckdb", func(b *testing.B) {
		for b.Loop() {
			var n int64
			if err := db.QueryRowContext(context.Background(), sql).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFairness has one user with 64 heavy queries at once, and measures the light ones of
// another: p50 and p99 in milliseconds.
func BenchmarkFairness(b *testing.B) {
	e, scope, _, _ := million(b)
	const heavy = "SELECT customer, day, count(*), sum(amount), count(DISTINCT seen) FROM million GROUP BY ALL ORDER BY 3 DESC LIMIT 5"
	const light = "SELECT count(*) FROM million WHERE id < 10"
	mustRun(b, e, scope, "bob", TypeJSON, light)
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 64 {
		wait.Go(func() {
			for ctx.Err() == nil {
				if _, err := e.Run(ctx, Request{User: "ann", Scope: scope, SQL: heavy, MediaType: TypeJSON}, func() io.Writer { return io.Discard }); err == nil {
					mu.Lock()
					done++
					mu.Unlock()
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	var took []time.Duration
	start := time.Now()
	for b.Loop() {
		begin := time.Now()
		mustRun(b, e, scope, "bob", TypeJSON, light)
		took = append(took, time.Since(begin))
	}
	mu.Lock()
	b.ReportMetric(float64(done)/time.Since(start).Seconds(), "heavy/s")
	mu.Unlock()
	cancel()
	wait.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
