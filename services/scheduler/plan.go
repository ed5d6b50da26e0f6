package scheduler

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/schedule"
)

// Why a request was published.
const (
	reasonSchedule = "schedule"
	reasonRetry    = "retry"
)

// settle is how long what was registered a moment ago waits, so that tables that are registered
// together run together.
const settle = 2 * time.Second

// key is a table's identity: its source and its name within it.
type key struct{ source, name string }

// State is what the scheduler remembers of a table, as JSON in the bucket.
type State struct {
	// Schedule is what NextRun was computed from.
	Schedule string `json:"schedule,omitempty"`
	// LastAttempt is when the table was requested last, LastSuccess when its last good run began.
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	NextRun     time.Time `json:"next_run,omitzero"`
	// Failures counts since the last success; Error and ErrorKind are of the last one.
	Failures  int      `json:"failures,omitempty"`
	Error     string   `json:"error,omitempty"`
	ErrorKind string   `json:"error_kind,omitempty"`
	Pending   *Pending `json:"pending,omitempty"`
}

// Pending is a request without an outcome.
type Pending struct {
	RunID  string    `json:"run_id"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Type is the connector that the request is for.
	Type string `json:"type"`
	// Sent is false until the bus has stored the request.
	Sent bool `json:"sent"`
}

// table is a registered table with a schedule.
type table struct {
	key
	connector string
	schedule  schedule.Schedule
}

// row is the state of one table, registered or not.
type row struct {
	State
	key
	revision uint64 // in the bucket; 0 where it is not there yet
	dirty    bool
}

// request is one extract.requested: the tables of a source that are due together.
type request struct {
	source, connector, runID, reason string
	rows                             []*row
}

// plan decides when tables are due. It knows no clock and no bus: a term feeds it and stores what
// it changed.
type plan struct {
	jitter, timeout, retryMin, retryMax time.Duration
	tables                              map[key]table
	rows                                map[key]*row
}

func newPlan(c Config) *plan {
	return &plan{
		jitter: c.Jitter, timeout: c.Timeout, retryMin: c.RetryMin, retryMax: c.RetryMax,
		tables: map[key]table{}, rows: map[key]*row{},
	}
}

// row gives the state of a table, a new one where there is none.
func (p *plan) row(k key) *row {
	r := p.rows[k]
	if r == nil {
		r = &row{key: k}
		p.rows[k] = r
	}
	return r
}

// takeOver is for a new leader: what became due while nobody led is spread, not run all at once.
func (p *plan) takeOver(now time.Time) {
	for k, t := range p.tables {
		if r := p.row(k); r.Pending == nil && !r.NextRun.IsZero() && !r.NextRun.After(now) {
			p.plan(r, p.soon(t, now))
		}
	}
}

// due gives the requests to publish now, and notes them as pending in the rows.
func (p *plan) due(now time.Time) []*request {
	type group struct{ source, connector string }
	groups := map[group]*request{}
	for k, t := range p.tables {
		r := p.row(k)
		p.refresh(r, t, now)
		if r.Pending != nil || r.NextRun.IsZero() || r.NextRun.After(now) {
			continue
		}
		g := group{t.source, t.connector}
		if groups[g] == nil {
			groups[g] = &request{source: t.source, connector: t.connector, runID: uuid.NewString(), reason: reasonRetry}
		}
		if r.Failures == 0 {
			groups[g].reason = reasonSchedule
		}
		groups[g].rows = append(groups[g].rows, r)
	}
	var requests []*request
	for _, q := range groups {
		slices.SortFunc(q.rows, func(a, b *row) int { return cmp.Compare(a.name, b.name) })
		for _, r := range q.rows {
			r.LastAttempt = now
			r.Pending = &Pending{RunID: q.runID, Since: now, Reason: q.reason, Type: q.connector}
			p.plan(r, p.slot(p.tables[r.key], now))
		}
		requests = append(requests, q)
	}
	slices.SortFunc(requests, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.connector, b.connector))
	})
	return requests
}

// unsent gives the requests that were noted but may not have reached the bus: the process ended, or
// the bus was away. They are published again under their old run id.
func (p *plan) unsent() []*request {
	byRun := map[string]*request{}
	for _, r := range p.rows {
		if r.Pending == nil || r.Pending.Sent {
			continue
		}
		q := byRun[r.Pending.RunID]
		if q == nil {
			q = &request{source: r.source, connector: r.Pending.Type, runID: r.Pending.RunID, reason: r.Pending.Reason}
			byRun[q.runID] = q
		}
		q.rows = append(q.rows, r)
	}
	var requests []*request
	for _, q := range byRun {
		slices.SortFunc(q.rows, func(a, b *row) int { return cmp.Compare(a.name, b.name) })
		requests = append(requests, q)
	}
	slices.SortFunc(requests, func(a, b *request) int { return cmp.Compare(a.runID, b.runID) })
	return requests
}

// refresh brings a row up to date with its schedule and the time.
func (p *plan) refresh(r *row, t table, now time.Time) {
	switch {
	case r.Pending != nil && now.Sub(r.Pending.Since) >= p.timeout:
		p.fail(r, fault.Unavailable, "no outcome came in time", now)
	case r.Pending != nil && r.Pending.Since.After(now):
		r.Pending.Since, r.dirty = now, true // from a clock that was ahead
	}
	if text := t.schedule.String(); r.Schedule != text || r.NextRun.IsZero() {
		r.Schedule = text
		if t.schedule.Due(r.LastSuccess, r.LastAttempt, now) {
			p.plan(r, p.soon(t, now))
		} else {
			p.plan(r, p.slot(t, p.last(r, now)))
		}
	}
	// Nothing is planned beyond the next slot, unless a clock was ahead when it was.
	if latest := p.slot(t, now); r.NextRun.After(latest) {
		p.plan(r, latest)
	}
}

// last is what the next slot counts from.
func (p *plan) last(r *row, now time.Time) time.Time {
	last := r.LastSuccess
	if r.LastAttempt.After(last) {
		last = r.LastAttempt
	}
	if last.IsZero() || last.After(now) {
		return now
	}
	return last
}

// never is when a schedule is due that has no slot left.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// slot is the first slot after a time. Slots of the wall clock are spread over the jitter; intervals
// are spread by when they began.
func (p *plan) slot(t table, after time.Time) time.Time {
	next := t.schedule.Next(after)
	if next.IsZero() {
		return never
	}
	if t.schedule.Interval() == 0 {
		next = next.Add(p.spread(t.source, p.jitter))
	}
	return next
}

// soon is when something that is due by now runs.
func (p *plan) soon(t table, now time.Time) time.Time {
	return now.Add(settle + p.spread(t.source, p.jitter))
}

// spread is a part of the width, the same for all tables of a source so that they stay together.
func (p *plan) spread(source string, width time.Duration) time.Duration {
	if width <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(source))
	return time.Duration(h.Sum64() % uint64(width))
}

func (p *plan) plan(r *row, next time.Time) {
	next = next.UTC().Round(0)
	if !r.NextRun.Equal(next) {
		r.NextRun, r.dirty = next, true
	}
}

// wake is when something may be due next; now where the caller must look at once.
func (p *plan) wake(now time.Time, latest time.Duration) time.Duration {
	until := latest
	for k := range p.tables {
		r := p.rows[k]
		if r == nil {
			return 0
		}
		at := r.NextRun
		if r.Pending != nil {
			at = r.Pending.Since.Add(p.timeout)
		}
		until = min(until, at.Sub(now))
	}
	return max(until, 0)
}
