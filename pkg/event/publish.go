package event

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	publishTimeout = 30 * time.Second // where the caller sets no deadline
	// publishAttempt is how long the first attempt waits for its acknowledgement, which may have been
	// lost with the connection; further ones wait longer, for a bus that is slow.
	publishAttempt    = 2 * time.Second
	maxPublishAttempt = 10 * time.Second
)

// PublishOption changes how an event is published.
type PublishOption func(*publication)

type publication struct {
	id, key   string
	at        time.Time
	duplicate *bool
}

// Key is the last part of the subject, by which consumers can filter: the connector type of an
// extract.requested. It may hold anything.
func Key(key string) PublishOption { return func(p *publication) { p.key = key } }

// ID makes the publication recognizable: a second one with the same id within ten minutes is
// dropped by the bus. Without it every publication has an id of its own.
func ID(id string) PublishOption { return func(p *publication) { p.id = id } }

// Duplicate sets *was to whether the bus had an event of this id already, and stored no other one. What
// had to be sent twice because an acknowledgement was lost is none.
func Duplicate(was *bool) PublishOption { return func(p *publication) { p.duplicate = was } }

// At is the time of the event where it is not now.
func At(t time.Time) PublishOption { return func(p *publication) { p.at = t } }

// Publish sends an event and returns when the bus has stored it (for a kind that is not stored: when
// it was handed over). While the bus is away it waits and tries again until ctx ends, at most 30 s
// where ctx has no deadline; the error is then fault.Unavailable, and the event may still have been stored.
func Publish[M proto.Message](ctx context.Context, b *Bus, kind Kind[M], source string, payload M, opts ...PublishOption) error {
	p := publication{at: time.Now()}
	for _, o := range opts {
		o(&p)
	}
	if p.id == "" {
		p.id = uuid.NewString()
	}
	subject, err := kind.Subject(source, p.key)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}}
	if err := encode(msg, payload); err != nil {
		return err
	}
	msg.Header.Set(headerID, p.id)
	msg.Header.Set(headerType, kind.name)
	msg.Header.Set(headerSource, b.name)
	msg.Header.Set(headerTime, p.at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(headerSpecVersion, specVersion)
	msg.Header.Set(nats.MsgIdHdr, p.id)
	injectTrace(ctx, msg.Header)
	if !kind.Stored() {
		if err := b.conn.PublishMsg(msg); err != nil {
			return publishError(err)
		}
		return nil
	}
	known, err := b.store(ctx, msg)
	if p.duplicate != nil {
		*p.duplicate = known
	}
	return err
}

// store publishes into a stream until it is acknowledged or ctx ends. The message id makes a repeated
// attempt harmless; known tells whether the stream had it before the first one.
func (b *Bus) store(ctx context.Context, msg *nats.Msg) (known bool, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, publishTimeout)
		defer cancel()
	}
	for attempt := 1; ; attempt++ {
		known, err := b.storeOnce(ctx, msg, min(time.Duration(attempt)*publishAttempt, maxPublishAttempt))
		if err == nil || !transient(err) {
			return known && attempt == 1, publishError(err)
		}
		if !sleep(ctx, min(time.Duration(attempt)*50*time.Millisecond, time.Second)) {
			return false, publishError(err)
		}
	}
}

func (b *Bus) storeOnce(ctx context.Context, msg *nats.Msg, patience time.Duration) (known bool, err error) {
	if !b.conn.IsConnected() {
		if b.conn.IsClosed() {
			return false, nats.ErrConnectionClosed
		}
		return false, nats.ErrDisconnected
	}
	try, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ack, err := b.js.PublishMsg(try, msg)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		// The bus may have come back without its store.
		if ensured := b.ensure(try); ensured != nil {
			return false, errors.Join(err, ensured)
		}
	}
	return err == nil && ack.Duplicate, err
}

// transient tells whether an attempt to reach the bus may succeed later.
func transient(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return false
	}
	var api jetstream.JetStreamError
	if errors.As(err, &api) && api.APIError() != nil {
		return api.APIError().Code >= 500
	}
	return errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrStaleConnection)
}

func publishError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.Wrap(err, fault.TooLarge, "the event is larger than the bus accepts")
	}
	return fault.Wrap(err, fault.Unavailable, "the event could not be handed to the bus")
}
