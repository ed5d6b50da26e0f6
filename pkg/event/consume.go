package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Consumer says who consumes and how. Processes that consume one kind under one name share the work.
type Consumer struct {
	// Name of the consumer, usually the service: it outlives the process, so that events that come
	// while nobody consumes are kept. Required.
	Name string
	// Source and Key narrow what is consumed; empty means all.
	Source, Key string
	// FromNow skips, when the name consumes for the first time, what is older than that.
	FromNow bool
	// Concurrency is how many handlers run at once; 0 means 1. With 1, events come in order, redeliveries aside.
	Concurrency int
	// MaxAttempts is after how many deliveries an event goes to the dead letters; 0 means 20, over an hour.
	MaxAttempts int
	// RetryMin and RetryMax bound the pause before a redelivery, which doubles; 0 means 1 s and 5 min.
	RetryMin, RetryMax time.Duration
	// AckWait is after how long without a sign of life the bus gives the event to another process: it
	// bounds how long a kill -9 delays its work. Handlers may run longer, they are kept alive. 0 means 20 s.
	AckWait time.Duration
}

const (
	defaultMaxAttempts = 20
	defaultRetryMin    = time.Second
	defaultRetryMax    = 5 * time.Minute
	defaultAckWait     = 20 * time.Second
	maxAckPending      = 20_000           // delayed redeliveries count: a full house would stop the rest
	idleTime           = 10 * time.Second // after which a pull that got nothing is renewed
	firstTick          = 20 * time.Millisecond
	tick               = time.Second
	pullExpiry         = 60 * time.Second
	declareAttempt     = 5 * time.Second
	hardGrace          = 5 * time.Second // for handlers to notice that their context ended
)

func (c Consumer) withDefaults() Consumer {
	if c.Concurrency <= 0 {
		c.Concurrency = 1
	}
	if c.MaxAttempts <= 0 {
		c.MaxAttempts = defaultMaxAttempts
	}
	if c.RetryMin <= 0 {
		c.RetryMin = defaultRetryMin
	}
	if c.RetryMax <= 0 {
		c.RetryMax = max(defaultRetryMax, c.RetryMin)
	}
	if c.AckWait <= 0 {
		c.AckWait = defaultAckWait
	}
	return c
}

// Subscription is a running consumer, listener or server of requests.
type Subscription struct {
	soft context.CancelFunc
	hard context.CancelFunc
	done chan struct{}
}

// Stop ends the intake and waits for the handlers that run. When ctx ends first, their context is
// cancelled and what they did not finish is given back to the bus at once; the error says if one of
// them did not return even then.
func (s *Subscription) Stop(ctx context.Context) error {
	s.soft()
	select {
	case <-s.done:
		s.hard()
		return nil
	case <-ctx.Done():
	}
	s.hard()
	select {
	case <-s.done:
		return nil
	case <-time.After(hardGrace):
		return fault.New(fault.Unavailable, "a handler did not stop when it was told to")
	}
}

