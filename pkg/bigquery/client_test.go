package bigquery_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	bq "google.golang.org/api/bigquery/v2"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

var orders = bigquery.TableRef{Project: "data-project", Dataset: "crm", Table: "orders"}

// ordersTable has so many batches of ten rows.
func ordersTable(batches int) bigquerytest.Table {
	t := bigquerytest.Table{Project: orders.Project, Dataset: orders.Dataset, Name: orders.Table, Modified: time.UnixMilli(1_700_000_000_000), Bytes: 1000,
		Fields: []*bq.TableFieldSchema{{Name: "id", Type: "INTEGER"}, {Name: "name", Type: "STRING"}}}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	for i := range batches {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for j := range 10 {
			b.Field(0).(*array.Int64Builder).Append(int64(i*10 + j))
			b.Field(1).(*array.StringBuilder).Append("a name")
		}
		t.Batches = append(t.Batches, b.NewRecordBatch())
		b.Release()
	}
	return t
}

func open(t *testing.T, s *bigquerytest.Server) *bigquery.Client {
	t.Helper()
	c, err := bigquery.Open(t.Context(), bigquery.Config{Project: "billing-project", Endpoint: s.Endpoint, StorageEndpoint: s.StorageEndpoint,
		Limits: bigquery.Limits{Stall: 100 * time.Millisecond, Pause: time.Millisecond, Resumes: 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ids reads a result: how often each id came.
func ids(t *testing.T, r *bigquery.Result, err error) (map[int64]int, error) {
	t.Helper()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	seen := map[int64]int{}
	for r.Reader().Next() {
		for _, id := range r.Reader().RecordBatch().Column(0).(*array.Int64).Int64Values() {
			seen[id]++
		}
	}
	return seen, r.Reader().Err()
}

func wantIDs(t *testing.T, seen map[int64]int, err error, want int) {
	t.Helper()
	if err != nil || len(seen) != want {
		t.Fatalf("%d rows, not %d: %v", len(seen), want, err)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("row %d came %d times", id, n)
		}
	}
}

func TestReadTable(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(30))
	c := open(t, s)
	r, err := c.Read(t.Context(), orders, bigquery.ReadOptions{})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 300)
	r, err = c.Read(t.Context(), orders, bigquery.ReadOptions{Limit: 15})
	seen, err = ids(t, r, err)
	wantIDs(t, seen, err, 15)
	if _, err := c.Read(t.Context(), bigquery.TableRef{Project: "data-project", Dataset: "crm", Table: "nothing"}, bigquery.ReadOptions{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	names, err := c.Datasets(t.Context(), "data-project")
	if err != nil || len(names) != 1 || names[0] != "crm" {
		t.Errorf("%v: %v", names, err)
	}
}

func TestTrap_B1_AStreamThatStallsIsResumedAndThenGivenUp(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(6))
	c := open(t, s)
	s.Set(bigquerytest.Faults{Stalls: 2, Cuts: 2})
	r, err := c.Read(t.Context(), orders, bigquery.ReadOptions{})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 60)
	s.Set(bigquerytest.Faults{RevokedStreams: true})
	r, err = c.Read(t.Context(), orders, bigquery.ReadOptions{})
	if _, err = ids(t, r, err); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a revoked token: %v", err)
	}
}

func TestRowsThatCameAreNeverLeftOutInSilence(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(6))
	c := open(t, s)
	s.Set(bigquerytest.Faults{EndedSchema: true})
	r, err := c.Read(t.Context(), orders, bigquery.ReadOptions{})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 60)
	s.Set(bigquerytest.Faults{EndedBatches: true})
	r, err = c.Read(t.Context(), orders, bigquery.ReadOptions{})
	if seen, err = ids(t, r, err); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an end between the batches: %d rows of 60, and the error %v", len(seen), err)
	}
}

func TestAResultThatSessionsDoNotFindComesByREST(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(3))
	s.Set(bigquerytest.Faults{LostResults: true})
	c := open(t, s)
	r, err := c.Run(t.Context(), bigquery.Query{SQL: "SELECT * FROM " + orders.SQL()})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 30)
	if s.Jobs() != 1 {
		t.Errorf("%d jobs", s.Jobs())
	}
}

func TestTrap_B5_AViewIsReadByAQueryJob(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	view := ordersTable(3)
	view.Kind = "VIEW"
	s.Put(view)
	c := open(t, s)
	r, err := c.Read(t.Context(), orders, bigquery.ReadOptions{MaxBytesBilled: 2000})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 30)
	if s.Jobs() != 1 {
		t.Errorf("%d jobs", s.Jobs())
	}
	if _, err := c.Read(t.Context(), orders, bigquery.ReadOptions{MaxBytesBilled: 10}); !fault.Is(err, fault.TooLarge) {
		t.Errorf("above the limit: %v", err)
	}
}

func TestRowsComeByRESTWhereSessionsAreDenied(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(3))
	s.Set(bigquerytest.Faults{DenySessions: true})
	c := open(t, s)
	r, err := c.Read(t.Context(), orders, bigquery.ReadOptions{})
	seen, err := ids(t, r, err)
	wantIDs(t, seen, err, 30)
	r, err = c.Run(t.Context(), bigquery.Query{SQL: "SELECT * FROM " + orders.SQL()})
	seen, err = ids(t, r, err)
	wantIDs(t, seen, err, 30)
}

func TestTheEndOfAContextCancelsTheJob(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(1))
	s.Set(bigquerytest.Faults{SlowJobs: true})
	c := open(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-s.Begun(); cancel() }()
	_, err := c.Run(ctx, bigquery.Query{SQL: "SELECT * FROM " + orders.SQL()})
	if !errors.Is(err, context.Canceled) || len(s.Canceled()) != 1 {
		t.Errorf("%v; cancelled: %v", err, s.Canceled())
	}
}

func TestTrap_B3_DryRunAndFailures(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t)
	s.Put(ordersTable(1))
	c := open(t, s)
	e, err := c.DryRun(t.Context(), bigquery.Query{SQL: "SELECT * FROM " + orders.SQL()})
	if err != nil || e.Bytes != 1000 || e.StatementType != "SELECT" || len(e.Columns) != 2 || s.Jobs() != 0 {
		t.Errorf("%+v: %v", e, err)
	}
	if _, err := c.DryRun(t.Context(), bigquery.Query{SQL: "SELEC"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an estimate that failed: %v", err)
	}
	s.Set(bigquerytest.Faults{FailJobs: "resourcesExceeded"})
	if _, err := c.Run(t.Context(), bigquery.Query{SQL: "SELECT * FROM " + orders.SQL()}); !fault.Is(err, fault.TooLarge) {
		t.Errorf("%v", err)
	}
}
