package cloud

import (
	"runtime"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// asker asks for a place, and tells when it stands in the queue or has one.
type asker struct {
	got     chan func()
	refused chan error
}

func ask(t *testing.T, l *limiter, p priority, patience time.Duration) asker {
	t.Helper()
	a := asker{make(chan func(), 1), make(chan error, 1)}
	l.mu.Lock()
	before := len(l.lanes[p].queue) + l.lanes[p].busy
	l.mu.Unlock()
	deadline := l.clock.Now().Add(patience)
	go func() {
		release, err := l.acquire(t.Context(), p, deadline)
		if err != nil {
			a.refused <- err
			return
		}
		a.got <- release
	}()
	for {
		l.mu.Lock()
		now := len(l.lanes[p].queue) + l.lanes[p].busy
		l.mu.Unlock()
		if now > before || len(a.refused) > 0 {
			return a
		}
		runtime.Gosched()
	}
}

// state counts who has a place and who waits, of a priority.
func (l *limiter) state(p priority) (busy, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lanes[p].busy, len(l.lanes[p].queue)
}

func want(t *testing.T, l *limiter, p priority, busy, waiting int) {
	t.Helper()
	if b, w := l.state(p); b != busy || w != waiting {
		t.Errorf("%s: %d have a place and %d wait, want %d and %d", p, b, w, busy, waiting)
	}
}

func TestTrap_J6_WhatFollowsAWebhookGoesFirst(t *testing.T) {
	t.Parallel()
	l := newLimiter(clockwork.NewFakeClock(), 4, metrics{})
	var front []asker
	for range 4 {
		front = append(front, ask(t, l, foreground, time.Hour))
	}
	// All places are taken: what can wait does, and what comes later of the others overtakes it.
	back := ask(t, l, background, time.Hour)
	front = append(front, ask(t, l, foreground, time.Hour))
	want(t, l, foreground, 4, 1)
	want(t, l, background, 0, 1)
	(<-front[0].got)()
	want(t, l, foreground, 4, 0)
	want(t, l, background, 0, 1)
	(<-front[1].got)()
	want(t, l, foreground, 3, 0)
	want(t, l, background, 1, 0)
	release := <-back.got
	release()
	release() // twice is once
	want(t, l, background, 0, 0)
}

func TestTrap_J6_BackgroundWorkNeverHasEveryPlace(t *testing.T) {
	t.Parallel()
	l := newLimiter(clockwork.NewFakeClock(), 4, metrics{})
	for range 100 {
		l.good(background)
	}
	for range 10 {
		ask(t, l, background, time.Hour)
	}
	want(t, l, background, 3, 7)
	ask(t, l, foreground, time.Hour)
	want(t, l, foreground, 1, 0)
}

func TestTrap_J6_APauseOfTheForegroundIsOneOfAll(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	l := newLimiter(clock, 8, metrics{})
	l.pause(foreground, clock.Now(), time.Minute)
	ask(t, l, foreground, time.Hour)
	ask(t, l, background, time.Hour)
	want(t, l, foreground, 0, 1)
	want(t, l, background, 0, 1)
	// Who has less patience is told at once, be it before the pause or within it.
	err := <-ask(t, l, foreground, time.Second).refused
	if !fault.Is(err, fault.Busy) || fault.RetryAfter(err) < time.Minute {
		t.Errorf("%v after %v", err, fault.RetryAfter(err))
	}
	waiting := ask(t, l, background, 10*time.Minute)
	l.pause(background, clock.Now(), 30*time.Minute)
	if err := <-waiting.refused; !fault.Is(err, fault.Busy) {
		t.Error(err)
	}
	clock.Advance(2 * time.Minute)
	clock.BlockUntilContext(t.Context(), 1) //nolint:errcheck // the timer of the longer pause is armed
	want(t, l, foreground, 1, 0)
	want(t, l, background, 0, 1)
}

func TestPlacesAreHalvedOnceForOneThrottlingAndGrowBack(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	l := newLimiter(clock, 8, metrics{})
	began := clock.Now()
	clock.Advance(time.Second)
	for range 8 { // eight calls that were under way together
		l.pause(foreground, began, time.Second)
	}
	clock.Advance(2 * time.Second)
	for range 10 {
		ask(t, l, foreground, time.Hour)
	}
	want(t, l, foreground, 4, 6)
	for range 100 {
		l.good(foreground)
	}
	ask(t, l, foreground, time.Hour)
	want(t, l, foreground, 8, 3)
}
