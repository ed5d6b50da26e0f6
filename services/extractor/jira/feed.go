package jira

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// Batches of webhooks: few enough that the first does not wait for the last, many enough that a burst
// is not one change of the store each.
const (
	batchCount = 256
	batchWait  = 5 * time.Millisecond
	stopBudget = 10 * time.Second
	// fetchPatience is how long a batch waits for Jira, before what webhooks say themselves is kept for the
	// time being and the issues are fetched later.
	fetchPatience = 10 * time.Second
)

// feed takes in what Jira pushes to one site, and has it published.
type feed struct {
	*site
	fold  *folder
	tasks *tasks
	last  atomic.Int64 // when the last webhook was taken in, in microseconds; 0 for none yet

	accountIs accountState
}

func (f *feed) lastWebhook() time.Time {
	if at := f.last.Load(); at != 0 {
		return time.UnixMicro(at).UTC()
	}
	return time.Time{}
}

// feed runs until ctx ends. What it acknowledges to the bus is on the disk.
func (s *site) feed(ctx context.Context, bus *event.Bus, run extract.FeedRun) error {
	f := &feed{site: s, fold: newFolder(s, run)}
	ctx, cancel := context.WithCancel(ctx)
	f.tasks = newTasks(ctx, s)
	var work sync.WaitGroup
	defer func() {
		cancel()
		work.Wait()
		f.tasks.work.Wait()
	}()
	subs, err := f.serve(ctx, bus)
	if err != nil {
		return errors.Join(err, event.StopAll(stopBudget, subs...))
	}
	work.Go(func() { f.fold.loop(ctx) })
	if s.client != nil {
		work.Go(func() { f.refetches(ctx) })
		if f.keeper != nil {
			work.Go(func() { f.keeper.loop(ctx) })
		}
		work.Go(func() {
			s.schedule(ctx, taskReconcile, s.reconcileEvery, func(context.Context) error {
				_, err := f.reconcile(&agnesv1.JiraTaskRequest{}, reasonSchedule)
				return err
			})
		})
		work.Go(func() {
			s.schedule(ctx, taskSLA, s.slaEvery, func(context.Context) error {
				_, err := f.refreshSLA(reasonSchedule)
				return err
			})
		})
		work.Go(func() { s.schedule(ctx, taskRefresh, refreshEvery, f.lookAfterWebhooks) })
		if err := f.resume(ctx); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("a backfill that was under way does not go on")
		}
	}
	<-ctx.Done()
	return event.StopAll(stopBudget, subs...)
}

// serve takes in webhooks, and answers what operators ask.
func (f *feed) serve(ctx context.Context, bus *event.Bus) (subs []*event.Subscription, err error) {
	add := func(sub *event.Subscription, serr error) {
		if serr == nil {
			subs = append(subs, sub)
		}
		err = errors.Join(err, serr)
	}
	long := context.WithoutCancel(ctx)
	batches := event.Batch{MaxCount: batchCount, MaxWait: batchWait}
	if f.client != nil {
		// One batch is fetched while another is stored. What is fetched has its own time, so that the order
		// does not matter; what a webhook tells by itself is taken in as it came.
		batches.Concurrency = 2
	}
	add(event.ConsumeBatch(long, bus, event.JiraReceived, event.Consumer{Name: name, Source: f.name}, batches, f.received))
	add(event.Serve(long, bus, event.JiraStatus(f.name), f.status))
	add(event.Serve(long, bus, event.JiraTask(f.name), f.asked))
	add(event.Serve(long, bus, event.JiraSetAside(f.name), f.aside))
	add(event.Serve(long, bus, event.JiraFields(f.name), f.listFields))
	return subs, err
}

// want is what a batch wants to know of one issue.
type want struct {
	ref    string // its id where that is known, else its key
	events []jira.Event
	at     []time.Time // when each was received
	gone   *deletion

	doc     cloud.Document
	fetched bool
	err     error
}

