package event_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestABucketKeepsValuesByKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	bucket := eventtest.Bus(t).Bucket(event.BucketScheduler)
	const key = "crm/a table, with *.> and ünicode"
	if _, err := bucket.Get(ctx, key); !fault.Is(err, fault.NotFound) {
		t.Errorf("a key that is not there gives %v", err)
	}
	if all, err := bucket.All(ctx); err != nil || len(all) != 0 {
		t.Errorf("an empty bucket has %v, %v", all, err)
	}
	first, err := bucket.Create(ctx, key, []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(ctx, key, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("creating it again gives %v", err)
	}
	second, err := bucket.Update(ctx, key, []byte("2"), first)
	if err != nil || second <= first {
		t.Fatal(second, err)
	}
	if _, err := bucket.Update(ctx, key, []byte("3"), first); !fault.Is(err, fault.Conflict) {
		t.Errorf("an old revision gives %v", err)
	}
	if e, err := bucket.Get(ctx, key); err != nil || string(e.Value) != "2" || e.Key != key || e.Revision != second || e.Written.IsZero() {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := bucket.Put(ctx, "other", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if all, err := bucket.All(ctx); err != nil || len(all) != 2 || string(all[key].Value) != "2" {
		t.Errorf("all are %v, %v", all, err)
	}
	for range 2 {
		if err := bucket.Delete(ctx, key); err != nil {
			t.Error(err)
		}
	}
	if all, err := bucket.All(ctx); err != nil || len(all) != 1 {
		t.Errorf("after a removal: %v, %v", all, err)
	}
	if _, err := bucket.Create(ctx, key, []byte("again")); err != nil {
		t.Errorf("a removed key cannot be made again: %v", err)
	}
}

const ttl = 600 * time.Millisecond

func TestALeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	first, second := eventtest.Connect(t, server, "one"), eventtest.Connect(t, server, "two")
	held, err := first.Lease(t.Context(), "leader", ttl)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 3*ttl)
	defer cancel()
	if _, err := second.Lease(short, "leader", ttl); !fault.Is(err, fault.Conflict) {
		t.Errorf("a held lease gives %v", err)
	}
	if held.Context().Err() != nil {
		t.Error("the holder lost it, though it renews")
	}
	if other, err := second.Lease(t.Context(), "another", ttl); err != nil {
		t.Errorf("another name gives %v", err)
	} else {
		other.Release()
	}
	begin := time.Now()
	held.Release()
	if held.Context().Err() == nil {
		t.Error("a released lease is held on")
	}
	next, err := second.Lease(t.Context(), "leader", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(begin) > 5*time.Second || next.Fence() <= held.Fence() {
		t.Errorf("taken over after %s with fence %d after %d", time.Since(begin), next.Fence(), held.Fence())
	}
	second.Close() // ends what it holds
	if !errors.Is(next.Context().Err(), context.Canceled) {
		t.Error("a lease outlives its bus")
	}
	last, err := first.Lease(t.Context(), "leader", ttl)
	if err != nil {
		t.Fatal(err)
	}
	last.Release()
}

// A process that crashed does not release: its key stands, with a revision that no longer changes.
func TestALeaseOfACrashedHolderIsTakenOver(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	leases := bus.Bucket(event.BucketLeases)
	crashed, err := leases.Create(t.Context(), "leader", []byte(`{"holder":"crashed","fence":99999999999999}`))
	if err != nil {
		t.Fatal(err)
	}
	won := make(chan *event.Lease, 2)
	begin := time.Now()
	for _, name := range []string{"one", "two"} {
		contender := eventtest.Connect(t, server, name)
		go func() {
			if l, err := contender.Lease(t.Context(), "leader", ttl); err == nil {
				won <- l
			}
		}()
	}
	first := receive(t, won)
	if took := time.Since(begin); took < ttl || took > 10*ttl {
		t.Errorf("taken over after %s", took)
	}
	if first.Fence() != 100000000000000 {
		t.Errorf("the fence %d is not above that of the crashed holder", first.Fence())
	}
	none(t, won, 2*ttl)
	// The crashed holder was only paused, and comes back: its next renewal is refused.
	if _, err := leases.Update(t.Context(), "leader", []byte("{}"), crashed); !fault.Is(err, fault.Conflict) {
		t.Errorf("the old holder renews: %v", err)
	}
	first.Release()
	if second := receive(t, won); second.Fence() <= first.Fence() {
		t.Errorf("fence %d after %d", second.Fence(), first.Fence())
	}
}

func TestAHolderNoticesThatItLostTheLease(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	l, err := bus.Lease(t.Context(), "leader", ttl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Bucket(event.BucketLeases).Put(t.Context(), "leader", []byte(`{"holder":"thief"}`)); err != nil {
		t.Fatal(err)
	}
	receive(t, l.Context().Done())
	if e, err := bus.Bucket(event.BucketLeases).Get(t.Context(), "leader"); err != nil || string(e.Value) != `{"holder":"thief"}` {
		t.Errorf("the loser touched the key: %s, %v", e.Value, err)
	}

	l, err = bus.Lease(t.Context(), "alone", ttl)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	server.Stop() // the bus is gone: nobody can renew
	receive(t, l.Context().Done())
	if took := time.Since(begin); took > ttl {
		t.Errorf("the holder noticed after %s, a contender takes over after %s", took, ttl)
	}
}
