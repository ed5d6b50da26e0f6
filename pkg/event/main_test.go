package event_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("AGNES_TEST_STORE"); dir != "" {
		publishUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

type (
	ready    = agnesv1.ExtractReady
	readyEv  = event.Event[*agnesv1.ExtractReady]
	request  = agnesv1.ExtractRequested
	requestE = event.Event[*agnesv1.ExtractRequested]
)

// quick is a consumer whose pauses fit a test.
func quick(name string) event.Consumer {
	return event.Consumer{Name: name, RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, MaxAttempts: 3}
}

// raw is a connection as a program that knows nothing of this package has it.
func raw(t *testing.T, s *embedded.Server) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func rawJetStream(t *testing.T, s *embedded.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(raw(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func publish(t *testing.T, b *event.Bus, source string, opts ...event.PublishOption) {
	t.Helper()
	if err := event.Publish(t.Context(), b, event.ExtractReady, source, &ready{}, opts...); err != nil {
		t.Fatal(err)
	}
}

func consume(t *testing.T, b *event.Bus, c event.Consumer, handle event.Handler[*ready]) *event.Subscription {
	t.Helper()
	sub, err := event.Consume(t.Context(), b, event.ExtractReady, c, handle)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(eventtest.Patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func none[T any](t *testing.T, c <-chan T, within time.Duration) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("unexpected: %+v", v)
	case <-time.After(within):
	}
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(eventtest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func letters(t *testing.T, b *event.Bus, want int) []event.DeadLetter {
	t.Helper()
	var got []event.DeadLetter
	eventually(t, "dead letters", func() (err error) {
		if got, err = b.DeadLetters(t.Context(), event.LetterFilter{}); err == nil && len(got) != want {
			err = fmt.Errorf("%d instead of %d: %+v", len(got), want, got)
		}
		return err
	})
	return got
}

// into sends events into a channel.
func into(c chan<- readyEv) event.Handler[*ready] {
	return func(_ context.Context, e readyEv) error {
		c <- e
		return nil
	}
}