// received takes in a batch of webhooks. It fails only where the store cannot be written, or the service
// stops: whatever is wrong with one webhook, or with fetching one issue, holds up no other.
func (f *feed) received(ctx context.Context, batch []event.Event[*agnesv1.JiraReceived]) error {
	wants, sprints, bad, err := f.gather(ctx, batch)
	if err != nil {
		return err
	}
	defer f.fold.takes(len(batch))()
	if wants, err = f.unknown(ctx, wants); err != nil {
		return err
	}
	fetching, cancel := context.WithTimeout(ctx, fetchPatience)
	f.fetch(fetching, wants)
	cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	err = f.store.Write(ctx, func(tx *store.Tx) error {
		for _, b := range bad {
			if err := f.setAsideIn(ctx, tx, b.aside, b.err); err != nil {
				return err
			}
		}
		for _, w := range wants {
			if err := f.take(ctx, tx, w); err != nil {
				return err
			}
		}
		for _, e := range sprints {
			if err := f.sprint(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.last.Store(f.now().UnixMicro())
	f.fold.wake()
	return nil
}

// clockMargin is how far the clocks of those who receive webhooks and of those who fetch may be apart.
const clockMargin = time.Second

// unknown leaves out what is no news: issues that were fetched whole after all webhooks of the batch about them
// had come, and since the change that these tell of. In a burst that is most of them.
func (f *feed) unknown(ctx context.Context, wants []*want) ([]*want, error) {
	if f.client == nil {
		return wants, nil
	}
	var ids []int64
	for _, w := range wants {
		if id, err := strconv.ParseInt(w.ref, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	known := map[string]store.Document{}
	err := f.store.HeadsOf(ctx, ids, func(d store.Document) error {
		known[strconv.FormatInt(d.ID, 10)] = d
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(wants, func(w *want) bool {
		d, found := known[w.ref]
		return found && w.isKnown(d)
	}), nil
}

// isKnown tells whether what is kept of an issue was read after all that the webhooks tell of.
func (w *want) isKnown(d store.Document) bool {
	if w.gone != nil || d.Partial || !d.Deleted.IsZero() || len(w.events) == 0 {
		return false
	}
	for i, e := range w.events {
		tellsAll := e.Kind == jira.KindIssueCreated || e.Kind == jira.KindIssueUpdated
		if !tellsAll || e.Updated.IsZero() || d.Updated.Before(e.Updated) || !d.Synced.After(w.at[i].Add(clockMargin)) {
			return false
		}
	}
	return true
}

// unusable is a webhook that says nothing that can be used.
type unusable struct {
	aside
	err error
}

// gather reads the webhooks of a batch and brings those of one issue together, in the order in which
// they came.
func (f *feed) gather(ctx context.Context, batch []event.Event[*agnesv1.JiraReceived]) (wants []*want, sprints []jira.Event, bad []unusable, err error) {
	byRef := map[string]*want{}
	for _, b := range batch {
		body, at := b.Payload.GetBody(), b.Time
		if t := b.Payload.GetReceivedAt(); t.IsValid() {
			at = t.AsTime()
		}
		e, err := jira.ParseEvent(body)
		if err != nil {
			bad = append(bad, unusable{aside{key: b.ID, origin: originWebhook, body: body}, fault.Wrap(err, fault.Invalid, "the webhook cannot be read: %s", err)})
			continue
		}
		if e.Kind == jira.KindSprint {
			sprints = append(sprints, e)
			continue
		}
		for i, r := range e.Issues() {
			ref, err := f.refOf(ctx, r)
			if err != nil {
				return nil, nil, nil, err
			}
			w := byRef[ref]
			if w == nil {
				w = &want{ref: ref}
				byRef[ref] = w
				wants = append(wants, w)
			}
			if i > 0 {
				continue // the other end of a link: its issue is not in the event
			}
			w.events, w.at = append(w.events, e), append(w.at, at)
			if e.Kind == jira.KindIssueDeleted {
				w.gone = goneBy(e, ref, at)
			}
		}
	}
	return wants, sprints, bad, nil
}

func goneBy(e jira.Event, ref string, at time.Time) *deletion {
	id, err := strconv.ParseInt(ref, 10, 64)
	if err != nil {
		return nil // its number is not known, so nothing is kept of it
	}
	return &deletion{id: id, key: e.IssueKey, at: e.Timestamp, seen: at, issue: e.Issue}
}

// refOf names an issue by its number, where that is known.
func (f *feed) refOf(ctx context.Context, r jira.Ref) (string, error) {
	if r.ID != "" {
		return r.ID, nil
	}
	d, found, err := f.store.ByKey(ctx, r.Key)
	if err != nil || !found {
		return r.Key, err
	}
	return strconv.FormatInt(d.ID, 10), nil
}

// fewIssues are fetched one by one, which takes the shortest and tells the most; more at once.
const fewIssues = 24

// fetch asks Jira for the issues of a batch.
func (f *feed) fetch(ctx context.Context, wants []*want) {
	if f.client == nil {
		return
	}
	byRef := map[string]*want{}
	var refs []string
	for _, w := range wants {
		if w.gone == nil {
			byRef[w.ref] = w
			refs = append(refs, w.ref)
		}
	}
	var calls sync.WaitGroup
	if len(refs) <= fewIssues {
		for _, w := range byRef {
			calls.Go(func() { w.doc, w.err = f.client.Fetch(ctx, w.ref); w.fetched = w.err == nil })
		}
		calls.Wait()
		return
	}
	for part := range slices.Chunk(refs, fewIssues*2) {
		calls.Go(func() { f.fetchMany(ctx, part, byRef) })
	}
	calls.Wait()
}

func (f *feed) fetchMany(ctx context.Context, refs []string, wants map[string]*want) {
	bulk, err := f.client.BulkFetch(ctx, refs)
	for _, ref := range refs {
		w := wants[ref]
		w.err = err
		if err == nil {
			w.err = fault.New(fault.NotFound, "Jira does not find the issue %s", ref)
		}
	}
	for _, d := range bulk.Documents {
		for _, ref := range []string{d.ID, d.Key} {
			if w := wants[ref]; w != nil {
				w.doc, w.fetched, w.err = d, true, nil
			}
		}
	}
	for ref, err := range bulk.Failed {
		if w := wants[ref]; w != nil {
			w.err = err
		}
	}
}

// take keeps what a batch tells of an issue.
func (f *feed) take(ctx context.Context, tx *store.Tx, w *want) error {
	if w.gone != nil {
		if err := f.remove(ctx, tx, *w.gone); err != nil {
			return err
		}
		return tx.Refetched(ctx, w.ref, w.gone.key)
	}
	if w.fetched {
		if err := f.merge(ctx, tx, incoming{doc: w.doc, fetched: true}); err != nil {
			return err
		}
		if f.lacks(ctx, w.doc.Key, w.doc.Problem) {
			return f.refetch(ctx, tx, w.doc.ID, w.doc.Problem)
		}
		return tx.Refetched(ctx, w.ref, w.doc.ID, w.doc.Key)
	}
	if fault.Is(w.err, fault.NotFound) {
		// Jira does not show it: it is gone, and a webhook will say so, or a complete enumeration.
		return tx.Refetched(ctx, w.ref)
	}
	for i, e := range w.events {
		if err := f.told(ctx, tx, e, w.at[i]); err != nil {
			return err
		}
	}
	if f.client == nil {
		return nil
	}
	return f.refetch(ctx, tx, w.ref, w.err)
}

// told keeps what a webhook itself says, where Jira cannot be asked.
func (f *feed) told(ctx context.Context, tx *store.Tx, e jira.Event, at time.Time) error {
	if len(e.Issue) == 0 {
		return f.patch(ctx, tx, e, at)
	}
	if !e.Timestamp.IsZero() && e.Timestamp.Before(at) {
		at = e.Timestamp // it tells how things were then, however late it comes
	}
	doc, err := cloud.Assemble(e.Issue, at)
	if err != nil { // an extract of an issue
		return f.patch(ctx, tx, e, at)
	}
	if doc.JSON, err = withHistory(doc.JSON, e); err != nil {
		return f.setAsideIn(ctx, tx, aside{issue: e.IssueID, key: e.IssueKey, origin: originWebhook, body: e.Issue}, err)
	}
	if err := f.merge(ctx, tx, incoming{doc: doc}); err != nil {
		return err
	}
	return f.patch(ctx, tx, e, at)
}

// refetch notes that an issue is to be fetched later, and why.
func (f *feed) refetch(ctx context.Context, tx *store.Tx, ref string, reason error) error {
	text := "not fetched yet"
	if reason != nil {
		text = fault.Message(reason)
	}
	pause := max(fault.RetryAfter(reason), time.Second)
	return tx.Refetch(ctx, store.Refetch{Ref: ref, Since: f.now(), Reason: text}, f.now().Add(pause), false)
}

// sprint keeps what a webhook says of a sprint that issues name. One that none names is not listed.
func (f *feed) sprint(ctx context.Context, tx *store.Tx, e jira.Event) error {
	if e.Name == jira.SprintDeleted {
		return f.endSprint(ctx, tx, e.SprintID)
	}
	row, err := f.sprintEntity(e.Entity)
	if err != nil || row == nil {
		return f.setAsideIn(ctx, tx, aside{key: "sprint " + e.SprintID, origin: originWebhook, body: e.Entity}, errors.Join(err, fault.New(fault.Invalid, "the sprint cannot be read")))
	}
	at := f.now()
	if !e.Timestamp.IsZero() && e.Timestamp.Before(at) {
		at = e.Timestamp
	}
	return tx.Renew(ctx, *row, at.UnixMicro())
}

// endSprint takes a sprint that was deleted out of the issues that name it, of which Jira tells nothing.
func (f *feed) endSprint(ctx context.Context, tx *store.Tx, sprint string) error {
	e := store.Entity{Kind: store.KindSprint, ID: sprint}
	issues, err := tx.Naming(ctx, e)
	if err != nil {
		return err
	}
	for _, id := range issues {
		old, found, err := tx.Get(ctx, id)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if doc, changed := withoutSprint(old.JSON, f.fields.SprintField(), sprint); changed {
			if err := f.keep(ctx, tx, id, parse(doc), old, true); err != nil {
				return err
			}
		}
	}
	return tx.Forget(ctx, e)
}

// Pauses between tries to fetch an issue.
const (
	refetchMin   = 2 * time.Second
	refetchMax   = time.Hour
	refetchBatch = 50
	refetchIdle  = 15 * time.Second
)

// refetches fetches what could not be fetched when a webhook asked for it, until it can.
func (f *feed) refetches(ctx context.Context) {
	for ctx.Err() == nil {
		due, next, err := f.store.DueRefetches(ctx, f.now(), refetchBatch)
		if err == nil {
			err = f.refetchAll(ctx, due)
		}
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("issues that could not be fetched were not tried again")
		}
		pause := refetchIdle
		if err == nil && !next.IsZero() {
			pause = min(pause, max(next.Sub(f.now()), refetchMin))
		}
		if len(due) == refetchBatch && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (f *feed) refetchAll(ctx context.Context, due []store.Refetch) error {
	background := f.client.Background()
	for _, r := range due {
		doc, err := background.Fetch(ctx, r.Ref)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = f.store.Write(ctx, func(tx *store.Tx) error {
			switch {
			case fault.Is(err, fault.NotFound):
				return tx.Refetched(ctx, r.Ref)
			case err == nil:
				if err := f.merge(ctx, tx, incoming{doc: doc, fetched: true}); err != nil {
					return err
				}
				if !f.lacks(ctx, doc.Key, doc.Problem) {
					return tx.Refetched(ctx, r.Ref, doc.ID, doc.Key)
				}
			}
			why := err
			if why == nil {
				why = doc.Problem
			}
			pause := min(refetchMin<<min(r.Attempts, 12), refetchMax)
			return tx.Refetch(ctx, store.Refetch{Ref: r.Ref, Since: r.Since, Reason: fault.Message(why)}, f.now().Add(max(pause, fault.RetryAfter(why))), true)
		})
		if err != nil {
			return err
		}
		f.fold.wake()
	}
	return nil
}

// withHistory adds what an event changed to the changelog of the document that it brought.
func withHistory(doc []byte, e jira.Event) ([]byte, error) {
	if len(e.Changelog) == 0 {
		return doc, nil
	}
	var entry, whole map[string]json.RawMessage
	_ = json.Unmarshal(e.Changelog, &entry) // what is none has no id
	if len(entry["id"]) == 0 {
		return doc, nil
	}
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the issue is no JSON object")
	}
	if len(e.User) > 0 {
		entry["author"] = e.User
	}
	if !e.Timestamp.IsZero() {
		created, err := json.Marshal(e.Timestamp.UTC().Format("2006-01-02T15:04:05.000-0700"))
		if err != nil {
			return nil, err
		}
		entry["created"] = created
	}
	history, err := marshal([]any{entry})
	if err != nil {
		return nil, err
	}
	if _, found := whole["_changelog"]; !found {
		whole["_changelog"] = history
	}
	return marshal(whole)
}
