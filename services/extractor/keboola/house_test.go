package keboola

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// impatient makes a client that waits for nothing long.
func impatient(c *storage.Config) {
	c.PollFirst, c.PollMost, c.Retries, c.CallTimeout, c.JobTimeout = time.Millisecond, 5*time.Millisecond, 2, 20*time.Second, 2*time.Second
}

// house is a project and the tables that are registered of it.
type house struct {
	tb        testing.TB
	project   *keboolatest.Project
	dir       string
	options   map[string]any
	connector extract.Connector
	registry  []*agnesv1.RegisteredTable
}

func newHouse(tb testing.TB, cfg keboolatest.Config) *house {
	tb.Helper()
	p := keboolatest.New(cfg)
	tb.Cleanup(p.Close)
	return &house{
		tb: tb, project: p, dir: tb.TempDir(), connector: sources{client: impatient}.connector(),
		options: map[string]any{"stack_url": p.URL, "token": keboolatest.DefaultToken},
	}
}

// register registers a table of the bucket in.c-crm under its own name.
func (h *house) register(name, strategy string, key []string, options string) {
	h.registry = append(h.registry, &agnesv1.RegisteredTable{
		Name: name, Source: "crm", Bucket: "in.c-crm", SourceTable: name, SyncStrategy: strategy, PrimaryKey: key, OptionsJson: options,
	})
}

func (h *house) config() extract.RunConfig {
	return extract.RunConfig{
		Connector: h.connector, Source: extract.SourceConfig{Name: "crm", Type: Type, Options: h.options, DataDir: h.dir, ConfigDir: h.dir},
		Registry: h.registry, Limits: extract.Limits{MemoryBytes: 512 << 20, Threads: 2, Tables: 4},
	}
}

// run extracts, and gives the outcomes by table.
func (h *house) run(change ...func(*extract.RunConfig)) map[string]*agnesv1.TableOutcome {
	h.tb.Helper()
	cfg := h.config()
	for _, c := range change {
		c(&cfg)
	}
	ready, err := extract.Run(context.Background(), cfg)
	if err != nil {
		h.tb.Fatalf("run: %v", err)
	}
	out := map[string]*agnesv1.TableOutcome{}
	for _, o := range ready.GetTables() {
		out[o.GetTable()] = o
	}
	return out
}

// want runs, and the table orders must have the outcome.
func (h *house) want(outcome string) *agnesv1.TableOutcome {
	h.tb.Helper()
	o := h.run()["orders"]
	if o.GetOutcome() != outcome {
		h.tb.Fatalf("%v, want %s", o, outcome)
	}
	return o
}

func (h *house) table(name string) extract.VersionTable {
	h.tb.Helper()
	v, err := extract.OpenVersion(context.Background(), h.dir, "crm")
	if err != nil {
		h.tb.Fatal(err)
	}
	t, found := v.Table(name)
	if !found {
		h.tb.Fatalf("there is no table %s: %+v", name, v.Problems)
	}
	return t
}

// rows gives the result of a query over the table, which it calls t, as JSON.
func (h *house) rows(table, query string) string {
	h.tb.Helper()
	t := h.table(table)
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1})
	if err != nil {
		h.tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("CREATE VIEW t AS SELECT * FROM read_parquet(" + lake.QuoteList(t.Files) + ")"); err != nil {
		h.tb.Fatal(err)
	}
	var text string
	if err := db.QueryRow("SELECT coalesce(CAST(to_json(list(q)) AS VARCHAR), '[]') FROM (" + query + ") q").Scan(&text); err != nil {
		h.tb.Fatalf("%s: %v", query, err)
	}
	return text
}

// holds compares the rows of a query with JSON.
func (h *house) holds(table, query, want string) {
	h.tb.Helper()
	got := h.rows(table, query)
	var a, b any
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		h.tb.Fatalf("%v in %s", err, want)
	}
	_ = json.Unmarshal([]byte(got), &a)
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		h.tb.Errorf("%s: %s\nis   %s\nwant %s", table, query, x, y)
	}
}

// typed is metadata of columns: pairs of a column and its basetype, by the user.
func typed(pairs ...string) map[string][]keboolatest.Metadata {
	out := map[string][]keboolatest.Metadata{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = []keboolatest.Metadata{keboolatest.BaseType("user", pairs[i+1])}
	}
	return out
}
