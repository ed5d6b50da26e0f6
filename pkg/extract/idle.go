package extract

import (
	"sync"
	"time"
)

// idleFor is how long something that is costly to open waits for the next who needs it.
const idleFor = 20 * time.Second

// idle keeps what is costly to open and is not used now, a few of them and for a while. It is safe for
// concurrent use. What it keeps until close is called is closed by it, before anything of it returns.
type idle[T any] struct {
	most  int
	after time.Duration
	end   func(T)

	mu     sync.Mutex
	kept   []kept[T] // the longest idle first
	timer  *time.Timer
	closed bool
}

type kept[T any] struct {
	key   string
	what  T
	since time.Time
}

func newIdle[T any](most int, end func(T)) *idle[T] {
	return &idle[T]{most: most, after: idleFor, end: end}
}

// take gives what was kept last under a key. From then on it is the caller's.
func (i *idle[T]) take(key string) (what T, found bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := len(i.kept) - 1; n >= 0; n-- {
		if i.kept[n].key == key {
			what = i.kept[n].what
			i.remove(n)
			return what, true
		}
	}
	return what, false
}

// give keeps something, in place of what is idle for longest where there are too many.
func (i *idle[T]) give(key string, what T) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		i.end(what)
		return
	}
	i.kept = append(i.kept, kept[T]{key, what, time.Now()})
	for len(i.kept) > i.most {
		i.endFirst()
	}
	if i.timer == nil {
		i.timer = time.AfterFunc(i.after, i.expire)
	}
}

// expire closes what was idle for long enough, and comes again for the rest.
func (i *idle[T]) expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.kept) > 0 && time.Since(i.kept[0].since) >= i.after {
		i.endFirst()
	}
	i.timer = nil
	if len(i.kept) > 0 {
		i.timer = time.AfterFunc(i.after-time.Since(i.kept[0].since), i.expire)
	}
}

// close closes what is kept, and from then on whatever is given.
func (i *idle[T]) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	if i.timer != nil {
		i.timer.Stop()
	}
	for len(i.kept) > 0 {
		i.endFirst()
	}
}

func (i *idle[T]) endFirst() {
	first := i.kept[0].what
	i.remove(0)
	i.end(first)
}

func (i *idle[T]) remove(n int) {
	i.kept = append(i.kept[:n], i.kept[n+1:]...)
}
