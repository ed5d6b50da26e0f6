package event

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Listener says what is listened to.
type Listener struct {
	// Source and Key narrow it; empty means all.
	Source, Key string
	// After begins behind the event of this sequence and replays what has come since; 0 begins now, or with the
	// oldest one where All is set. Only for kinds that are stored.
	After uint64
	All   bool
}

// Listen hands every event of the kind to the handler of every process that listens, in order, one at
// a time. Nothing is acknowledged or tried again: an error of the handler is logged. Kinds that are
// stored arrive over a restart of the bus without a gap; of the others, what comes while the
// connection is away is missed. Ending ctx is a hard stop.
func Listen[M proto.Message](ctx context.Context, b *Bus, kind Kind[M], l Listener, handle Handler[M]) (*Subscription, error) {
	return listen(ctx, &ear[M]{
		Listener: l, bus: b, name: kind.name, stream: kind.stream, filters: kind.filters(l.Source, l.Key), handle: handle,
		decode: func(_ string, headers nats.Header, raw []byte) (M, error) { return decode[M](headers, raw) },
	})
}

// AnyKind is a Kind of whatever message.
type AnyKind interface {
	// Name and Stored are those of Kind.
	Name() string
	Stored() bool
	storedIn() string
	filters(source, key string) []string
	decodeAny(headers nats.Header, raw []byte) (proto.Message, error)
}

func (k Kind[M]) storedIn() string { return k.stream }

func (k Kind[M]) decodeAny(headers nats.Header, raw []byte) (proto.Message, error) {
	return decode[M](headers, raw)
}

// ListenAll is Listen for several kinds that are stored in one stream: their events come in the one order in which
// they were stored.
func ListenAll(ctx context.Context, b *Bus, kinds []AnyKind, l Listener, handle Handler[proto.Message]) (*Subscription, error) {
	e, err := earOf(b, kinds, l, handle)
	if err != nil {
		return nil, err
	}
	return listen(ctx, e)
}

// Recall hands the events of several kinds that are stored in one stream to a handler, behind one sequence and up to
// another, and returns when there are no more of them. It ends with the first error of the handler.
func Recall(ctx context.Context, b *Bus, kinds []AnyKind, after, until uint64, handle Handler[proto.Message]) error {
	e, err := earOf(b, kinds, Listener{}, handle)
	if err != nil {
		return err
	}
	consumer, err := b.js.OrderedConsumer(ctx, e.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: e.filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot read what was stored of %s", e.name)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot read what was stored of %s", e.name)
	}
	if info.NumPending == 0 {
		return nil
	}
	it, err := consumer.Messages()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot read what was stored of %s", e.name)
	}
	defer it.Stop()
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "cannot read what was stored of %s", e.name)
		}
		meta, err := msg.Metadata()
		if err != nil || meta.Sequence.Stream > until {
			return err
		}
		if msg.Headers().Get(headerReplayFor) == "" {
			ev, err := e.event(msg.Headers(), msg.Subject(), msg.Data(), meta.Timestamp, meta.Sequence.Stream)
			if err == nil {
				err = handle(ctx, ev)
			}
			if err != nil {
				return err
			}
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}

func earOf(b *Bus, kinds []AnyKind, l Listener, handle Handler[proto.Message]) (*ear[proto.Message], error) {
	e := &ear[proto.Message]{Listener: l, bus: b, handle: handle}
	byName := map[string]AnyKind{}
	var names []string
	for _, k := range kinds {
		if !k.Stored() || (e.stream != "" && e.stream != k.storedIn()) {
			return nil, fault.New(fault.Invalid, "%s is not stored beside the other kinds", k.Name())
		}
		e.stream, byName[k.Name()], names = k.storedIn(), k, append(names, k.Name())
		e.filters = append(e.filters, k.filters(l.Source, l.Key)...)
	}
	if len(kinds) == 0 {
		return nil, fault.New(fault.Invalid, "no kind to listen to")
	}
	e.name = strings.Join(names, ", ")
	e.decode = func(kind string, headers nats.Header, raw []byte) (proto.Message, error) {
		k, known := byName[kind]
		if !known {
			return nil, fault.New(fault.Invalid, "an event of another kind: %s", kind)
		}
		return k.decodeAny(headers, raw)
	}
	return e, nil
}

func listen[M proto.Message](ctx context.Context, e *ear[M]) (*Subscription, error) {
	b := e.bus
	e.log = zerolog.Ctx(ctx).With().Str("kind", e.name).Logger()
	e.hardCtx, e.hard = context.WithCancel(ctx)
	context.AfterFunc(b.ctx, e.hard)
	e.softCtx, e.soft = context.WithCancel(e.hardCtx)
	s := &Subscription{soft: e.soft, hard: e.hard, done: make(chan struct{})}
	run, prepare := e.live, e.subscribe
	if e.stream != "" {
		run, prepare = e.stored, e.begin
	}
	if err := prepare(); err != nil {
		e.hard()
		return nil, fault.Wrap(err, fault.Unavailable, "cannot listen to %s", e.name)
	}
	running := b.spawn(func() {
		defer close(s.done)
		defer e.hard()
		run()
	})
	if !running {
		e.hard()
		return nil, errClosed()
	}
	return s, nil
}

