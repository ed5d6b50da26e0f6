package event

import (
	"context"
	"crypto/rand"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// injectTrace writes the trace context of ctx into the headers (W3C Trace Context, traceparent). What
// begins here begins a trace of its own, so that everything that follows from one event can be found by
// one id in the logs of all services, whether or not spans are collected.
func injectTrace(ctx context.Context, h nats.Header) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		var begun trace.SpanContextConfig
		_, _ = rand.Read(begun.TraceID[:])
		_, _ = rand.Read(begun.SpanID[:])
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(begun))
	}
	propagation.TraceContext{}.Inject(ctx, carrier(h))
}
