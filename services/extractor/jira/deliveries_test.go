package jira

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// heard are the deliveries of a site, for a test that decides what becomes of each.
type heard struct{ all []jiratest.Delivery }

func (h *heard) catch(d jiratest.Delivery) { h.all = append(h.all, d) }

// take takes the deliveries so far.
func (h *heard) take() []jiratest.Delivery {
	out := h.all
	h.all = nil
	return out
}

// listening is an extractor beside a site whose deliveries the test hands on.
func listening(t *testing.T, options map[string]any) (*jiratest.Site, *bench, *heard) {
	t.Helper()
	upstream := jiratest.New(jiratest.Config{Now: clock()})
	t.Cleanup(upstream.Close)
	b, h := newBench(t, upstream, options), &heard{}
	t.Cleanup(b.close)
	upstream.Hook(h.catch, jiratest.Disorder{})
	return upstream, b, h
}

// sameAsBackfill holds the tables against those of an extractor that only did a backfill.
func (b *bench) sameAsBackfill(upstream *jiratest.Site) {
	b.t.Helper()
	b.run(false)
	fresh := newBench(b.t, upstream, b.cfg.Options)
	defer fresh.close()
	fresh.backfill()
	fresh.run(false)
	if d := differ(b.tables(), fresh.tables(), "deleted_issues"); d != "" {
		b.t.Fatalf("not as after a backfill:\n%s", d)
	}
}

// The other end of a link is deleted, and what was kept of it did not have the link yet: Jira counts
// that as no change of the issue that is left.
func TestALinkGoesWithAnIssueThatWasNotKnownToHaveIt(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	one, two := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"})
	b.receive(heard.take()...)
	site.Link("Blocks", one, two)
	heard.take() // lost
	site.Update(one, jiratest.Set{"summary": "one, which has the link"})
	b.receive(heard.take()...)
	site.Delete(two)
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
}

// The same where nothing at all was known of the other end.
func TestALinkGoesWithAnIssueThatWasNotKnownAtAll(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	one, two := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"})
	site.Link("Blocks", one, two)
	heard.take() // lost
	site.Update(one, jiratest.Set{"summary": "one, which has the link"})
	b.receive(heard.take()...)
	site.Delete(two)
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
}

// The same where its deletion is lost, too: a reconciliation finds the link that leads nowhere.
func TestALinkToAnIssueThatNeverWasKnownIsReconciled(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	one, two := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"})
	site.Link("Blocks", one, two)
	heard.take() // lost
	site.Update(one, jiratest.Set{"summary": "one, which has the link"})
	b.receive(heard.take()...)
	site.Delete(two)
	if got := b.reconcile().GetDifferences(); got.GetStale() != 1 {
		t.Errorf("differences: %v", got)
	}
	b.sameAsBackfill(site)
}

// A state that was read before the other end of a link changed, and is kept after that, does not bring
// the other end's old state back.
func TestAStateThatWasReadBeforeTheOtherEndChangedDoesNotBringItBack(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	one, two, three := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"}), site.Create("SUP", jiratest.Set{"summary": "three"})
	site.Link("Blocks", one, two)
	site.Link("Blocks", one, three)
	b.receive(heard.take()...)
	read, err := b.feed.client.Fetch(t.Context(), one) // as a backfill does, which keeps it later
	if err != nil {
		t.Fatal(err)
	}
	site.Update(two, jiratest.Set{"summary": "two changed"})
	site.Delete(three)
	b.receive(heard.take()...)
	if err := b.feed.store.Write(t.Context(), func(tx *store.Tx) error {
		return b.feed.merge(t.Context(), tx, incoming{doc: read, fetched: true})
	}); err != nil {
		t.Fatal(err)
	}
	b.sameAsBackfill(site)
}

// A sprint is deleted: its issues have it no more, of which Jira tells nothing.
func TestIssuesLeaveASprintThatIsDeleted(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		site, b, heard := listening(t, nil)
		one, two := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"})
		stays, goes := site.Sprint("stays"), site.Sprint("goes")
		site.PutIntoSprint(stays, one)
		site.PutIntoSprint(goes, one, two)
		b.receive(heard.take()...)
		b.run(false)
		site.DeleteSprint(goes)
		if lost {
			b.reconcile()
		} else {
			b.receive(heard.take()...)
		}
		b.sameAsBackfill(site)
	}
}

// Of two webhooks of a sprint the later one holds, in whichever order they come.
func TestTrap_J9_AnOlderWebhookOfASprintChangesNothing(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	key, sprint := site.Create("SUP", nil), site.Sprint("first")
	site.PutIntoSprint(sprint, key)
	b.receive(heard.take()...)
	site.RenameSprint(sprint, "second")
	older := heard.take()
	site.RenameSprint(sprint, "third")
	b.receive(heard.take()...)
	b.receive(older...)
	b.sameAsBackfill(site)
}

