package query

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// Remote fetches rows of remote tables for one statement.
type Remote interface {
	// Fetch gives a file for each scan, in a folder that holds what is fetched for those with the same grants and nothing
	// else. release ends their use. Errors are faults.
	Fetch(ctx context.Context, scans []federation.Scan) (files []string, release func(), err error)
}

// A statement over remote tables is answered in three steps: a process of its place plans it over stand-ins, what
// the plan needs is fetched, and another process, which may read that too, answers it. What the plan did not tell shows
// when the statement reads it, before anything is sent; then the tables that it mentions are fetched whole.

// remote answers a statement that mentions remote tables.
func (r *running) remote(ctx context.Context, at []int) error {
	scope := r.req.Scope
	if lake.ExplainOf(r.req.SQL) {
		return r.answer(ctx, scope)
	}
	needs, err := r.plan(ctx)
	if err != nil {
		return err
	}
	if needs.Known && len(needs.Scans) > 0 {
		err = r.over(ctx, needs.Scans)
	} else {
		err = r.answer(ctx, scope)
	}
	if !lake.IsRemote(err) || r.summary.Started {
		return err
	}
	scans := make([]federation.Scan, len(at))
	for i, place := range at {
		v := scope.Views()[place]
		scans[i] = federation.All(catalog.TableID(v.Schema, v.Name), v.Columns)
	}
	if err = r.over(ctx, scans); lake.IsRemote(err) {
		return fault.Wrap(err, fault.Invalid, "the statement reads a table that stays where it lives without naming it: write its name into the statement")
	}
	return err
}

// Check tells what is wrong with a statement, in the words that Run has for it, and answers nothing: names that are not
// there, types that do not fit. What only shows when rows are read is not found.
func (e *Engine) Check(ctx context.Context, req Request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Timeout, fault.New(fault.TooLarge, "the statement could not be planned within %v, which is the limit", e.cfg.Timeout))
	defer cancel()
	run := &running{engine: e, req: req}
	_, err := run.admitted(ctx, req.Scope, answer.Job{SQL: req.SQL, Plan: true, Strict: true}, func([]byte) error { return nil })
	if err != nil {
		return e.asFault(ctx, err)
	}
	return nil
}

// plan asks what the statement needs.
func (r *running) plan(ctx context.Context) (needs answer.Needs, err error) {
	var raw []byte
	job := answer.Job{SQL: r.req.SQL, Rows: int64(r.req.Limit), Plan: true}
	_, err = r.admitted(ctx, r.req.Scope, job, func(piece []byte) error {
		raw = append(raw, piece...)
		return nil
	})
	if err != nil {
		return needs, err
	}
	if err := json.Unmarshal(raw, &needs); err != nil {
		return needs, fmt.Errorf("read what a statement needs: %w", err)
	}
	return needs, nil
}

// over answers the statement over the files of the scans.
func (r *running) over(ctx context.Context, scans []federation.Scan) error {
	begin := time.Now()
	ticket, err := r.engine.fetches.enter(ctx, r.req.User)
	if err != nil {
		return err
	}
	r.summary.Waited += time.Since(begin)
	files, release, err := r.req.Remote.Fetch(ctx, scans)
	ticket.leave()
	if err != nil {
		return err
	}
	defer release()
	return r.answer(ctx, r.engine.NewScope(federation.Holding(r.req.Scope.Views(), scans, files)))
}
