package jira

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func (b *bench) rows(table string) []string {
	b.t.Helper()
	b.run(false)
	return b.tables()[table]
}

// of leaves the deliveries of one event.
func of(event string, all []jiratest.Delivery) []jiratest.Delivery {
	return slices.DeleteFunc(all, func(d jiratest.Delivery) bool { return d.Event != event })
}

func TestTrap_J1_ACommentThatIsDeletedIsNoDeletedIssue(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	key := site.Create("SUP", nil)
	comment := site.Comment(key, "a comment")
	log := site.Worklog(key, time.Hour, "work")
	b.receive(heard.take()...)
	site.DeleteComment(key, comment)
	site.DeleteWorklog(key, log)
	b.receive(heard.take()...)
	if issues, gone := b.rows("issues"), b.rows("deleted_issues"); len(issues) != 1 || len(gone) != 0 {
		t.Errorf("issues %v, deleted %v", issues, gone)
	}
	b.sameAsBackfill(site)
}

func TestTrap_J2_AFetchThatFailsEmptiesNothing(t *testing.T) {
	t.Parallel()
	upstream := jiratest.New(jiratest.Config{Now: clock(), Get: jiratest.Embedded{Comments: 2, Worklogs: 1, Histories: 2}})
	t.Cleanup(upstream.Close)
	b, heard := newBench(t, upstream, nil), &heard{}
	t.Cleanup(b.close)
	upstream.Hook(heard.catch, jiratest.Disorder{})
	key := upstream.Create("SUP", nil)
	for range 5 {
		upstream.Comment(key, "a comment")
		upstream.Worklog(key, time.Hour, "work")
	}
	upstream.RemoteLink(key, "https://example.com", "a page", "wiki")
	b.receive(heard.take()...)
	b.run(false)
	before := b.tables()
	for _, route := range []string{jiratest.RouteComments, jiratest.RouteWorklogs, jiratest.RouteChangelog, jiratest.RouteRemoteLinks, jiratest.RouteIssue} {
		upstream.Fail(jiratest.Fault{Route: route, Status: http.StatusForbidden})
		upstream.Update(key, jiratest.Set{"summary": "while " + route + " fails"})
		b.receive(heard.take()...)
		b.run(false)
		for _, table := range []string{"comments", "worklogs", "changelog", "remote_links", "issues"} {
			if got := b.tables()[table]; len(got) < len(before[table]) {
				t.Errorf("%s failed: %d rows of %s, %d before", route, len(got), table, len(before[table]))
			}
		}
		upstream.Mend()
	}
	b.catchUp()
	b.sameAsBackfill(upstream)
}

func TestTrap_J5_OneBadIssueHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, map[string]any{"email": "", "api_token": ""})
	site.Create("SUP", jiratest.Set{"summary": "good"})
	site.Create("SUP", jiratest.Set{"summary": "bad"})
	site.Create("SUP", jiratest.Set{"summary": "good, too"})
	deliveries := heard.take()
	whole := deliveries[1].Body
	var body map[string]any
	if err := json.Unmarshal(whole, &body); err != nil {
		t.Fatal(err)
	}
	body["issue"].(map[string]any)["fields"].(map[string]any)["status"] = "no object"
	var err error
	if deliveries[1].Body, err = json.Marshal(body); err != nil {
		t.Fatal(err)
	}
	deliveries = append(deliveries, jiratest.Delivery{ID: "none", Event: "none", Body: []byte(`{"webhookEvent":`)})
	b.receive(deliveries...)
	if got := strings.Join(b.rows("issues"), "\n"); !strings.Contains(got, "summary=good ") || !strings.Contains(got, "summary=good, too ") || strings.Contains(got, "bad") {
		t.Errorf("issues: %s", got)
	}
	list, total, err := b.feed.store.AsideList(t.Context(), 10)
	if err != nil || total != 2 || list[0].Reason == "" || list[1].Reason == "" {
		t.Fatalf("set aside: %+v %v", list, err)
	}
	before := b.files("issues")
	b.run(false)
	if after := b.files("issues"); !slices.Equal(before, after) {
		t.Errorf("nothing changed, and the table was made again: %v, before %v", after, before)
	}
	deliveries[1].Body = whole // mended, it comes in
	b.receive(deliveries[1])
	if got := b.rows("issues"); len(got) != 3 {
		t.Errorf("issues: %v", got)
	}
	if _, total, err := b.feed.store.AsideList(t.Context(), 10); err != nil || total != 1 {
		t.Errorf("%d set aside, %v", total, err)
	}
}

