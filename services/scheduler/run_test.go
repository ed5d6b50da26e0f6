package scheduler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a bus with a clock, a registry and somebody who takes the requests.
type house struct {
	t        *testing.T
	server   *embedded.Server
	bus      *event.Bus
	clock    *clockwork.FakeClock
	requests chan event.Event[*agnesv1.ExtractRequested]

	mu       sync.Mutex
	registry []*agnesv1.RegisteredTable
}

var monday = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func newHouse(t *testing.T, tables ...*agnesv1.RegisteredTable) *house {
	t.Helper()
	h := &house{
		t: t, server: eventtest.Server(t), clock: clockwork.NewFakeClockAt(monday), registry: tables,
		requests: make(chan event.Event[*agnesv1.ExtractRequested], 100),
	}
	h.bus = eventtest.Connect(t, h.server, "test")
	_, err := event.Serve(t.Context(), h.bus, event.ListRegistry, func(context.Context, *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return &agnesv1.ListRegistryResponse{Tables: slices.Clone(h.registry)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = event.Consume(t.Context(), h.bus, event.ExtractRequested, event.Consumer{Name: "extractor", Key: "csv"},
		func(_ context.Context, e event.Event[*agnesv1.ExtractRequested]) error { h.requests <- e; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func registered(source, name, schedule string) *agnesv1.RegisteredTable {
	return &agnesv1.RegisteredTable{Id: source + "_" + name, Name: name, Source: source, SourceType: "csv", SyncSchedule: schedule}
}

func (h *house) config() scheduler.Config {
	return scheduler.Config{
		Base:   service.Base{Metrics: prometheus.NewRegistry()},
		Reread: 5 * time.Minute, Timeout: 6 * time.Hour, RetryMin: time.Minute, RetryMax: time.Hour, LeaseTTL: 2 * time.Second, Clock: h.clock,
	}
}

// start runs a scheduler; the returned function stops it.
func (h *house) start(cfg scheduler.Config) (stop func()) {
	h.t.Helper()
	cfg.Bus = eventtest.Connect(h.t, h.server, "scheduler")
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- scheduler.Run(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				h.t.Errorf("the scheduler ended with %v", err)
			}
		case <-time.After(eventtest.Patience):
			h.t.Error("the scheduler does not stop")
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// settled waits until the scheduler has nothing to do but to wait for the clock.
func (h *house) settled() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), eventtest.Patience)
	defer cancel()
	if err := h.clock.BlockUntilContext(ctx, 1); err != nil {
		h.t.Fatal("the scheduler does not come to rest")
	}
}

// pass lets time go by in steps.
func (h *house) pass(d time.Duration) {
	h.t.Helper()
	for d > 0 {
		h.settled()
		step := min(d, 10*time.Second)
		h.clock.Advance(step)
		d -= step
	}
	h.settled()
}

func (h *house) next() event.Event[*agnesv1.ExtractRequested] {
	h.t.Helper()
	select {
	case e := <-h.requests:
		return e
	case <-time.After(eventtest.Patience):
		h.t.Fatal("nothing was requested")
		panic("unreachable")
	}
}

func (h *house) none() {
	h.t.Helper()
	select {
	case e := <-h.requests:
		h.t.Fatalf("%s was requested at %s: %v", e.Source, h.clock.Now(), e.Payload)
	case <-time.After(50 * time.Millisecond):
	}
}

func (h *house) state(key string) scheduler.State {
	h.t.Helper()
	var s scheduler.State
	e, err := h.bus.Bucket(event.BucketScheduler).Get(h.t.Context(), key)
	if err == nil {
		err = json.Unmarshal(e.Value, &s)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// until waits for a state.
func (h *house) until(key, what string, ok func(scheduler.State) bool) scheduler.State {
	h.t.Helper()
	for end := time.Now().Add(eventtest.Patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := h.state(key); ok(s) {
			h.settled()
			return s
		}
	}
	h.t.Fatalf("%s: %s is %+v", what, key, h.state(key))
	panic("unreachable")
}

// succeeded reports a good run of the request.
func (h *house) succeeded(e event.Event[*agnesv1.ExtractRequested]) {
	h.t.Helper()
	m := &agnesv1.ExtractReady{RunIds: []string{e.Payload.GetRunId()}, Source: e.Source, StartedAt: timestamppb.New(h.clock.Now())}
	for _, table := range e.Payload.GetTables() {
		m.Tables = append(m.Tables, &agnesv1.TableOutcome{Table: table, Outcome: "updated"})
	}
	h.ready(e.Source, m)
	for _, table := range e.Payload.GetTables() {
		h.until(e.Source+"/"+table, "success", func(s scheduler.State) bool { return s.Pending == nil })
	}
}

func (h *house) ready(source string, m *agnesv1.ExtractReady) {
	h.t.Helper()
	if err := event.Publish(h.t.Context(), h.bus, event.ExtractReady, source, m); err != nil {
		h.t.Fatal(err)
	}
}

// failed reports that one table of the request failed.
func (h *house) failed(e event.Event[*agnesv1.ExtractRequested], kind fault.Kind) scheduler.State {
	h.t.Helper()
	table := e.Payload.GetTables()[0]
	h.ready(e.Source, &agnesv1.ExtractReady{RunIds: []string{e.Payload.GetRunId()}, Tables: []*agnesv1.TableOutcome{
		{Table: table, Outcome: "failed", Error: "the file is locked", ErrorKind: string(kind)},
	}})
	return h.until(e.Source+"/"+table, "failure", func(s scheduler.State) bool { return s.Pending == nil })
}

func TestTablesThatAreDueTogetherAreOneRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "b", "every 15m"), registered("crm", "a", "every 15m"), registered("crm", "manual", ""),
		registered("shop", "orders", "daily 14:00"), registered("crm", "broken", "every now and then"), registered("", "typed", "every 1h"))
	h.registry[5].SourceType = "csv"
	cfg := h.config()
	h.start(cfg)
	h.settled()
	h.none() // what never ran waits for a moment, for what is registered with it
	h.pass(10 * time.Second)
	bySource := map[string]event.Event[*agnesv1.ExtractRequested]{}
	for range 3 {
		e := h.next()
		bySource[e.Source] = e
	}
	crm := bySource["crm"].Payload
	if !slices.Equal(crm.GetTables(), []string{"a", "b"}) || crm.GetReason() != "schedule" || crm.GetRequestedBy() != "scheduler" ||
		crm.GetRunId() == "" || crm.GetForce() || !crm.GetRequestedAt().AsTime().After(monday) || bySource["crm"].Key != "csv" {
		t.Errorf("the request is %v", crm)
	}
	if !slices.Equal(bySource["shop"].Payload.GetTables(), []string{"orders"}) || !slices.Equal(bySource["csv"].Payload.GetTables(), []string{"typed"}) {
		t.Errorf("the requests are %v", bySource)
	}
	for _, e := range bySource {
		h.succeeded(e)
	}
	h.pass(14 * time.Minute)
	h.none()
	h.pass(time.Minute)
	if e := h.next(); e.Source != "crm" || len(e.Payload.GetTables()) != 2 || e.Payload.GetRunId() == crm.GetRunId() {
		t.Errorf("after 15 minutes: %v", e.Payload)
	}
	families, err := cfg.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "agnes_scheduler_tables" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if got["valid"] != 4 || got["none"] != 1 || got["invalid"] != 1 {
		t.Errorf("the metrics say %v", got)
	}
}

func TestARequestIsRecordedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "b", "every 15m"), registered("crm", "a", "every 15m"))
	recorded := make(chan event.Event[*agnesv1.AuditRecorded], 10)
	_, err := event.Consume(t.Context(), h.bus, event.AuditRecorded, event.Consumer{Name: "api"},
		func(_ context.Context, e event.Event[*agnesv1.AuditRecorded]) error { recorded <- e; return nil })
	if err != nil {
		t.Fatal(err)
	}
	h.start(h.config())
	h.pass(10 * time.Second)
	run := h.next().Payload.GetRunId()
	select {
	case e := <-recorded:
		m := e.Payload
		if m.GetAction() != "sync.trigger" || m.GetResource() != "run:"+run || m.GetService() != "scheduler" || m.GetCredential() != "service" ||
			m.GetParams().AsMap()["tables"] != "a b" || m.GetParams().AsMap()["reason"] != "schedule" || !strings.HasSuffix(e.ID, run) {
			t.Errorf("%s %v", e.ID, m)
		}
	case <-time.After(eventtest.Patience):
		t.Fatal("the request is not recorded")
	}
	h.settled()
	if len(recorded) > 0 {
		t.Error("it is recorded twice")
	}
}

