package event_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
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
	extent, err := event.ExtentOf(t.Context(), bus, event.ExtractReady)
	if err != nil || extent.Oldest != 1 || extent.Newest != 11 || time.Since(extent.Since) > time.Minute {
		t.Errorf("extent %+v, %v", extent, err)
	}
}

func TestSeveralKindsAreHeardInOneOrder(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	publish(t, bus, "crm", event.ID("0"))
	kinds := []event.AnyKind{event.ExtractReady, event.NotificationRaised}
	got := make(chan event.Event[proto.Message], 10)
	_, err := event.ListenAll(t.Context(), bus, kinds, event.Listener{}, func(_ context.Context, e event.Event[proto.Message]) error {
		got <- e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	notice := &agnesv1.NotificationRaised{Title: "2"}
	publish(t, bus, "crm", event.ID("1"))
	for _, err := range []error{
		event.Publish(t.Context(), bus, event.NotificationRaised, "", notice, event.ID("2")),
		event.Publish(t.Context(), bus, event.RegistryChanged, "", &agnesv1.RegistryChanged{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(t, bus, "crm", event.ID("3"))
	for n, want := range []struct {
		kind    string
		payload proto.Message
	}{{"extract.ready", nil}, {"notification.raised", notice}, {"extract.ready", nil}} {
		e := <-got
		if e.ID != fmt.Sprint(n+1) || e.Kind != want.kind || (want.payload != nil && !proto.Equal(e.Payload, want.payload)) {
			t.Errorf("event %d is %+v", n+1, e)
		}
	}
	for name, kinds := range map[string][]event.AnyKind{
		"none": nil, "not stored": {event.ExtractProgress}, "of two streams": {event.ExtractReady, event.AuditRecorded},
	} {
		if _, err := event.ListenAll(t.Context(), bus, kinds, event.Listener{}, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatWasStoredIsRecalled(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	kinds := []event.AnyKind{event.ExtractReady, event.NotificationRaised}
	recall := func(after, until uint64) string {
		var ids []string
		err := event.Recall(t.Context(), bus, kinds, after, until, func(_ context.Context, e event.Event[proto.Message]) error {
			ids = append(ids, e.ID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(ids)
	}
	if got := recall(0, 100); got != "[]" {
		t.Errorf("of nothing: %s", got)
	}
	for n := range 6 {
		publish(t, bus, "crm", event.ID(fmt.Sprint(n+1)))
	}
	if err := event.Publish(t.Context(), bus, event.RegistryChanged, "", &agnesv1.RegistryChanged{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after, until uint64
		want         string
	}{{0, 100, "[1 2 3 4 5 6]"}, {2, 4, "[3 4]"}, {5, 7, "[6]"}, {6, 7, "[]"}, {50, 60, "[]"}} {
		if got := recall(c.after, c.until); got != c.want {
			t.Errorf("after %d until %d: %s, want %s", c.after, c.until, got, c.want)
		}
	}
	broken := errors.New("enough")
	if err := event.Recall(t.Context(), bus, kinds, 0, 9, func(context.Context, event.Event[proto.Message]) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the handler's error is %v", err)
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
