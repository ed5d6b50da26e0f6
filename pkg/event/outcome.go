package event

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// delivery is one message on its way through a handler.
type delivery[M proto.Message] struct {
	msg   jetstream.Msg
	event Event[M]
	err   error // why it cannot be handled at all
}

// one handles one message and settles it.
func (p *pump[M]) one(msg jetstream.Msg, handle Handler[M]) {
	d, ok := p.open(msg)
	if !ok {
		return
	}
	if d.err != nil {
		p.settle(d, d.err)
		return
	}
	ctx := p.handlerContext(msg.Headers(), d.event.ID, d.event.Source)
	quiet := p.keepAlive(msg)
	err := guard(func() error { return handle(ctx, d.event) })
	quiet()
	p.settle(d, err)
}

// open reads a message. It answers false for one that is settled already: a replay for somebody else.
func (p *pump[M]) open(msg jetstream.Msg) (delivery[M], bool) {
	d := delivery[M]{msg: msg}
	headers := msg.Headers()
	if only := headers.Get(headerReplayFor); only != "" && only != p.durable {
		_ = msg.Ack()
		return d, false
	}
	meta, err := msg.Metadata()
	if err != nil {
		d.err = fault.Wrap(err, fault.Internal, "the message has no position in a stream")
		return d, true
	}
	d.event = envelope[M](headers, msg.Subject(), meta.Timestamp)
	d.event.Sequence = meta.Sequence.Stream
	d.event.Attempt = int(min(meta.NumDelivered, 1<<30))
	if d.event.ID == "" {
		d.event.ID = fallbackID(meta.Stream, meta.Sequence.Stream)
	}
	if d.event.Payload, d.err = decode[M](headers, msg.Data()); d.err != nil {
		return d, true
	}
	if d.event.Attempt > p.MaxAttempts {
		d.err = fault.New(fault.Permanent, "delivered %d times without an outcome: the process was killed or stopped each time", d.event.Attempt-1)
	}
	return d, true
}

// handlerContext carries the trace of the publisher and a logger that names the event.
func (p *pump[M]) handlerContext(headers nats.Header, id, source string) context.Context {
	ctx := propagation.TraceContext{}.Extract(p.hardCtx, carrier(headers))
	return eventLogger(ctx, p.log, id, source)
}

func eventLogger(ctx context.Context, log zerolog.Logger, id, source string) context.Context {
	fields := log.With().Str("event_id", id)
	if source != "" {
		fields = fields.Str("source", source)
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		fields = fields.Str("trace_id", span.TraceID().String())
	}
	return fields.Logger().WithContext(ctx)
}

// keepAlive tells the bus that the messages are being worked on, until the returned function is called.
func (p *pump[M]) keepAlive(msgs ...jetstream.Msg) (quiet func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, p.AckWait/3) {
			for _, m := range msgs {
				_ = m.InProgress()
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// guard runs a handler and turns its panic into an error.
func guard(handle func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.Wrap(fmt.Errorf("panic: %v\n%s", r, debug.Stack()), fault.Internal, "the handler panicked")
		}
	}()
	return handle()
}

// settle tells the bus what became of a message.
func (p *pump[M]) settle(d delivery[M], err error) {
	log := p.log.With().Str("event_id", d.event.ID).Str("source", d.event.Source).Int("attempt", d.event.Attempt).Logger()
	switch {
	case err == nil:
		if err := d.msg.Ack(); err != nil {
			log.Debug().Err(err).Msg("the acknowledgement was not sent, the event comes again")
		}
	case p.hardCtx.Err() != nil:
		_ = d.msg.Nak() // stopped, not failed: another process takes it at once
	case fault.Retryable(err) && d.event.Attempt < p.MaxAttempts:
		pause := p.pause(d.event.Attempt, err)
		log.Warn().Err(err).Dur("pause", pause).Msg("the event failed and comes again")
		_ = d.msg.NakWithDelay(pause)
	default:
		p.bury(log, d, err)
	}
}

// bury writes the dead letter, then ends the message; where the letter cannot be written the message comes again.
func (p *pump[M]) bury(log zerolog.Logger, d delivery[M], err error) {
	ctx, cancel := context.WithTimeout(p.hardCtx, p.AckWait/2)
	defer cancel()
	letter := DeadLetter{
		Consumer: p.durable, Subject: d.msg.Subject(), EventID: d.event.ID, Source: d.event.Source,
		Error: fault.Message(err), ErrorKind: fault.KindOf(err), Attempts: d.event.Attempt, FailedAt: time.Now(),
		Headers: ownHeaders(d.msg.Headers()), Payload: d.msg.Data(),
	}
	if lost := p.bus.writeLetter(ctx, letter); lost != nil {
		log.Error().Err(err).AnErr("cause", lost).Msg("the event failed for good, but the dead letter cannot be written; it comes again")
		_ = d.msg.NakWithDelay(p.pause(d.event.Attempt, nil))
		return
	}
	log.Error().Err(err).Msg("the event failed for good and is a dead letter now")
	_ = d.msg.TermWithReason(string(fault.KindOf(err)))
}

// pause is how long a redelivery waits: doubling from RetryMin to RetryMax, give or take a fifth, and
// never shorter than the error asks for.
func (p *pump[M]) pause(attempt int, err error) time.Duration {
	d := p.RetryMax
	if doublings := attempt - 1; doublings < 30 {
		d = min(p.RetryMin<<doublings, p.RetryMax)
	}
	d += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(d)) //nolint:gosec // spreads retries, guards nothing
	return max(d, fault.RetryAfter(err))
}

func isTimeout(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}
