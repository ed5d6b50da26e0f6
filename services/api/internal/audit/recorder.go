// Package audit keeps the record of who did what. The Recorder hands entries to the bus, or to a spool
// on disk while the bus is away; the Store takes them from the bus into the chain of pkg/audit, and
// finds them again.
package audit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// resultRefused is the result of an entry that may be folded.
const resultRefused = "refused"

// Publish hands an entry to the bus under the id of its event, and returns when the bus has stored it.
type Publish func(ctx context.Context, id string, m *agnesv1.AuditRecorded) error

// RecorderConfig is what a Recorder needs.
type RecorderConfig struct {
	Publish Publish
	// Dir is the folder of the record; the spool is inside.
	Dir string
	// SpoolBytes bounds the spool; zero means 256 MiB.
	SpoolBytes int64
	// Patience is how long the bus may take before an entry goes to the spool; zero means 2 s.
	Patience time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Recorder writes entries down. It is safe for concurrent use.
type Recorder struct {
	publish  Publish
	patience time.Duration
	folds    *folder
	spool    *spool
	// away is set after the bus did not take an entry: the next ones do not wait for it.
	away atomic.Bool
	// wake asks Run to forward the spool.
	wake chan struct{}
}

// NewRecorder opens the spool. What a killed process left in it is forwarded by Run.
func NewRecorder(cfg RecorderConfig) (*Recorder, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 2 * time.Second
	}
	if cfg.SpoolBytes <= 0 {
		cfg.SpoolBytes = 256 << 20
	}
	s, err := openSpool(cfg.Dir, cfg.SpoolBytes)
	if err != nil {
		return nil, err
	}
	return &Recorder{publish: cfg.Publish, patience: cfg.Patience, folds: newFolder(cfg.Now), spool: s, wake: make(chan struct{}, 1)}, nil
}

// Record returns when the entry survives the end of the process: the bus has stored it, or it is synced
// to the spool. Refusals that come in masses are counted instead, and recorded by the minute. The entry
// is the Recorder's from then on.
func (r *Recorder) Record(ctx context.Context, m *agnesv1.AuditRecorded) error {
	if r.folds.takes(m) {
		return nil
	}
	clean(m)
	return r.store(ctx, m)
}

func (r *Recorder) store(ctx context.Context, m *agnesv1.AuditRecorded) error {
	id := uuid.NewString()
	var lost error
	if !r.away.Load() {
		try, cancel := context.WithTimeout(ctx, r.patience)
		lost = r.publish(try, id, m)
		cancel()
		if lost == nil {
			return nil
		}
		r.away.Store(true)
	}
	if err := r.spool.add(id, m); err != nil {
		return fault.Wrap(errors.Join(lost, err), fault.Unavailable, "neither the bus nor the disk takes entries of the record")
	}
	r.nudge()
	return nil
}

func (r *Recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run forwards the spool and writes folded entries down, until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if r.folds.due() {
			r.Flush(ctx)
		}
		if r.away.Load() || !r.spool.empty() {
			r.forward(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Flush writes the folded entries down now.
func (r *Recorder) Flush(ctx context.Context) {
	for _, m := range r.folds.flush() {
		clean(m)
		if err := r.store(ctx, m); err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Str("action", m.GetAction()).Msg("folded refusals could not be recorded")
		}
	}
}

// forward hands what is in the spool to the bus, oldest first, as long as the bus takes it.
func (r *Recorder) forward(ctx context.Context) {
	n, err := r.spool.drain(func(id string, m *agnesv1.AuditRecorded) error {
		try, cancel := context.WithTimeout(ctx, r.patience)
		defer cancel()
		return r.publish(try, id, m)
	})
	if n > 0 {
		zerolog.Ctx(ctx).Info().Int("entries", n).Msg("entries of the record that waited for the bus were handed over")
	}
	switch {
	case err == nil:
		r.away.Store(false)
	case ctx.Err() == nil && !fault.Is(err, fault.Unavailable):
		zerolog.Ctx(ctx).Error().Err(err).Msg("the spool of the record cannot be forwarded")
	}
}

// Close closes the spool; what is in it is forwarded at the next start.
func (r *Recorder) Close() error { return r.spool.close() }
