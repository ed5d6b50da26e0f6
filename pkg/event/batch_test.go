package event_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestBatchesComeByCountAndByTime(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	for n := range 25 {
		publish(t, bus, "crm", event.ID(fmt.Sprint(n)))
	}
	batches := make(chan []readyEv, 10)
	sub, err := event.ConsumeBatch(t.Context(), bus, event.ExtractReady, quick("c"), event.Batch{MaxCount: 10, MaxWait: 50 * time.Millisecond},
		func(_ context.Context, batch []readyEv) error { batches <- batch; return nil })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, want := range []int{10, 10, 5} {
		batch := receive(t, batches)
		if len(batch) != want {
			t.Errorf("a batch of %d, want %d", len(batch), want)
		}
		for _, e := range batch {
			if e.ID != fmt.Sprint(n) {
				t.Errorf("event %d is %s", n, e.ID)
			}
			n++
		}
	}
	begin := time.Now()
	publish(t, bus, "crm", event.ID("late"))
	if batch := receive(t, batches); len(batch) != 1 || time.Since(begin) > 2*time.Second {
		t.Errorf("a lone event came in a batch of %d after %s", len(batch), time.Since(begin))
	}
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryEventOfABatchHasItsFate(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	for _, id := range []string{"good", "bad", "again"} {
		publish(t, bus, "crm", event.ID(id))
	}
	// A copy that the bus does not recognize, and one that cannot be read.
	conn := raw(t, server)
	for _, m := range []*nats.Msg{
		{Subject: "agnes.v1.extract.ready.crm", Header: nats.Header{"ce-id": {"good"}}},
		{Subject: "agnes.v1.extract.ready.crm", Header: nats.Header{"ce-id": {"unreadable"}}, Data: []byte("{")},
	} {
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	batches := make(chan []readyEv, 10)
	_, err := event.ConsumeBatch(t.Context(), bus, event.ExtractReady, quick("c"), event.Batch{MaxCount: 5, MaxWait: time.Second},
		func(_ context.Context, batch []readyEv) error {
			batches <- batch
			fates := event.Failures{}
			for _, e := range batch {
				switch {
				case e.ID == "bad":
					fates["bad"] = fault.New(fault.Permanent, "set aside")
				case e.ID == "again" && e.Attempt == 1:
					fates["again"] = errors.New("not yet")
				}
			}
			if len(fates) == 0 {
				return nil
			}
			return fates
		})
	if err != nil {
		t.Fatal(err)
	}
	if batch := receive(t, batches); len(batch) != 3 {
		t.Errorf("the batch is %+v", batch)
	}
	if batch := receive(t, batches); len(batch) != 1 || batch[0].ID != "again" || batch[0].Attempt != 2 {
		t.Errorf("the second batch is %+v", batch)
	}
	for _, l := range letters(t, bus, 2) {
		if l.EventID != "bad" && l.EventID != "unreadable" {
			t.Errorf("letter %+v", l)
		}
	}
	none(t, batches, 100*time.Millisecond)
}

func TestABatchThatFailsComesAgain(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	publish(t, bus, "crm")
	publish(t, bus, "crm")
	calls := make(chan int, 10)
	_, err := event.ConsumeBatch(t.Context(), bus, event.ExtractReady, quick("c"), event.Batch{MaxCount: 2},
		func(_ context.Context, batch []readyEv) error {
			calls <- len(batch)
			panic("boom")
		})
	if err != nil {
		t.Fatal(err)
	}
	receive(t, calls)
	for _, l := range letters(t, bus, 2) {
		if l.Attempts != 3 || l.ErrorKind != fault.Internal {
			t.Errorf("letter %+v", l)
		}
	}
}

func TestBatchesAreWorkedOnAtOnceWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			bus := eventtest.Bus(t)
			for n := range 6 {
				publish(t, bus, "crm", event.ID(fmt.Sprint(n)))
			}
			batches, goOn := make(chan []readyEv, 10), make(chan struct{})
			sub, err := event.ConsumeBatch(t.Context(), bus, event.ExtractReady, quick("c"), event.Batch{MaxCount: 2, MaxWait: 50 * time.Millisecond, Concurrency: at},
				func(_ context.Context, batch []readyEv) error {
					batches <- batch
					<-goOn
					return nil
				})
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for range max(at, 1) {
				for _, e := range receive(t, batches) {
					seen[e.ID] = true
				}
			}
			none(t, batches, 200*time.Millisecond)
			close(goOn)
			for len(seen) < 6 {
				for _, e := range receive(t, batches) {
					seen[e.ID] = true
				}
			}
			if err := sub.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
