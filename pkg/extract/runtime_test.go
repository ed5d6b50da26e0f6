package extract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const patience = 20 * time.Second

// api is the part of the api that extractors ask.
type api struct {
	mu     sync.Mutex
	tables []*agnesv1.RegisteredTable
	away   bool
	asked  atomic.Int32
}

func (a *api) list(_ context.Context, r *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
	a.asked.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, fault.New(fault.Unavailable, "starting")
	}
	var out []*agnesv1.RegisteredTable
	for _, t := range a.tables {
		if r.GetSource() == "" || t.GetSource() == r.GetSource() {
			out = append(out, t)
		}
	}
	return &agnesv1.ListRegistryResponse{Tables: out}, nil
}

func (a *api) register(_ context.Context, r *agnesv1.RegisterTablesRequest) (*agnesv1.RegisterTablesResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := &agnesv1.RegisterTablesResponse{}
	for _, t := range r.GetTables() {
		a.tables = append(a.tables, t)
		answer.Registered = append(answer.Registered, t.GetName())
	}
	return answer, nil
}

func (a *api) setAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

// stage is a runtime on a bus of its own.
type stage struct {
	t       *testing.T
	bus     *event.Bus
	api     *api
	src     *scripted
	cfg     RuntimeConfig
	rt      *serving
	ready   chan *agnesv1.ExtractReady
	failed  chan *agnesv1.ExtractFailed
	stopped chan error
	stop    context.CancelFunc
}

func newStage(t *testing.T, tables ...string) *stage {
	t.Helper()
	s := &stage{
		t: t, bus: eventtest.Bus(t), src: &scripted{watching: make(chan func(...string), 1)}, api: &api{tables: register(tables...)},
		ready: make(chan *agnesv1.ExtractReady, 64), failed: make(chan *agnesv1.ExtractFailed, 64),
	}
	s.cfg = RuntimeConfig{
		Connector: s.src.connector(), Bus: s.bus, DataDir: t.TempDir(), StopBudget: 5 * time.Second,
		Sources: []SourceConfig{{Name: "src", Type: "scripted"}},
		Limits:  Limits{MemoryBytes: 256 << 20, Threads: 1},
	}
	subs := []*event.Subscription{
		must(event.Serve(t.Context(), s.bus, event.ListRegistry, s.api.list))(t),
		must(event.Serve(t.Context(), s.bus, event.RegisterTables, s.api.register))(t),
		must(event.Listen(t.Context(), s.bus, event.ExtractReady, event.Listener{}, send(s.ready)))(t),
		must(event.Listen(t.Context(), s.bus, event.ExtractFailed, event.Listener{}, send(s.failed)))(t),
	}
	t.Cleanup(func() { _ = event.StopAll(time.Second, subs...) })
	return s
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func send[M proto.Message](to chan M) event.Handler[M] {
	return func(_ context.Context, e event.Event[M]) error {
		to <- e.Payload
		return nil
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func (s *stage) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	rt, err := newRuntime(ctx, s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.rt, s.stop, s.stopped = rt, cancel, make(chan error, 1)
	go func() { s.stopped <- rt.serve(ctx) }()
	s.t.Cleanup(s.end)
}

func (s *stage) end() {
	s.stop()
	select {
	case err := <-s.stopped:
		if err != nil {
			s.t.Errorf("Serve: %v", err)
		}
		s.stopped <- nil
	case <-time.After(patience):
		s.t.Error("Serve did not stop")
	}
}

func (s *stage) request(source string, r *agnesv1.ExtractRequested) {
	s.t.Helper()
	if err := event.Publish(s.t.Context(), s.bus, event.ExtractRequested, source, r, event.Key("scripted")); err != nil {
		s.t.Fatal(err)
	}
}

func TestServeRunsWhatIsRequested(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.src.query("a", "SELECT 1 AS id")
	s.src.query("b", "SELECT 1 AS id")
	metrics := prometheus.NewRegistry()
	s.cfg.Metrics = metrics
	if _, err := newMetrics(metrics); err != nil { // of another connector in this process
		t.Fatal(err)
	}
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "run-1"})
	ready := receive(t, s.ready, "extract.ready")
	if !ready.GetChanged() || !slices.Equal(ready.GetRunIds(), []string{"run-1"}) || len(ready.GetTables()) != 2 {
		t.Fatalf("ready %v", ready)
	}
	s.request("src", &agnesv1.ExtractRequested{RunId: "run-2", Tables: []string{"b"}})
	if ready = receive(t, s.ready, "extract.ready"); ready.GetChanged() || len(ready.GetTables()) != 1 {
		t.Fatalf("ready %v", ready)
	}
	if families, err := metrics.Gather(); err != nil || len(families) != 3 {
		t.Fatalf("metrics %v: %v", families, err)
	}
}

// Requests that come while a run is under way become one run: all tables, by force, for all of them.
// The runs of a Serve pass an instance on, which ends with it, and so does its scratch.
func TestServeClosesWhatItKeeps(t *testing.T) {
	t.Parallel()
	s := newStage(t, "t")
	patched(s.src, "SELECT 1 AS id")
	s.start()
	var last []*instance
	for n := range 2 {
		s.request("src", &agnesv1.ExtractRequested{Force: true})
		receive(t, s.ready, "the version")
		kept := s.rt.warm.kept()
		if len(kept) == 0 || n > 0 && kept[0] != last[0] {
			t.Errorf("%v are kept after %v", kept, last)
		}
		last = kept
	}
	s.end()
	if left, err := os.ReadDir(scratchRoot(s.cfg.DataDir)); err != nil || len(left) > 0 {
		t.Errorf("scratch is left: %v %v", left, err)
	}
	if err := last[0].db.PingContext(t.Context()); err == nil {
		t.Error("an instance is left open")
	}
}

func TestServeMergesRequests(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	gate, runs := make(chan struct{}), make(chan TableSpec, 64)
	for _, table := range []string{"a", "b"} {
		s.src.set(table, func(ctx context.Context, spec TableSpec, w *TableWriter) error {
			runs <- spec
			<-gate
			return w.Query(ctx, "SELECT 1 AS id", 0)
		})
	}
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "first", Tables: []string{"a"}})
	receive(t, runs, "the first run")
	for i := range 5 {
		s.request("src", &agnesv1.ExtractRequested{RunId: fmt.Sprintf("more-%d", i), Tables: []string{"ab"[i%2 : i%2+1]}, Force: i == 3})
	}
	s.waitWaiting(5)
	close(gate)
	if ready := receive(t, s.ready, "the first run"); !slices.Equal(ready.GetRunIds(), []string{"first"}) {
		t.Fatalf("first run %v", ready)
	}
	ready := receive(t, s.ready, "the merged run")
	if len(ready.GetRunIds()) != 5 || len(ready.GetTables()) != 2 || !(<-runs).Force {
		t.Fatalf("merged run %v", ready)
	}
}

