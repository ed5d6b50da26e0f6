package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// Batch says when a batch is complete, whichever comes first.
type Batch struct {
	MaxCount int           // events in a batch; 0 means 256
	MaxWait  time.Duration // after the first event; 0 means 100 ms
	// Concurrency is how many batches are worked on at once; 0 means 1, by which they are so in their order.
	Concurrency int
}

// Failures is the error of a batch handler that did part of its work: by event id, what failed. The
// events that it does not name are done.
type Failures map[string]error

// Error counts them.
func (f Failures) Error() string { return fmt.Sprintf("%d events of a batch failed", len(f)) }

// BatchHandler works on events together. A nil error is done for all, Failures is the fate of each,
// any other error is that of every one. An event appears once in a batch.
type BatchHandler[M proto.Message] func(ctx context.Context, batch []Event[M]) error

// ConsumeBatch is Consume for handlers that are cheaper per batch. How many run at once is said by Batch, not
// by Consumer.
func ConsumeBatch[M proto.Message](ctx context.Context, b *Bus, kind Kind[M], c Consumer, size Batch, handle BatchHandler[M]) (*Subscription, error) {
	if size.MaxCount <= 0 {
		size.MaxCount = 256
	}
	if size.MaxWait <= 0 {
		size.MaxWait = 100 * time.Millisecond
	}
	p, err := newPump(ctx, b, kind, c)
	if err != nil {
		return nil, err
	}
	slots := make(chan struct{}, max(size.Concurrency, 1))
	return p.start(func(it jetstream.MessagesContext) error {
		select {
		case slots <- struct{}{}:
		case <-p.softCtx.Done():
			return context.Canceled
		}
		first, err := p.next(it)
		if err != nil {
			<-slots
			return err
		}
		msgs := append([]jetstream.Msg{first}, p.more(size)...)
		p.handlers.Go(func() {
			defer func() { <-slots }()
			p.many(msgs, handle)
		})
		return nil
	})
}

// more takes what comes within the wait, up to the count.
func (p *pump[M]) more(size Batch) []jetstream.Msg {
	if size.MaxCount == 1 {
		return nil
	}
	fetched, err := p.current.Fetch(size.MaxCount-1, jetstream.FetchMaxWait(size.MaxWait))
	if err != nil {
		return nil
	}
	var msgs []jetstream.Msg
	for m := range fetched.Messages() {
		msgs = append(msgs, m)
	}
	return msgs
}

func (p *pump[M]) many(msgs []jetstream.Msg, handle BatchHandler[M]) {
	var todo []delivery[M]
	var again []delivery[M] // further copies of an event in the batch share its outcome
	seen := map[string]bool{}
	for _, m := range msgs {
		d, ok := p.open(m)
		switch {
		case !ok:
		case d.err != nil:
			p.settle(d, d.err)
		case seen[d.event.ID]:
			again = append(again, d)
		default:
			seen[d.event.ID] = true
			todo = append(todo, d)
		}
	}
	if len(todo) == 0 {
		return
	}
	batch := make([]Event[M], len(todo))
	open := make([]jetstream.Msg, 0, len(msgs))
	for i, d := range todo {
		batch[i] = d.event
		open = append(open, d.msg)
	}
	for _, d := range again {
		open = append(open, d.msg)
	}
	ctx := p.handlerContext(nats.Header{}, batch[0].ID, p.Source)
	quiet := p.keepAlive(open...)
	err := guard(func() error { return handle(ctx, batch) })
	quiet()
	var each Failures
	partial := errors.As(err, &each)
	for _, d := range append(todo, again...) {
		fate := err
		if partial {
			fate = each[d.event.ID]
		}
		p.settle(d, fate)
	}
}
