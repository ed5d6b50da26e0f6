package query

import (
	"context"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// queue admits a number of queries at once, and a smaller one of each user. Whoever has the fewest
// running goes first, and among equals they take turns: a user with a hundred queries delays another
// by one at most, and while no more users than Running/PerUser are busy, not at all.
//
// A query whose client does not read computes nothing: while it waits for the client it gives its
// place to another, up to a bound, and goes on beside that one when the client reads again.
type queue struct {
	mu      sync.Mutex
	limit   int
	perUser int
	waiting int // of one user at most
	stalls  int // how many may stall without a place, at most
	running int
	stalled int
	users   map[string]*lane
	turns   []*lane // users with somebody waiting, the next one first
}

// lane is one user's place in the queue.
type lane struct {
	user    string
	running int
	waiting []chan struct{} // closed when admitted
}

func newQueue(limit, perUser, waiting int) *queue {
	return &queue{limit: limit, perUser: min(perUser, limit), waiting: waiting, stalls: stallsOf(limit), users: make(map[string]*lane)}
}

// stallsOf is how many queries may stall beside limit others.
func stallsOf(limit int) int { return (limit + 1) / 2 }

// ticket is an admitted query.
type ticket struct {
	queue *queue
	lane  *lane
	// blocked: the query is within wait; stalled: it gave its place away; gone: it left.
	blocked, stalled, gone bool
}

// retryAfter is what a user is told whose queue is full.
const retryAfter = 5 * time.Second

// enter waits for a place until ctx ends.
func (q *queue) enter(ctx context.Context, user string) (*ticket, error) {
	q.mu.Lock()
	l := q.users[user]
	if l == nil {
		l = &lane{user: user}
		q.users[user] = l
	}
	if len(l.waiting) >= q.waiting {
		q.mu.Unlock()
		return nil, fault.New(fault.Busy, "%d of your queries are waiting already; try again when some are done", q.waiting).After(retryAfter)
	}
	admitted := make(chan struct{})
	l.waiting = append(l.waiting, admitted)
	if len(l.waiting) == 1 {
		q.turns = append(q.turns, l)
	}
	q.admit()
	q.mu.Unlock()
	select {
	case <-admitted:
	case <-ctx.Done():
		if !q.withdraw(l, admitted) {
			(&ticket{queue: q, lane: l}).leave() // admitted at the same moment
		}
		return nil, context.Cause(ctx)
	}
	return &ticket{queue: q, lane: l}, nil
}

// leave gives the place back. It may be called more than once.
func (t *ticket) leave() {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.gone {
		return
	}
	t.gone = true
	if t.stalled {
		q.stalled--
	} else {
		q.running--
		t.lane.running--
	}
	q.forget(t.lane)
	q.admit()
}

// stallAfter is how long a client may take before its query gives its place to another.
const stallAfter = 200 * time.Millisecond

// wait runs something that may block for long and computes nothing.
func (t *ticket) wait(block func()) {
	t.queue.mu.Lock()
	t.blocked = true
	t.queue.mu.Unlock()
	timer := time.AfterFunc(stallAfter, t.stall)
	block()
	timer.Stop()
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	t.blocked = false
	if t.stalled {
		t.stalled = false
		q.stalled--
		q.running++
		t.lane.running++
	}
}

func (t *ticket) stall() {
	q := t.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.blocked || t.stalled || q.stalled >= q.stalls {
		return
	}
	t.stalled = true
	q.stalled++
	q.running--
	t.lane.running--
	q.admit()
}

// withdraw takes a waiting query out; it is false where the query was admitted.
func (q *queue) withdraw(l *lane, admitted chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range l.waiting {
		if w == admitted {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			if len(l.waiting) == 0 {
				q.skip(l)
			}
			q.forget(l)
			return true
		}
	}
	return false
}

// admit lets in as many as there are places for. q.mu is held.
func (q *queue) admit() {
	for q.running < q.limit {
		var next *lane
		for _, l := range q.turns {
			if l.running < q.perUser && (next == nil || l.running < next.running) {
				next = l
			}
		}
		if next == nil {
			return
		}
		close(next.waiting[0])
		next.waiting = next.waiting[1:]
		next.running++
		q.running++
		q.skip(next)
		if len(next.waiting) > 0 {
			q.turns = append(q.turns, next)
		}
	}
}

// skip takes a user out of the turns.
func (q *queue) skip(l *lane) {
	for i, t := range q.turns {
		if t == l {
			q.turns = append(q.turns[:i], q.turns[i+1:]...)
			return
		}
	}
}

func (q *queue) forget(l *lane) {
	if l.running == 0 && len(l.waiting) == 0 && q.users[l.user] == l {
		delete(q.users, l.user)
	}
}