func TestTrap_S3_ATableIsNotRequestedWhileItsRequestIsOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "every 10m"))
	cfg := h.config()
	cfg.Timeout = 40 * time.Minute
	stop := h.start(cfg)
	h.pass(5 * time.Second)
	first := h.next()
	h.pass(25 * time.Minute)
	h.none()
	// Nor after a restart: what is out is remembered.
	stop()
	cfg.Metrics = prometheus.NewRegistry()
	h.start(cfg)
	h.pass(10 * time.Minute)
	h.none()
	// A run of somebody else says nothing about ours.
	h.ready("crm", &agnesv1.ExtractReady{RunIds: []string{"other"}, StartedAt: timestamppb.New(h.clock.Now()), Tables: []*agnesv1.TableOutcome{{Table: "a", Outcome: "updated"}}})
	if s := h.until("crm/a", "the other run", func(s scheduler.State) bool { return !s.LastSuccess.IsZero() }); s.Pending == nil || s.Pending.RunID != first.Payload.GetRunId() {
		t.Errorf("the state is %+v", s)
	}
	// In the end the request is given up.
	h.pass(8 * time.Minute)
	if e := h.next(); e.Payload.GetRunId() == first.Payload.GetRunId() || e.Payload.GetReason() != "retry" {
		t.Errorf("after the timeout: %v", e.Payload)
	}
}

