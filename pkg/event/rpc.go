package event

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	callTimeout   = 10 * time.Second // where the caller sets no deadline
	serveLimit    = 64               // requests of one method at once; more are told that it is busy
	queueGroup    = "agnes"          // processes that serve one method share the requests
	headerTimeout = "agnes-timeout-ms"
)

// ErrNobody is in the chain of a Call's error where no process serves the method: none was asked.
var ErrNobody = errors.New("nobody serves it")

// Call sends a request and waits for the answer until ctx ends, at most 10 s where ctx has no deadline.
// A failure of the other side keeps its kind and message; nobody answering is fault.Unavailable, with
// ErrNobody or the end of the deadline as its cause.
func Call[Req, Resp proto.Message](ctx context.Context, b *Bus, m Method[Req, Resp], req Req) (Resp, error) {
	var none Resp
	deadline, ok := ctx.Deadline()
	if !ok {
		var cancel context.CancelFunc
		deadline = time.Now().Add(callTimeout)
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	msg := &nats.Msg{Subject: m.subject(), Header: nats.Header{}}
	if err := encode(msg, req); err != nil {
		return none, err
	}
	msg.Header.Set(headerTimeout, strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
	injectTrace(ctx, msg.Header)
	reply, err := b.conn.RequestMsgWithContext(ctx, msg)
	switch {
	case errors.Is(err, context.Canceled):
		return none, err
	case errors.Is(err, nats.ErrNoResponders):
		return none, fault.Wrap(ErrNobody, fault.Unavailable, "no answer to %s", m.name)
	case err != nil:
		return none, fault.Wrap(err, fault.Unavailable, "no answer to %s", m.name)
	}
	if kind := reply.Header.Get(headerError); kind != "" {
		return none, failure(kind, reply)
	}
	return decode[Resp](reply.Header, reply.Data)
}

// failure reads the error that the other side answered with.
func failure(kind string, reply *nats.Msg) error {
	e, err := decode[*agnesv1.Error](reply.Header, reply.Data)
	if err != nil {
		return err
	}
	f := fault.New(fault.Kind(kind), "%s", e.GetMessage())
	if s := e.GetRetryAfterSeconds(); s > 0 {
		return f.After(time.Duration(s * float64(time.Second)))
	}
	return f
}

// Serve answers requests, side by side, until it is stopped; ending ctx is a hard stop. The handler's
// context ends when the caller gives up. Its error travels as kind and fault.Message, nothing else.
func Serve[Req, Resp proto.Message](ctx context.Context, b *Bus, m Method[Req, Resp], handle func(context.Context, Req) (Resp, error)) (*Subscription, error) {
	hardCtx, hard := context.WithCancel(ctx)
	context.AfterFunc(b.ctx, hard)
	softCtx, soft := context.WithCancel(hardCtx)
	s := &Subscription{soft: soft, hard: hard, done: make(chan struct{})}
	requests := make(chan *nats.Msg, 4*serveLimit)
	sub, err := b.conn.ChanQueueSubscribe(m.subject(), queueGroup, requests)
	if err == nil {
		err = b.conn.FlushTimeout(declareAttempt)
	}
	if err != nil {
		hard()
		return nil, fault.Wrap(err, fault.Unavailable, "cannot serve %s", m.name)
	}
	running := b.spawn(func() {
		defer close(s.done)
		defer hard()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			<-softCtx.Done()
			_ = sub.Unsubscribe()
			_ = b.conn.FlushTimeout(time.Second) // from here on nobody sends us more
		}()
		answerAll(hardCtx, stopped, requests, func(msg *nats.Msg) { answer(hardCtx, m, msg, handle) })
	})
	if !running {
		hard()
		return nil, errClosed()
	}
	return s, nil
}

// answerAll answers until no more requests can come, and those that had come by then.
func answerAll(ctx context.Context, stopped <-chan struct{}, requests <-chan *nats.Msg, answer func(*nats.Msg)) {
	slots := make(chan struct{}, serveLimit)
	var running sync.WaitGroup
	defer running.Wait()
	take := func(msg *nats.Msg) {
		select {
		case slots <- struct{}{}:
			running.Go(func() {
				defer func() { <-slots }()
				answer(msg)
			})
		default:
			respond(ctx, msg, nil, fault.New(fault.Busy, "too many requests at once").After(time.Second))
		}
	}
	for {
		select {
		case msg := <-requests:
			take(msg)
			continue
		default:
		}
		select {
		case msg := <-requests:
			take(msg)
		case <-stopped:
			if len(requests) == 0 {
				return
			}
		}
	}
}

func answer[Req, Resp proto.Message](ctx context.Context, m Method[Req, Resp], msg *nats.Msg, handle func(context.Context, Req) (Resp, error)) {
	ctx = propagation.TraceContext{}.Extract(ctx, carrier(msg.Header))
	if ms, err := strconv.ParseInt(msg.Header.Get(headerTimeout), 10, 64); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	ctx = zerolog.Ctx(ctx).With().Str("method", m.name).Logger().WithContext(ctx)
	var resp Resp
	req, err := decode[Req](msg.Header, msg.Data)
	if err == nil {
		err = guard(func() (failed error) {
			resp, failed = handle(ctx, req)
			return failed
		})
	}
	if err != nil {
		respond(ctx, msg, nil, err)
		return
	}
	respond(ctx, msg, resp, nil)
}

// respond sends the answer, or the error in its place.
func respond(ctx context.Context, msg *nats.Msg, resp proto.Message, err error) {
	reply := &nats.Msg{Header: nats.Header{}}
	if err == nil {
		err = encode(reply, resp)
	}
	if err != nil {
		if fault.Is(err, fault.Internal) {
			zerolog.Ctx(ctx).Error().Err(err).Msg("a request failed")
		}
		reply = &nats.Msg{Header: nats.Header{}}
		reply.Header.Set(headerError, string(fault.KindOf(err)))
		_ = encode(reply, &agnesv1.Error{
			Kind: string(fault.KindOf(err)), Message: fault.Message(err), RetryAfterSeconds: fault.RetryAfter(err).Seconds(),
		})
	}
	if sendErr := msg.RespondMsg(reply); sendErr != nil && !errors.Is(sendErr, nats.ErrMsgNoReply) {
		zerolog.Ctx(ctx).Warn().Err(sendErr).Msg("an answer could not be sent")
	}
}
