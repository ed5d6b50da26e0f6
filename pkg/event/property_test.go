package event_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// history is what one consumer did: how often it handled an event to its end, and what is to become
// of the events.
type history struct {
	mu    sync.Mutex
	done  map[string]int
	fails map[string]int // how often an event fails yet; -1 is for good, -2 is always
}

func (h *history) handle(ctx context.Context, e readyEv) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch left := h.fails[e.ID]; {
	case left == -1:
		return fault.New(fault.Permanent, "for good")
	case left == -2:
		return errors.New("always")
	case left > 0:
		h.fails[e.ID]--
		return fault.New(fault.Unavailable, "for now")
	}
	h.done[e.ID]++
	return nil
}

func (h *history) finished() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.done)
}

// Whatever is published twice, delivered again, stopped and restarted on the way: in the end every
// event was handled at least once by every consumer, or is exactly one dead letter of it.
func TestEveryEventEndsHandledOrAsOneDeadLetter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runHistory(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func runHistory(t *testing.T, random *rand.Rand) {
	t.Helper()
	r := startRestartable(t)
	const events = 60
	failing, steady := &history{done: map[string]int{}, fails: map[string]int{}}, &history{done: map[string]int{}}
	var dead []string
	for n := range events {
		id := fmt.Sprintf("e%02d", n)
		switch random.IntN(6) {
		case 0:
			failing.fails[id] = -1 - random.IntN(2)
			dead = append(dead, id)
		case 1:
			failing.fails[id] = 1 + random.IntN(2)
		}
	}
	c := event.Consumer{Name: "failing", RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond, MaxAttempts: 12, AckWait: 500 * time.Millisecond, Concurrency: 3}
	s := c
	s.Name = "steady"
	workers := r.connect("workers")
	consume(t, workers, s, steady.handle)
	sub := consume(t, workers, c, failing.handle)
	publisher := r.connect("publisher")
	stranger, err := nats.Connect(r.server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	for n := range events {
		id := fmt.Sprintf("e%02d", n)
		for range 1 + random.IntN(2) {
			publish(t, publisher, "crm", event.ID(id))
		}
		if random.IntN(4) == 0 { // a copy that the server cannot recognize
			if err := stranger.PublishMsg(&nats.Msg{Subject: "agnes.v1.extract.ready.crm", Header: nats.Header{"ce-id": {id}}}); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case random.IntN(20) == 0:
			if err := sub.Stop(hasEnded(t)); err != nil {
				t.Fatal(err)
			}
			sub = consume(t, workers, c, failing.handle)
		case n == events/2:
			r.server.Stop()
			r.start()
		}
	}
	check := func(consumer string, h *history, dead []string) error {
		done := h.finished()
		for n := range events {
			id := fmt.Sprintf("e%02d", n)
			if gone := slices.Contains(dead, id); gone == (done[id] > 0) {
				return fmt.Errorf("%s: %s was handled %d times, is to be a dead letter: %v", consumer, id, done[id], gone)
			}
		}
		return nil
	}
	eventually(t, "steady", func() error { return check("steady", steady, nil) })
	eventually(t, "failing", func() error { return check("failing", failing, dead) })
	// What was delivered and not acknowledged comes again; a copy that fails again renews its letter.
	var before map[string]int
	var list []event.DeadLetter
	eventually(t, "lost acknowledgements are over", func() error {
		before, list = steady.finished(), letters(t, publisher, len(dead))
		time.Sleep(s.AckWait * 3 / 2)
		same := func(a, b event.DeadLetter) bool { return a.Number == b.Number }
		if !maps.Equal(before, steady.finished()) || !slices.EqualFunc(list, letters(t, publisher, len(dead)), same) {
			return errors.New("still busy")
		}
		return nil
	})
	var ids []string
	for _, l := range list {
		ids = append(ids, l.EventID)
	}
	if slices.Sort(ids); !slices.Equal(ids, dead) {
		t.Errorf("the dead letters are %v, want %v", ids, dead)
	}

	// The cause is mended and the letters are replayed: to the one that failed, and to nobody else.
	failing.mu.Lock()
	failing.fails = map[string]int{}
	failing.mu.Unlock()
	for _, l := range list {
		if err := publisher.ReplayDeadLetter(t.Context(), l.Number); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "replayed", func() error { return check("failing", failing, nil) })
	letters(t, publisher, 0)
	if !maps.Equal(before, steady.finished()) {
		t.Error("the replay reached a consumer that had not failed")
	}
}
