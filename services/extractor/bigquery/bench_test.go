package bigquery

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/extract"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// BenchmarkCopy copies a table of two million rows, all in this process, beside a client that drops what comes.
func BenchmarkCopy(b *testing.B) {
	const rows = 2_000_000
	server := bigquerytest.New(b)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "customer", Type: arrow.PrimitiveTypes.Int64}, {Name: "amount", Type: arrow.PrimitiveTypes.Float64},
		{Name: "status", Type: arrow.BinaryTypes.String}, {Name: "note", Type: arrow.BinaryTypes.String},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	var batches []arrow.RecordBatch
	for id := int64(1); id <= rows; id++ {
		builder.Field(0).(*array.Int64Builder).Append(id)
		builder.Field(1).(*array.Int64Builder).Append(id * 7919 % 100003)
		builder.Field(2).(*array.Float64Builder).Append(float64(id%100000) / 100)
		builder.Field(3).(*array.StringBuilder).Append(fmt.Sprint("status_", id%5))
		builder.Field(4).(*array.StringBuilder).Append(fmt.Sprint("note ", id))
		if id%20_000 == 0 {
			batches = append(batches, builder.NewRecordBatch())
		}
	}
	server.Put(bigquerytest.Table{Project: "data-project", Dataset: "crm", Name: "orders", Batches: batches, Modified: time.Now(),
		Fields: bigquerytest.Fields("id", "INTEGER", "customer", "INTEGER", "amount", "FLOAT", "status", "STRING", "note", "STRING")})
	var ours, bare time.Duration
	for b.Loop() {
		began := time.Now()
		const project = "projects/data-project"
		if n, err := bigquerytest.Drain(context.Background(), server.StorageEndpoint, project, project+"/datasets/crm/tables/orders", 8); err != nil || n != rows {
			b.Fatal(n, err)
		}
		bare += time.Since(began)
		began = time.Now()
		cfg := extract.RunConfig{
			Connector: sources{client: toFake}.connector(),
			Source: extract.SourceConfig{Name: "bq", Type: "bigquery", DataDir: b.TempDir(), ConfigDir: b.TempDir(), Options: map[string]any{
				"project": "data-project", "labels": map[string]any{"rest": server.Endpoint, "storage": server.StorageEndpoint},
			}},
			Registry: []*agnesv1.RegisteredTable{{Name: "orders", Source: "bq", Bucket: "crm", SourceTable: "orders"}},
			Limits:   extract.Limits{MemoryBytes: 1 << 30, Tables: 1},
		}
		ready, err := extract.Run(context.Background(), cfg)
		if err != nil || ready.GetTables()[0].GetRows() != rows {
			b.Fatal(ready, err)
		}
		ours += time.Since(began)
	}
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "×bare")
	b.ReportMetric(rows*float64(b.N)/ours.Seconds(), "rows/s")
}
