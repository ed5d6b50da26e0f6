package orchestrator

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// handlers bounds the announcements that wait for a rebuild at once. Each costs a goroutine: what it
// waits for is shared by all announcements of its source.
const handlers = 256

// extractReady answers an announcement after the rebuild that includes it, so that one which is not
// published yet is never lost. The payload may be {}: what to rebuild is in the subject.
func (r *runner) extractReady(ctx context.Context, e event.Event[*agnesv1.ExtractReady]) error {
	if e.Source == "" {
		return fault.New(fault.Invalid, "extract.ready names no source: publish it as agnes.v1.extract.ready.<source>")
	}
	return r.rebuilds.Do(ctx, e.Source, request{runIDs: e.Payload.GetRunIds(), span: trace.SpanContextFromContext(ctx)})
}