// Done is closed when the intake ended and every handler returned.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// StopAll stops subscriptions side by side: first softly, and hard after the budget. It is what a
// service does when its context ended.
func StopAll(budget time.Duration, subs ...*Subscription) error {
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	errs := make([]error, len(subs))
	var wait sync.WaitGroup
	for i, s := range subs {
		if s != nil {
			wait.Go(func() { errs[i] = s.Stop(ctx) })
		}
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Consume starts to hand every event of the kind to the handler, at least once. It returns when the
// consumer stands on the bus; ctx bounds that, and ending ctx later is a hard stop (Subscription.Stop
// is the soft one). A bus that goes away and comes back, with or without its store, is survived.
func Consume[M proto.Message](ctx context.Context, b *Bus, kind Kind[M], c Consumer, handle Handler[M]) (*Subscription, error) {
	p, err := newPump(ctx, b, kind, c)
	if err != nil {
		return nil, err
	}
	slots := make(chan struct{}, p.Concurrency)
	return p.start(func(it jetstream.MessagesContext) error {
		select {
		case slots <- struct{}{}:
		case <-p.softCtx.Done():
			return context.Canceled
		}
		msg, err := p.next(it)
		if err != nil {
			<-slots
			return err
		}
		p.handlers.Go(func() {
			defer func() { <-slots }()
			p.one(msg, handle)
		})
		return nil
	})
}

// pump moves messages from one durable consumer to handlers.
type pump[M proto.Message] struct {
	Consumer
	bus      *Bus
	kind     Kind[M]
	durable  string
	softCtx  context.Context // ends the intake
	hardCtx  context.Context // ends the handlers
	soft     context.CancelFunc
	hard     context.CancelFunc
	handlers sync.WaitGroup
	current  jetstream.Consumer
	log      zerolog.Logger
}

func newPump[M proto.Message](ctx context.Context, b *Bus, kind Kind[M], c Consumer) (*pump[M], error) {
	if c.Name == "" {
		return nil, fault.New(fault.Invalid, "a consumer of %s needs a name", kind.name)
	}
	if !kind.Stored() {
		return nil, fault.New(fault.Invalid, "%s is not stored: listen to it", kind.name)
	}
	p := &pump[M]{Consumer: c.withDefaults(), bus: b, kind: kind, durable: durableName(kind.name, c)}
	p.log = zerolog.Ctx(ctx).With().Str("consumer", p.durable).Logger()
	p.hardCtx, p.hard = context.WithCancel(ctx)
	context.AfterFunc(b.ctx, p.hard)
	p.softCtx, p.soft = context.WithCancel(p.hardCtx)
	if err := p.declare(); err != nil {
		p.hard()
		return nil, err
	}
	return p, nil
}

// durableName is unique per stream for a name, a kind and a filter.
func durableName(kind string, c Consumer) string {
	name := Token(c.Name) + "_" + strings.ReplaceAll(kind, ".", "-")
	for _, part := range []string{c.Source, c.Key} {
		if part != "" {
			name += "_" + Token(part)
		}
	}
	return name
}

// declare creates or updates the durable consumer, waiting for a bus that is away.
func (p *pump[M]) declare() error {
	for attempt := 1; ; attempt++ {
		err := p.declareOnce()
		if err == nil {
			return nil
		}
		if !transient(err) && attempt >= 3 {
			return fault.Wrap(err, fault.Unavailable, "the consumer %s cannot be declared", p.durable)
		}
		if attempt == 3 {
			p.log.Warn().Err(err).Msg("cannot declare the consumer yet, trying on")
		}
		if !sleep(p.softCtx, min(time.Duration(attempt)*50*time.Millisecond, time.Second)) {
			return fault.Wrap(err, fault.Unavailable, "the consumer %s cannot be declared", p.durable)
		}
	}
}

func (p *pump[M]) declareOnce() error {
	ctx, cancel := context.WithTimeout(p.softCtx, declareAttempt)
	defer cancel()
	standing, err := p.bus.js.Consumer(ctx, p.kind.stream, p.durable)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.Join(err, p.bus.ensure(ctx))
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		standing, err = p.bus.js.CreateConsumer(ctx, p.kind.stream, p.config())
	case err == nil:
		standing, err = p.update(ctx, standing)
	}
	if err == nil {
		p.current = standing
		p.FromNow = false // if it must be made again, with the streams, it takes what came meanwhile
	}
	return err
}

func (p *pump[M]) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       p.durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.AckWait,
		MaxDeliver:    -1, // this package counts, so that nothing is dropped without a dead letter
		MaxAckPending: maxAckPending,
	}
	if p.FromNow {
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	if filters := p.kind.filters(p.Source, p.Key); len(filters) == 1 {
		cfg.FilterSubject = filters[0]
	} else {
		cfg.FilterSubjects = filters
	}
	return cfg
}

