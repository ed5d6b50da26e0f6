package extract

import (
	"context"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// ReasonFeed is the reason of runs that a source's own feed asked for: several a second, where much comes in.
const ReasonFeed = "feed"

// feed runs the connector's Feed for the source until soft ends.
func (q *queue) feed(soft context.Context) {
	if q.rt.cfg.Connector.Feed == nil {
		return
	}
	ctx := q.log(soft, nil)
	q.persist(ctx, "the source is not fed", func(ctx context.Context) error {
		err := q.rt.cfg.Connector.Feed(ctx, q.source, q.run)
		if err == nil && ctx.Err() == nil {
			err = fault.New(fault.Internal, "the feed of %s ended by itself", q.source.Name)
		}
		return err
	})
}

// run is a FeedRun: it waits with the requests that come by the bus, and is merged with them.
func (q *queue) run(ctx context.Context, tables ...string) (*agnesv1.ExtractReady, error) {
	w := &waiting{
		request: &agnesv1.ExtractRequested{Tables: tables, Reason: ReasonFeed, RequestedBy: "extractor-" + q.rt.cfg.Connector.Type},
		ctx:     ctx, done: make(chan error, 1),
	}
	if err := q.wait(ctx, w); err != nil {
		return nil, err
	}
	return w.ready, nil
}
