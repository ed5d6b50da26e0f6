package scheduler

import (
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Outcomes of a table in an extract.ready.
const (
	outcomeFailed   = "failed"
	outcomeHeldBack = "held_back"
)

// succeed notes a good run that began at the given time: of our request if the run id is the pending
// one, or of somebody else's.
func (p *plan) succeed(r *row, runs map[string]bool, began, now time.Time) (changed bool) {
	ours := r.Pending != nil && runs[r.Pending.RunID]
	if !ours && !began.After(r.LastSuccess) {
		return false // an old story, or one told twice
	}
	if ours {
		r.Pending = nil
	}
	if began.After(r.LastSuccess) {
		r.LastSuccess = began.UTC().Round(0)
	}
	r.Failures, r.Error, r.ErrorKind, r.dirty = 0, "", "", true
	if t, ok := p.tables[r.key]; ok && r.Pending == nil {
		p.plan(r, p.slot(t, p.last(r, now)))
	}
	return true
}

// fail ends the pending request of a row. LastSuccess stays where it was. What may go better later is
// tried again before the next slot, after a pause that doubles.
func (p *plan) fail(r *row, kind fault.Kind, message string, now time.Time) {
	r.Pending = nil
	r.Failures++
	r.Error, r.ErrorKind, r.dirty = message, string(kind), true
	t, ok := p.tables[r.key]
	if !ok {
		return
	}
	next := p.slot(t, p.last(r, now))
	if !next.After(now) {
		next = p.slot(t, now) // slots that passed meanwhile are not made up for by a failure
	}
	if again := now.Add(p.backoff(r)); fault.Retryable(fault.New(kind, "%s", message)) && again.Before(next) {
		next = again
	}
	p.plan(r, next)
}

func (p *plan) backoff(r *row) time.Duration {
	d := p.retryMax
	if doublings := r.Failures - 1; doublings < 30 {
		d = min(p.retryMin<<doublings, p.retryMax)
	}
	return d + p.spread(r.source, d/10)
}

// apply brings what a run reported into the rows: per table where it says so, and for everything that
// was requested with it where it does not.
func (p *plan) apply(source string, m *agnesv1.ExtractReady, at, now time.Time, count func(outcome string)) {
	runs := set(m.GetRunIds())
	began := at
	if m.GetStartedAt().IsValid() {
		began = m.GetStartedAt().AsTime()
	}
	reported := map[string]bool{}
	for _, o := range m.GetTables() {
		r, ok := p.rows[key{source, o.GetTable()}]
		if !ok {
			continue
		}
		reported[o.GetTable()] = true
		switch o.GetOutcome() {
		case outcomeFailed, outcomeHeldBack:
			if r.Pending != nil && runs[r.Pending.RunID] {
				p.fail(r, failureKind(o), o.GetError(), now)
				count("failure")
			}
		default:
			if p.succeed(r, runs, began, now) {
				count("success")
			}
		}
	}
	for k, r := range p.rows {
		if k.source != source || reported[k.name] || r.Pending == nil || !runs[r.Pending.RunID] {
			continue
		}
		if len(m.GetTables()) == 0 {
			p.succeed(r, runs, began, now)
			count("success")
			continue
		}
		p.fail(r, fault.Permanent, "the run did not mention the table", now)
		count("failure")
	}
}

// failureKind is why a table failed. What is held back waits for a person, not for another try.
func failureKind(o *agnesv1.TableOutcome) fault.Kind {
	switch {
	case o.GetOutcome() == outcomeHeldBack:
		return fault.Conflict
	case o.GetErrorKind() == "":
		return fault.Internal
	}
	return fault.Kind(o.GetErrorKind())
}

// applyFailure ends every request that was part of a run that failed as a whole.
func (p *plan) applyFailure(source string, m *agnesv1.ExtractFailed, now time.Time, count func(outcome string)) {
	runs := set(m.GetRunIds())
	kind := fault.Kind(m.GetErrorKind())
	if kind == "" {
		kind = fault.Internal
	}
	for k, r := range p.rows {
		if k.source == source && r.Pending != nil && runs[r.Pending.RunID] {
			p.fail(r, kind, m.GetError(), now)
			count("failure")
		}
	}
}

func set(texts []string) map[string]bool {
	s := make(map[string]bool, len(texts))
	for _, t := range texts {
		s[t] = true
	}
	return s
}
