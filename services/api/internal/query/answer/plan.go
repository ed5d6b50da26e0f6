package answer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Needs is what a statement needs of remote tables.
type Needs struct {
	Scans []federation.Scan
	// Known is false where the statement has no plan that tells, because it is wrong, or finds out by itself what it reads.
	Known bool
}

// isWrong tells whether a statement names what is not there, or puts it together in a way that cannot be.
func isWrong(err error) bool {
	switch lake.ClassOf(err) {
	case lake.ClassCatalog, lake.ClassBinder, lake.ClassParser:
		return true
	}
	return false
}

// plan writes what the job's statement needs. A statement that cannot be planned is no error here: whoever runs it
// gets to know what is wrong with it.
func (r *Runner) plan(ctx context.Context, scope *Scope, job Job, write func([]byte) error) error {
	if err := lake.CheckRead(job.SQL); err != nil {
		return err
	}
	chosen := scope.selects(job.SQL)
	chosen.plan = true
	needs, err := r.needs(ctx, scope, job, chosen)
	if isUnknownName(err) {
		chosen = scope.everything()
		chosen.plan = true
		needs, err = r.needs(ctx, scope, job, chosen)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if job.Strict && isWrong(err) {
		return err
	}
	raw, err := json.Marshal(needs)
	if err != nil {
		return fmt.Errorf("write what a statement needs: %w", err)
	}
	return write(raw)
}

func (r *Runner) needs(ctx context.Context, scope *Scope, job Job, chosen selection) (Needs, error) {
	session, done, err := r.sessions.take(ctx, scope, chosen)
	if err != nil {
		return Needs{}, err
	}
	plan, err := session.Plan(ctx, job.SQL)
	done(err)
	if err != nil {
		return Needs{}, err
	}
	var n Needs
	n.Scans, n.Known = federation.Scans(plan, scope.show(chosen), job.Rows)
	return n, nil
}
