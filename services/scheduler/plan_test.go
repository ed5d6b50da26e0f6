package scheduler

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/schedule"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Whatever runs become of, and however the time jumps: a table with a request out is not requested,
// nothing is planned beyond its next slot, a failure does not move the last success, and no table that
// is not out is left behind.
func TestPlanKeepsItsPromises(t *testing.T) {
	t.Parallel()
	forms := []string{"every 1m", "every 2h", "daily 02:30,23:59 Europe/Prague", "*/20 * * * * America/New_York", "0 0 1 * *"}
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Jitter: 30 * time.Second, Timeout: 6 * time.Hour, RetryMin: time.Minute, RetryMax: time.Hour}
		p := newPlan(c)
		for _, source := range []string{"a", "b"} {
			for _, name := range []string{"x", "y"} {
				s, err := schedule.Parse(rapid.SampledFrom(forms).Draw(t, "schedule"))
				if err != nil {
					t.Fatal(err)
				}
				k := key{source, name}
				p.tables[k] = table{key: k, connector: "csv", schedule: s}
			}
		}
		now := time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC)
		out := map[string]*request{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step(t, p, &now, out)
			check(t, p, now)
		}
	})
}

// step lets time pass, or a run end, or a new leader begin.
func step(t *rapid.T, p *plan, now *time.Time, out map[string]*request) {
	count := func(string) {}
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0, 1:
		*now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "pass")))
	case 2:
		*now = now.Add(time.Duration(rapid.Int64Range(int64(-48*time.Hour), int64(72*time.Hour)).Draw(t, "jump")))
	case 3:
		p.takeOver(*now)
	default:
		for id, q := range out {
			delete(out, id)
			end(t, p, q, *now, count)
			break
		}
	}
	waiting := map[key]bool{}
	for k := range p.tables {
		r := p.row(k)
		waiting[k] = r.Pending != nil && now.Sub(r.Pending.Since) < p.timeout
	}
	for _, q := range p.due(*now) {
		out[q.runID] = q
		for _, r := range q.rows {
			if waiting[r.key] {
				t.Fatalf("%v is requested while its request is out", r.key)
			}
		}
	}
}

func end(t *rapid.T, p *plan, q *request, now time.Time, count func(string)) {
	before := map[key]time.Time{}
	for k, r := range p.rows {
		before[k] = r.LastSuccess
	}
	m := &agnesv1.ExtractReady{RunIds: []string{q.runID}, StartedAt: timestamppb.New(q.rows[0].LastAttempt)}
	failed := map[key]bool{}
	for _, r := range q.rows {
		o := &agnesv1.TableOutcome{Table: r.name, Outcome: rapid.SampledFrom([]string{"updated", "failed", "held_back"}).Draw(t, "outcome")}
		o.ErrorKind = rapid.SampledFrom([]string{"unavailable", "invalid", ""}).Draw(t, "kind")
		failed[r.key] = o.GetOutcome() != "updated"
		m.Tables = append(m.Tables, o)
	}
	if rapid.Bool().Draw(t, "whole") {
		p.applyFailure(q.source, &agnesv1.ExtractFailed{RunIds: []string{q.runID}, ErrorKind: "busy"}, now, count)
		for _, r := range q.rows {
			failed[r.key] = true
		}
	} else {
		p.apply(q.source, m, now, now, count)
		p.apply(q.source, m, now, now, count) // told twice
	}
	for k, was := range before {
		if failed[k] && !p.rows[k].LastSuccess.Equal(was) {
			t.Fatalf("the failure of %v moved its last success", k)
		}
	}
}

func check(t *rapid.T, p *plan, now time.Time) {
	for k, tb := range p.tables {
		r := p.rows[k]
		if r.Pending != nil {
			continue
		}
		if latest := p.slot(tb, now); r.NextRun.After(latest) {
			t.Fatalf("%v is planned for %s, its next slot is %s", k, r.NextRun, latest)
		}
		if !r.NextRun.After(now) {
			t.Fatalf("%v was due at %s and is not out at %s", k, r.NextRun, now)
		}
	}
	if sleep := p.wake(now, maxSleep); sleep < 0 || sleep > maxSleep {
		t.Fatalf("sleeps for %s", sleep)
	}
}