// files are the parts of a table that stand.
func (b *bench) files(table string) []string {
	b.t.Helper()
	v, err := extract.OpenVersion(b.t.(*testing.T).Context(), b.dir, "jira")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, t := range v.Tables {
		if t.Name == table {
			return t.Files
		}
	}
	return nil
}

func TestTrap_J7_AChangeWritesOnePartOfTheTablesThatItTouches(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	site.Populate(60, 5, 11)
	b.backfill()
	b.run(false)
	issues, comments, links := b.files("issues"), b.files("comments"), b.files("remote_links")
	if len(issues) < 5 {
		t.Fatalf("only %d parts", len(issues))
	}
	site.Update(site.Keys()[0], jiratest.Set{"summary": "changed"})
	b.receive(heard.take()...)
	b.run(false)
	after := b.files("issues")
	var kept int
	for _, f := range issues {
		if slices.Contains(after, f) {
			kept++
		}
	}
	if len(after) != len(issues) || kept != len(issues)-1 {
		t.Errorf("%d of %d parts of issues stayed", kept, len(issues))
	}
	if !slices.Equal(comments, b.files("comments")) || !slices.Equal(links, b.files("remote_links")) {
		t.Error("tables in which nothing changed were written")
	}
}

func TestTrap_J8_AnIssueIsInOnePartWhateverItsKeyAndZone(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("far east", 14*3600)
	upstream := jiratest.New(jiratest.Config{Location: zone, Start: time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)}) // in April there
	t.Cleanup(upstream.Close)
	b, heard := newBench(t, upstream, nil), &heard{}
	t.Cleanup(b.close)
	upstream.Hook(heard.catch, jiratest.Disorder{})
	key := upstream.Create("SUP", jiratest.Set{"summary": "at the end of March"})
	upstream.Comment(key, "a comment")
	b.receive(heard.take()...)
	b.run(false)
	upstream.Advance(48 * time.Hour)
	key = upstream.Move(key, "OPS")
	b.receive(heard.take()...)
	upstream.Rekey("OPS", "HELP")
	b.reconcile()
	b.run(false)
	got := b.tables()
	if len(got["issues"]) != 1 || !strings.Contains(got["issues"][0], "issue_key=HELP-"+strings.TrimPrefix(key, "OPS-")) || len(got["comments"]) != 1 {
		t.Errorf("issues %v, comments %v", got["issues"], got["comments"])
	}
	if months, err := b.feed.store.Months(t.Context()); err != nil || !slices.Equal(months, []string{"2026-03"}) {
		t.Errorf("months %v %v", months, err)
	}
	b.sameAsBackfill(upstream)
}

func TestTrap_J9_AnOlderEventAfterANewerOneChangesNothing(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]map[string]any{"with an account": nil, "payloads alone": {"email": "", "api_token": ""}} {
		site, b, heard := listening(t, options)
		key := site.Create("SUP", jiratest.Set{"summary": "first"})
		b.receive(heard.take()...)
		site.Update(key, jiratest.Set{"summary": "second"})
		older := heard.take()
		site.Update(key, jiratest.Set{"summary": "third"})
		b.receive(heard.take()...)
		b.receive(older...)
		if got := b.rows("issues"); len(got) != 1 || !strings.Contains(got[0], "summary=third") {
			t.Errorf("%s: %v", name, got)
		}
		site.Delete(key)
		b.receive(heard.take()...)
		b.receive(older...)
		if got := b.rows("issues"); len(got) != 0 {
			t.Errorf("%s: a deleted issue came back: %v", name, got)
		}
	}
}

