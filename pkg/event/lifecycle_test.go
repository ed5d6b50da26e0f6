package event_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestASoftStopFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	started, release := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	sub := consume(t, bus, quick("c"), func(ctx context.Context, _ readyEv) error {
		close(started)
		<-release
		finished.Store(ctx.Err() == nil)
		return nil
	})
	publish(t, bus, "crm", event.ID("1"))
	publish(t, bus, "crm", event.ID("2"))
	receive(t, started)
	stopped := make(chan error)
	go func() { stopped <- sub.Stop(context.WithoutCancel(t.Context())) }()
	none(t, stopped, 100*time.Millisecond)
	close(release)
	if err := receive(t, stopped); err != nil || !finished.Load() {
		t.Errorf("stopped with %v, the handler finished: %v", err, finished.Load())
	}
	got := make(chan readyEv, 2)
	consume(t, eventtest.Connect(t, server, "next"), quick("c"), into(got))
	if e := receive(t, got); e.ID != "2" || e.Attempt != 1 {
		t.Errorf("the next process gets %+v", e)
	}
	none(t, got, 100*time.Millisecond)
}

func TestTrap_S6_AHardStopEndsWorkAndGivesItBackAtOnce(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	started := make(chan struct{})
	ended := make(chan error, 1)
	c := event.Consumer{Name: "c", RetryMin: time.Minute, AckWait: time.Minute}
	sub := consume(t, bus, c, func(ctx context.Context, _ readyEv) error {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	publish(t, bus, "crm")
	receive(t, started)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := sub.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the work ended with %v", err)
	}
	got := make(chan readyEv, 2)
	begin := time.Now()
	consume(t, eventtest.Connect(t, server, "next"), c, into(got))
	if receive(t, got); time.Since(begin) > 2*time.Second {
		t.Errorf("the work came back after %s", time.Since(begin))
	}
	letters(t, bus, 0)
}

func TestEndingTheContextIsAHardStop(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	sub, err := event.Consume(ctx, bus, event.ExtractReady, quick("c"), func(ctx context.Context, _ readyEv) error {
		close(started)
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "crm")
	receive(t, started)
	cancel()
	receive(t, sub.Done())
}

func TestClosingTheBusStopsEverything(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	started := make(chan struct{})
	sub := consume(t, bus, quick("c"), func(ctx context.Context, _ readyEv) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	publish(t, bus, "crm")
	receive(t, started)
	bus.Close()
	receive(t, sub.Done())
	if _, err := event.Consume(t.Context(), bus, event.ExtractReady, quick("c"), into(nil)); err == nil {
		t.Error("a closed bus consumes")
	}
	if err := event.Publish(t.Context(), bus, event.ExtractReady, "crm", &ready{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a closed bus publishes: %v", err)
	}
	if err := bus.Ready(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a closed bus is ready: %v", err)
	}
	got := make(chan readyEv, 1)
	consume(t, eventtest.Connect(t, server, "next"), quick("c"), into(got))
	receive(t, got)
}

func TestProcessesShareTheWorkOfTheirType(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "scheduler")
	var mu sync.Mutex
	handled := map[string][]string{} // event → process
	busy := make(chan struct{})
	for _, process := range []string{"csv-1", "csv-2", "keboola-1"} {
		c := event.Consumer{Name: "extractor", Key: process[:len(process)-2]}
		_, err := event.Consume(t.Context(), eventtest.Connect(t, server, process), event.ExtractRequested, c, func(_ context.Context, e requestE) error {
			if e.Key == "csv" && e.Source == "both" {
				busy <- struct{}{} // both processes of the type are at work at once
			}
			mu.Lock()
			defer mu.Unlock()
			handled[e.ID] = append(handled[e.ID], process)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send := func(source, kind, id string) {
		if err := event.Publish(t.Context(), bus, event.ExtractRequested, source, &request{}, event.Key(kind), event.ID(id)); err != nil {
			t.Fatal(err)
		}
	}
	send("both", "csv", "b1")
	send("both", "csv", "b2")
	time.Sleep(50 * time.Millisecond)
	receive(t, busy)
	receive(t, busy)
	for n := range 20 {
		send("crm", "csv", fmt.Sprint("c", n))
		send("crm", "keboola", fmt.Sprint("k", n))
	}
	send("crm", "unknown", "u") // waits for somebody who can do it
	eventually(t, "all handled", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(handled) != 42 {
			return fmt.Errorf("%d handled", len(handled))
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	for id, processes := range handled {
		if len(processes) != 1 || (id[0] == 'k') != (processes[0] == "keboola-1") {
			t.Errorf("%s was handled by %v", id, processes)
		}
	}
	js := rawJetStream(t, server)
	eventually(t, "the queue", func() error {
		stream, err := js.Stream(t.Context(), "AGNES_REQUESTS")
		if err == nil && stream.CachedInfo().State.Msgs != 1 {
			err = fmt.Errorf("%d messages are left", stream.CachedInfo().State.Msgs)
		}
		return err
	})
}

func TestHandlersRunSideBySideUpToTheLimit(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	var now, most atomic.Int32
	c := quick("c")
	c.Concurrency = 4
	done := make(chan struct{}, 100)
	consume(t, bus, c, func(context.Context, readyEv) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
		done <- struct{}{}
		return nil
	})
	for range 20 {
		publish(t, bus, "crm")
	}
	for range 20 {
		receive(t, done)
	}
	if most.Load() != 4 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestAConsumerBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	publish(t, bus, "crm", event.ID("old"))
	publish(t, bus, "shop", event.ID("shop"))
	all, fresh, only := make(chan readyEv, 10), make(chan readyEv, 10), make(chan readyEv, 10)
	consume(t, bus, quick("all"), into(all))
	c := quick("fresh")
	c.FromNow = true
	sub := consume(t, bus, c, into(fresh))
	c = quick("only")
	c.Source = "shop"
	consume(t, bus, c, into(only))
	publish(t, bus, "crm", event.ID("new"))
	if a, b, n := receive(t, all), receive(t, all), receive(t, all); a.ID != "old" || b.ID != "shop" || n.ID != "new" {
		t.Errorf("all got %s, %s, %s", a.ID, b.ID, n.ID)
	}
	if e := receive(t, fresh); e.ID != "new" {
		t.Errorf("fresh got %s", e.ID)
	}
	if e := receive(t, only); e.ID != "shop" {
		t.Errorf("only got %s", e.ID)
	}
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, bus, "crm", event.ID("meanwhile"))
	c = quick("fresh")
	c.FromNow, c.AckWait = true, 3*time.Second // changed settings are taken over
	consume(t, bus, c, into(fresh))
	if e := receive(t, fresh); e.ID != "meanwhile" {
		t.Errorf("a consumer that was away got %s", e.ID)
	}
	none(t, only, 50*time.Millisecond)
}

func TestConsumersAreCheckedBeforeTheyStart(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	if _, err := event.Consume(t.Context(), bus, event.ExtractReady, event.Consumer{}, into(nil)); !fault.Is(err, fault.Invalid) {
		t.Errorf("no name: %v", err)
	}
	_, err := event.Consume(t.Context(), bus, event.ExtractProgress, event.Consumer{Name: "c"}, nil)
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("not stored: %v", err)
	}
}
