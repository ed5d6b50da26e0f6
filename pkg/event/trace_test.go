package event_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// TestOneTraceRunsThroughWhatFollows publishes from a handler: both events carry the trace of the first.
func TestOneTraceRunsThroughWhatFollows(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	traces := make(chan trace.TraceID, 2)
	first, err := event.Consume(t.Context(), bus, event.ExtractReady, event.Consumer{Name: "first"},
		func(ctx context.Context, e event.Event[*agnesv1.ExtractReady]) error {
			traces <- trace.SpanContextFromContext(ctx).TraceID()
			return event.Publish(ctx, bus, event.AnalyticsPublished, e.Source, &agnesv1.AnalyticsPublished{})
		})
	if err != nil {
		t.Fatal(err)
	}
	second, err := event.Consume(t.Context(), bus, event.AnalyticsPublished, event.Consumer{Name: "second"},
		func(ctx context.Context, _ event.Event[*agnesv1.AnalyticsPublished]) error {
			traces <- trace.SpanContextFromContext(ctx).TraceID()
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Publish(t.Context(), bus, event.ExtractReady, "shop", &agnesv1.ExtractReady{}); err != nil {
		t.Fatal(err)
	}
	cause, effect := <-traces, <-traces
	if !cause.IsValid() || cause != effect {
		t.Errorf("the traces are %s and %s", cause, effect)
	}
	_ = first.Stop(t.Context())
	_ = second.Stop(t.Context())
}
