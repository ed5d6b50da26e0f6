package federation_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
)

// recording is a warehouse that remembers what was read.
type recording struct {
	*bigquery.Client
	read []bigquery.ReadOptions
	// blind has no query estimated.
	blind bool
}

func (r *recording) DryRun(ctx context.Context, q bigquery.Query) (bigquery.Estimate, error) {
	if r.blind {
		return bigquery.Estimate{}, fault.New(fault.Unavailable, "no answer of acme")
	}
	return r.Client.DryRun(ctx, q)
}

func (r *recording) ReadTable(ctx context.Context, t bigquery.Table, o bigquery.ReadOptions) (*bigquery.Result, error) {
	r.read = append(r.read, o)
	return r.Client.ReadTable(ctx, t, o)
}

func remoteEvents() federation.Table {
	return federation.Table{
		ID: "web.events", Remote: catalog.Remote{Alias: "bq", Extension: "bigquery", URL: "project=acme"}, Path: []string{"web", "events"},
		Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}},
	}
}

// blind are limits of a fetch that is not estimated.
var blind = federation.Limits{Rows: 42}

// fetchEvents fetches a scan of the table of the house within limits.
func fetchEvents(t *testing.T, h house, s federation.Scan, l federation.Limits, budget federation.BudgetLimits) (*recording, federation.Amount, federation.BudgetUse, error) {
	t.Helper()
	ledger := federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "budget.json")), budget)
	w := &recording{Client: h.client, blind: l == blind}
	fetcher, table, err := federation.OpenBigQueryTable(t.Context(), w, ledger.Spend("ann"), remoteEvents())
	if err != nil {
		t.Fatal(err)
	}
	amount, err := fetcher.Fetch(t.Context(), s, table, l, filepath.Join(t.TempDir(), "x.parquet"))
	use, usedErr := ledger.Use(t.Context(), "ann")
	if usedErr != nil {
		t.Fatal(usedErr)
	}
	return w, amount, use, err
}

func TestBigQueryTable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	filtered := federation.Scan{Table: "web.events", Columns: []string{"id"}, Any: [][]federation.Predicate{
		{{Column: "id", Op: federation.GreaterEqual, Values: []string{"5"}}, {Column: "id", Op: federation.IsNotNull}},
		{{Column: "id", Op: federation.In, Values: []string{"1", "2"}}},
	}}
	const where = "(`id` >= 5 AND `id` IS NOT NULL) OR (`id` IN (1, 2))"
	h.PutQuery("SELECT `id` FROM `acme.web.events` WHERE "+where+" LIMIT 5001", events(0))
	limits := federation.Limits{Rows: 5000, Bytes: mib}
	budget := federation.BudgetLimits{Query: -1, UserDay: 100 * mib, Day: -1}
	w, amount, use, err := fetchEvents(t, h, filtered, limits, budget)
	if err != nil || amount.Rows != 1000 || amount.Bytes == 0 {
		t.Fatalf("fetched %+v, %v", amount, err)
	}
	if len(w.read) != 1 || w.read[0].Filter != where || w.read[0].Limit != 5001 {
		t.Errorf("BigQuery was asked for %+v", w.read)
	}
	if use.User != 15*mib {
		t.Errorf("the budget was charged with %d bytes, want the estimate", use.User)
	}
	if _, _, use, err := fetchEvents(t, h, filtered, limits, federation.BudgetLimits{Query: mib, UserDay: -1, Day: -1}); !fault.Is(err, fault.TooLarge) || use.User != 0 {
		t.Errorf("above the limit of a query: %v, charged with %d", err, use.User)
	}
	h.PutQuery("SELECT `id` FROM `acme.web.events` WHERE "+where+" LIMIT 101", events(0))
	if _, _, _, err := fetchEvents(t, h, filtered, federation.Limits{Rows: 100}, budget); !fault.Is(err, fault.TooLarge) {
		t.Errorf("above the limit of rows: %v", err)
	}
	if _, _, use, err := fetchEvents(t, h, federation.All("web.events", remoteEvents().Columns), blind, budget); err == nil || use.User != 0 || strings.Contains(fault.Message(err), "acme") {
		t.Errorf("without an estimate: %v, charged with %d", err, use.User)
	}
}

// TestTrap_B5_ARemoteViewIsReadByAQueryJob: there are no streams of a view.
func TestTrap_B5_ARemoteViewIsReadByAQueryJob(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	view := events(10)
	view.Kind = "VIEW"
	h.Put(view)
	const sql = "SELECT `id` FROM `acme.web.events` LIMIT 3"
	h.PutQuery(sql, events(3))
	s := federation.Scan{Table: "web.events", Columns: []string{"id"}, Limit: 3}
	_, amount, use, err := fetchEvents(t, h, s, federation.Limits{Rows: 5000}, federation.BudgetLimits{Query: -1, UserDay: 100 * mib, Day: -1})
	if err != nil || amount.Rows != 3 || use.User == 0 {
		t.Errorf("fetched %+v, %v, charged with %d", amount, err, use.User)
	}
}

func TestBigQueryTableThatChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	ledger := federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "budget.json")), federation.BudgetLimits{})
	for name, change := range map[string]func(*federation.Table){
		"a column is gone": func(t *federation.Table) {
			t.Columns = append(t.Columns, catalog.Column{Name: "secret", Type: "VARCHAR"})
		},
		"the table is gone": func(t *federation.Table) { t.Path = []string{"web", "gone"} },
		"no project":        func(t *federation.Table) { t.Remote.URL = "acme" },
		"an evil dataset":   func(t *federation.Table) { t.Path = []string{"web`.x", "events"} },
	} {
		table := remoteEvents()
		change(&table)
		_, _, err := federation.OpenBigQueryTable(t.Context(), h.client, ledger.Spend("ann"), table)
		if !fault.Is(err, fault.Unavailable) || strings.Contains(fault.Message(err), "acme") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpendingCountsAStatementAsOne(t *testing.T) {
	t.Parallel()
	ledger := federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "budget.json")), federation.BudgetLimits{Query: 25 * mib, UserDay: -1, Day: -1})
	s := ledger.Spend("ann")
	if _, err := s.Reserve(t.Context(), 15*mib); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reserve(t.Context(), 15*mib); !fault.Is(err, fault.TooLarge) {
		t.Errorf("two parts over the limit of one statement: %v", err)
	}
	if _, err := ledger.Spend("ann").Reserve(t.Context(), 15*mib); err != nil {
		t.Errorf("another statement: %v", err)
	}
}
