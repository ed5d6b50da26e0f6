// Package event is how the services of Agnes speak to each other: typed publish, consume and
// request over NATS and JetStream. It is the only importer of nats.go.
//
// Every event is one Kind, which binds a stable name such as "extract.ready" to a message of the
// proto module. Payloads are protojson and headers are CloudEvents' binary mode, so that
// `nats sub 'agnes.>'` is readable and a program in any language can take part.
//
// Delivery is at least once: a handler is idempotent by Event.ID or by content.
package event

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
)

// Event is one event as its handler sees it.
type Event[M proto.Message] struct {
	// ID is the same for every delivery and every copy of one event.
	ID string
	// Kind is the event's stable name, such as "extract.ready".
	Kind string
	// Source is the source that the subject names; empty where the event belongs to none.
	Source string
	// Key is the rest of the subject, unescaped, such as the connector type; empty for none.
	Key string
	// Origin is who published it: the name of the service, or "" where a stranger left it out.
	Origin string
	// Time is when it was published; the time of storage where the publisher did not say.
	Time time.Time
	// Sequence is its position in its stream: growing, with gaps. 0 for events that are not stored.
	Sequence uint64
	// Attempt counts the deliveries of this event to this consumer, from 1.
	Attempt int
	// Payload is never nil. Fields that this version does not know were ignored.
	Payload M
}

// Handler works on one event. Its context carries the publisher's trace and a logger with the
// event's id, and is cancelled by a hard stop. The returned error decides what becomes of the
// event: nil is done, a retryable kind of fault comes again after a growing pause (fault.RetryAfter
// is honoured), every other kind goes to the dead letters. A panic counts as fault.Internal.
type Handler[M proto.Message] func(ctx context.Context, e Event[M]) error