// waitWaiting waits until so many requests wait at the source.
func (s *stage) waitWaiting(n int) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		q := s.rt.queues["src"]
		q.mu.Lock()
		waiting := len(q.pending)
		q.mu.Unlock()
		if waiting == n {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("%d requests did not gather", n)
}

func TestMerged(t *testing.T) {
	t.Parallel()
	w := func(id string, force bool, tables ...string) *waiting {
		return &waiting{request: &agnesv1.ExtractRequested{RunId: id, Force: force, Tables: tables}}
	}
	r, ids := merged([]*waiting{w("2", false, "b", "a"), w("1", true, "b"), w("", false, "c")})
	if !slices.Equal(r.GetTables(), []string{"a", "b", "c"}) || !r.GetForce() || !slices.Equal(ids, []string{"1", "2"}) {
		t.Fatalf("%v %v", r, ids)
	}
	if r, _ = merged([]*waiting{w("2", false, "b"), w("1", false)}); len(r.GetTables()) != 0 || r.GetForce() {
		t.Fatalf("one of all tables gave %v", r)
	}
}

// The api being away loses no run: it comes again, and nothing was emptied meanwhile.
func TestTrap_S2_RegistryAway(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.src.query("a", "SELECT 1 AS id")
	s.api.setAway(true)
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "patient"})
	deadline := time.Now().Add(patience)
	for s.api.asked.Load() == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	s.api.setAway(false)
	if ready := receive(t, s.ready, "the run"); ready.GetRunIds()[0] != "patient" || !ready.GetChanged() {
		t.Fatalf("ready %v", ready)
	}
	if len(s.failed) > 0 {
		t.Fatalf("a run that was to come again was announced as failed: %v", <-s.failed)
	}
}

func TestServeTellsOfRunsThatFail(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.src.openErr = fault.New(fault.Unauthenticated, "the token expired")
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "denied"})
	f := receive(t, s.failed, "extract.failed")
	if f.GetErrorKind() != "unauthenticated" || f.GetError() != "the token expired" || !slices.Equal(f.GetRunIds(), []string{"denied"}) {
		t.Fatalf("failed %v", f)
	}
	s.request("stranger", &agnesv1.ExtractRequested{RunId: "lost"})
	f = receive(t, s.failed, "extract.failed")
	if f.GetErrorKind() != "permanent" || f.GetSource() != "stranger" || !strings.Contains(f.GetError(), "stranger") {
		t.Fatalf("failed %v", f)
	}
}

// A run of another process is waited for, not joined.
func TestTrap_S3_TwoProcessesOneSource(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.src.query("a", "SELECT 1 AS id")
	if err := mkdir(SourceDir(s.cfg.DataDir, "src")); err != nil {
		t.Fatal(err)
	}
	unlock, ok, err := lake.TryLock(filepath.Join(SourceDir(s.cfg.DataDir, "src"), lockFile))
	if err != nil || !ok {
		t.Fatal(err)
	}
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "second"})
	deadline := time.Now().Add(patience)
	for s.api.asked.Load() < 2 && time.Now().Before(deadline) { // it tries, and tries again
		time.Sleep(5 * time.Millisecond)
	}
	if len(s.ready)+len(s.failed) > 0 {
		t.Fatal("a second run went on beside the first")
	}
	unlock()
	receive(t, s.ready, "the run")
}

