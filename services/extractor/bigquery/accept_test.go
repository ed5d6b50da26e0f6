package bigquery

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// project is an upstream whose tables outlive the process, in a folder.
type project struct {
	tb     testing.TB
	dir    string
	server *bigquerytest.Server
	at     time.Time
}

func newProject(tb testing.TB, dir string) *project {
	tb.Helper()
	p := &project{tb: tb, dir: dir, server: bigquerytest.New(tb), at: time.Now()}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		var rows []extracttest.Row
		if err == nil {
			err = json.Unmarshal(raw, &rows)
		}
		if err != nil {
			tb.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			tb.Fatal(err)
		}
		p.put(strings.TrimSuffix(filepath.Base(path), ".json"), rows, info.ModTime())
	}
	return p
}

// Options name no address: labels carry it to the client of the test.
func (p *project) Options() map[string]any {
	return map[string]any{"project": "data-project", "labels": map[string]any{"rest": p.server.Endpoint, "storage": p.server.StorageEndpoint}}
}

func toFake(c *bigquery.Config) {
	c.Endpoint, c.StorageEndpoint = c.Labels["rest"], c.Labels["storage"]
	c.Limits = bigquery.Limits{Call: 2 * time.Second, Stall: time.Second, Pause: time.Millisecond}
}

func TestAcceptance(t *testing.T) {
	extracttest.Run(t, extracttest.Fixture{
		Connector: sources{client: toFake}.connector(),
		Upstream:  func(tb testing.TB, dir string) extracttest.Upstream { tb.Helper(); return newProject(tb, dir) },
		Register: func(table string) *agnesv1.RegisteredTable {
			return &agnesv1.RegisteredTable{Bucket: "main", SourceTable: table}
		},
		Columns: []catalog.Column{
			{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}, {Name: "at", Type: "TIMESTAMP WITH TIME ZONE"},
		},
	})
}

var rowSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "amount", Type: arrow.PrimitiveTypes.Float64}, {Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
}, nil)

func batches(rows []extracttest.Row) []arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, rowSchema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.Int64Builder).Append(r.ID)
		if r.Name == nil {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(*r.Name)
		}
		b.Field(2).(*array.Float64Builder).Append(r.Amount)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(r.At.UnixMicro()))
	}
	return []arrow.RecordBatch{b.NewRecordBatch()}
}

func (p *project) put(table string, rows []extracttest.Row, at time.Time) {
	p.server.Put(bigquerytest.Table{
		Project: "data-project", Dataset: "main", Name: table, Modified: at, Batches: batches(rows),
		Fields: bigquerytest.Fields("id", "INTEGER", "name", "STRING", "amount", "FLOAT", "at", "TIMESTAMP"),
	})
}

func (p *project) Put(table string, rows []extracttest.Row) {
	p.tb.Helper()
	raw, err := json.Marshal(rows)
	path := filepath.Join(p.dir, table+".json")
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	p.at = p.at.Add(time.Second)
	if err := os.Chtimes(path, p.at, p.at); err != nil {
		p.tb.Fatal(err)
	}
	p.put(table, rows, p.at)
}

func (p *project) Break(table string) {
	p.tb.Helper()
	p.server.Drop("data-project", "main", table)
	if err := os.Remove(filepath.Join(p.dir, table+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.tb.Fatal(err)
	}
}

func (p *project) BreakAll() { p.server.Set(bigquerytest.Faults{Revoked: true}) }

func (p *project) Mend() { p.server.Set(bigquerytest.Faults{}) }
