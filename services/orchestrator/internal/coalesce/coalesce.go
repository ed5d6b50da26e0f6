// Package coalesce turns bursts of requests for the same key into few runs of the work, and runs
// different keys side by side.
package coalesce

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Group runs work per key: never twice at once for one key, and for several keys at once up to a
// bound. A request that comes before a run has begun is part of it; one that comes later waits for
// the next run, so that the run which answers a request saw everything that stood when it was made.
type Group[T any] struct {
	work  func(ctx context.Context, key string, items []T) error
	pause time.Duration
	slots chan struct{}
	stop  context.Context
	mu    sync.Mutex
	lanes map[string]*lane[T]
	busy  sync.WaitGroup
}

type lane[T any] struct {
	next    *batch[T]
	running bool
}

type batch[T any] struct {
	items []T
	done  chan struct{}
	err   error
}

// New makes a group whose work ends when ctx ends. At most parallel keys are worked on at once;
// pause is how long a run waits for more requests before it begins.
func New[T any](ctx context.Context, parallel int, pause time.Duration, work func(ctx context.Context, key string, items []T) error) *Group[T] {
	return &Group[T]{
		work: work, pause: pause, slots: make(chan struct{}, max(parallel, 1)), stop: ctx,
		lanes: make(map[string]*lane[T]),
	}
}

// Do adds an item to the next run for the key and waits for that run; its error is the run's. A
// caller that gives up, because ctx ends, does not stop the run: others may wait for it.
func (g *Group[T]) Do(ctx context.Context, key string, item T) error {
	b := g.join(key, item)
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Add is Do without waiting.
func (g *Group[T]) Add(key string, item T) { g.join(key, item) }

// Wait returns when no run is under way or waiting.
func (g *Group[T]) Wait() { g.busy.Wait() }

func (g *Group[T]) join(key string, item T) *batch[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[key]
	if l == nil {
		l = &lane[T]{}
		g.lanes[key] = l
	}
	if l.next == nil {
		l.next = &batch[T]{done: make(chan struct{})}
	}
	l.next.items = append(l.next.items, item)
	if !l.running {
		l.running = true
		g.busy.Add(1)
		go g.drive(key, l)
	}
	return l.next
}

// drive runs batches of one key until there is none left.
func (g *Group[T]) drive(key string, l *lane[T]) {
	defer g.busy.Done()
	for {
		err := g.begin()
		b := g.take(l)
		if err == nil {
			err = g.run(key, b.items)
			<-g.slots
		}
		b.err = err
		close(b.done)
		if g.idle(key, l) {
			return
		}
	}
}

// begin waits for the pause and for a free slot.
func (g *Group[T]) begin() error {
	if g.pause > 0 {
		timer := time.NewTimer(g.pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-g.stop.Done():
			return g.stop.Err()
		}
	}
	select {
	case g.slots <- struct{}{}:
	case <-g.stop.Done():
		return g.stop.Err()
	}
	if err := g.stop.Err(); err != nil { // both were ready
		<-g.slots
		return err
	}
	return nil
}

// take closes the next batch, which a driven lane always has: further items go into the one after.
func (g *Group[T]) take(l *lane[T]) *batch[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := l.next
	l.next = nil
	return b
}

// idle ends the lane where nobody has joined it since.
func (g *Group[T]) idle(key string, l *lane[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.next != nil {
		return false
	}
	l.running = false
	delete(g.lanes, key)
	return true
}

func (g *Group[T]) run(key string, items []T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Wrap(fmt.Errorf("panic: %v\n%s", p, debug.Stack()), fault.Internal, "the work on %s failed", key)
		}
	}()
	return g.work(g.stop, key, items)
}
