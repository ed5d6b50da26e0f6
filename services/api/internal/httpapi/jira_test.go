package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// site plays the extractor of a site of Jira.
type site struct {
	status  httpapi.JiraStatus
	asked   []string
	started httpapi.JiraTaskBody
	failure error
}

func (s *site) ask(format string, args ...any) error {
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
	return s.failure
}

func (s *site) Status(_ context.Context, source string) (httpapi.JiraStatus, error) {
	return s.status, s.ask("status %s", source)
}

func (s *site) Start(_ context.Context, source string, t httpapi.JiraTaskBody) (httpapi.JiraStarted, error) {
	s.started = t
	return httpapi.JiraStarted{Task: httpapi.JiraTask{Name: t.Name, State: "running"}}, s.ask("start %s", source)
}

func (s *site) Stop(_ context.Context, source, task string) (httpapi.JiraTask, error) {
	return httpapi.JiraTask{Name: task, State: "running"}, s.ask("stop %s %s", source, task)
}

func (s *site) SetAside(_ context.Context, source string, limit int) (list []httpapi.JiraSetAside, total int64, err error) {
	return nil, 0, s.ask("list %s %d", source, limit)
}

func (s *site) ShowSetAside(_ context.Context, source string, number int64) (one httpapi.JiraSetAside, body []byte, err error) {
	return httpapi.JiraSetAside{Number: number, Origin: "rows"}, []byte(`{"key":"SUP-1"}`), s.ask("show %s %d", source, number)
}

func (s *site) RetrySetAside(_ context.Context, source string, number int64) (takenIn, left int64, err error) {
	return 2, 1, s.ask("retry %s %d", source, number)
}

func (s *site) DropSetAside(_ context.Context, source string, number int64) error {
	return s.ask("drop %s %d", source, number)
}

func (s *site) Fields(_ context.Context, source string) (list []httpapi.JiraField, yaml string, err error) {
	return []httpapi.JiraField{{ID: "customfield_1", Column: "size"}}, "fields:\n", s.ask("fields %s", source)
}

// withJira gives a house with a source of files, and a site of Jira.
func withJira(t *testing.T) (*house, *site) {
	t.Helper()
	s := &site{}
	return newHouse(t, func(c *httpapi.Config) {
		c.Jira = s
		c.Instance = &service.Instance{Name: "Test", Sources: []service.Source{{Name: "shop", Type: "csv"}, {Name: "support", Type: "jira"}}}
	}), s
}

func TestJiraRoutesAskTheExtractorAndAreRecorded(t *testing.T) {
	t.Parallel()
	h, s := withJira(t)
	const path = "/api/admin/sources/support/jira"
	for _, c := range []struct {
		method, path, body  string
		status              int
		asked, action, want string
	}{
		{"GET", "/status", "", 200, "status support", "", `"tasks":[],"problems":[{"code":"no_account"`},
		{"POST", "/tasks", `{"name":"backfill","jql":"project = SUP","force":true}`, 200, "start support", "jira_task.start", `"webhooks":[],"hints":[]`},
		{"POST", "/tasks/backfill/stop", "", 200, "stop support backfill", "jira_task.stop", `"name":"backfill"`},
		{"GET", "/set-aside?limit=5", "", 200, "list support 5", "", `{"set_aside":[],"count":0,"total":0}`},
		{"GET", "/set-aside/7", "", 200, "show support 7", "jira_set_aside.show", `"body":{"key":"SUP-1"}`},
		{"POST", "/set-aside/retry", "", 200, "retry support 0", "jira_set_aside.retry", `{"taken_in":2,"left":1}`},
		{"POST", "/set-aside/7/retry", "", 200, "retry support 7", "jira_set_aside.retry", `"left":1`},
		{"DELETE", "/set-aside/7", "", 204, "drop support 7", "jira_set_aside.drop", ""},
		{"GET", "/fields", "", 200, "fields support", "", `"yaml":"fields:\n"`},
	} {
		before := h.record.count()
		got := h.ask(c.method, path+c.path, "admin", c.body)
		if got.status != c.status || !strings.Contains(got.body, c.want) || len(s.asked) == 0 || s.asked[len(s.asked)-1] != c.asked {
			t.Errorf("%s %s: %d %s, asked %v", c.method, c.path, got.status, got.body, s.asked)
		}
		if c.action == "" {
			if h.record.count() != before {
				t.Errorf("%s %s only looks, and is recorded", c.method, c.path)
			}
			continue
		}
		if e := h.record.last(t); h.record.count() != before+1 || e.Action != c.action || e.Resource != "source:support" || e.Result != httpapi.ResultOK {
			t.Errorf("%s %s is recorded as %+v", c.method, c.path, e)
		}
	}
	if s.started.JQL != "project = SUP" || !s.started.Force || s.started.Restart {
		t.Errorf("started %+v", s.started)
	}
	s.asked = nil
	for _, c := range []struct {
		method, path, body, detail string
		status                     int
	}{
		{"GET", "/api/admin/sources/shop/jira/status", "", "is of type csv; of the type jira there are: support", 400},
		{"GET", "/api/admin/sources/crm/jira/fields", "", "there are: support", 404},
		{"POST", path + "/tasks", `{"name":"rebuild"}`, "name", 422},
		{"POST", path + "/tasks", `{}`, "name", 422},
		{"POST", path + "/tasks/register/stop", "", "task", 422},
		{"GET", path + "/set-aside/x", "", "number", 422},
		{"DELETE", path + "/set-aside/0", "", "number", 422},
		{"GET", path + "/set-aside?limit=0", "", "limit", 422},
	} {
		if got := h.ask(c.method, c.path, "admin", c.body); got.status != c.status || !strings.Contains(got.problem(t).Detail, c.detail) {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
		}
	}
	if len(s.asked) != 0 {
		t.Errorf("the extractor was asked %v", s.asked)
	}
}

