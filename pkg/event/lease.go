package event

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Lease is the right to be the only one who does something, for as long as it is renewed.
//
// A holder writes its key again every third of the ttl. A contender takes over when it has seen the
// same revision for a whole ttl by its own clock, so clocks need not agree. A holder that could not
// renew for a ttl, counted from before its last successful write, ends Context before anybody
// else can have taken over. Only a process that was paused may not notice in time: Fence lets
// what it writes to refuse it.
type Lease struct {
	bucket  *Bucket
	name    string
	ttl     time.Duration
	record  leaseRecord
	fence   uint64
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	current uint64 // revision of our last write
}

type leaseRecord struct {
	Holder   string        `json:"holder"`
	Identity string        `json:"identity"` // of this very acquisition
	Fence    uint64        `json:"fence"`
	Since    time.Time     `json:"since"`
	TTL      time.Duration `json:"ttl_ns"`
	Free     bool          `json:"free,omitempty"` // released: only the fence still counts
}

// minLeaseTTL keeps a lease from being lost to an ordinary delay.
const minLeaseTTL = 100 * time.Millisecond

// Lease waits until the lease of that name is ours, or ctx ends. It is lost when the bus is away for
// longer than the ttl; ending ctx later releases it.
func (b *Bus) Lease(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	ttl = max(ttl, minLeaseTTL)
	l := &Lease{bucket: b.Bucket(BucketLeases), name: name, ttl: ttl, done: make(chan struct{})}
	l.record = leaseRecord{Holder: b.name, Identity: uuid.NewString(), TTL: ttl}
	written, err := l.acquire(ctx)
	if err != nil {
		return nil, err
	}
	l.fence = l.record.Fence
	l.ctx, l.cancel = context.WithCancel(ctx)
	context.AfterFunc(b.ctx, l.cancel)
	if !b.spawn(func() { l.hold(written) }) {
		l.cancel()
		return nil, errClosed()
	}
	return l, nil
}

// acquire tries until the key is ours; it gives the time before the write that made it so.
func (l *Lease) acquire(ctx context.Context) (time.Time, error) {
	var seen uint64 // the revision that another holder shows
	var since time.Time
	for {
		before := time.Now()
		standing, err := l.bucket.Get(ctx, l.name)
		switch {
		case fault.Is(err, fault.NotFound):
			err = l.take(ctx, leaseRecord{}, 0)
		case err == nil:
			var old leaseRecord
			_ = json.Unmarshal(standing.Value, &old) // whatever stands there is taken over in time
			if standing.Revision != seen {
				seen, since = standing.Revision, time.Now()
			}
			if err = errHeld; old.Free || time.Since(since) >= max(l.ttl, old.TTL) {
				before = time.Now()
				err = l.take(ctx, old, standing.Revision)
			}
		}
		if err == nil {
			return before, nil
		}
		if !sleep(ctx, min(l.ttl/4, time.Second)) {
			return time.Time{}, fault.Wrap(err, fault.KindOf(err), "the lease %s was not to be had", l.name)
		}
	}
}

var errHeld = fault.New(fault.Conflict, "held")

// take writes the key with a fence above every one before: also above those of a store that was lost,
// as far as clocks go forward.
func (l *Lease) take(ctx context.Context, old leaseRecord, revision uint64) error {
	l.record.Since = time.Now().UTC()
	l.record.Fence = max(old.Fence+1, uint64(l.record.Since.UnixMilli()))
	value, err := json.Marshal(l.record)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "lease %s", l.name)
	}
	var current uint64
	if revision == 0 {
		current, err = l.bucket.Create(ctx, l.name, value)
	} else {
		current, err = l.bucket.Update(ctx, l.name, value, revision)
	}
	l.current = current
	return err
}

// hold renews the lease until it is released or lost.
func (l *Lease) hold(written time.Time) {
	defer close(l.done)
	defer l.cancel()
	value, err := json.Marshal(l.record)
	if err != nil {
		return
	}
	// The lease ends by itself when it was not renewed in time, whatever hangs.
	valid := func() time.Duration { return time.Until(written.Add(l.ttl * 9 / 10)) }
	end := time.AfterFunc(valid(), l.cancel)
	defer end.Stop()
	for sleep(l.ctx, l.ttl/3) {
		before := time.Now()
		ctx, cancel := context.WithTimeout(l.ctx, l.ttl/3)
		revision, err := l.bucket.Update(ctx, l.name, value, l.current)
		cancel()
		switch {
		case err == nil:
			l.current, written = revision, before
			end.Reset(valid())
		case fault.Is(err, fault.Conflict):
			if !l.adopt() {
				return // somebody else's now
			}
		}
	}
	l.giveUp()
}

// adopt reads the key after a conflict: a renewal whose answer was lost conflicts with itself.
func (l *Lease) adopt() bool {
	ctx, cancel := context.WithTimeout(l.ctx, l.ttl/3)
	defer cancel()
	standing, err := l.bucket.Get(ctx, l.name)
	var record leaseRecord
	if err != nil || json.Unmarshal(standing.Value, &record) != nil || record.Identity != l.record.Identity {
		return false
	}
	l.current = standing.Revision
	return true
}

// giveUp marks the key as free, so that the next one need not wait. The key stays: the fence of the
// next one must be above ours.
func (l *Lease) giveUp() {
	l.record.Free = true
	value, err := json.Marshal(l.record)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), time.Second)
	defer cancel()
	_, _ = l.bucket.Update(ctx, l.name, value, l.current)
}

// Context ends when the lease is released or lost: work under it must stop then.
func (l *Lease) Context() context.Context { return l.ctx }

// Fence grows with every acquisition of the name. Whoever writes under the lease passes it on, and
// what is written to refuses a smaller one than it has seen.
func (l *Lease) Fence() uint64 { return l.fence }

// Release ends the lease and lets the next one have it at once.
func (l *Lease) Release() {
	l.cancel()
	<-l.done
}
