package extract

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// merge makes the next version: what stands, with what the jobs changed. A table that failed keeps
// its last good version; one that was not asked for is left alone (trap S1); only a run of all tables
// drops what the registry no longer lists.
func (r *run) merge(jobs []*job, outcomes *[]*agnesv1.TableOutcome) *state {
	next := newState()
	next.dataDir = r.source.DataDir
	next.remotes = slices.Clone(r.attached)
	for name, e := range r.last.entries {
		next.entries[name] = e
	}
	for _, j := range jobs {
		*outcomes = append(*outcomes, r.settle(next, j))
	}
	if len(r.Tables) == 0 {
		*outcomes = append(*outcomes, r.drop(next)...)
	}
	sortRemotes(next.remotes)
	return next
}

// settle puts the result of a job into the next version and tells its outcome.
func (r *run) settle(next *state, j *job) *agnesv1.TableOutcome {
	if j.err == nil && !j.same {
		j.err = r.collision(next, j)
	}
	if j.err != nil {
		o := failed(j.spec.Name, j.last, j.err)
		o.Duration, o.RejectedRows, o.SchemaChanges = durationpb.New(j.took), j.rejected, j.changes
		return o
	}
	if j.same {
		return r.settleUnchanged(next, j)
	}
	for name := range r.last.companions(j.spec.Name) {
		delete(next.entries, name)
	}
	changed := false
	for _, e := range j.entries {
		before := r.last.entries[e.Name]
		if before == nil || before.damaged || before.Fingerprint != e.Fingerprint || before.Description != e.Description {
			changed = true
		}
		next.entries[e.Name] = e
	}
	changed = changed || len(r.last.companions(j.spec.Name)) != len(j.entries)-1
	if changed {
		return outcomeOf(j, j.entries[0], OutcomeUpdated)
	}
	return outcomeOf(j, j.entries[0], OutcomeUnchanged)
}

// settleUnchanged keeps the table, with the description that the registry has by now.
func (r *run) settleUnchanged(next *state, j *job) *agnesv1.TableOutcome {
	e := *j.last
	e.spec = j.hash
	next.entries[e.Name] = &e
	j.total = len(e.Parts)
	if j.spec.Description == "" || j.spec.Description == e.Description {
		return outcomeOf(j, &e, OutcomeUnchanged)
	}
	e.Description = j.spec.Description
	return outcomeOf(j, &e, OutcomeUpdated)
}

// collision tells whether a table or a companion would take the name of another table.
func (r *run) collision(next *state, j *job) error {
	for i, e := range j.entries {
		for _, t := range r.Registry {
			if i > 0 && strings.EqualFold(t.GetName(), e.Name) {
				return fault.New(fault.Conflict, "the table %s writes %q, which is registered as a table of its own", j.spec.Name, e.Name)
			}
		}
		for name, other := range next.entries {
			own := name == j.spec.Name || other.parent == j.spec.Name
			if !own && strings.EqualFold(name, e.Name) {
				return fault.New(fault.Conflict, "the table %q cannot stand beside the table %q of this source", e.Name, name)
			}
		}
	}
	return nil
}

// drop removes what a complete listing of the registry no longer has.
func (r *run) drop(next *state) []*agnesv1.TableOutcome {
	listed := map[string]bool{}
	for _, t := range r.Registry {
		listed[t.GetName()] = true
	}
	var outcomes []*agnesv1.TableOutcome
	for _, name := range next.names() {
		e := next.entries[name]
		if listed[name] || (e.parent != "" && listed[e.parent]) {
			continue
		}
		delete(next.entries, name)
		if e.parent == "" {
			outcomes = append(outcomes, &agnesv1.TableOutcome{Table: name, Outcome: OutcomeRemoved})
		}
	}
	return outcomes
}

// remotes asks the source for its catalogs outside.
func (r *run) remotes(ctx context.Context) ([]catalog.Remote, error) {
	attacher, ok := r.src.(Attacher)
	if !ok {
		return nil, nil
	}
	remotes, err := attacher.Remotes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the remote catalogs of %s: %w", r.source.Name, err)
	}
	return remotes, nil
}
