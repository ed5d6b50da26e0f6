package federation_test

import (
	"context"
	"errors"
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
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const mib = 1 << 20

// events is a table of BigQuery with a number of rows.
func events(rows int) bigquerytest.Table {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range rows {
		b.Append(int64(i))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	return bigquerytest.Table{
		Project: "acme", Dataset: "web", Name: "events", Bytes: 15 * mib, Fields: bigquerytest.Fields("id", "INTEGER"),
		Batches: []arrow.RecordBatch{array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, int64(rows))},
	}
}

const allEvents = "SELECT * FROM `acme.web.events`"

// house is a warehouse with what fetches from it.
type house struct {
	*bigquerytest.Server
	client *bigquery.Client
	hybrid *federation.Hybrid
	dir    string
}

func newHouse(t *testing.T, change func(*federation.HybridConfig, *federation.BudgetLimits)) house {
	t.Helper()
	s := bigquerytest.New(t)
	s.Put(events(1000))
	client, err := bigquery.Open(t.Context(), bigquery.Config{Project: "billing", Endpoint: s.Endpoint, StorageEndpoint: s.StorageEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	limits := federation.BudgetLimits{Query: -1, UserDay: 100 * mib, Day: -1}
	cfg := federation.HybridConfig{Dir: t.TempDir(), Rows: 5000, MemoryBytes: mib}
	if change != nil {
		change(&cfg, &limits)
	}
	cfg.Ledger = federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "budget.json")), limits)
	return house{s, client, federation.NewHybrid(cfg), cfg.Dir}
}

func (h house) ask(ctx context.Context, registered map[string]string) (*federation.Fetched, error) {
	plan, err := h.hybrid.Plan(ctx, h.client, federation.HybridQuestion{User: "ann", Registered: registered})
	if err != nil {
		return nil, err
	}
	return h.hybrid.Fetch(ctx, h.client, plan)
}

func TestTrap_B4_ARegisteredQueryIsRunOnceAndPaidOnce(t *testing.T) {
	h := newHouse(t, nil)
	fetched, err := h.ask(t.Context(), map[string]string{"e": allEvents, "f": allEvents + ";"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := lake.OpenSession(t.Context(), lake.SessionOptions{Views: fetched.Views})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	rows, err := session.Query(t.Context(), "SELECT count(*) AS n, sum(e.id) AS s FROM e JOIN f USING (id)")
	if err != nil || !rows.Next() || rows.RecordBatch().Column(0).ValueStr(0) != "1000" {
		t.Fatal("the rows are not there:", err)
	}
	rows.Close()
	use, err := h.hybrid.Use(t.Context(), "ann")
	if err != nil || h.Jobs() != 2 || use.User != 30*mib {
		t.Errorf("%d jobs, %d bytes counted, %v", h.Jobs(), use.User, err)
	}
	if err := fetched.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(h.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWhatIsAboveALimitIsRefusedByItsType(t *testing.T) {
	for kind, change := range map[string]func(*federation.HybridConfig, *federation.BudgetLimits){
		"BQ 'e': row_limit:":    func(c *federation.HybridConfig, _ *federation.BudgetLimits) { c.Rows = 999 },
		"BQ 'e': memory_limit:": func(c *federation.HybridConfig, _ *federation.BudgetLimits) { c.MemoryBytes = 100 },
		"Query: budget:":        func(_ *federation.HybridConfig, l *federation.BudgetLimits) { l.UserDay = 14 * mib },
	} {
		h := newHouse(t, change)
		_, err := h.ask(t.Context(), map[string]string{"e": allEvents})
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(fault.Message(err), kind) {
			t.Errorf("%s %v", kind, err)
		}
		if left, _ := os.ReadDir(h.dir); len(left) != 0 {
			t.Errorf("%s left behind: %v", kind, left)
		}
		if want := strings.HasPrefix(kind, "BQ"); want != (h.Jobs() == 1) {
			t.Errorf("%s %d jobs", kind, h.Jobs())
		}
	}
}

func TestATimeoutCancelsTheJobAndKeepsItsReservation(t *testing.T) {
	h := newHouse(t, func(c *federation.HybridConfig, _ *federation.BudgetLimits) { c.Timeout = 200 * time.Millisecond })
	h.Set(bigquerytest.Faults{SlowJobs: true})
	_, err := h.ask(t.Context(), map[string]string{"e": allEvents})
	if !strings.HasPrefix(fault.Message(err), "BQ 'e': timeout:") || len(h.Canceled()) != 1 {
		t.Errorf("%v, cancelled %v", err, h.Canceled())
	}
	if use, err := h.hybrid.Use(t.Context(), "ann"); err != nil || use.User != 15*mib {
		t.Errorf("a job that may be billed is free: %+v %v", use, err)
	}
	gone, leave := context.WithCancelCause(t.Context())
	go func() {
		<-h.Begun() // of the first
		<-h.Begun()
		leave(errors.New("the client is gone"))
	}()
	if _, err := newHouseOf(h).ask(gone, map[string]string{"e": allEvents}); err == nil || len(h.Canceled()) != 2 {
		t.Errorf("%v, cancelled %v", err, h.Canceled())
	}
}

// newHouseOf is the house without a timeout.
func newHouseOf(h house) house {
	h.hybrid = federation.NewHybrid(federation.HybridConfig{
		Dir: h.dir, Rows: -1, MemoryBytes: -1,
		Ledger: federation.NewLedger(federation.FileBudget(filepath.Join(h.dir, "budget.json")), federation.BudgetLimits{Query: -1, UserDay: -1, Day: -1}),
	})
	return h
}

func TestTrap_P1_WhatIsNotReadableIsAnsweredAsWhatIsNotThere(t *testing.T) {
	h := newHouse(t, nil)
	ask := func(sql string, readable bool) string {
		_, err := h.hybrid.Plan(t.Context(), h.client, federation.HybridQuestion{User: "ann", Registered: map[string]string{"e": sql}, Readable: func(ref bigquery.TableRef) bool {
			return readable && ref == (bigquery.TableRef{Project: "acme", Dataset: "web", Table: "events"})
		}})
		return fault.Message(err)
	}
	if got := ask(allEvents, true); got != "" {
		t.Error(got)
	}
	h.PutQuery("SELECT x FROM nowhere", bigquerytest.Table{}) // BigQuery does not tell what it reads
	for _, sql := range []string{allEvents, "SELECT x FROM nowhere"} {
		if got := ask(sql, false); !strings.Contains(got, "does not exist or is not granted to you") {
			t.Errorf("%s: %s", sql, got)
		}
	}
}
