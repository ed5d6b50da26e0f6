package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// someKeys is how many keys a report names.
const someKeys = 20

// reconcile compares a complete enumeration of the site with what is kept, and heals the differences, of
// however many with force.
func (f *feed) reconcile(q *agnesv1.JiraTaskRequest, reason string) (*agnesv1.JiraTask, error) {
	if _, err := f.ask(); err != nil {
		return nil, err
	}
	return f.tasks.start(taskReconcile, reason, func(ctx context.Context, t *task) error {
		if err := f.runReconcile(ctx, t, q.GetForce(), q.GetDryRun()); err != nil {
			return err
		}
		return f.succeeded(ctx, taskReconcile)
	})
}

// known is what an enumeration says of an issue.
type known struct {
	key     string
	updated time.Time
}

// enumeration is everything that Jira has in the configured projects, and the sprints that it names.
type enumeration struct {
	issues  map[int64]known
	sprints map[string]json.RawMessage
	began   time.Time
}

func (f *feed) enumerate(ctx context.Context, client *cloud.Client, t *task) (enumeration, error) {
	e := enumeration{issues: map[int64]known{}, sprints: map[string]json.RawMessage{}, began: f.now()}
	field := f.fields.SprintField()
	err := client.Search(ctx, f.everything(), []string{"key", "updated", field}, func(p cloud.Page) error {
		for _, h := range p.Hits {
			id, err := strconv.ParseInt(h.ID, 10, 64)
			if err != nil {
				continue
			}
			e.issues[id] = known{h.Key, h.Updated}
			var sprints []json.RawMessage
			if json.Unmarshal(h.Fields[field], &sprints) == nil {
				for _, s := range sprints {
					e.sprints[itemID(s)] = s
				}
			}
		}
		t.add(len(p.Hits), 0, 0)
		return nil
	})
	return e, err
}

// differences are what an enumeration and what is kept differ in.
type differences struct {
	missing, stale []string // numbers of issues
	gone           []store.Document
	report         *agnesv1.JiraDifferences
}

func (f *feed) compare(ctx context.Context, e enumeration) (differences, error) {
	d := differences{report: &agnesv1.JiraDifferences{InJira: int64(len(e.issues))}}
	note := func(keys *[]string, key string) {
		if len(*keys) < someKeys {
			*keys = append(*keys, key)
		}
	}
	err := f.store.Heads(ctx, func(doc store.Document) error {
		in, found := e.issues[doc.ID]
		delete(e.issues, doc.ID)
		if !doc.Deleted.IsZero() {
			// Jira's index is late: it may list for a while what was deleted.
			if found && doc.Synced.Before(e.began.Add(-indexLag)) {
				d.missing = append(d.missing, strconv.FormatInt(doc.ID, 10))
				note(&d.report.MissingKeys, in.key)
			}
			return nil
		}
		d.report.Kept++
		switch {
		case !found:
			d.gone = append(d.gone, doc)
			note(&d.report.GoneKeys, doc.Key)
		case outdated(doc, cloud.Hit{Key: in.key, Updated: in.updated}):
			d.stale = append(d.stale, strconv.FormatInt(doc.ID, 10))
			note(&d.report.StaleKeys, doc.Key)
		}
		return nil
	})
	for id, in := range e.issues {
		d.missing = append(d.missing, strconv.FormatInt(id, 10))
		note(&d.report.MissingKeys, in.key)
	}
	slices.Sort(d.missing)
	d.report.Missing, d.report.Gone, d.report.Stale = int64(len(d.missing)), int64(len(d.gone)), int64(len(d.stale))
	return d, err
}

// indexLag is for how long Jira's search may not show a change.
const indexLag = 5 * time.Minute

func (f *feed) runReconcile(ctx context.Context, t *task, force, dry bool) error {
	client, err := f.ask()
	if err != nil {
		return err
	}
	e, err := f.enumerate(ctx, client, t)
	if err != nil {
		return err // an enumeration that is not complete says nothing
	}
	if err := f.renewSprints(ctx, e.sprints, e.began); err != nil {
		return err
	}
	d, err := f.compare(ctx, e)
	if err != nil {
		return err
	}
	total := len(d.missing) + len(d.stale) + len(d.gone)
	d.report.AboveThreshold = total > f.HealUpTo && !force
	tell := func(format string, args ...any) {
		t.update(func(s *agnesv1.JiraTask) { s.Differences, s.Message = d.report, fmt.Sprintf(format, args...) })
	}
	switch {
	case total == 0:
		tell("what is kept is what Jira has")
		return nil
	case dry:
		tell("%d differences; nothing was done", total)
		return nil
	case d.report.GetAboveThreshold():
		tell("%d differences are more than %d, so nothing was done: look at them, then run it with force, or a backfill", total, f.HealUpTo)
		zerolog.Ctx(ctx).Warn().Int("missing", len(d.missing)).Int("stale", len(d.stale)).Int("gone", len(d.gone)).
			Msg("what is kept of Jira differs too much from what Jira has to be healed without being asked")
		return nil
	}
	tell("healing %d differences", total)
	for part := range slices.Chunk(slices.Concat(d.missing, d.stale), pageOfIssues*callsAtOnce) {
		changed, failed, err := f.fetchAll(ctx, client, part, func(*store.Tx) error { return nil })
		if err != nil {
			return err
		}
		t.add(0, changed, failed)
		d.report.Healed += int64(changed)
	}
	if err := f.confirmGone(ctx, client, t, &d); err != nil {
		return err
	}
	f.fold.wake()
	tell("%d of %d differences were healed", d.report.GetHealed(), total)
	return nil
}

// confirmGone asks Jira for each issue that a complete enumeration did not show. One that it does not
// find either is deleted; one that it shows belongs to another project now.
func (f *feed) confirmGone(ctx context.Context, client *cloud.Client, t *task, d *differences) error {
	for _, doc := range d.gone {
		fetched, err := client.Fetch(ctx, strconv.FormatInt(doc.ID, 10))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			t.add(0, 0, 1)
			continue
		}
		gone := err != nil
		err = f.store.Write(ctx, func(tx *store.Tx) error {
			if gone {
				return f.remove(ctx, tx, deletion{id: doc.ID, key: doc.Key, at: f.now(), seen: f.now()})
			}
			return f.merge(ctx, tx, incoming{doc: fetched, fetched: true})
		})
		if err != nil {
			return err
		}
		t.add(0, 1, 0)
		d.report.Healed++
	}
	return nil
}

// renewSprints keeps what an enumeration says of sprints, which change without their issues.
func (f *feed) renewSprints(ctx context.Context, sprints map[string]json.RawMessage, at time.Time) error {
	return f.store.Write(ctx, func(tx *store.Tx) error {
		for _, raw := range sprints {
			e, err := f.sprintEntity(raw)
			if err != nil || e == nil {
				continue // the issue that names it says so when it is taken in
			}
			if err := tx.Renew(ctx, *e, at.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}