func TestAJiraExtractorThatIsAwayIs503WithWhatToDo(t *testing.T) {
	t.Parallel()
	h, s := withJira(t)
	s.failure = fault.New(fault.Unavailable, "start agnes-extractor-jira")
	for _, path := range []string{"GET /status", "POST /tasks", "POST /tasks/sla/stop", "GET /set-aside", "GET /set-aside/1", "POST /set-aside/retry", "POST /set-aside/1/retry", "DELETE /set-aside/1", "GET /fields"} {
		method, path, _ := strings.Cut(path, " ")
		body := ""
		if path == "/tasks" {
			body = `{"name":"sla"}`
		}
		got := h.ask(method, "/api/admin/sources/support/jira"+path, "admin", body)
		if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Detail != "start agnes-extractor-jira" {
			t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
		}
	}
}

func TestTheStatusOfASiteSaysWhatToLookAt(t *testing.T) {
	t.Parallel()
	h, s := withJira(t)
	long, short := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	well := httpapi.JiraStatus{Account: httpapi.JiraAccount{Configured: true, OK: true}, Refetches: 3, OldestFetch: &short}
	with := func(change func(*httpapi.JiraStatus)) httpapi.JiraStatus {
		c := well
		change(&c)
		return c
	}
	for _, c := range []struct {
		status httpapi.JiraStatus
		codes  []string
		says   string
	}{
		{well, nil, ""},
		{with(func(s *httpapi.JiraStatus) { s.Account.OK, s.Account.Problem = false, "Jira answers 401" }), []string{"account_refused"}, "401"},
		{with(func(s *httpapi.JiraStatus) { s.Account = httpapi.JiraAccount{} }), []string{"no_account"}, "api_token"},
		{with(func(s *httpapi.JiraStatus) { s.SetAside, s.OldestFetch = 2, &long }), []string{"set_aside", "not_fetched"}, "2 could not"},
		{with(func(s *httpapi.JiraStatus) {
			s.Tasks = []httpapi.JiraTask{
				{Name: "backfill", State: "failed", Message: "Jira refuses the JQL"},
				{Name: "reconcile", State: "done", Message: "900 differences", Differences: &httpapi.JiraDifferences{AboveThreshold: true}},
				{Name: "sla", State: "stopped"},
			}
		}), []string{"task_failed", "differences"}, "refuses the JQL"},
	} {
		s.status = c.status
		var got httpapi.JiraStatus
		raw := h.ask("GET", "/api/admin/sources/support/jira/status", "admin", "").body
		if err := json.Unmarshal([]byte(raw), &got); err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, p := range got.Problems {
			codes = append(codes, p.Code)
		}
		if !slices.Equal(codes, c.codes) || !strings.Contains(raw, c.says) {
			t.Errorf("%v, want %v with %q: %s", codes, c.codes, c.says, raw)
		}
		if strings.Contains(raw, `_keys":null`) {
			t.Errorf("a list is null: %s", raw)
		}
	}
}