func TestTrap_S7_ADowntimeIsMadeUpForOnceAndNotAtOnce(t *testing.T) {
	t.Parallel()
	sources := []string{"a", "b", "c", "d", "e", "f"}
	h := newHouse(t)
	for _, s := range sources {
		h.registry = append(h.registry, registered(s, "often", "every 10m"), registered(s, "night", "daily 23:00"))
	}
	cfg := h.config()
	cfg.Jitter = 5 * time.Minute
	stop := h.start(cfg)
	h.pass(6 * time.Minute)
	for range sources {
		e := h.next()
		if len(e.Payload.GetTables()) != 2 {
			t.Errorf("the first request is %v", e.Payload)
		}
		h.succeeded(e)
	}
	stop()
	h.clock.Advance(17 * time.Hour) // to half past five in the morning, over the slot before midnight
	cfg.Metrics = prometheus.NewRegistry()
	h.start(cfg)
	h.settled()
	h.none()
	seen := map[time.Time]int{}
	for len(seen) == 0 || sum(seen) < len(sources) {
		h.pass(10 * time.Second)
		for len(h.requests) > 0 {
			e := h.next()
			if len(e.Payload.GetTables()) != 2 {
				t.Errorf("made up for %v of %s", e.Payload.GetTables(), e.Source)
			}
			seen[h.clock.Now()]++
			h.succeeded(e)
		}
		time.Sleep(time.Millisecond)
	}
	if len(seen) < 3 {
		t.Errorf("all ran at once: %v", seen)
	}
	if late := h.clock.Now().Sub(monday.Add(17*time.Hour + 6*time.Minute)); late > cfg.Jitter+time.Minute {
		t.Errorf("made up for only after %s", late)
	}
	h.none() // 102 slots of ten minutes were missed, and made up for once
}

