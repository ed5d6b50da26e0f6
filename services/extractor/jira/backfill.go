package jira

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// backfillState is how far a backfill is. It is kept with what was read, so that one that was stopped, in
// whatever way, goes on where it was.
type backfillState struct {
	JQL    string    `json:"jql"`
	Issues []string  `json:"issues,omitempty"`
	Force  bool      `json:"force,omitempty"`
	Next   string    `json:"next,omitempty"` // page of the search
	Done   int64     `json:"done"`
	Begun  time.Time `json:"begun"`
	// Stopped tells that somebody stopped it: it goes on when somebody asks for it, and not by itself.
	Stopped bool `json:"stopped,omitempty"`
}

const backfillCursor = "backfill"

// everything is a JQL that finds all issues of the configured projects, oldest first. Jira refuses one
// without a restriction.
func (s *site) everything() string { return s.all() + " ORDER BY created ASC" }

// all is the condition of everything, without its order.
func (s *site) all() string {
	if len(s.Projects) == 0 {
		return `created >= "1970-01-01"`
	}
	return "project in (" + strings.Join(s.Projects, ", ") + ")"
}

// ask gives the client, or says what is missing.
func (s *site) ask() (*cloud.Client, error) {
	if s.client == nil {
		return nil, fault.New(fault.Invalid, "no account is configured for %s: set email and api_token of the source %s (or JIRA_EMAIL, JIRA_API_TOKEN)", s.Site, s.name)
	}
	return s.client.Background(), nil
}

// backfill begins a backfill, or goes on with one that was stopped in the middle.
func (f *feed) backfill(ctx context.Context, q *agnesv1.JiraTaskRequest, reason string) (*agnesv1.JiraTask, error) {
	if _, err := f.ask(); err != nil {
		return nil, err
	}
	asked := backfillState{JQL: strings.TrimSpace(q.GetJql()), Force: q.GetForce(), Begun: f.now()}
	for _, key := range q.GetIssues() {
		key = strings.ToUpper(strings.TrimSpace(key))
		if !jira.ValidIssueKey(key) && !jira.ValidID(key) {
			return nil, fault.New(fault.Invalid, "%q is not the key of an issue, such as SUP-123", key)
		}
		asked.Issues = append(asked.Issues, key)
	}
	if asked.JQL != "" && len(asked.Issues) > 0 {
		return nil, fault.New(fault.Invalid, "a backfill is of a JQL or of issues, not of both")
	}
	if asked.JQL == "" {
		asked.JQL = f.everything()
	}
	var stopped backfillState
	found, err := f.loadCursor(ctx, backfillCursor, &stopped)
	if err != nil {
		return nil, err
	}
	// A dry run counts what a backfill from the start would do.
	if found && !q.GetRestart() && !q.GetDryRun() && stopped.JQL == asked.JQL && slices.Equal(stopped.Issues, asked.Issues) && stopped.Force == asked.Force {
		asked, reason = stopped, reasonResume
		asked.Stopped = false
	}
	return f.tasks.start(taskBackfill, reason, func(ctx context.Context, t *task) error {
		t.update(func(s *agnesv1.JiraTask) {
			s.Jql, s.Done, s.Total = asked.JQL, asked.Done, int64(len(asked.Issues))
			if len(asked.Issues) > 0 {
				s.Jql = "issuekey in (" + strings.Join(asked.Issues, ", ") + ")"
			}
		})
		if err := f.runBackfill(ctx, t, asked, q.GetDryRun()); err != nil {
			if ctx.Err() != nil && f.tasks.life.Err() == nil {
				err = errors.Join(err, f.noteStopped(context.WithoutCancel(ctx)))
			}
			return err
		}
		t.update(func(s *agnesv1.JiraTask) { s.Message = cmp.Or(s.GetMessage(), "publishing") })
		err := f.fold.settle(ctx)
		t.update(func(s *agnesv1.JiraTask) { s.Message = strings.TrimPrefix(s.GetMessage(), "publishing") })
		return err
	})
}

// noteStopped remembers that a backfill was stopped by somebody, and not by the end of the service.
func (f *feed) noteStopped(ctx context.Context) error {
	var stopped backfillState
	found, err := f.loadCursor(ctx, backfillCursor, &stopped)
	if err != nil || !found {
		return err
	}
	stopped.Stopped = true
	return f.store.Write(ctx, func(tx *store.Tx) error { return saveCursor(ctx, tx, backfillCursor, stopped) })
}