// A version that was swapped in by a process that died before it told anybody is announced.
func TestVersionOfADeadProcessIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.src.query("a", "SELECT 1 AS id")
	cfg := runConfig(s.cfg.DataDir, s.src, s.api.tables...)
	mustRun(t, cfg)
	s.start()
	for _, changed := range []bool{true, false} {
		s.request("src", &agnesv1.ExtractRequested{})
		if ready := receive(t, s.ready, "extract.ready"); ready.GetChanged() != changed {
			t.Fatalf("changed is %v, want %v", ready.GetChanged(), changed)
		}
	}
	// A token is for the next run and no news.
	s.src.set("a", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		w.SetToken("remembered")
		return w.Query(ctx, "SELECT 1 AS id", 0)
	})
	s.request("src", &agnesv1.ExtractRequested{})
	if ready := receive(t, s.ready, "extract.ready"); ready.GetChanged() {
		t.Fatal("a token was announced as a change")
	}
	if mustVersion(t, s.cfg.DataDir).Tokens["token:a"] != "remembered" {
		t.Fatal("the token was not kept")
	}
}

// A stop cancels what does not end within the budget; its request comes again to the next process.
func TestStopGivesTheRequestBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	started := make(chan struct{}, 8)
	s.src.set("a", func(ctx context.Context, _ TableSpec, _ *TableWriter) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	s.cfg.StopBudget = 100 * time.Millisecond
	s.start()
	s.request("src", &agnesv1.ExtractRequested{RunId: "again"})
	receive(t, started, "the run")
	s.stop()
	if err := receive(t, s.stopped, "the end"); err != nil && !fault.Is(err, fault.Unavailable) {
		t.Fatal(err)
	}
	s.stopped <- nil
	if entries, err := os.ReadDir(filepath.Join(s.cfg.DataDir, "tmp")); err == nil && len(entries) > 0 {
		t.Fatalf("left in scratch: %v", entries)
	}
	s.src.query("a", "SELECT 1 AS id")
	s.start()
	if ready := receive(t, s.ready, "the run of the next process"); ready.GetRunIds()[0] != "again" {
		t.Fatalf("ready %v", ready)
	}
}

func TestDiscoverAndAutoRegister(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.src.query("b", "SELECT 1 AS id")
	s.src.found = []DiscoveredTable{{Name: "b", Rows: -1}, {Name: "a", Problem: "broken"}}
	s.cfg.Sources[0].Options = map[string]any{"auto_register": true, "watch": true}
	s.start()
	ready := receive(t, s.ready, "the first run of what was discovered")
	if mustOutcome(t, ready, "b", OutcomeUpdated); len(ready.GetTables()) != 1 {
		t.Fatalf("ready %v", ready)
	}
	answer, err := event.Call(t.Context(), s.bus, event.Discover("src"), &agnesv1.DiscoverRequest{Source: "src"})
	if err != nil || len(answer.GetTables()) != 2 || answer.GetTables()[0].GetProblem() != "broken" || answer.GetTables()[1].GetQueryMode() != "local" {
		t.Fatalf("discovered %v: %v", answer, err)
	}
	notify := receive(t, s.src.watching, "the watcher")
	s.src.query("b", "SELECT 2 AS id")
	notify("b", "not registered")
	mustOutcome(t, receive(t, s.ready, "the watched run"), "b", OutcomeUpdated)
}

func TestServeRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for name, change := range map[string]func(*RuntimeConfig){
		"no connector": func(c *RuntimeConfig) { c.Connector = Connector{} },
		"no bus":       func(c *RuntimeConfig) { c.Bus = nil },
		"no data":      func(c *RuntimeConfig) { c.DataDir = "" },
		"other type":   func(c *RuntimeConfig) { c.Sources = []SourceConfig{{Name: "x", Type: "other"}} },
		"bad name":     func(c *RuntimeConfig) { c.Sources = []SourceConfig{{Name: "../x", Type: "scripted"}} },
		"twice":        func(c *RuntimeConfig) { c.Sources = append(c.Sources, SourceConfig{Name: "SRC", Type: "scripted"}) },
	} {
		cfg := s.cfg
		change(&cfg)
		if err := Serve(t.Context(), cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeOptions(t *testing.T) {
	t.Parallel()
	var into struct {
		Path string `json:"path"`
	}
	cfg := SourceConfig{Name: "s", Options: map[string]any{"path": "x", "watch": true, "auto_register": true}}
	if err := cfg.Decode(&into); err != nil || into.Path != "x" {
		t.Fatal(err)
	}
	cfg.Options["pth"] = "y"
	if err := cfg.Decode(&into); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "pth") {
		t.Fatalf("a misspelt option: %v", err)
	}
}
