package jira

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// task asks for a task and waits for its end.
func (h *house) task(q *agnesv1.JiraTaskRequest) *agnesv1.JiraTask {
	h.t.Helper()
	if _, err := event.Call(h.t.Context(), h.bus, event.JiraTask("jira"), q); err != nil {
		h.t.Fatalf("%s: %v", q.GetName(), err)
	}
	return h.ended(q.GetName())
}

func (h *house) ended(name string) *agnesv1.JiraTask {
	h.t.Helper()
	for deadline := time.Now().Add(patienceOfTests); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, t := range h.status().GetTasks() {
			if t.GetName() == name && t.GetState() != stateRunning {
				return t
			}
		}
	}
	h.t.Fatalf("the task %s does not end", name)
	return nil
}

func (h *house) status() *agnesv1.JiraStatusResponse {
	h.t.Helper()
	s, err := event.Call(h.t.Context(), h.bus, event.JiraStatus("jira"), &agnesv1.JiraStatusRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// answers waits until the extractor answers.
func (h *house) answers() {
	h.t.Helper()
	for deadline := time.Now().Add(patienceOfTests); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := event.Call(h.t.Context(), h.bus, event.JiraStatus("jira"), &agnesv1.JiraStatusRequest{}); err == nil {
			return
		}
	}
	h.t.Fatal("the extractor does not answer")
}

func TestABackfillBringsEverything(t *testing.T) {
	t.Parallel()
	site, h := populated(t, 300, 5, 1)
	if got := h.task(&agnesv1.JiraTaskRequest{Name: "backfill"}); got.GetState() != stateDone || got.GetDone() != 300 || got.GetTotal() != 300 || got.GetChanged() != 300 || got.GetFailed() != 0 {
		t.Fatalf("backfill: %v", got)
	}
	h.expect("SELECT count(*), count(DISTINCT issue_id) FROM issues", "300 | 300")
	// Once more there is nothing to do; nor does it matter that their number cannot be had.
	site.Fail(jiratest.Fault{Route: jiratest.RouteCount, Status: http.StatusForbidden})
	if got := h.task(&agnesv1.JiraTaskRequest{Name: "backfill"}); got.GetChanged() != 0 || got.GetDone() != 300 {
		t.Fatalf("a second backfill: %v", got)
	}
	asked := site.Calls()[jiratest.RouteMyself]
	for range 5 {
		h.status()
	}
	if again := site.Calls()[jiratest.RouteMyself]; again > asked+1 {
		t.Errorf("Jira is asked for the account with every status: %d times more", again-asked)
	}
	if s := h.status(); s.GetIssues() != 300 || s.GetPartial() != 0 || !s.GetAccountOk() || s.GetSetAside() != 0 {
		t.Errorf("status %v", s)
	}
	if _, err := event.Call(t.Context(), h.bus, event.JiraTask("jira"), &agnesv1.JiraTaskRequest{Name: "backfill", Issues: []string{"../x"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key that is none: %v", err)
	}
	fields, err := event.Call(t.Context(), h.bus, event.JiraFields("jira"), &agnesv1.JiraFieldsRequest{})
	if err != nil || len(fields.GetFields()) == 0 {
		t.Errorf("fields %v: %v", fields, err)
	}
}

func TestABackfillGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	site, h := populated(t, 450, 3, 2)
	site.Fail(jiratest.Fault{Route: jiratest.RouteSearch, Skip: 2, Status: http.StatusServiceUnavailable})
	if _, err := event.Call(t.Context(), h.bus, event.JiraTask("jira"), &agnesv1.JiraTaskRequest{Name: "backfill"}); err != nil {
		t.Fatal(err)
	}
	h.expect("SELECT 1", "1")
	for deadline := time.Now().Add(patienceOfTests); h.status().GetIssues() < 150 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
	h.end()
	site.Mend()
	site.ResetCalls()
	h.start()
	h.answers()
	got := h.ended("backfill")
	if got.GetState() != stateDone || got.GetReason() != reasonResume || got.GetDone() != 450 {
		t.Fatalf("resumed: %v", got)
	}
	h.expect("SELECT count(*) FROM issues", "450")
	if calls := site.Calls()[jiratest.RouteBulkFetch]; calls > 7 {
		t.Errorf("%d calls for what was left", calls)
	}
}

func TestABackfillThatSomebodyStoppedWaitsForSomebody(t *testing.T) {
	t.Parallel()
	site, h := populated(t, 350, 3, 2)
	ask := func(q *agnesv1.JiraTaskRequest) {
		t.Helper()
		if _, err := event.Call(t.Context(), h.bus, event.JiraTask("jira"), q); err != nil {
			t.Fatal(err)
		}
	}
	site.Fail(jiratest.Fault{Route: jiratest.RouteSearch, Skip: 2, Status: http.StatusServiceUnavailable})
	ask(&agnesv1.JiraTaskRequest{Name: "backfill"})
	for deadline := time.Now().Add(patienceOfTests); h.status().GetIssues() < 150 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
	ask(&agnesv1.JiraTaskRequest{Name: "stop", Stop: "backfill"})
	if got := h.ended("backfill"); got.GetState() != stateStopped {
		t.Fatalf("stopped: %v", got)
	}
	h.end()
	site.Mend()
	h.start()
	h.answers()
	h.task(&agnesv1.JiraTaskRequest{Name: "reconcile", DryRun: true}) // by now one that goes on by itself would have begun
	for _, task := range h.status().GetTasks() {
		if task.GetName() == "backfill" {
			t.Errorf("it goes on by itself: %v", task)
		}
	}
	if got := h.task(&agnesv1.JiraTaskRequest{Name: "backfill", DryRun: true}); got.GetState() != stateDone || got.GetReason() == reasonResume || got.GetDone() != 350 {
		t.Errorf("a dry run does not count from the start: %v", got)
	}
	site.ResetCalls()
	if got := h.task(&agnesv1.JiraTaskRequest{Name: "backfill"}); got.GetState() != stateDone || got.GetReason() != reasonResume || got.GetDone() != 350 {
		t.Errorf("asked for again: %v", got)
	}
	if calls := site.Calls()[jiratest.RouteBulkFetch]; calls == 0 || calls > 4 {
		t.Errorf("%d calls for what was left", calls)
	}
}

func TestReconciliationHealsWhatWebhooksDidNotTell(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	site.Populate(60, 2, 3)
	h := newHouse(t, site)
	h.options["heal_up_to"] = 5
	h.start()
	h.answers()
	// A site of which nothing is kept differs too much to be healed by itself.
	if got := h.task(&agnesv1.JiraTaskRequest{Name: "reconcile"}); !got.GetDifferences().GetAboveThreshold() || got.GetDifferences().GetMissing() != 60 {
		t.Fatalf("reconcile: %v", got)
	}
	h.task(&agnesv1.JiraTaskRequest{Name: "backfill"})
	keys := site.Keys()
	site.Advance(time.Hour)
	site.Update(keys[0], jiratest.Set{"summary": "changed unseen"})
	site.Delete(keys[1])
	created := site.Create("SUP", jiratest.Set{"summary": "created unseen"})
	got := h.task(&agnesv1.JiraTaskRequest{Name: "reconcile", DryRun: true})
	if d := got.GetDifferences(); d.GetMissing() != 1 || d.GetGone() != 1 || d.GetStale() < 1 || d.GetHealed() != 0 {
		t.Fatalf("dry run: %v", got)
	}
	if got = h.task(&agnesv1.JiraTaskRequest{Name: "reconcile", Force: true}); got.GetState() != stateDone || got.GetDifferences().GetHealed() < 3 {
		t.Fatalf("reconcile: %v", got)
	}
	h.expect(fmt.Sprintf("SELECT (SELECT summary FROM issues WHERE issue_key = '%s'), (SELECT count(*) FROM issues WHERE issue_key = '%s'), (SELECT summary FROM issues WHERE issue_key = '%s'), (SELECT count(*) FROM deleted_issues)",
		keys[0], keys[1], created), "changed unseen | 0 | created unseen | 1")
	if got = h.task(&agnesv1.JiraTaskRequest{Name: "reconcile"}); got.GetDifferences().GetMissing()+got.GetDifferences().GetGone()+got.GetDifferences().GetStale() != 0 {
		t.Fatalf("afterwards: %v", got)
	}
}

// Trap J4, S2: an enumeration that is not complete deletes nothing.
func TestTrap_J4_AnIncompleteEnumerationDeletesNothing(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	site.Populate(250, 2, 4)
	h := newHouse(t, site)
	h.options["heal_up_to"] = 1000
	h.start()
	h.answers()
	h.task(&agnesv1.JiraTaskRequest{Name: "backfill"})
	h.expect("SELECT count(*) FROM issues", "250")
	for name, f := range map[string]jiratest.Fault{
		"the second page is missing": {Route: jiratest.RouteSearch, Skip: 1, Status: http.StatusForbidden},
		"no page at all":             {Route: jiratest.RouteSearch, Body: `{"issues":[],"isLast":true}`},
	} {
		site.Fail(f)
		if name == "no page at all" { // and the account is not known any more
			site.Fail(jiratest.Fault{Route: jiratest.RouteMyself, Status: http.StatusUnauthorized})
		}
		if got := h.task(&agnesv1.JiraTaskRequest{Name: "reconcile", Force: true}); got.GetState() != stateFailed || got.GetMessage() == "" {
			t.Errorf("%s: %v", name, got)
		}
		site.Mend()
	}
	if got := h.status(); got.GetDeleted() != 0 || got.GetIssues() != 250 {
		t.Fatalf("status %v", got)
	}
}

// What is proposed is what is configured and what is not mapped yet: taken over, it takes nothing away and
// brings no field that was left out on purpose.
func TestFieldsAreProposedBesideThoseThatAreConfigured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		configured any
		first      string
	}{
		"nothing":   {nil, "- use: reference"},
		"reference": {[]any{map[string]any{"use": "reference"}}, "- use: reference"},
		"own":       {[]any{map[string]any{"name": "sev", "id": "customfield_10004", "kind": "option"}}, "- name: sev"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := map[string]any{}
			if c.configured != nil {
				options["fields"] = c.configured
			}
			_, b, _ := listening(t, options)
			fields, err := b.feed.listFields(t.Context(), &agnesv1.JiraFieldsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(fields.GetYaml(), "\n")
			if len(lines) < 3 || lines[0] != "fields:" || strings.TrimSpace(lines[1]) != c.first || strings.Contains(fields.GetYaml(), "reference") != (name != "own") {
				t.Errorf("proposed:\n%s", fields.GetYaml())
			}
		})
	}
}
