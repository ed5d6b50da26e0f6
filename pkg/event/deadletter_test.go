package event_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestAReplayReachesOnlyTheConsumerThatFailed(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	failing, other := make(chan readyEv, 10), make(chan readyEv, 10)
	var mu sync.Mutex
	fate := error(fault.New(fault.Permanent, "no"))
	set := func(err error) { mu.Lock(); defer mu.Unlock(); fate = err }
	consume(t, bus, quick("failing"), func(_ context.Context, e readyEv) error {
		failing <- e
		mu.Lock()
		defer mu.Unlock()
		return fate
	})
	consume(t, bus, quick("other"), into(other))
	listening := eventtest.Collect(t, bus, event.ExtractReady)
	publish(t, bus, "crm", event.ID("i"))
	first := receive(t, failing)
	receive(t, other)
	listening.Next()

	l := letters(t, bus, 1)[0]
	if err := bus.ReplayDeadLetter(t.Context(), l.Number); err != nil {
		t.Fatal(err)
	}
	again := receive(t, failing)
	if again.ID != first.ID || !again.Time.Equal(first.Time) || again.Origin != first.Origin || again.Attempt != 1 {
		t.Errorf("the replay is %+v, the event was %+v", again, first)
	}
	l = letters(t, bus, 1)[0] // it failed again

	set(nil)
	if err := bus.ReplayDeadLetter(t.Context(), l.Number); err != nil {
		t.Fatal(err)
	}
	receive(t, failing)
	publish(t, bus, "crm", event.ID("next")) // comes behind the replays, so that they were skipped
	if e := receive(t, other); e.ID != "next" {
		t.Errorf("the other consumer got %+v", e)
	}
	if e := listening.Next(); e.ID != "next" {
		t.Errorf("the listener got %+v", e)
	}
	letters(t, bus, 0)
	if err := bus.ReplayDeadLetter(t.Context(), l.Number); !fault.Is(err, fault.NotFound) {
		t.Errorf("a letter that is gone gives %v", err)
	}
	if err := bus.DropDeadLetter(t.Context(), 999); !fault.Is(err, fault.NotFound) {
		t.Errorf("a letter that never was gives %v", err)
	}
}

func TestAReplayedRequestIsWorkAgain(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	got := make(chan requestE, 10)
	_, err := event.Consume(t.Context(), bus, event.ExtractRequested, event.Consumer{Name: "extractor", Key: "csv"}, func(_ context.Context, e requestE) error {
		got <- e
		if len(got) == 0 {
			return nil
		}
		return fault.New(fault.Invalid, "no")
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Publish(t.Context(), bus, event.ExtractRequested, "crm", &request{RunId: "r"}, event.Key("csv")); err != nil {
		t.Fatal(err)
	}
	l := letters(t, bus, 1)[0]
	if l.Consumer != "extractor_extract-requested_csv" {
		t.Errorf("the letter is %+v", l)
	}
	receive(t, got)
	if err := bus.ReplayDeadLetter(t.Context(), l.Number); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, got); e.Payload.GetRunId() != "r" || e.Key != "csv" {
		t.Errorf("the replay is %+v", e)
	}
}

func TestLettersAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	refuse := func(context.Context, readyEv) error {
		return fault.New(fault.Invalid, "line one\nline two\r\nX-Injected: 1")
	}
	consume(t, bus, quick("a"), refuse)
	crm := quick("b")
	crm.Source = "crm"
	consume(t, bus, crm, refuse)
	long := strings.Repeat("an id of any length ", 100)
	for _, id := range []string{"1", "2", long} {
		publish(t, bus, "crm", event.ID(id))
		publish(t, bus, "shop", event.ID("shop-"+id))
	}
	for _, l := range letters(t, bus, 9) {
		if l.Error != "line one line two X-Injected: 1" || l.Headers["X-Injected"] != nil {
			t.Errorf("letter %+v", l)
		}
	}
	count := func(f event.LetterFilter) []event.DeadLetter {
		got, err := bus.DeadLetters(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if n := len(count(event.LetterFilter{Source: "shop"})); n != 3 {
		t.Errorf("%d letters of shop", n)
	}
	if n := len(count(event.LetterFilter{Consumer: "b_extract-ready_crm"})); n != 3 {
		t.Errorf("%d letters of b", n)
	}
	page := count(event.LetterFilter{Limit: 5})
	rest := count(event.LetterFilter{After: page[4].Number})
	if len(page) != 5 || len(rest) != 4 {
		t.Errorf("pages of %d and %d", len(page), len(rest))
	}
	if err := bus.DropDeadLetter(t.Context(), page[0].Number); err != nil {
		t.Fatal(err)
	}
	if after := count(event.LetterFilter{}); len(after) != 8 || after[0].Number == page[0].Number {
		t.Errorf("%d letters after one was dropped", len(after))
	}
}
