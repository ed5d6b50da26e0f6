package orchestrator

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/serverdb"
)

// running is a service on a bus, with what it publishes.
type running struct {
	*house
	bus       *event.Bus
	cfg       Config
	published *eventtest.Events[*agnesv1.AnalyticsPublished]
	profiled  *eventtest.Events[*agnesv1.TableProfiled]
}

func newRunning(t *testing.T) *running {
	t.Helper()
	bus := eventtest.Bus(t)
	r := &running{house: newHouse(t, nil), bus: bus}
	if err := service.LoadEnv(&r.cfg); err != nil {
		t.Fatal(err)
	}
	r.cfg.DataDir, r.cfg.ConfigDir, r.cfg.Bus = r.dir, t.TempDir(), bus
	r.cfg.ServerDB = 10 * time.Millisecond
	r.published = eventtest.Collect(t, bus, event.AnalyticsPublished)
	r.profiled = eventtest.Collect(t, bus, event.TableProfiled)
	return r
}

// start runs the service until stop is called, which a test's end does too.
func (r *running) start() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, r.cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *running) say(source string, runIDs ...string) {
	r.t.Helper()
	if err := event.Publish(r.t.Context(), r.bus, event.ExtractReady, source, &agnesv1.ExtractReady{RunIds: runIDs}); err != nil {
		r.t.Fatal(err)
	}
}

var simple = []string{metaTable, "CREATE TABLE t AS SELECT i AS v FROM range(7) r(i)", metaRow("t", "local")}

func TestAnAnnouncementWithoutWordsIsPublishedProfiledAndInServerDB(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	stop := r.start()
	r.sql("ext", simple...)
	r.say("ext")
	m := r.published.Next().Payload
	if said(m) != " +t" || m.GetGeneration() != 1 || m.GetTables()[0].GetRows() != 7 {
		t.Errorf("published %v", m)
	}
	p := r.profiled.Next()
	if p.Payload.GetHash() != m.GetTables()[0].GetHash() || p.Payload.GetTable() != "t" || p.Payload.GetProfile().GetFields()["row_count"].GetNumberValue() != 7 {
		t.Errorf("profiled %v", p.Payload)
	}
	eventually(t, func() bool {
		_, err := os.Stat(serverdb.Path(r.dir))
		return err == nil && r.askStanding("SELECT count(*) FROM duckdb_views() WHERE schema_name = 'ext'") == "1"
	})
	stop()
	if got := r.askStanding("SELECT sum(v) FROM ext.t"); got != "21" {
		t.Errorf("server.duckdb says %s", got)
	}
	// A new process finds nothing to do: no publication, no profile a second time.
	r.start()
	r.published.None(300 * time.Millisecond)
	r.profiled.None(10 * time.Millisecond)
}

func eventually(tb testing.TB, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(eventtest.Patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("waited in vain")
		}
	}
}

func TestTrap_E5_ABurstLosesNoRunAndNoTable(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	metrics := prometheus.NewRegistry()
	r.cfg.Metrics = metrics
	r.sql("a", simple...)
	r.sql("b", simple...)
	const burst = 120
	for i := range burst {
		r.say([]string{"a", "b"}[i%2], fmt.Sprint("run-", i))
	}
	r.start()
	answered := map[string]int{}
	for len(answered) < burst {
		m := r.published.Next().Payload
		for _, id := range m.GetRunIds() {
			answered[id]++
		}
		if slices.ContainsFunc(m.GetTables(), func(c *agnesv1.TableChange) bool { return c.GetChange() != changeAdded }) {
			t.Fatalf("a table vanished or changed in the burst: %v", m)
		}
	}
	if n := counted(t, metrics, "agnes_orchestrator_rebuilds_total"); n > burst/4 {
		t.Errorf("%d announcements took %v rebuilds", burst, n)
	}
	if r.tables("a") != " t" || r.tables("b") != " t" {
		t.Errorf("published%s and%s", r.tables("a"), r.tables("b"))
	}
}

