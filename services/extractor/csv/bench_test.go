package csv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// BenchmarkExtract holds a whole run over a CSV of a million rows against a bare COPY of the same file.
func BenchmarkExtract(b *testing.B) {
	const rows = 1_000_000
	h := newHouse(b, `{}`)
	db, err := lake.Open(context.Background(), lake.Options{MemoryBytes: 2 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	path := h.file("orders.csv")
	query := fmt.Sprintf(`COPY (SELECT i AS id, (hash(i) %% 100000)::INT AS customer_id, DATE '2024-01-01' + (i %% 700)::INT AS day,
		TIMESTAMP '2024-01-01' + INTERVAL (i) SECOND AS created_at, (hash(i * 3) %% 1000000 / 100.0)::DECIMAL(12,2) AS amount,
		'status_' || (i %% 5) AS status, 'product ' || (hash(i * 7) %% 5000) AS product, i %% 3 = 0 AS flag,
		lpad((hash(i * 11) %% 99999)::VARCHAR, 5, '0') AS zip, 'some text, with a comma ' || i AS note
		FROM range(%d) t(i)) TO %s`, rows, lake.QuoteLiteral(path))
	if _, err := db.Exec(query); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	cfg := extract.RunConfig{
		Connector: Connector, Source: h.source(), Force: true,
		Registry: []*agnesv1.RegisteredTable{{Name: "orders", Source: "shop", SourceTable: "orders.csv"}},
	}
	var ours, beside time.Duration
	for b.Loop() {
		if err := os.RemoveAll(filepath.Join(h.dir, "data")); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if _, err := extract.Run(context.Background(), cfg); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		start = time.Now()
		if _, err := db.Exec(fmt.Sprintf("COPY (FROM read_csv(%s)) TO %s (FORMAT parquet, COMPRESSION zstd)", lake.QuoteLiteral(path), lake.QuoteLiteral(h.dir+"/bare.parquet"))); err != nil {
			b.Fatal(err)
		}
		beside += time.Since(start)
	}
	b.ReportMetric(beside.Seconds()/ours.Seconds(), "×copy")
}
