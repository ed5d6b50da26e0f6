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
type queue struct {
	mu      sync.Mutex
	limit   int
	perUser int
	waiting int // of one user at most
	running int
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
	return &queue{limit: limit, perUser: min(perUser, limit), waiting: waiting, users: make(map[string]*lane)}
}

// retryAfter is what a user is told whose queue is full.
const retryAfter = 5 * time.Second

// enter waits for a place until ctx ends. leave gives it back, and may be called more than once.
func (q *queue) enter(ctx context.Context, user string) (leave func(), err error) {
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
			q.leave(l) // admitted at the same moment
		}
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() { q.leave(l) }), nil
}

func (q *queue) leave(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	l.running--
	q.forget(l)
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
	if l.running == 0 && len(l.waiting) == 0 {
		delete(q.users, l.user)
	}
}
