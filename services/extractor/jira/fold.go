package jira

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	// A burst is a batch of burstSize webhooks, until none came for burstQuiet. Changes wait for its end, but
	// not longer than patience: each month and table is then written a few times, not once per batch.
	burstSize  = 32
	burstQuiet = 200 * time.Millisecond
	patience   = 5 * time.Second
	// foldRetry is the pause after a run that failed, doubling up to foldRetryMax.
	foldRetry    = time.Second
	foldRetryMax = time.Minute
	pruneEvery   = 10 * time.Minute
)

// folder has changes of the store published: one run at a time, each with all changes so far.
type folder struct {
	site *site
	run  extract.FeedRun

	changed chan struct{}

	mu    sync.Mutex
	large int         // batches of a burst that are being taken in
	until time.Time   // when the burst is over, unless there are more
	later *time.Timer // wakes, where something that can wait changed

	folded atomic.Int64 // the last change that is published; -1 for not known
}

func newFolder(s *site, run extract.FeedRun) *folder {
	f := &folder{site: s, run: run, changed: make(chan struct{}, 1)}
	f.folded.Store(-1)
	f.wake() // what was taken in and not published before the last stop
	return f
}

// wake tells that the store changed.
func (f *folder) wake() {
	f.wakeKeeper()
	signal(f.changed)
}

// wakeKeeper tells that issues may have other attachments.
func (f *folder) wakeKeeper() {
	if f.site.keeper != nil {
		signal(f.site.keeper.changed)
	}
}

// wakeWithin tells that the store changed in a way that can wait for so long.
func (f *folder) wakeWithin(d time.Duration) {
	f.wakeKeeper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.later == nil {
		f.later = time.AfterFunc(d, func() {
			f.mu.Lock()
			f.later = nil
			f.mu.Unlock()
			f.wake()
		})
	}
}

// settle waits until what is kept by now is published.
func (f *folder) settle(ctx context.Context) error {
	upto, err := f.site.store.Seq(ctx)
	if err != nil {
		return err
	}
	f.wake()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for f.folded.Load() < upto {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// behind is how many changes of the store are not published yet; -1 where that is not known yet.
func (f *folder) behind(ctx context.Context) int64 {
	folded := f.folded.Load()
	if seq, err := f.site.store.Seq(ctx); err == nil && folded >= 0 {
		return max(seq-folded, 0)
	}
	return -1
}

// end lets go of a timer.
func (f *folder) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.later != nil {
		f.later.Stop()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// takes tells that a batch of so many webhooks is being taken in, until taken is called.
func (f *folder) takes(webhooks int) (taken func()) {
	if webhooks < burstSize {
		return func() {}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.large++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.large--
		f.until = time.Now().Add(burstQuiet)
	}
}

func (f *folder) bursting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.large > 0 || time.Now().Before(f.until)
}

// loop publishes until ctx ends.
func (f *folder) loop(ctx context.Context) {
	defer f.end()
	pause := foldRetry
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		}
		if !f.await(ctx) {
			return
		}
		upto, err := f.site.store.Seq(ctx)
		if err == nil && upto != f.folded.Load() {
			var ready *agnesv1.ExtractReady
			if ready, err = f.run(ctx); err == nil {
				err = failure(ready)
			}
			if err == nil {
				f.folded.Store(upto)
			}
		}
		if err == nil && time.Since(pruned) > pruneEvery {
			pruned = time.Now()
			err = f.site.store.Prune(ctx)
		}
		if err == nil {
			pause = foldRetry
			continue
		}
		if ctx.Err() != nil {
			return
		}
		zerolog.Ctx(ctx).Warn().Err(err).Dur("pause", pause).Msg("changes of Jira are kept, but not published yet")
		f.wake()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, foldRetryMax)
	}
}

// failure tells of a table that was not brought up to date: it stands as it was, and is tried again.
func failure(ready *agnesv1.ExtractReady) error {
	for _, o := range ready.GetTables() {
		if o.GetOutcome() == extract.OutcomeFailed {
			return fault.New(fault.Kind(o.GetErrorKind()), "the table %s: %s", o.GetTable(), o.GetError())
		}
	}
	return nil
}

// await waits for the end of a burst, but not for ever.
func (f *folder) await(ctx context.Context) bool {
	ended := time.Now().Add(patience)
	look := time.NewTicker(burstQuiet / 4)
	defer look.Stop()
	for f.bursting() && time.Now().Before(ended) {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
	}
	return ctx.Err() == nil
}
