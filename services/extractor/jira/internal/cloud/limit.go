package cloud

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// priority of a call.
type priority int

const (
	foreground priority = iota // follows a webhook
	background                 // can wait
)

func (p priority) String() string {
	if p == background {
		return "background"
	}
	return "foreground"
}

// limiter lets calls to Jira go. Each priority has a number of places of its own, which shrinks by half
// when Jira throttles and grows by one after as many good answers; and a time before which none goes,
// which is Jira's Retry-After. Both are independent, but for two rules: background calls get no place
// while a foreground call waits for one or when all places together are taken, and where Jira throttles
// the foreground, the background waits as well.
type limiter struct {
	clock   clockwork.Clock
	metrics metrics

	mu     sync.Mutex
	all    int
	lanes  [2]lane
	wake   clockwork.Timer
	wakeAt time.Time
}

type lane struct {
	most   float64
	places float64
	busy   int
	until  time.Time
	warned time.Time
	queue  []*waiter
}

type waiter struct {
	ready    chan struct{}
	deadline time.Time
	refused  error // set before ready is closed: it got no place
}

func newLimiter(clock clockwork.Clock, most int, m metrics) *limiter {
	l := &limiter{clock: clock, metrics: m, all: most}
	l.lanes[foreground] = lane{most: float64(most), places: float64(most)}
	// Work that can wait begins with half of the places, and leaves one even at its most.
	behind := max(1, most-1)
	l.lanes[background] = lane{most: float64(behind), places: float64(max(1, behind/2))}
	return l
}

// acquire waits for a place, for Jira's pause to end as well, but not beyond the deadline: a pause that
// is longer is answered Busy at once. The place is given back by calling what it returns, once.
func (l *limiter) acquire(ctx context.Context, p priority, deadline time.Time) (release func(), err error) {
	l.mu.Lock()
	lane := &l.lanes[p]
	if pause := lane.until.Sub(l.clock.Now()); lane.until.After(deadline) {
		l.mu.Unlock()
		return nil, throttled(pause)
	}
	w := &waiter{ready: make(chan struct{}), deadline: deadline}
	lane.queue = append(lane.queue, w)
	l.dispatch()
	l.mu.Unlock()
	select {
	case <-w.ready:
		if w.refused != nil {
			return nil, w.refused
		}
		return l.releaser(p), nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.ready: // it got its place just now
		if w.refused == nil {
			l.lanes[p].busy--
		}
	default:
		l.lanes[p].queue = slices.DeleteFunc(l.lanes[p].queue, func(o *waiter) bool { return o == w })
	}
	l.dispatch()
	return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "waiting to call Jira was given up")
}

func throttled(pause time.Duration) error {
	return fault.New(fault.Busy, "Jira limits the rate of calls").After(max(pause, time.Second))
}

func (l *limiter) releaser(p priority) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.lanes[p].busy--
			l.dispatch()
		})
	}
}

// dispatch gives places to those who wait, foreground first. The caller holds the lock.
func (l *limiter) dispatch() {
	now := l.clock.Now()
	for p := range l.lanes {
		lane := &l.lanes[p]
		for len(lane.queue) > 0 && l.mayGo(priority(p), now) {
			w := lane.queue[0]
			lane.queue = lane.queue[1:]
			lane.busy++
			close(w.ready)
		}
	}
	l.arm(now)
}

func (l *limiter) mayGo(p priority, now time.Time) bool {
	lane := &l.lanes[p]
	if now.Before(lane.until) || lane.busy >= max(1, int(lane.places)) {
		return false
	}
	if p == foreground {
		return true
	}
	front := &l.lanes[foreground]
	waiting := len(front.queue) > 0 && !now.Before(front.until)
	return !waiting && lane.busy+front.busy < l.all
}

// arm sees to it that those who wait for a pause to end are looked at when it does.
func (l *limiter) arm(now time.Time) {
	var next time.Time
	for p := range l.lanes {
		lane := &l.lanes[p]
		if len(lane.queue) > 0 && now.Before(lane.until) && (next.IsZero() || lane.until.Before(next)) {
			next = lane.until
		}
	}
	if next.IsZero() || next.Equal(l.wakeAt) && l.wake != nil {
		return
	}
	if l.wake != nil {
		l.wake.Stop()
	}
	l.wakeAt = next
	l.wake = l.clock.AfterFunc(next.Sub(now), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wake, l.wakeAt = nil, time.Time{}
		l.dispatch()
	})
}

// pause notes that Jira throttled a call that began at the time given. Calls that were under way when
// the first of them was throttled count as one.
func (l *limiter) pause(p priority, began time.Time, asked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	// Later by up to a tenth: Jira asks those who come back not to come all at once.
	until := now.Add(asked + time.Duration(rand.Float64()*0.1*float64(asked))) //nolint:gosec // a spread, not a secret
	for q := p; q <= background; q++ {
		lane := &l.lanes[q]
		if !began.Before(lane.warned) {
			lane.places = max(1, lane.places/2)
			lane.warned = now
		}
		if until.After(lane.until) {
			lane.until = until
		}
		l.metrics.setPlaces(q, lane.places)
		lane.refuse(now)
	}
	l.dispatch()
}

// refuse sends away those who would not wait as long as the pause lasts.
func (q *lane) refuse(now time.Time) {
	q.queue = slices.DeleteFunc(q.queue, func(w *waiter) bool {
		if !q.until.After(w.deadline) {
			return false
		}
		w.refused = throttled(q.until.Sub(now))
		close(w.ready)
		return true
	})
}

// warn notes that Jira says that the limit is near: background work takes a step back.
func (l *limiter) warn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane, now := &l.lanes[background], l.clock.Now()
	if now.Sub(lane.warned) < time.Second {
		return
	}
	lane.warned = now
	lane.places = max(1, lane.places*0.8)
	l.metrics.setPlaces(background, lane.places)
}

// good notes a good answer.
func (l *limiter) good(p priority) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := &l.lanes[p]
	if lane.places < lane.most {
		lane.places = min(lane.most, lane.places+1/lane.places)
		l.metrics.setPlaces(p, lane.places)
	}
}
