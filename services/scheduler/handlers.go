package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// subscribe starts to listen to what the plan needs to know.
func (t *term) subscribe(ctx context.Context) ([]*event.Subscription, error) {
	var subs []*event.Subscription
	ready, err := event.Consume(ctx, t.bus, event.ExtractReady, event.Consumer{Name: consumerName}, t.extractReady)
	if err != nil {
		return subs, err
	}
	subs = append(subs, ready)
	failed, err := event.Consume(ctx, t.bus, event.ExtractFailed, event.Consumer{Name: consumerName}, t.extractFailed)
	if err != nil {
		return subs, err
	}
	subs = append(subs, failed)
	changed, err := event.Listen(ctx, t.bus, event.RegistryChanged, event.Listener{}, t.registryChanged)
	if err != nil {
		return subs, err
	}
	return append(subs, changed), nil
}

// tell lets the owner of the plan do something, and waits until it is stored.
func (t *term) tell(ctx context.Context, do func(ctx context.Context, now time.Time) error) error {
	done := make(chan error, 1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case t.inbox <- task{do: do, done: done}:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		if errors.Is(err, errDeposed) {
			return fault.Wrap(err, fault.Unavailable, "the leadership is lost") // the next leader hears it
		}
		return err
	}
}

// extractReady notes what a run made of the tables.
func (t *term) extractReady(ctx context.Context, e event.Event[*agnesv1.ExtractReady]) error {
	return t.tell(ctx, func(ctx context.Context, now time.Time) error {
		t.plan.apply(e.Source, e.Payload, e.Time, now, t.counter(e.Source))
		return t.save(ctx)
	})
}

// extractFailed notes that a run failed as a whole.
func (t *term) extractFailed(ctx context.Context, e event.Event[*agnesv1.ExtractFailed]) error {
	return t.tell(ctx, func(ctx context.Context, now time.Time) error {
		t.plan.applyFailure(e.Source, e.Payload, now, t.counter(e.Source))
		return t.save(ctx)
	})
}

// registryChanged has the registry read again in a moment, when others that changed with it are in too.
func (t *term) registryChanged(ctx context.Context, _ event.Event[*agnesv1.RegistryChanged]) error {
	return t.tell(ctx, func(_ context.Context, now time.Time) error {
		if soon := now.Add(debounce); soon.Before(t.rereadAt) {
			t.rereadAt = soon
		}
		return nil
	})
}

func (t *term) counter(source string) func(string) {
	return func(outcome string) { t.metrics.outcomes.WithLabelValues(source, outcome).Inc() }
}
