package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

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
		if err := f.fold.settle(ctx); err != nil {
			return err
		}
		return f.succeeded(ctx, taskReconcile)
	})
}

// known is what an enumeration says of an issue.
type known struct {
	key     string
	updated time.Time
	sprints string // their ids, sorted and joined; unreadable where they are not lists of objects
}

// unreadable is a word for sprints that cannot be compared.
const unreadable = "?"

// enumeration is everything that Jira has in the configured projects, and the sprints that it names.
type enumeration struct {
	issues  map[int64]known
	sprints map[string]json.RawMessage
	began   time.Time
}

func (f *feed) enumerate(ctx context.Context, client *cloud.Client, t *task) (enumeration, error) {
	e := enumeration{issues: map[int64]known{}, sprints: map[string]json.RawMessage{}, began: f.now()}
	field := f.fields.SprintField()
	t.expect(ctx, client, f.everything())
	err := client.Search(ctx, f.everything(), []string{"key", "updated", field}, func(p cloud.Page) error {
		for _, h := range p.Hits {
			id, err := strconv.ParseInt(h.ID, 10, 64)
			if err != nil {
				continue
			}
			e.issues[id] = known{h.Key, h.Updated, e.noteSprints(h.Fields[field])}
		}
		t.add(len(p.Hits), 0, 0)
		return nil
	})
	if err == nil {
		t.counted()
	}
	return e, err
}

// noteSprints keeps the sprints that an issue names, and gives their ids.
func (e enumeration) noteSprints(field json.RawMessage) string {
	var sprints []json.RawMessage
	if len(field) > 0 && json.Unmarshal(field, &sprints) != nil {
		return unreadable
	}
	var ids []string
	for _, raw := range sprints {
		id := itemID(raw)
		if id == "" {
			return unreadable
		}
		e.sprints[id] = raw
		ids = append(ids, id)
	}
	return joined(ids)
}

func joined(ids []string) string {
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " ")
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
	named, err := f.store.Named(ctx, store.KindSprint)
	if err != nil {
		return d, err
	}
	err = f.store.Heads(ctx, func(doc store.Document) error {
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
		case outdated(doc, cloud.Hit{Key: in.key, Updated: in.updated}) || otherSprints(doc, in, named[doc.ID]):
			d.stale = append(d.stale, strconv.FormatInt(doc.ID, 10))
			note(&d.report.StaleKeys, doc.Key)
		}
		return nil
	})
	if err == nil {
		err = f.loose(ctx, e, &d, note)
	}
	for id, in := range e.issues {
		d.missing = append(d.missing, strconv.FormatInt(id, 10))
		note(&d.report.MissingKeys, in.key)
	}
	slices.Sort(d.missing)
	d.report.Missing, d.report.Gone, d.report.Stale = int64(len(d.missing)), int64(len(d.gone)), int64(len(d.stale))
	return d, err
}

// loose finds issues with links to issues that are not there: to ones that were deleted before anything
// was known of them. What is left of a deleted issue's links does not count as changed.
func (f *feed) loose(ctx context.Context, e enumeration, d *differences, note func(keys *[]string, key string)) error {
	var issues []int64
	err := f.store.LooseLinks(ctx, func(issue int64, to store.End) {
		if _, there := e.issues[to.ID]; !there && f.covers(to.Key) {
			issues = append(issues, issue)
		}
	})
	if err != nil {
		return err
	}
	return f.store.HeadsOf(ctx, slices.Compact(issues), func(doc store.Document) error {
		id := strconv.FormatInt(doc.ID, 10)
		if !slices.Contains(d.stale, id) {
			d.stale = append(d.stale, id)
			note(&d.report.StaleKeys, doc.Key)
		}
		return nil
	})
}

// otherSprints tells whether an issue is in other sprints than what is kept says: that one was deleted does
// not count as a change of its issues.
func otherSprints(doc store.Document, in known, named []string) bool {
	return in.sprints != unreadable && doc.Updated.Equal(in.updated) && joined(named) != in.sprints
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
		t.update(func(s *agnesv1.JiraTask) {
			s.Differences, s.Message = proto.CloneOf(d.report), fmt.Sprintf(format, args...)
		})
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
	tell("%d of %d differences were healed", d.report.GetHealed(), total)
	f.fold.wake()
	return nil
}

// confirmGone asks Jira for each issue that a complete enumeration did not show. One that it does not
// find either is deleted, and one that it shows in another project than the configured ones has left them.
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
			switch {
			case gone:
				return f.remove(ctx, tx, deletion{id: doc.ID, key: doc.Key, at: f.now(), seen: f.now()})
			case !f.covers(fetched.Key):
				return f.leave(ctx, tx, doc.ID, fetched, true)
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