// counted sums a counter over its labels.
func counted(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestReconciliationFindsWhatNobodyAnnounced(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	r.sql("a", simple...)
	r.sql("gone", simple...)
	stop := r.start()
	for range 2 {
		r.published.Next()
	}
	stop()
	// While nobody is there: one changes, one is new, one goes.
	r.sql("a", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	r.sql("new", simple...)
	r.remove("extracts/gone")
	stop = r.start()
	got := map[string]string{}
	for range 3 {
		e := r.published.Next()
		got[e.Source] = said(e.Payload)
	}
	if got["a"] != " ~t" || got["new"] != " +t" || got["gone"] != " -t" {
		t.Errorf("published %v", got)
	}
	stop()
	// The periodic one.
	r.cfg.Reconcile = 50 * time.Millisecond
	r.start()
	r.published.None(100 * time.Millisecond)
	r.sql("later", simple...)
	if e := r.published.Next(); e.Source != "later" {
		t.Errorf("published %v", e)
	}
}

func TestABadSourceNameIsADeadLetterAndStopsNobody(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	r.start()
	r.sql("good", simple...)
	if err := event.Publish(t.Context(), r.bus, event.ExtractReady, "", &agnesv1.ExtractReady{}); err != nil {
		t.Fatal(err)
	}
	r.say("good")
	if e := r.published.Next(); e.Source != "good" {
		t.Errorf("published %v", e)
	}
	eventually(t, func() bool {
		letters, err := r.bus.DeadLetters(t.Context(), event.LetterFilter{})
		return err == nil && len(letters) == 1
	})
}

func TestProfilesHonourTheRegistry(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	sub, err := event.Serve(t.Context(), r.bus, event.ListRegistry, func(_ context.Context, q *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
		return &agnesv1.ListRegistryResponse{Tables: []*agnesv1.RegisteredTable{
			{Id: "the-id", Name: "wanted", Source: q.GetSource(), ProfileAfterSync: true, PrimaryKey: []string{"k"}, SyncStrategy: "full_refresh"},
			{Id: "other", Name: "unwanted", Source: q.GetSource()},
		}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = event.StopAll(eventtest.Patience, sub) }()
	r.sql("s", metaTable, "CREATE TABLE unwanted AS SELECT 1 AS k", "CREATE TABLE wanted AS SELECT 1 AS k FROM range(3)", metaRow("unwanted", "local"), metaRow("wanted", "local"))
	r.start()
	p := r.profiled.Next().Payload
	fields := p.GetProfile().GetFields()
	if p.GetTable() != "wanted" || fields["table_id"].GetStringValue() != "the-id" || fields["duplicate_rows"].GetNumberValue() != 2 {
		t.Errorf("profiled %v", p)
	}
	r.profiled.None(200 * time.Millisecond)
}

func TestTheConfigurationIsReadAgain(t *testing.T) {
	t.Parallel()
	r := newRunning(t)
	r.cfg.Reconcile = 50 * time.Millisecond
	r.sql("s", metaTable, "CREATE TABLE _remote_attach AS SELECT 'bq' AS alias, 'bigquery' AS extension, 'project=acme' AS url, '' AS token_env", metaRow("far", "remote"),
		"ATTACH ':memory:' AS bq", "CREATE SCHEMA bq.shop", "CREATE TABLE bq.shop.orders(v BIGINT)", "CREATE VIEW far AS SELECT * FROM bq.shop.orders")
	r.start()
	m := r.published.Next().Payload
	if len(m.GetTables()) != 0 || len(m.GetProblems()) != 2 {
		t.Fatalf("published %v", m)
	}
	if err := os.WriteFile(r.cfg.ConfigDir+"/instance.yaml", []byte("remote_attach: {extensions: [bigquery], hosts: ['project=acme']}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m = r.published.Next().Payload
	if said(m) != " +far" || len(m.GetProblems()) != 0 {
		t.Errorf("after it was allowed: %v", m)
	}
	s, err := catalog.LoadSource(r.dir, "s")
	if err != nil || s.Tables[0].RemoteSQL == "" || len(s.Remotes) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
