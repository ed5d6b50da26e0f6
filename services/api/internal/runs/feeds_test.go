package runs_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/extract"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/runs"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// What a feed publishes many times a second is no run each, and is written down once in a while and at
// the stop; where it fails, that is a run like any other.
func TestFeedsAreWrittenDownTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	feed := func(n int, outcome, failure string) {
		at := timestamppb.New(h.now().Add(time.Duration(n) * time.Millisecond))
		h.publishReady(&agnesv1.ExtractReady{
			Source: "shop", Reason: extract.ReasonFeed, Changed: failure == "", StartedAt: at, FinishedAt: at,
			Tables: []*agnesv1.TableOutcome{{Table: "orders", Outcome: outcome, Rows: int64(n), Error: failure}},
		}, "shop")
	}
	for n := 1; n <= 200; n++ {
		feed(n, extract.OutcomeUpdated, "")
	}
	feed(300, extract.OutcomeFailed, "the disk is full")
	var list []runs.Run
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && len(list) == 0; time.Sleep(10 * time.Millisecond) {
		var err error
		if list, err = h.List(t.Context(), runs.Filter{Limit: 500}); err != nil {
			t.Fatal(err)
		}
	}
	if len(list) != 1 || list[0].Status != runs.Failed {
		t.Fatalf("%d runs: %+v", len(list), list)
	}
	h.stop()
	synced, err := h.store.Sync.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range synced {
		if s.TableID == "orders" && s.Rows != 200 {
			t.Errorf("state %+v", s)
		}
	}
	history, err := h.store.Sync.History(t.Context(), "orders", 1000)
	if err != nil || len(history) < 2 || len(history) > 10 {
		t.Errorf("%d lines of history: %v", len(history), err)
	}
	good := 0
	for _, line := range history {
		if line.Status == state.SyncOK {
			good++
		}
	}
	if good == 0 {
		t.Errorf("history %+v", history)
	}
}
