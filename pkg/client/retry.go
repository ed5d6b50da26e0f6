package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// retry calls try until it succeeds, fails for good, or the tries are used up. A request whose answer
// may have been lost is repeated only where r may be; one that was turned away (busy) always.
func (c *Client) retry(ctx context.Context, r request, try func(context.Context) error) error {
	for n := 0; ; n++ {
		err := try(ctx)
		if err == nil || errors.Is(err, errNotModified) {
			return err
		}
		turnedAway := fault.Is(err, fault.Busy)
		if ctx.Err() != nil || !fault.Retryable(err) || (!turnedAway && !r.mayRepeat()) {
			return err
		}
		if !c.pause(ctx, n, fault.RetryAfter(err)) {
			return err
		}
	}
}

// pause waits before retry n (from 0) and tells whether to go on: not where the tries are used up, the
// server asks for more patience than we have, or ctx is done.
func (c *Client) pause(ctx context.Context, n int, asked time.Duration) bool {
	if n >= c.opts.Retries || asked > c.opts.MaxRetryAfter {
		return false
	}
	wait := c.opts.Backoff[min(n, len(c.opts.Backoff)-1)]
	wait += time.Duration(rand.Float64() * 0.2 * float64(wait)) //nolint:gosec // a spread, not a secret
	timer := time.NewTimer(max(wait, asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
