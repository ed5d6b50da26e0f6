package orchestrator

import (
	"context"
	"path/filepath"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// lockWait is how long a source that somebody else works on is waited for.
const lockWait = 30 * time.Second

// lock makes this the only orchestrator, in this process or another, that works on a source until
// the returned function is called. A lock that stays taken is fault.Busy.
func (o *Orchestrator) lock(ctx context.Context, source string) (unlock func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err = lake.Lock(waiting, filepath.Join(o.dataDir, "analytics", ".lock", source))
	switch {
	case err == nil:
		return unlock, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case waiting.Err() != nil:
		return nil, fault.Wrap(err, fault.Busy, "another orchestrator works on source %s", source)
	}
	return nil, fault.Wrap(err, fault.Unavailable, "source %s cannot be locked", source)
}

// pause waits for d and tells whether it passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