// update brings a standing consumer to our settings where they differ. Where it began stays as it is.
func (p *pump[M]) update(ctx context.Context, standing jetstream.Consumer) (jetstream.Consumer, error) {
	have, want := standing.CachedInfo().Config, p.config()
	same := have.AckWait == want.AckWait && have.MaxDeliver == want.MaxDeliver && have.MaxAckPending == want.MaxAckPending &&
		have.FilterSubject == want.FilterSubject && slices.Equal(have.FilterSubjects, want.FilterSubjects)
	if same {
		return standing, nil
	}
	have.AckWait, have.MaxDeliver, have.MaxAckPending = want.AckWait, want.MaxDeliver, want.MaxAckPending
	have.FilterSubject, have.FilterSubjects = want.FilterSubject, want.FilterSubjects
	return p.bus.js.UpdateConsumer(ctx, p.kind.stream, have)
}

// start runs the pump until it is stopped. take takes from the iterator what it hands to handlers.
func (p *pump[M]) start(take func(jetstream.MessagesContext) error) (*Subscription, error) {
	s := &Subscription{soft: p.soft, hard: p.hard, done: make(chan struct{})}
	running := p.bus.spawn(func() {
		defer close(s.done)
		defer p.hard()
		for p.softCtx.Err() == nil {
			if err := p.intake(take); err != nil {
				p.log.Warn().Err(err).Msg("the consumer was interrupted, taking it up again")
				sleep(p.softCtx, 100*time.Millisecond)
			}
			if p.softCtx.Err() == nil {
				if err := p.declare(); err != nil && p.softCtx.Err() == nil {
					p.log.Error().Err(err).Msg("the consumer cannot be declared, trying again")
					sleep(p.softCtx, time.Second)
				}
			}
		}
		p.handlers.Wait()
	})
	if !running {
		p.hard()
		return nil, errClosed()
	}
	return s, nil
}

// intake takes messages until the pump is stopped (nil), the bus came back or the pull was idle (nil:
// begin anew), or the consumer is gone.
func (p *pump[M]) intake(take func(jetstream.MessagesContext) error) error {
	awake := p.bus.awake()
	// One message at a time and none ahead: a message that waits in this process behind a long handler
	// would be given to another one, and count as an attempt. The pull is renewed before its first
	// heartbeat is due.
	it, err := p.current.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	interrupted := make(chan struct{})
	defer close(interrupted)
	go func() {
		select {
		case <-p.softCtx.Done():
		case <-awake:
		case <-interrupted:
		}
		it.Drain()
	}()
	for {
		if err = take(it); err != nil {
			break
		}
	}
	p.giveBack(it)
	if p.softCtx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) || isTimeout(err) {
		return nil
	}
	return err
}

// giveBack empties a drained iterator: what was on its way when the intake ended goes to another process.
func (p *pump[M]) giveBack(it jetstream.MessagesContext) {
	it.Drain()
	for {
		msg, err := it.Next(jetstream.NextMaxWait(2 * time.Second))
		if err != nil {
			it.Stop()
			return
		}
		_ = msg.Nak()
	}
}

// next takes one message, or tells that none came for long. It asks the iterator anew from time to
// time: where a message comes back before the iterator has finished sending its pull, it forgets to
// send the next one (nats.go 1.55), and notices when it is asked again.
func (p *pump[M]) next(it jetstream.MessagesContext) (jetstream.Msg, error) {
	patience := firstTick
	for idle := time.Duration(0); ; idle += patience {
		msg, err := it.Next(jetstream.NextMaxWait(patience))
		switch {
		case err == nil && p.softCtx.Err() != nil:
			_ = msg.Nak()
			return nil, context.Canceled
		case isTimeout(err) && p.softCtx.Err() != nil:
			return nil, context.Canceled // while the bus is away the iterator does not end by itself
		case isTimeout(err) && idle < idleTime:
			patience = tick
			continue
		}
		return msg, err
	}
}
