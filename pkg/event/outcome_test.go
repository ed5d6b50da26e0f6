package event_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestTheKindOfAFaultDecidesTheOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err      error
		attempts int
		kind     fault.Kind // of the dead letter
		message  string
	}{
		"nil":         {nil, 1, "", ""},
		"invalid":     {fault.New(fault.Invalid, "no such column"), 1, fault.Invalid, "no such column"},
		"permanent":   {fault.New(fault.Permanent, "gone"), 1, fault.Permanent, "gone"},
		"conflict":    {fault.New(fault.Conflict, "changed"), 1, fault.Conflict, "changed"},
		"unavailable": {fault.New(fault.Unavailable, "away"), 3, fault.Unavailable, "away"},
		"busy":        {fault.New(fault.Busy, "full"), 3, fault.Busy, "full"},
		"unknown":     {errors.New("SELECT 'secret'"), 3, fault.Internal, "an internal error; the log of the server has the details"},
		"deadline":    {context.DeadlineExceeded, 3, fault.Unavailable, "the deadline passed before the work was done"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := eventtest.Bus(t)
			got := make(chan readyEv, 10)
			consume(t, bus, quick("c"), func(_ context.Context, e readyEv) error {
				got <- e
				return c.err
			})
			publish(t, bus, "crm", event.ID("i"))
			for attempt := 1; attempt <= c.attempts; attempt++ {
				if e := receive(t, got); e.Attempt != attempt || e.ID != "i" {
					t.Errorf("attempt %d is %+v", attempt, e)
				}
			}
			want := 0
			if c.kind != "" {
				want = 1
			}
			for _, l := range letters(t, bus, want) {
				if l.ErrorKind != c.kind || l.Error != c.message || l.Attempts != c.attempts || l.Consumer != "c_extract-ready" ||
					l.EventID != "i" || l.Subject != "agnes.v1.extract.ready.crm" || l.Kind != "extract.ready" || l.Source != "crm" ||
					string(l.Payload) != "{}" || l.FailedAt.IsZero() || len(l.Headers["ce-id"]) != 1 {
					t.Errorf("the letter is %+v", l)
				}
			}
			none(t, got, 150*time.Millisecond)
		})
	}
}

func TestAPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	var calls atomic.Int32
	c := quick("c")
	c.MaxAttempts = 2
	consume(t, bus, c, func(context.Context, readyEv) error {
		calls.Add(1)
		panic("boom")
	})
	publish(t, bus, "crm")
	l := letters(t, bus, 1)[0]
	if l.ErrorKind != fault.Internal || l.Error != "the handler panicked" || calls.Load() != 2 {
		t.Errorf("%d calls, letter %+v", calls.Load(), l)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	times := make(chan time.Time, 2)
	consume(t, bus, quick("c"), func(_ context.Context, e readyEv) error {
		times <- time.Now()
		if e.Attempt == 1 {
			return fault.New(fault.Busy, "slow down").After(600 * time.Millisecond)
		}
		return nil
	})
	publish(t, bus, "crm")
	first, second := receive(t, times), receive(t, times)
	if pause := second.Sub(first); pause < 550*time.Millisecond {
		t.Errorf("came again after %s", pause)
	}
}

func TestPausesGrow(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	times := make(chan time.Time, 4)
	c := event.Consumer{Name: "c", RetryMin: 100 * time.Millisecond, RetryMax: 400 * time.Millisecond, MaxAttempts: 4}
	consume(t, bus, c, func(context.Context, readyEv) error {
		times <- time.Now()
		return errors.New("again")
	})
	publish(t, bus, "crm")
	last := receive(t, times)
	for _, least := range []time.Duration{80 * time.Millisecond, 160 * time.Millisecond, 320 * time.Millisecond} {
		now := receive(t, times)
		if pause := now.Sub(last); pause < least {
			t.Errorf("a pause of %s, want at least %s", pause, least)
		}
		last = now
	}
}

func TestALongHandlerIsNotDisturbed(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	var calls atomic.Int32
	done := make(chan struct{})
	c := quick("c")
	c.AckWait = 300 * time.Millisecond
	for range 2 { // two processes
		consume(t, eventtest.Connect(t, server, "p"), c, func(context.Context, readyEv) error {
			calls.Add(1)
			time.Sleep(1200 * time.Millisecond)
			close(done)
			return nil
		})
	}
	publish(t, eventtest.Connect(t, server, "p"), "crm")
	receive(t, done)
	time.Sleep(400 * time.Millisecond)
	if calls.Load() != 1 {
		t.Errorf("handled %d times", calls.Load())
	}
}

func TestAnUnreadablePayloadIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	var calls atomic.Int32
	consume(t, bus, quick("c"), func(context.Context, readyEv) error { calls.Add(1); return nil })
	msg := &nats.Msg{Subject: "agnes.v1.extract.ready.crm", Data: []byte("not json"), Header: nats.Header{"X-Own": {"kept"}}}
	if err := raw(t, server).PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	l := letters(t, bus, 1)[0]
	if l.ErrorKind != fault.Invalid || l.Attempts != 1 || string(l.Payload) != "not json" || l.Headers["X-Own"][0] != "kept" || calls.Load() != 0 {
		t.Errorf("%d calls, letter %+v", calls.Load(), l)
	}
}

func TestAnEventThatKillsEveryProcessIsGivenUp(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	c := quick("c")
	c.AckWait = 200 * time.Millisecond
	c.MaxAttempts = 2
	js := rawJetStream(t, server)
	bus := eventtest.Connect(t, server, "test")
	publish(t, bus, "crm")
	sub := consume(t, bus, c, func(ctx context.Context, _ readyEv) error { <-ctx.Done(); return ctx.Err() })
	if err := sub.Stop(hasEnded(t)); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "AGNES_EVENTS", "c_extract-ready")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a process that dies answers nothing
		if _, err := consumer.Next(); err != nil {
			t.Fatal(err)
		}
	}
	var calls atomic.Int32
	consume(t, bus, c, func(context.Context, readyEv) error { calls.Add(1); return nil })
	if l := letters(t, bus, 1)[0]; l.ErrorKind != fault.Permanent || calls.Load() != 0 {
		t.Errorf("%d calls, letter %+v", calls.Load(), l)
	}
}

// hasEnded is a context that is over: a stop with it is a hard one.
func hasEnded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