func sum(m map[time.Time]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func TestTrap_S4_AFailureMovesNothingAndIsTriedAgainBeforeTheNextSlot(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "daily 18:00"))
	h.start(h.config())
	h.pass(5 * time.Second)
	h.succeeded(h.next())
	good := h.state("crm/a")
	if good.LastSuccess.IsZero() || !good.NextRun.Equal(monday.Add(6*time.Hour)) {
		t.Fatalf("after a success: %+v", good)
	}
	h.pass(6 * time.Hour)
	for n, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		e := h.next()
		if want := []string{"schedule", "retry", "retry"}[n]; e.Payload.GetReason() != want {
			t.Errorf("the reason of try %d is %s", n, e.Payload.GetReason())
		}
		s := h.failed(e, fault.Unavailable)
		if s.Failures != n+1 || s.Error != "the file is locked" || s.ErrorKind != "unavailable" || !s.LastSuccess.Equal(good.LastSuccess) {
			t.Errorf("after failure %d: %+v", n+1, s)
		}
		h.pass(wait - 20*time.Second)
		h.none()
		h.pass(wait/10 + 30*time.Second)
	}
	h.succeeded(h.next())
	if s := h.state("crm/a"); s.Failures != 0 || s.Error != "" || s.ErrorKind != "" || !s.LastSuccess.After(good.LastSuccess) || s.NextRun.Day() != 3 {
		t.Errorf("after it went well: %+v", s)
	}
}

func TestWhatCannotGoBetterWaitsForItsSlot(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "every 2h"), registered("crm", "b", "every 2h"), registered("crm", "c", "every 2h"))
	h.start(h.config())
	h.pass(5 * time.Second)
	e := h.next()
	h.ready("crm", &agnesv1.ExtractReady{RunIds: []string{e.Payload.GetRunId()}, Tables: []*agnesv1.TableOutcome{
		{Table: "a", Outcome: "failed", ErrorKind: "invalid", Error: "line 7"}, {Table: "b", Outcome: "held_back", Error: "half of the rows are gone"},
	}})
	for _, table := range []string{"a", "b", "c"} {
		s := h.until("crm/"+table, "outcome", func(s scheduler.State) bool { return s.Pending == nil })
		if s.Failures != 1 || !s.LastSuccess.IsZero() || s.Error == "" {
			t.Errorf("%s: %+v", table, s)
		}
	}
	h.pass(time.Hour + 50*time.Minute)
	h.none()
	h.pass(11 * time.Minute)
	e = h.next()
	if err := event.Publish(t.Context(), h.bus, event.ExtractFailed, "crm", &agnesv1.ExtractFailed{RunIds: []string{e.Payload.GetRunId()}, Error: "no access", ErrorKind: "forbidden"}); err != nil {
		t.Fatal(err)
	}
	s := h.until("crm/c", "failure", func(s scheduler.State) bool { return s.Pending == nil })
	if s.Failures != 2 || s.ErrorKind != "forbidden" {
		t.Errorf("the state is %+v", s)
	}
	// An extract of our run that says nothing about its tables went well.
	h.pass(2 * time.Hour)
	e = h.next()
	h.ready("crm", &agnesv1.ExtractReady{RunIds: []string{e.Payload.GetRunId()}})
	if s := h.until("crm/a", "success", func(s scheduler.State) bool { return s.Pending == nil }); s.Failures != 0 || s.LastSuccess.IsZero() {
		t.Errorf("the state is %+v", s)
	}
}

func TestTheRegistryIsReadAgainWhenItChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "every 2h"))
	h.start(h.config())
	h.pass(5 * time.Second)
	h.succeeded(h.next())
	change := func(tables ...*agnesv1.RegisteredTable) {
		h.mu.Lock()
		h.registry = tables
		h.mu.Unlock()
		before := h.clock.Now()
		for range 3 {
			if err := event.Publish(t.Context(), h.bus, event.RegistryChanged, "crm", &agnesv1.RegistryChanged{Source: "crm"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Millisecond)
		h.pass(5 * time.Second) // it is read
		h.pass(5 * time.Second) // what is new has settled
		if h.clock.Now().Sub(before) > time.Minute {
			t.Error("the change was noticed only when the registry was read anyway")
		}
	}
	change(registered("crm", "a", "every 10m"), registered("crm", "new", "every 1h"))
	if e := h.next(); !slices.Equal(e.Payload.GetTables(), []string{"new"}) {
		t.Errorf("a new table gives %v", e.Payload)
	} else {
		h.succeeded(e)
	}
	h.pass(10 * time.Minute)
	if e := h.next(); !slices.Equal(e.Payload.GetTables(), []string{"a"}) {
		t.Errorf("a shorter schedule gives %v", e.Payload)
	} else {
		h.succeeded(e)
	}
	change(registered("crm", "a", ""))
	h.pass(3 * time.Hour)
	h.none()
}

func TestOneOfSeveralLeads(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "every 10m"))
	stops := []func(){}
	for range 2 {
		stops = append(stops, h.start(h.config()))
	}
	h.pass(15 * time.Second)
	h.succeeded(h.next())
	h.none()
	for _, stop := range stops { // whichever leads: the other one goes on
		stop()
		h.start(h.config())
		h.pass(10*time.Minute + 15*time.Second)
		h.succeeded(h.next())
		h.none()
	}
}