// ear is one running listener.
type ear[M proto.Message] struct {
	Listener
	bus     *Bus
	name    string // of the kinds
	stream  string // empty where nothing is stored
	filters []string
	decode  func(kind string, headers nats.Header, raw []byte) (M, error)
	handle  Handler[M]
	softCtx context.Context
	hardCtx context.Context
	soft    context.CancelFunc
	hard    context.CancelFunc
	log     zerolog.Logger
	last    uint64 // sequence of the last event that was heard
	heard   chan *nats.Msg
}

// subscribe listens to what is not stored.
func (e *ear[M]) subscribe() error {
	e.heard = make(chan *nats.Msg, 1024)
	for _, subject := range e.filters {
		sub, err := e.bus.conn.ChanSubscribe(subject, e.heard)
		if err != nil {
			return err
		}
		context.AfterFunc(e.softCtx, func() { _ = sub.Unsubscribe() })
	}
	return e.bus.conn.FlushTimeout(declareAttempt)
}

func (e *ear[M]) live() {
	for {
		select {
		case <-e.softCtx.Done():
			return
		case m := <-e.heard:
			e.hear(m.Header, m.Subject, m.Data, time.Now(), 0)
		}
	}
}

// begin finds the place in the stream to start from, so that nothing is missed from here on.
func (e *ear[M]) begin() error {
	e.last = e.After
	ctx, cancel := context.WithTimeout(e.softCtx, publishTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		newest, err := e.newest(ctx)
		if err == nil {
			if e.After == 0 && !e.All {
				e.last = newest
			}
			return nil
		}
		if !sleep(ctx, min(time.Duration(attempt)*50*time.Millisecond, time.Second)) {
			return err
		}
	}
}

func (e *ear[M]) newest(ctx context.Context) (uint64, error) {
	stream, err := e.bus.js.Stream(ctx, e.stream)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// stored follows the stream until the listener is stopped, beginning anew where it left off whenever
// the bus came back or was silent for long.
func (e *ear[M]) stored() {
	for e.softCtx.Err() == nil {
		if err := e.follow(); err != nil && e.softCtx.Err() == nil {
			e.log.Debug().Err(err).Msg("listening was interrupted, taking it up again")
			sleep(e.softCtx, 100*time.Millisecond)
		}
	}
}

func (e *ear[M]) follow() error {
	awake := e.bus.awake()
	ctx, cancel := context.WithTimeout(e.softCtx, ensureTimeout)
	defer cancel()
	newest, err := e.newest(ctx)
	if err != nil {
		return err
	}
	if newest < e.last {
		e.last = 0 // the bus lost its store and counts from the start
	}
	consumer, err := e.bus.js.OrderedConsumer(ctx, e.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: e.filters,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    e.last + 1,
	})
	if err != nil {
		return err
	}
	it, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer it.Stop()
	return e.read(it, awake)
}

func (e *ear[M]) read(it jetstream.MessagesContext, awake <-chan struct{}) error {
	ctx, cancel := context.WithCancel(e.softCtx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-awake:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-stopped }()
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		e.last = meta.Sequence.Stream
		if msg.Headers().Get(headerReplayFor) == "" {
			e.hear(msg.Headers(), msg.Subject(), msg.Data(), meta.Timestamp, meta.Sequence.Stream)
		}
	}
}

// event reads what was published.
func (e *ear[M]) event(headers nats.Header, subject string, data []byte, at time.Time, sequence uint64) (Event[M], error) {
	ev := envelope[M](headers, subject, at)
	ev.Sequence, ev.Attempt = sequence, 1
	if ev.ID == "" {
		ev.ID = fallbackID(e.stream, sequence)
	}
	var err error
	ev.Payload, err = e.decode(ev.Kind, headers, data)
	return ev, err
}

// hear hands one event to the handler.
func (e *ear[M]) hear(headers nats.Header, subject string, data []byte, at time.Time, sequence uint64) {
	ev, err := e.event(headers, subject, data, at, sequence)
	log := e.log.With().Str("event_id", ev.ID).Logger()
	if err == nil {
		ctx := propagation.TraceContext{}.Extract(e.hardCtx, carrier(headers))
		ctx = eventLogger(ctx, e.log, ev.ID, ev.Source)
		err = guard(func() error { return e.handle(ctx, ev) })
	}
	if err != nil && e.hardCtx.Err() == nil {
		log.Warn().Err(err).Msg("an event that was listened to could not be handled")
	}
}

// Extent is what a stream holds, of whatever kind.
type Extent struct {
	// Oldest and Newest are the sequences of its first and last event. Where Oldest > After+1, a Listener with that After
	// has missed events.
	Oldest, Newest uint64
	// Since is when the stream was made: one that was lost and made anew counts from the start.
	Since time.Time
}

// ExtentOf asks for the extent of the stream that keeps a kind.
func ExtentOf(ctx context.Context, b *Bus, kind AnyKind) (Extent, error) {
	stream, err := b.js.Stream(ctx, kind.storedIn())
	if err != nil {
		return Extent{}, fault.Wrap(err, fault.Unavailable, "the stream of %s does not answer", kind.Name())
	}
	info := stream.CachedInfo()
	return Extent{Oldest: info.State.FirstSeq, Newest: info.State.LastSeq, Since: info.Created}, nil
}