// An issue that leaves the configured projects leaves the tables, and what another project has of a link
// to it does not come in.
func TestOnlyConfiguredProjectsAreInTheTables(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, map[string]any{"projects": []any{"SUP"}})
	ours, theirs := site.Create("SUP", jiratest.Set{"summary": "ours"}), site.Create("OPS", jiratest.Set{"summary": "theirs"})
	site.Link("Blocks", ours, theirs)
	// Of what happens in other projects there are webhooks where the intake lets them through.
	leaves, lost := site.Create("SUP", jiratest.Set{"summary": "leaves"}), site.Create("SUP", jiratest.Set{"summary": "leaves unseen"})
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
	site.Link("Relates", ours, leaves)
	moved := site.Move(leaves, "OPS")
	site.Update(theirs, jiratest.Set{"summary": "theirs, changed"})
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
	site.Move(lost, "OPS")
	heard.take()
	site.Delete(theirs)
	site.Delete(moved)
	b.receive(heard.take()...)
	b.reconcile()
	b.sameAsBackfill(site)
	if got := b.tables()["deleted_issues"]; len(got) != 2 || !strings.Contains(got[0]+got[1], leaves) || !strings.Contains(got[0]+got[1], lost) {
		t.Errorf("deleted_issues: %v", got)
	}
	if got := b.reconcile().GetDifferences(); got.GetGone()+got.GetStale()+got.GetMissing() != 0 {
		t.Errorf("a second reconciliation: %v", got)
	}
}

// A project that gets another key stays the configured one: nothing of it goes.
func TestAProjectThatIsRekeyedStays(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, map[string]any{"projects": []any{"SUP"}})
	site.Create("SUP", jiratest.Set{"summary": "one"})
	b.receive(heard.take()...)
	site.Rekey("SUP", "HELP")
	site.Update("HELP-1", jiratest.Set{"summary": "two"})
	b.receive(heard.take()...)
	b.run(false)
	if got := b.tables(); len(got["issues"]) != 1 || !strings.Contains(got["issues"][0], "issue_key=HELP-1") || len(got["deleted_issues"]) != 0 {
		t.Errorf("issues %v, deleted %v", got["issues"], got["deleted_issues"])
	}
}

// Without an account there is what webhooks say alone: of a link's other end, too, the later state holds.
func TestTrap_J9_APayloadThatComesLateTellsHowThingsWere(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, map[string]any{"email": "", "api_token": ""})
	one, two := site.Create("SUP", jiratest.Set{"summary": "one"}), site.Create("SUP", jiratest.Set{"summary": "two"})
	site.Link("Blocks", one, two)
	b.receive(heard.take()...)
	site.Update(one, jiratest.Set{"priority": "High"}) // its payload says how two was then
	late := heard.take()
	site.Update(two, jiratest.Set{"summary": "two changed"})
	b.receive(heard.take()...)
	b.receive(late...)
	b.run(false)
	links := strings.Join(b.tables()["issuelinks"], "\n")
	if !strings.Contains(links, "linked_issue_summary=two changed") {
		t.Errorf("links: %s", links)
	}
}

// In a burst most webhooks tell of changes that an earlier fetch of the issue has seen already.
func TestAnIssueThatWasFetchedSinceIsNotFetchedAgain(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	key := site.Create("SUP", nil)
	b.receive(heard.take()...)
	fetches := func(deliveries ...jiratest.Delivery) int {
		site.ResetCalls()
		b.receive(deliveries...)
		return site.Calls()[jiratest.RouteIssue]
	}
	site.Update(key, jiratest.Set{"summary": "one"})
	old := heard.take()
	site.Update(key, jiratest.Set{"summary": "two"})
	last := heard.take()
	if n := fetches(last...); n != 1 {
		t.Fatalf("%d fetches for a change", n)
	}
	// Received so long ago that the fetch was later whatever the clocks.
	b.ago = 10 * time.Second
	if n := fetches(append(old, last...)...); n != 0 {
		t.Errorf("%d fetches for what is known", n)
	}
	// It tells of a change that the fetch did not see, whatever the clocks say.
	site.Update(key, jiratest.Set{"summary": "three"})
	last = heard.take()
	if n := fetches(last...); n != 1 {
		t.Errorf("%d fetches for a later change", n)
	}
	// Received after the fetch, or about then.
	b.ago = 0
	if n := fetches(last...); n != 1 {
		t.Errorf("%d fetches for what may be later", n)
	}
	// That fetch found nothing new, and is the last that counts.
	id := jiraID(t, last[0])
	before, _, err := b.feed.store.Get(t.Context(), id)
	if n := fetches(last...); n != 1 || err != nil {
		t.Errorf("%d fetches for what may be later still: %v", n, err)
	}
	if after, _, err := b.feed.store.Get(t.Context(), id); err != nil || !after.Synced.After(before.Synced) || !bytes.Equal(after.JSON, before.JSON) {
		t.Errorf("read at %v, before that at %v: %v", after.Synced, before.Synced, err)
	}
	// What does not tell when the issue changed is no proof, nor is what tells of a comment.
	b.ago = 10 * time.Second
	site.Comment(key, "hello")
	if n := fetches(heard.take()...); n != 1 {
		t.Errorf("%d fetches for a comment", n)
	}
	// Of what was not read whole nothing is known.
	site.Fail(jiratest.Fault{Route: jiratest.RouteRemoteLinks, Status: http.StatusInternalServerError})
	site.Update(key, jiratest.Set{"summary": "four"})
	last = heard.take()
	b.receive(last...)
	site.Mend()
	if n := fetches(last...); n != 1 {
		t.Errorf("%d fetches for what was read in part", n)
	}
	b.sameAsBackfill(site)
}

// jiraID is the number of the issue that a delivery is about.
func jiraID(t *testing.T, d jiratest.Delivery) int64 {
	t.Helper()
	e, err := jira.ParseEvent(d.Body)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseInt(e.IssueID, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