// A leader that dies between noting a request and publishing it, and one that dies right after.
func TestARequestIsNeitherLostNorDoubledByACrash(t *testing.T) {
	t.Parallel()
	for name, published := range map[string]bool{"before it was published": false, "after it was published": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, registered("crm", "a", "every 10m"), registered("crm", "b", "every 10m"))
			for _, table := range []string{"a", "b"} {
				raw, err := json.Marshal(scheduler.State{
					Schedule: "every 10m", LastAttempt: monday, NextRun: monday.Add(10 * time.Minute),
					Pending: &scheduler.Pending{RunID: "the-run", Since: monday, Reason: "schedule", Type: "csv"},
				})
				if err == nil {
					_, err = h.bus.Bucket(event.BucketScheduler).Create(t.Context(), "crm/"+table, raw)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if published {
				m := &agnesv1.ExtractRequested{RunId: "the-run", Tables: []string{"a", "b"}}
				if err := event.Publish(t.Context(), h.bus, event.ExtractRequested, "crm", m, event.Key("csv"), event.ID("the-run")); err != nil {
					t.Fatal(err)
				}
			}
			h.start(h.config())
			h.pass(10 * time.Second)
			if e := h.next(); e.Payload.GetRunId() != "the-run" || !slices.Equal(e.Payload.GetTables(), []string{"a", "b"}) {
				t.Errorf("requested %v", e.Payload)
			}
			h.none()
			if s := h.state("crm/a"); s.Pending == nil || !s.Pending.Sent {
				t.Errorf("the state is %+v", s)
			}
		})
	}
}

func TestAnUnreadableStateIsBegunAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t, registered("crm", "a", "every 10m"))
	if _, err := h.bus.Bucket(event.BucketScheduler).Create(t.Context(), "crm/a", []byte("{")); err != nil {
		t.Fatal(err)
	}
	h.start(h.config())
	h.pass(5 * time.Second)
	h.succeeded(h.next())
}

func TestItWaitsForTheAPIAndSaysSo(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	h := &house{t: t, server: server, clock: clockwork.NewFakeClockAt(monday)}
	h.bus = eventtest.Connect(t, server, "test")
	cfg := h.config()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HealthAddr = free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	h.start(cfg)
	status := func() string {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.HealthAddr+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(answer.StatusCode, " ", string(body))
	}
	wait := func(part string) {
		t.Helper()
		for end := time.Now().Add(eventtest.Patience); !strings.Contains(status(), part); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("readyz answers %s", status())
			}
		}
	}
	wait("503 read the registry")
	_, err = event.Serve(t.Context(), h.bus, event.ListRegistry, func(context.Context, *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
		return &agnesv1.ListRegistryResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wait("200 ok")
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	var cfg scheduler.Config
	if err := service.LoadEnv(&cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Reread != 5*time.Minute || cfg.Timeout != 6*time.Hour {
		t.Errorf("the defaults are %+v", cfg)
	}
	for name, set := range map[string]func(*scheduler.Config){
		"AGNES_SCHEDULER_REREAD":    func(c *scheduler.Config) { c.Reread = 0 },
		"AGNES_SCHEDULER_JITTER":    func(c *scheduler.Config) { c.Jitter = -1 },
		"AGNES_SCHEDULER_RETRY_MIN": func(c *scheduler.Config) { c.RetryMin = 0 },
	} {
		c := cfg
		set(&c)
		if err := scheduler.Run(t.Context(), c); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
