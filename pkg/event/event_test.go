package event_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConsumeGetsWhatWasPublished(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	got := make(chan event.Event[*agnesv1.ExtractReady], 1)
	sub, err := event.Consume(t.Context(), bus, event.ExtractReady, event.Consumer{Name: "orchestrator"},
		func(_ context.Context, e event.Event[*agnesv1.ExtractReady]) error { got <- e; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Publish(t.Context(), bus, event.ExtractReady, "crm", &agnesv1.ExtractReady{Changed: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-got:
		if e.Source != "crm" || !e.Payload.GetChanged() || e.ID == "" || e.Origin != "test" || e.Attempt != 1 {
			t.Fatalf("got %+v", e)
		}
	case <-time.After(eventtest.Patience):
		t.Fatal("nothing came")
	}
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCallIsAnswered(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	_, err := event.Serve(t.Context(), bus, event.ListRegistry, func(_ context.Context, r *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
		return &agnesv1.ListRegistryResponse{Tables: []*agnesv1.RegisteredTable{{Id: r.GetSource()}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := event.Call(t.Context(), bus, event.ListRegistry, &agnesv1.ListRegistryRequest{Source: "crm"})
	if err != nil || resp.GetTables()[0].GetId() != "crm" {
		t.Fatal(resp, err)
	}
}
