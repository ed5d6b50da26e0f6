package runs_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/runs"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// house is an api's tracker on a bus of its own, and a connection for those whom it talks to.
type house struct {
	*runs.Tracker
	t      *testing.T
	dir    string
	server *embedded.Server
	store  *state.Store
	peer   *event.Bus
	cfg    runs.Config
	stop   func()

	mu     sync.Mutex
	offset time.Duration
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.offset)
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offset += d
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), server: eventtest.Server(t)}
	h.peer = eventtest.Connect(t, h.server, "extractor-csv")
	store, err := state.Open(t.Context(), state.Options{DataDir: h.dir, ExportEvery: -1, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	h.store = store
	h.cfg = runs.Config{
		Store: store, DataDir: h.dir, Now: h.now,
		Sources: func() []runs.Configured {
			return []runs.Configured{{Name: "shop", Type: "csv"}, {Name: "crm", Type: "csv"}}
		},
	}
	for _, table := range []state.NewTable{{Name: "orders", Source: "shop"}, {Name: "Order Items", Source: "shop"}, {Name: "orders", Source: "crm"}, {Name: "stray", Source: "gone"}} {
		if _, err := store.Registry.Register(t.Context(), table, "test"); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// start starts a tracker, as a process that has just begun; stop ends it.
func (h *house) start() {
	h.t.Helper()
	h.cfg.Bus = eventtest.Connect(h.t, h.server, "api")
	tracker, err := runs.New(h.t.Context(), h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracker.Run(ctx) }()
	h.Tracker = tracker
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
}

func (h *house) trigger(q runs.Request) runs.Run {
	h.t.Helper()
	r, err := h.Trigger(h.t.Context(), q)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// until waits until a run is as wanted.
func (h *house) until(id, what string, wanted func(runs.Run) bool) runs.Run {
	h.t.Helper()
	var last runs.Run
	for range 1000 {
		r, err := h.Get(h.t.Context(), id)
		if err == nil && wanted(r) {
			return r
		}
		last = r
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatalf("the run is not %s: %+v", what, last)
	return last
}

func (h *house) untilStatus(id, status string) runs.Run {
	h.t.Helper()
	return h.until(id, status, func(r runs.Run) bool { return r.Status == status })
}

func (h *house) ready(source string, changed bool, ids []string, tables ...*agnesv1.TableOutcome) {
	h.t.Helper()
	h.publishReady(&agnesv1.ExtractReady{
		RunIds: ids, Source: source, Tables: tables, Changed: changed,
		StartedAt: timestamppb.New(h.now().Add(-3 * time.Second)), FinishedAt: timestamppb.New(h.now()),
	}, source)
}

func (h *house) publishReady(e *agnesv1.ExtractReady, source string, o ...event.PublishOption) {
	h.t.Helper()
	if err := event.Publish(h.t.Context(), h.peer, event.ExtractReady, source, e, o...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) published(source string, ids []string, more ...*agnesv1.Problem) {
	h.t.Helper()
	e := &agnesv1.AnalyticsPublished{Source: source, Generation: 7, RunIds: ids, Problems: more, PublishedAt: timestamppb.New(h.now())}
	if err := event.Publish(h.t.Context(), h.peer, event.AnalyticsPublished, source, e); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) failed(source string, ids []string, reason string) {
	h.t.Helper()
	e := &agnesv1.ExtractFailed{RunIds: ids, Source: source, Error: reason, ErrorKind: "unavailable", FinishedAt: timestamppb.New(h.now())}
	if err := event.Publish(h.t.Context(), h.peer, event.ExtractFailed, source, e); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) standing(id string) state.TableSync {
	h.t.Helper()
	list, err := h.store.Sync.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range list {
		if s.TableID == id {
			return s
		}
	}
	return state.TableSync{}
}

func updated(table string, rows int64) *agnesv1.TableOutcome {
	return &agnesv1.TableOutcome{Table: table, Outcome: "updated", Rows: rows, Bytes: rows * 10, Hash: "h", Duration: durationpb.New(1500 * time.Millisecond), RejectedRows: 1, PartsWritten: 2, PartsReused: 3}
}

func broken(table, outcome string) *agnesv1.TableOutcome {
	return &agnesv1.TableOutcome{Table: table, Outcome: outcome, Rows: 5, Error: "line 3 is not CSV", ErrorKind: "invalid"}
}

// requests takes the work that the tracker handed to the bus, as the extractor of the type would.
func (h *house) requests() <-chan event.Event[*agnesv1.ExtractRequested] {
	h.t.Helper()
	c := make(chan event.Event[*agnesv1.ExtractRequested], 100)
	sub, err := event.Consume(context.Background(), h.peer, event.ExtractRequested, event.Consumer{Name: "extractor-csv", Key: "csv"}, func(_ context.Context, e event.Event[*agnesv1.ExtractRequested]) error {
		c <- e
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = event.StopAll(5*time.Second, sub) })
	return c
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestRunIsFollowedFromTheRequestToThePublication(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	work := h.requests()
	r := h.trigger(runs.Request{Tables: []string{"orders", "order_items", "crm.orders"}, Force: true, RequestedBy: "ann"})
	if r.Status != runs.Queued || r.Reason != runs.ReasonManual || r.RequestedBy != "ann" || !r.Force || len(r.Sources) != 2 || !r.StartedAt.IsZero() {
		t.Errorf("triggered %+v", r)
	}
	asked := map[string][]string{}
	for range 2 {
		e := next(t, work)
		asked[e.Source] = e.Payload.GetTables()
		if e.Payload.GetRunId() != r.ID || !e.Payload.GetForce() || e.Key != "csv" || e.Payload.GetRequestedBy() != "ann" || e.Payload.GetReason() != "manual" {
			t.Errorf("requested %+v", e)
		}
	}
	if !slices.Equal(asked["shop"], []string{"Order Items", "orders"}) || !slices.Equal(asked["crm"], []string{"orders"}) {
		t.Errorf("asked for %v", asked)
	}
	err := event.Publish(t.Context(), h.peer, event.ExtractProgress, "shop", &agnesv1.ExtractProgress{RunIds: []string{r.ID, "another"}, Table: "orders", Phase: "reading", Rows: 10, Bytes: 100, BytesTotal: 1000, TablesTotal: 2})
	if err != nil {
		t.Fatal(err)
	}
	going := h.untilStatus(r.ID, runs.Running)
	if p := going.Progress(); p.Rows != 10 || p.Bytes != 100 || p.TablesTotal != 3 || p.TablesDone != 0 || going.StartedAt.IsZero() {
		t.Errorf("progress %+v of %+v", p, going)
	}
	h.ready("shop", true, []string{r.ID}, updated("orders", 20), updated("Order Items", 2))
	h.ready("crm", false, []string{r.ID}, &agnesv1.TableOutcome{Table: "orders", Outcome: "unchanged", Rows: 3})
	publishing := h.untilStatus(r.ID, runs.Publishing)
	if !publishing.FinishedAt.IsZero() || publishing.Sources[0].Status != runs.Succeeded {
		t.Errorf("extracted: %+v", publishing)
	}
	h.published("shop", []string{"another", r.ID})
	done := h.untilStatus(r.ID, runs.Succeeded)
	if !done.Finished() || done.FinishedAt.IsZero() || done.Duration(h.now()) < 3*time.Second || done.Error != "" || done.Sources[1].Generation != 7 {
		t.Errorf("done: %+v", done)
	}
	tables := done.Tables()
	want := runs.Table{
		Source: "shop", Table: "orders", Outcome: "updated", Phase: "done", Rows: 20, Bytes: 200, Hash: "h", Duration: 1500 * time.Millisecond,
		RejectedRows: 1, PartsWritten: 2, PartsReused: 3,
	}
	if len(tables) != 3 || !reflect.DeepEqual(tables[2], want) {
		t.Errorf("tables %+v", tables)
	}
	if s := h.standing("orders"); s.Source != "shop" || s.Rows != 20 || s.Status != state.SyncOK {
		t.Errorf("the table stands as %+v", s)
	}
	if s := h.standing("crm.orders"); s.Rows != 3 || s.LastSync.IsZero() {
		t.Errorf("the other source's table stands as %+v", s)
	}
}

func TestTriggerRefusesWhatIsNotKnownByName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for says, q := range map[string]runs.Request{
		`"nothing", "nowhere"`:     {Tables: []string{"orders", "nothing", "nowhere"}},
		`source "moon", "mars"`:    {Sources: []string{"shop", "moon", "mars"}},
		`stray (source "gone")`:    {Tables: []string{"stray"}},
		`not registered: table "o`: {Tables: []string{"order_items"}, Sources: []string{"crm"}},
	} {
		if _, err := h.Trigger(t.Context(), q); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.Message(err), says) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if list, err := h.List(t.Context(), runs.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("a refused trigger left %v, %v", list, err)
	}
	if _, err := h.Get(t.Context(), "nothing"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := h.Follow(t.Context(), "nothing"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestTriggerFindsTablesByEveryName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		q    runs.Request
		want string
	}{
		{runs.Request{}, "crm[] shop[]"},
		{runs.Request{Sources: []string{"shop", "shop"}}, "shop[]"},
		{runs.Request{Tables: []string{"orders"}}, "shop[orders]"}, // the id, though another table is called so
		{runs.Request{Tables: []string{"orders"}, Sources: []string{"crm"}}, "crm[orders]"},
		{runs.Request{Tables: []string{"shop.orders", "orders", "Order Items", "order_items"}}, "shop[Order Items orders]"},
		{runs.Request{Tables: []string{"crm.orders"}}, "crm[orders]"},
	} {
		var got []string
		for _, s := range h.trigger(c.q).Sources {
			got = append(got, fmt.Sprint(s.Source, s.Requested))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v", c.q, got)
		}
	}
}

func TestTrap_S4_PartialAndFailedRunsSaySo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	start := func() string { return h.trigger(runs.Request{Sources: []string{"shop"}}).ID }

	partial := start()
	h.ready("shop", true, []string{partial}, updated("orders", 1), broken("Order Items", "failed"))
	h.published("shop", []string{partial})
	if r := h.untilStatus(partial, runs.Partial); r.Error != "table Order Items: line 3 is not CSV" || r.Sources[0].ErrorKind != "invalid" || r.Sources[0].TablesDone != 2 {
		t.Errorf("partial: %+v", r)
	}
	good := h.standing("orders")
	if s := h.standing("Order Items"); s.Status != state.SyncError || !s.LastSync.IsZero() || s.Error == "" {
		t.Errorf("a table that never worked: %+v", s)
	}

	all := start()
	h.ready("shop", false, []string{all}, broken("orders", "held_back"), broken("Order Items", "failed"))
	if r := h.untilStatus(all, runs.Failed); !strings.HasPrefix(r.Error, "2 of 2 tables failed") {
		t.Errorf("failed: %+v", r)
	}
	if s := h.standing("orders"); !s.LastSync.Equal(good.LastSync) || s.Rows != 1 || s.Status != state.SyncHeldBack {
		t.Errorf("a failure moved the last sync: %+v, before %+v", s, good)
	}

	whole := start()
	h.failed("shop", []string{whole}, "the folder is gone")
	if r := h.untilStatus(whole, runs.Failed); r.Error != "the folder is gone" || r.FinishedAt.IsZero() {
		t.Errorf("failed: %+v", r)
	}
	if s := h.standing("orders"); s.Error != "the folder is gone" || !s.LastSync.Equal(good.LastSync) {
		t.Errorf("after a failed run: %+v", s)
	}
	// A retry that works is what counts in the end, and leaves no old error.
	h.ready("shop", false, []string{whole}, updated("orders", 4), updated("Order Items", 4))
	if r := h.untilStatus(whole, runs.Succeeded); r.Error != "" || r.Sources[0].ErrorKind != "" {
		t.Errorf("after a retry: %+v", r)
	}
	if s := h.standing("orders"); s.Error != "" || s.Status != state.SyncOK || s.Rows != 4 {
		t.Errorf("after a success: %+v", s)
	}

	both := h.trigger(runs.Request{}).ID
	h.failed("shop", []string{both}, "no")
	h.ready("crm", false, []string{both}, updated("orders", 1))
	if r := h.untilStatus(both, runs.Partial); r.Error != "shop: no" {
		t.Errorf("one of two sources failed: %+v", r)
	}
}

func TestEventsThatComeTwiceOrInAnotherOrderChangeNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.trigger(runs.Request{Sources: []string{"shop"}})
	h.published("shop", []string{r.ID}) // overtakes the extraction's own event
	time.Sleep(50 * time.Millisecond)
	h.ready("shop", true, []string{r.ID}, updated("orders", 9), broken("Order Items", "failed"))
	before := h.untilStatus(r.ID, runs.Partial)
	// The request comes again, for its end was not acknowledged.
	h.ready("shop", false, []string{r.ID}, &agnesv1.TableOutcome{Table: "orders", Outcome: "unchanged", Rows: 9})
	h.failed("shop", []string{r.ID}, "late")
	h.published("shop", []string{r.ID})
	marker := h.trigger(runs.Request{Sources: []string{"crm"}})
	h.ready("crm", false, []string{marker.ID})
	h.untilStatus(marker.ID, runs.Succeeded) // events of a kind come in order
	h.failed("crm", []string{marker.ID + "-unknown"}, "x")
	h.until(marker.ID+"-unknown", "failed", runs.Run.Finished)
	after, err := h.Get(t.Context(), r.ID)
	if err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("it was\n%+v\nand is\n%+v, %v", before, after, err)
	}
}

func TestRunsThatNobodyAskedForAppear(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.ready("shop", false, nil, &agnesv1.TableOutcome{Table: "orders", Outcome: "unchanged", Rows: 1})
	h.publishReady(&agnesv1.ExtractReady{}, "somebodys")
	ready := &agnesv1.ExtractReady{Changed: true, FinishedAt: timestamppb.Now(), Tables: []*agnesv1.TableOutcome{updated("orders", 5)}}
	h.publishReady(ready, "crm", event.ID("once"))
	find := func(source string) runs.Run {
		t.Helper()
		for range 500 {
			list, err := h.List(t.Context(), runs.Filter{Source: source})
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 1 {
				return list[0]
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("no run of %s appeared", source)
		return runs.Run{}
	}
	if r := h.untilStatus(find("shop").ID, runs.Succeeded); r.Reason != runs.ReasonAutomatic || r.RequestedBy != "extractor-csv" || r.Sources[0].Type != "csv" {
		t.Errorf("automatic: %+v", r)
	}
	crm, somebodys := find("crm"), find("somebodys")
	if crm.Status != runs.Publishing || somebodys.Reason != runs.ReasonExternal {
		t.Errorf("%+v, %+v", crm, somebodys)
	}
	err := event.Publish(t.Context(), h.peer, event.AnalyticsPublished, "somebodys", &agnesv1.AnalyticsPublished{Generation: 2, Tables: []*agnesv1.TableChange{{Table: "theirs", Change: "added", Rows: 3, Bytes: 30, Hash: "x"}}, PublishedAt: timestamppb.Now()})
	if err != nil {
		t.Fatal(err)
	}
	h.published("crm", nil)
	h.untilStatus(crm.ID, runs.Succeeded)
	h.untilStatus(somebodys.ID, runs.Succeeded)
	if s := h.standing("theirs"); s.Rows != 3 || s.Source != "somebodys" || s.Status != state.SyncOK {
		t.Errorf("a table of another program stands as %+v", s)
	}
}

func TestTableThatCannotBePublishedIsAFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.trigger(runs.Request{Sources: []string{"shop"}})
	h.ready("shop", true, []string{r.ID}, updated("orders", 1), updated("Order Items", 1))
	h.untilStatus(r.ID, runs.Publishing)
	h.published("shop", []string{r.ID}, &agnesv1.Problem{Table: "orders", Code: "missing_file", Message: "a part is gone"}, &agnesv1.Problem{Table: "Order Items", Code: "collision", Message: "two of them"})
	if done := h.untilStatus(r.ID, runs.Partial); done.Error != "table orders: a part is gone" {
		t.Errorf("got %+v", done)
	}
}
