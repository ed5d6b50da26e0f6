package event_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestEveryListenerHearsEverythingInOrder(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	publish(t, bus, "crm", event.ID("before"))
	one := eventtest.Collect(t, bus, event.ExtractReady)
	two := eventtest.Collect(t, eventtest.Connect(t, server, "other"), event.ExtractReady)
	for n := range 50 {
		publish(t, bus, "crm", event.ID(fmt.Sprint(n)))
	}
	for n := range 50 {
		if a, b := one.Next(), two.Next(); a.ID != fmt.Sprint(n) || b.ID != a.ID || a.Sequence != uint64(n+2) {
			t.Fatalf("event %d is %s and %s, sequence %d", n, a.ID, b.ID, a.Sequence)
		}
	}
}

func TestAListenerReplaysWhatItMissed(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	for n := range 10 {
		publish(t, bus, []string{"crm", "shop"}[n%2], event.ID(fmt.Sprint(n)))
	}
	got := make(chan readyEv, 10)
	listener := event.Listener{Source: "shop", After: 4}
	sub, err := event.Listen(t.Context(), bus, event.ExtractReady, listener, func(_ context.Context, e readyEv) error {
		got <- e
		return errors.New("is only logged")
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5", "7", "9"} {
		if e := receive(t, got); e.ID != want {
			t.Errorf("got %s, want %s", e.ID, want)
		}
	}
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "shop")
	none(t, got, 50*time.Millisecond)
	oldest, newest, err := event.Bounds(t.Context(), bus, event.ExtractReady)
	if err != nil || oldest != 1 || newest != 11 {
		t.Errorf("bounds %d to %d, %v", oldest, newest, err)
	}
}

func TestProgressIsHeardAndNotStored(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	progress := func(n int64) {
		if err := event.Publish(t.Context(), bus, event.ExtractProgress, "crm", &agnesv1.ExtractProgress{Rows: n}); err != nil {
			t.Fatal(err)
		}
	}
	progress(0)
	heard := eventtest.Collect(t, bus, event.ExtractProgress)
	progress(1)
	if e := heard.Next(); e.Payload.GetRows() != 1 || e.Source != "crm" || e.ID == "" {
		t.Errorf("heard %+v", e)
	}
	js := rawJetStream(t, server)
	if name, err := js.StreamNameBySubject(t.Context(), "agnes.v1.extract.progress.crm"); err == nil {
		t.Errorf("progress is stored in %s", name)
	}
}
