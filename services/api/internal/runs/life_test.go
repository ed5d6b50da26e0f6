package runs_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/runs"
)

func TestFollowGivesEveryEndAndCloses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.trigger(runs.Request{Sources: []string{"shop"}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var channels []<-chan runs.Run
	for range 3 {
		c, err := h.Follow(ctx, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if first := next(t, c); first.Status != runs.Queued {
			t.Errorf("first %+v", first)
		}
		channels = append(channels, c)
	}
	left, leave := context.WithCancel(t.Context())
	gone, err := h.Follow(left, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	for range gone { // closes though nothing happens
	}
	for i := range 1000 { // nobody reads: steps between may be missed
		p := &agnesv1.ExtractProgress{RunIds: []string{r.ID}, Table: "orders", Phase: "reading", Rows: int64(i + 1)}
		if err := event.Publish(t.Context(), h.peer, event.ExtractProgress, "shop", p); err != nil {
			t.Fatal(err)
		}
	}
	if running := next(t, channels[0]); running.Status != runs.Running || running.Progress().Rows == 0 {
		t.Errorf("then %+v", running)
	}
	h.ready("shop", false, []string{r.ID}, updated("orders", 5))
	for i, c := range channels {
		var last runs.Run
		for last = range c {
		}
		if last.Status != runs.Succeeded {
			t.Errorf("follower %d saw last %+v", i, last)
		}
	}
	finished, err := h.Follow(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if only := next(t, finished); only.Status != runs.Succeeded {
		t.Errorf("a finished run: %+v", only)
	}
	if _, more := <-finished; more {
		t.Error("a finished run goes on")
	}
}

func TestSilentRunIsReportedAndCanStillFinish(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.trigger(runs.Request{Sources: []string{"shop"}})
	c, err := h.Follow(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	next(t, c)
	h.pass(14 * time.Minute)
	if got := h.until(r.ID, "queued", func(r runs.Run) bool { return r.Status == runs.Queued }); got.Stale || got.Error != "" {
		t.Errorf("before its time: %+v", got)
	}
	h.pass(2 * time.Minute)
	told := next(t, c)
	if !told.Stale || told.Status != runs.Queued || told.Finished() || !strings.Contains(told.Error, "agnes-extractor-csv") {
		t.Errorf("silent: %+v", told)
	}
	if list, err := h.List(t.Context(), runs.Filter{Status: runs.Queued}); err != nil || len(list) != 1 || !list[0].Stale {
		t.Errorf("listed %+v, %v", list, err)
	}
	if err := event.Publish(t.Context(), h.peer, event.ExtractProgress, "shop", &agnesv1.ExtractProgress{RunIds: []string{r.ID}, Phase: "started"}); err != nil {
		t.Fatal(err)
	}
	if again := next(t, c); again.Stale || again.Status != runs.Running || again.Error != "" {
		t.Errorf("after a sign of life: %+v", again)
	}
	h.pass(time.Hour)
	h.ready("shop", true, []string{r.ID}, updated("orders", 5))
	h.untilStatus(r.ID, runs.Publishing)
	h.pass(time.Hour)
	if silent := h.until(r.ID, "stale", func(r runs.Run) bool { return r.Stale }); !strings.Contains(silent.Error, "the orchestrator") {
		t.Errorf("not published: %+v", silent)
	}
	h.published("shop", []string{r.ID})
	if done := h.untilStatus(r.ID, runs.Succeeded); done.Stale || done.Error != "" {
		t.Errorf("done: %+v", done)
	}
}

func TestRestartKeepsRuns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	extracting := h.trigger(runs.Request{Sources: []string{"shop"}})
	publishing := h.trigger(runs.Request{Sources: []string{"crm"}})
	h.ready("crm", true, []string{publishing.ID}, updated("orders", 1))
	h.untilStatus(publishing.ID, runs.Publishing)
	h.stop()
	// What happens while nobody listens is kept by the bus.
	h.ready("shop", false, []string{extracting.ID}, updated("orders", 2))
	h.start()
	if got := h.untilStatus(extracting.ID, runs.Succeeded); got.Tables()[0].Rows != 2 {
		t.Errorf("after a restart: %+v", got)
	}
	if got, err := h.Get(t.Context(), publishing.ID); err != nil || got.Status != runs.Publishing || got.Tables()[0].Rows != 1 {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	h.published("crm", []string{publishing.ID})
	h.untilStatus(publishing.ID, runs.Succeeded)
}

func TestTriggerWhileTheBusIsAwayIsDoneLater(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.stop()
	h.cfg.Bus.Close()
	r := h.trigger(runs.Request{Sources: []string{"shop"}})
	if r.Status != runs.Queued {
		t.Errorf("it is %+v", r)
	}
	h.start() // with a connection that works, as a process that was started again
	if e := next(t, h.requests()); e.Payload.GetRunId() != r.ID || e.Source != "shop" {
		t.Errorf("requested %+v", e)
	}
}

func TestOldRunsAreForgotten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.stop()
	h.cfg.KeepPerSource = 3
	h.start()
	var ids []string
	for range 5 {
		h.pass(time.Second)
		id := h.trigger(runs.Request{Sources: []string{"shop"}}).ID
		h.ready("shop", false, []string{id})
		h.untilStatus(id, runs.Succeeded)
		ids = append(ids, id)
	}
	rare := h.trigger(runs.Request{Sources: []string{"crm"}}).ID
	if err := h.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, id := range append(ids, rare) {
		if _, err := h.Get(t.Context(), id); (err == nil) != (i >= 2) {
			t.Errorf("run %d: %v", i, err)
		}
	}
	h.pass(8 * 24 * time.Hour)
	for range 3 {
		id := h.trigger(runs.Request{Sources: []string{"crm"}}).ID
		h.ready("crm", false, []string{id})
		h.untilStatus(id, runs.Succeeded)
	}
	if err := h.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := h.Get(t.Context(), rare); err == nil {
		t.Errorf("a run that nobody will finish is kept: %+v", r)
	}
}

func TestAutomaticRunThatWasPublishedBeforeItWasNotedEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// The catalog was made from the extract that stands; its announcement will not come again.
	path := extract.PointerPath(h.dir, "shop")
	if err := lake.WriteFileAtomic(path, []byte("an extract"), 0o600); err != nil {
		t.Fatal(err)
	}
	stamp, err := extract.StampOf(h.dir, "shop")
	if err != nil || stamp == "" {
		t.Fatal(stamp, err)
	}
	if err := catalog.SaveSource(h.dir, catalog.Source{Name: "shop", Generation: 3, ExtractStamp: stamp}); err != nil {
		t.Fatal(err)
	}
	h.ready("shop", true, nil, updated("orders", 1))
	for range 1000 {
		list, err := h.List(t.Context(), runs.Filter{Source: "shop", Status: runs.Succeeded})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 {
			if list[0].Sources[0].Generation != 3 {
				t.Errorf("it is %+v", list[0])
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the run does not end")
}

func TestTrackerNeedsTheState(t *testing.T) {
	t.Parallel()
	if _, err := runs.New(t.Context(), runs.Config{Bus: eventtest.Bus(t)}); err == nil {
		t.Error("a tracker without the state")
	}
}