func (f *feed) runBackfill(ctx context.Context, t *task, state backfillState, dry bool) error {
	client, err := f.ask()
	if err != nil {
		return err
	}
	done := func(refs []string, next string) error {
		changed, failed := len(refs), 0
		if !dry {
			var err error
			if changed, failed, err = f.fetchAll(ctx, client, refs, func(tx *store.Tx) error {
				state.Next = next
				return saveCursor(ctx, tx, backfillCursor, state)
			}); err != nil {
				return err
			}
		}
		t.add(0, changed, failed)
		return nil
	}
	if len(state.Issues) > 0 {
		for part := range slices.Chunk(state.Issues, pageOfIssues) {
			if err := done(part, ""); err != nil {
				return err
			}
			t.add(len(part), 0, 0)
		}
	} else {
		t.expect(ctx, client, state.JQL)
		err = client.SearchFrom(ctx, state.JQL, []string{"key", "updated"}, state.Next, func(p cloud.Page) error {
			refs, err := f.news(ctx, p.Hits, state.Force)
			if err != nil {
				return err
			}
			state.Done += int64(len(p.Hits))
			t.add(len(p.Hits), 0, 0)
			return done(refs, p.Next)
		})
		if err != nil {
			return err
		}
	}
	t.counted()
	if dry {
		t.update(func(s *agnesv1.JiraTask) { s.Message = "a dry run: so many would be fetched as changed tells" })
		return nil
	}
	return f.store.Write(ctx, func(tx *store.Tx) error { return tx.SetCursor(ctx, backfillCursor, "") })
}

// countPatience is how long a task waits for the number of its issues.
const countPatience = 10 * time.Second

// expect tells how many issues there are, where Jira says so: for people, and the task goes on without.
func (t *task) expect(ctx context.Context, client *cloud.Client, jql string) {
	ctx, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	if total, err := client.Count(ctx, jql); err == nil {
		t.update(func(s *agnesv1.JiraTask) { s.Total = max(total, s.GetDone()) })
	}
}

// counted tells that all issues were seen: their number is known now.
func (t *task) counted() {
	t.update(func(s *agnesv1.JiraTask) { s.Total = s.GetDone() })
}

// news are those of the issues that are not kept, or in an older state, or not completely.
func (f *feed) news(ctx context.Context, hits []cloud.Hit, force bool) ([]string, error) {
	kept := map[int64]store.Document{}
	ids := make([]int64, 0, len(hits))
	for _, h := range hits {
		if id, err := strconv.ParseInt(h.ID, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	if !force {
		if err := f.store.HeadsOf(ctx, ids, func(d store.Document) error { kept[d.ID] = d; return nil }); err != nil {
			return nil, err
		}
	}
	var refs []string
	for _, h := range hits {
		id, err := strconv.ParseInt(h.ID, 10, 64)
		if d, found := kept[id]; err != nil || !found || outdated(d, h) {
			refs = append(refs, h.ID)
		}
	}
	return refs, nil
}

// outdated tells whether what is kept of an issue is older than what Jira has.
func outdated(d store.Document, h cloud.Hit) bool {
	return !d.Deleted.IsZero() || d.Partial || d.Updated.Before(h.Updated) || (h.Key != "" && h.Key != d.Key && !d.Updated.After(h.Updated))
}

// Issues that are fetched with one call, and how many such calls go on at once: the client decides how
// many really do, by what Jira bears.
const (
	pageOfIssues  = 50
	callsAtOnce   = 4
	backfillPause = 10 * time.Second // between publications while a backfill runs
)

// fetchAll fetches issues and keeps them, with whatever also does in the same change. What cannot be
// fetched now is fetched later, by itself.
func (f *feed) fetchAll(ctx context.Context, client *cloud.Client, refs []string, also func(tx *store.Tx) error) (changed, failed int, err error) {
	parts := slices.Collect(slices.Chunk(refs, pageOfIssues))
	bulks, errs := make([]cloud.Bulk, len(parts)), make([]error, len(parts))
	var calls sync.WaitGroup
	places := make(chan struct{}, callsAtOnce)
	for i, part := range parts {
		places <- struct{}{}
		calls.Go(func() {
			defer func() { <-places }()
			bulks[i], errs[i] = client.BulkFetch(ctx, part)
		})
	}
	calls.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, 0, err
		}
	}
	before, err := f.store.Seq(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = f.store.Write(ctx, func(tx *store.Tx) error {
		changed, failed = 0, 0
		for _, b := range bulks {
			for _, d := range b.Documents {
				if err := f.merge(ctx, tx, incoming{doc: d, fetched: true, listed: true}); err != nil {
					return err
				}
				changed++
				if f.lacks(ctx, d.Key, d.Problem) {
					if err := f.refetch(ctx, tx, d.ID, d.Problem); err != nil {
						return err
					}
				}
			}
			for ref, problem := range b.Failed {
				failed++
				if err := f.refetch(ctx, tx, ref, problem); err != nil {
					return err
				}
			}
		}
		return also(tx)
	})
	if err != nil {
		return 0, 0, err
	}
	if after, err := f.store.Seq(ctx); err == nil && after != before {
		f.fold.wakeWithin(backfillPause)
	}
	return changed, failed, nil
}

// resume goes on with a backfill that was under way when the extractor stopped.
func (f *feed) resume(ctx context.Context) error {
	var stopped backfillState
	found, err := f.loadCursor(ctx, backfillCursor, &stopped)
	if err != nil || !found || stopped.Stopped || f.client == nil {
		return err
	}
	_, err = f.backfill(ctx, &agnesv1.JiraTaskRequest{Jql: jqlOf(stopped), Issues: stopped.Issues, Force: stopped.Force}, reasonResume)
	return err
}

func jqlOf(b backfillState) string {
	if len(b.Issues) > 0 {
		return ""
	}
	return b.JQL
}
