// Package audit keeps the record of who did what. The Recorder writes entries to an outbox on disk and
// hands them to the bus in batches; the Store takes them from the bus into the chain of pkg/audit, and
// finds them again.
package audit

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/audit/fold"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Publish hands entries to the bus under the id of their event, and returns when the bus has stored them.
type Publish func(ctx context.Context, id string, entries []string) error

// RecorderConfig is what a Recorder needs.
type RecorderConfig struct {
	Publish Publish
	// Dir is the folder of the record; the outbox is inside.
	Dir string
	// SpoolBytes bounds the outbox; zero means 256 MiB.
	SpoolBytes int64
	// Patience is how long the bus may take for a batch; zero means 2 s.
	Patience time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Recorder writes entries down. It is safe for concurrent use.
type Recorder struct {
	publish  Publish
	patience time.Duration
	folds    *fold.Folder
	outbox   *outbox
	// some and many ask Run to forward the outbox: soon, and now.
	some, many chan struct{}
}

// NewRecorder opens the outbox. What a killed process left in it is forwarded by Run.
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
	o, err := openOutbox(cfg.Dir, cfg.SpoolBytes)
	if err != nil {
		return nil, err
	}
	return &Recorder{
		publish: cfg.Publish, patience: cfg.Patience, folds: fold.New(cfg.Now), outbox: o, some: make(chan struct{}, 1), many: make(chan struct{}, 1),
	}, nil
}

// Record returns when the entry is in the outbox, from where Run hands it to the bus. That of a change is
// synced to disk by then. That of a question, a download or a refusal, which changed nothing, outlives the
// process from then on, and a power cut once the bus has it. Refusals that come in masses are counted instead,
// and recorded by the minute. The entry is the Recorder's from then on.
func (r *Recorder) Record(_ context.Context, m *agnesv1.AuditRecorded) error {
	if r.folds.Takes(m) {
		return nil
	}
	return r.store(m)
}

func (r *Recorder) store(m *agnesv1.AuditRecorded) error {
	entry, err := chain.Entry(RecordOf(uuid.NewString(), m, time.Now()))
	if err != nil {
		return fault.Wrap(err, fault.Internal, "an entry of the record cannot be written")
	}
	waiting, err := r.outbox.add(entry, changes(m))
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the disk takes no entries of the record")
	}
	nudge(r.some)
	if waiting >= mostRecords {
		nudge(r.many)
	}
	return nil
}

// changes tells whether an entry is about something that may be different now.
func changes(m *agnesv1.AuditRecorded) bool {
	return m.GetResult() != resultRefused && !strings.HasPrefix(m.GetAction(), "data.")
}

const resultRefused = "refused"

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	// gather is how long entries wait for others before they are forwarded together.
	gather = 50 * time.Millisecond
	// A batch costs bus and chain about 3 ms of CPU however little it holds: where entries keep coming,
	// they wait for the next of batchesPerSecond, after a first few that do not.
	batchesPerSecond, firstBatches = 4, 4
)

// Run forwards the outbox and writes folded entries down, until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	pace := rate.NewLimiter(batchesPerSecond, firstBatches)
	for {
		if r.folds.Due() {
			r.Flush(ctx)
		}
		wake := r.some
		if r.Forward(ctx) != nil {
			wake = nil // the bus is away: the tick tries again
			if err := r.outbox.settle(); err != nil {
				zerolog.Ctx(ctx).Error().Err(err).Msg("the record is not safe from a power cut")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			continue
		case <-wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-r.many:
		case <-time.After(max(gather, pace.Reserve().Delay())):
		}
	}
}

// Flush writes the folded entries down now.
func (r *Recorder) Flush(ctx context.Context) {
	for _, m := range r.folds.Flush() {
		if err := r.store(m); err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Str("action", m.GetAction()).Msg("folded refusals could not be recorded")
		}
	}
}

// Forward hands what is in the outbox to the bus, oldest first, as long as the bus takes it.
func (r *Recorder) Forward(ctx context.Context) error {
	err := r.outbox.forward(func(entries []string) error {
		try, cancel := context.WithTimeout(ctx, r.patience)
		defer cancel()
		id, _, err := chain.ReadEntry([]byte(entries[0]))
		if err != nil {
			id = uuid.NewString() // the consumer tells of it
		}
		return r.publish(try, id+":"+strconv.Itoa(len(entries)), entries)
	})
	if err != nil && ctx.Err() == nil && !fault.Is(err, fault.Unavailable) {
		zerolog.Ctx(ctx).Error().Err(err).Msg("the outbox of the record cannot be forwarded")
	}
	return err
}

// Close closes the outbox; what is in it is forwarded at the next start.
func (r *Recorder) Close() error { return r.outbox.close() }
