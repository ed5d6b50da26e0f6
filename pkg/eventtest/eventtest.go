// Package eventtest gives tests a real bus: a NATS server in the process, one per test.
package eventtest

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
)

// Bus is a connection to a server of the test's own; both end with the test.
func Bus(tb testing.TB) *event.Bus {
	tb.Helper()
	return Connect(tb, Server(tb), "test")
}

// Server starts a server that ends with the test and leaves nothing behind.
func Server(tb testing.TB) *embedded.Server {
	tb.Helper()
	s, err := embedded.Start(tb.Context(), embedded.Config{StoreDir: tb.TempDir()})
	if err != nil {
		tb.Fatalf("start the embedded server: %v", err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Connect is one more connection to the server, as another process would have it.
func Connect(tb testing.TB, s *embedded.Server, name string) *event.Bus {
	tb.Helper()
	b, err := s.Connect(tb.Context(), name)
	if err != nil {
		tb.Fatalf("connect to the embedded server: %v", err)
	}
	tb.Cleanup(b.Close)
	return b
}

// Patience is how long the helpers of this package wait for what must happen.
const Patience = 10 * time.Second

// Events collects the events of one kind.
type Events[M proto.Message] struct {
	tb   testing.TB
	kind string
	c    chan event.Event[M]
}

// Collect listens from now on.
func Collect[M proto.Message](tb testing.TB, b *event.Bus, kind event.Kind[M]) *Events[M] {
	tb.Helper()
	e := &Events[M]{tb: tb, kind: kind.Name(), c: make(chan event.Event[M], 1024)}
	sub, err := event.Listen(tb.Context(), b, kind, event.Listener{}, func(_ context.Context, ev event.Event[M]) error {
		e.c <- ev
		return nil
	})
	if err != nil {
		tb.Fatalf("listen to %s: %v", kind.Name(), err)
	}
	tb.Cleanup(func() { _ = event.StopAll(Patience, sub) })
	return e
}

// Next waits for the next event and fails the test when none comes.
func (e *Events[M]) Next() event.Event[M] {
	e.tb.Helper()
	select {
	case ev := <-e.c:
		return ev
	case <-time.After(Patience):
		e.tb.Fatalf("no %s came within %s", e.kind, Patience)
		panic("unreachable")
	}
}

// None fails the test when an event comes within the time.
func (e *Events[M]) None(within time.Duration) {
	e.tb.Helper()
	select {
	case ev := <-e.c:
		e.tb.Fatalf("an unexpected %s came: %v", e.kind, ev.Payload)
	case <-time.After(within):
	}
}