func TestTrap_J10_EventsWithoutAnIssueAreTakenIn(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	one, two := site.Create("SUP", nil), site.Create("SUP", nil)
	b.receive(heard.take()...)
	site.Worklog(one, time.Hour, "work")
	b.receive(of(jiratest.WorklogCreated, heard.take())...)
	site.Link("Blocks", one, two)
	b.receive(of(jiratest.LinkCreated, heard.take())...)
	sprint := site.Sprint("a sprint")
	site.PutIntoSprint(sprint, two)
	site.RenameSprint(sprint, "another name")
	b.receive(heard.take()...)
	file := site.Attach(one, "a.txt", "text/plain", []byte("a"))
	b.receive(of(jiratest.AttachmentCreated, heard.take())...) // names no issue: the event beside it does
	site.Update(one, jiratest.Set{"summary": "changed"})
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
	site.DeleteAttachment(one, file)
	b.receive(heard.take()...)
	b.sameAsBackfill(site)
	if _, total, err := b.feed.store.AsideList(t.Context(), 1); err != nil || total != 0 {
		t.Errorf("%d set aside, %v", total, err)
	}
}

// TestWhatJiraRefusesOfAnIssueIsNotAskedForAgain has remote links that the account may not see, and then a
// site that fails for a moment.
func TestWhatJiraRefusesOfAnIssueIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	site.Populate(3, 1, 5)
	b.backfill()
	waiting := func(status int) int {
		t.Helper()
		site.Fail(jiratest.Fault{Route: jiratest.RouteRemoteLinks, Status: status})
		site.Update(site.Keys()[0], jiratest.Set{"summary": "while it is answered " + strconv.Itoa(status)})
		b.receive(heard.take()...)
		site.Mend()
		due, _, err := b.feed.store.DueRefetches(t.Context(), time.Now().AddDate(10, 0, 0), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(due)
	}
	if n := waiting(http.StatusForbidden); n != 0 {
		t.Errorf("%d issues wait for what is refused", n)
	}
	if n := waiting(http.StatusServiceUnavailable); n != 1 {
		t.Errorf("%d issues wait for a site that fails", n)
	}
}

// What is only added stands behind what was there, which is copied as it is; what changes is written anew.
func TestTrap_J7_WhatIsAddedExtendsAPart(t *testing.T) {
	t.Parallel()
	site, b, heard := listening(t, nil)
	key := site.Create("SUP", nil)
	other := site.Create("SUP", nil)
	first := site.Comment(key, "one")
	site.Comment(other, "of the other")
	b.backfill()
	b.run(false)
	heard.take()
	step := func(what string, groups int, bodies ...string) {
		t.Helper()
		b.receive(heard.take()...)
		b.run(false)
		files := b.files("comments")
		if len(files) != 1 {
			t.Fatalf("%s: %d parts", what, len(files))
		}
		shape, err := lake.ShapeOf(files[0])
		if err != nil || shape.RowGroups != groups || shape.Rows != int64(len(bodies)) {
			t.Errorf("%s: %+v %v", what, shape, err)
		}
		all := b.rows("comments")
		for _, body := range bodies {
			if !slices.ContainsFunc(all, func(row string) bool { return strings.Contains(row, body) }) {
				t.Errorf("%s: no %q in %q", what, body, all)
			}
		}
	}
	site.Comment(key, "two")
	step("a comment more", 2, "one", "two", "of the other")
	standing := b.files("comments")
	site.Update(key, jiratest.Set{"summary": "changed"})
	step("no comment", 2, "one", "two", "of the other")
	if !slices.Equal(standing, b.files("comments")) {
		t.Error("a part in which nothing differs was written")
	}
	site.Comment(other, "three")
	site.EditComment(key, first, "uno")
	step("one changed and one more", 1, "uno", "two", "three", "of the other")
	site.DeleteComment(key, first)
	step("one less", 1, "two", "three", "of the other")
}
