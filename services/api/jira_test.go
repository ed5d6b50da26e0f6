package api_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
)

// playJira answers for the source support as its extractor does, until the test ends.
func (s *server) playJira(task func(*agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error)) {
	s.t.Helper()
	began := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	var subs []*event.Subscription
	add := func(sub *event.Subscription, err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	ctx := s.t.Context()
	add(event.Serve(ctx, s.bus, event.JiraStatus("support"), func(context.Context, *agnesv1.JiraStatusRequest) (*agnesv1.JiraStatusResponse, error) {
		return &agnesv1.JiraStatusResponse{
			Source: "support", Site: "https://your.atlassian.net", AccountConfigured: true, AccountOk: true, AccountName: "Agnes", Issues: 9, Deleted: 2, Partial: 1, Open: 5,
			SetAside: 1, Refetches: 2, OldestRefetch: began, NewestUpdate: began, Unpublished: -1, ReconcileEvery: "30m0s",
			AttachmentsKept: true, AttachmentFiles: 3, AttachmentBytes: 4096, AttachmentQuota: 1 << 30,
			Tasks: []*agnesv1.JiraTask{{
				Name: "reconcile", State: "done", StartedAt: began, Done: 7,
				Differences: &agnesv1.JiraDifferences{InJira: 7, Kept: 6, Missing: 1, MissingKeys: []string{"SUP-7"}},
			}},
		}, nil
	}))
	add(event.Serve(ctx, s.bus, event.JiraTask("support"), func(_ context.Context, q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) { return task(q) }))
	add(event.Serve(ctx, s.bus, event.JiraSetAside("support"), func(_ context.Context, q *agnesv1.JiraSetAsideRequest) (*agnesv1.JiraSetAsideResponse, error) {
		one := &agnesv1.JiraSetAside{Number: 4, IssueKey: "SUP-4", Origin: "rows", Reason: "no fields", At: began, Times: 2}
		if q.GetNumber() > 4 {
			return nil, fault.New(fault.NotFound, "nothing is set aside under the number %d", q.GetNumber())
		}
		switch q.GetAction() {
		case "show":
			one.Body = `{"key": "SUP-4"}`
		case "retry":
			return &agnesv1.JiraSetAsideResponse{TakenIn: 1}, nil
		case "drop":
			return &agnesv1.JiraSetAsideResponse{Dropped: 1}, nil
		}
		return &agnesv1.JiraSetAsideResponse{Items: []*agnesv1.JiraSetAside{one}, Total: 1}, nil
	}))
	add(event.Serve(ctx, s.bus, event.JiraFields("support"), func(context.Context, *agnesv1.JiraFieldsRequest) (*agnesv1.JiraFieldsResponse, error) {
		return &agnesv1.JiraFieldsResponse{Yaml: "fields: []\n", Fields: []*agnesv1.JiraField{
			{Id: "customfield_2", Name: "Zone", Custom: true, Type: "string", Column: "zone", Kind: "text"},
			{Id: "customfield_1", Name: "Size", Custom: true, Type: "number", Column: "size", Kind: "number", Mapped: true},
		}}, nil
	}))
	s.t.Cleanup(func() { _ = event.StopAll(time.Second, subs...) })
}

// newJiraServer is an api with a source of Jira, and a client of the administrator.
func newJiraServer(t *testing.T) (*server, *client.Client) {
	t.Helper()
	s := newServer(t, func(c *api.Config) {
		text := instanceYAML + "  - {name: support, type: jira, site: your.atlassian.net, api_token: \"${NO_SECRET_HERE}\"}\n"
		if err := os.WriteFile(filepath.Join(c.ConfigDir, service.InstanceFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	c, err := client.New(client.Options{Server: s.url, Token: s.admin, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func TestJiraIsAskedOverTheBus(t *testing.T) {
	t.Parallel()
	s, c := newJiraServer(t)
	ctx := t.Context()
	if _, err := c.JiraStatus(ctx, "support"); client.StatusCode(err) != http.StatusServiceUnavailable || !strings.Contains(fault.Message(err), "start agnes-extractor-jira") {
		t.Errorf("nobody answers: %v", err)
	}
	var asked *agnesv1.JiraTaskRequest
	s.playJira(func(q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) {
		asked = q
		switch q.GetName() {
		case "backfill":
			return nil, fault.New(fault.Conflict, "a backfill is running")
		case "reconcile":
			return nil, fault.New(fault.Unavailable, "Jira answers 502").After(7 * time.Second)
		}
		return &agnesv1.JiraTaskResponse{
			Task: &agnesv1.JiraTask{Name: q.GetName(), State: "done"}, Hints: []string{"look at it"},
			Webhooks: []*agnesv1.JiraWebhook{{Id: "1", Kind: "dynamic", Events: []string{"jira:issue_updated"}, ExpiresAt: timestamppb.Now()}},
		}, nil
	})
	status, err := c.JiraStatus(ctx, "support")
	if err != nil || status.Issues != 7 || status.Unpublished != -1 || !status.Account.OK || status.Attachments.Files != 3 || status.OldestFetch == nil || status.LastWebhook != nil {
		t.Errorf("status %+v: %v", status, err)
	}
	if len(status.Tasks) != 1 || status.Tasks[0].Differences == nil || status.Tasks[0].Differences.MissingKeys[0] != "SUP-7" || len(status.Problems) != 2 {
		t.Errorf("status %+v", status)
	}
	started, err := c.StartJiraTask(ctx, "support", client.JiraTaskRequest{Name: "register", URL: "https://agnes.example.com/webhooks/jira", DryRun: true, Remove: true})
	if err != nil || started.Task.State != "done" || len(started.Webhooks) != 1 || started.Webhooks[0].ExpiresAt == nil || started.Hints[0] != "look at it" {
		t.Errorf("started %+v: %v", started, err)
	}
	if asked.GetUrl() != "https://agnes.example.com/webhooks/jira" || !asked.GetDryRun() || !asked.GetRemove() {
		t.Errorf("asked %v", asked)
	}
	if _, err := c.StartJiraTask(ctx, "support", client.JiraTaskRequest{Name: "backfill", Issues: []string{"SUP-1"}, Force: true, Restart: true}); !fault.Is(err, fault.Conflict) {
		t.Errorf("one that runs: %v", err)
	}
	if asked.GetIssues()[0] != "SUP-1" || !asked.GetForce() || !asked.GetRestart() {
		t.Errorf("asked %v", asked)
	}
	// What the extractor itself is refused is told as it is.
	if _, err := c.StartJiraTask(ctx, "support", client.JiraTaskRequest{Name: "reconcile"}); fault.Message(err) != "Jira answers 502" || fault.RetryAfter(err) != 7*time.Second {
		t.Errorf("Jira away: %v", err)
	}
	if task, err := c.StopJiraTask(ctx, "support", "sla"); err != nil || task.Name != "stop" || asked.GetStop() != "sla" {
		t.Errorf("stopped %+v: %v", task, err)
	}
	list, total, err := c.JiraSetAside(ctx, "support", 10)
	if err != nil || total != 1 || len(list) != 1 || list[0].IssueKey != "SUP-4" || list[0].At.IsZero() {
		t.Errorf("set aside %+v of %d: %v", list, total, err)
	}
	one, err := c.ShowJiraSetAside(ctx, "support", 4)
	if err != nil || string(one.Body) != `{"key":"SUP-4"}` || one.Number != 4 {
		t.Errorf("one %+v: %v", one, err)
	}
	if _, err := c.ShowJiraSetAside(ctx, "support", 5); !fault.Is(err, fault.NotFound) {
		t.Errorf("none: %v", err)
	}
	for _, number := range []int64{0, 4} {
		if retried, err := c.RetryJiraSetAside(ctx, "support", number); err != nil || retried.TakenIn != 1 {
			t.Errorf("retried %d: %+v, %v", number, retried, err)
		}
	}
	if err := c.DropJiraSetAside(ctx, "support", 4); err != nil {
		t.Error(err)
	}
	fields, err := c.JiraFields(ctx, "support")
	if err != nil || len(fields.Fields) != 2 || fields.Fields[0].ID != "customfield_1" || fields.YAML != "fields: []\n" {
		t.Errorf("fields %+v: %v", fields, err)
	}
}

// TestTheRecordKnowsWhoBeganATask looks for it where administrators look.
func TestTheRecordKnowsWhoBeganATask(t *testing.T) {
	t.Parallel()
	s, c := newJiraServer(t)
	s.playJira(func(q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) {
		return &agnesv1.JiraTaskResponse{Task: &agnesv1.JiraTask{Name: q.GetName(), State: "running"}}, nil
	})
	if _, err := c.StartJiraTask(t.Context(), "support", client.JiraTaskRequest{Name: "backfill", JQL: "project = SUP"}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the record", func() error {
		body := s.ask("GET", "/api/admin/audit?action=jira_task.start", s.admin, nil).body
		if !strings.Contains(body, adminEmail) || !strings.Contains(body, "source:support") || !strings.Contains(body, "project = SUP") {
			return errors.New(body)
		}
		return nil
	})
	token, _ := s.analyst("ann@example.com")
	if got := s.ask("GET", "/api/admin/sources/support/jira/status", token, nil); got.status != http.StatusForbidden {
		t.Errorf("an analyst: %d %s", got.status, got.body)
	}
}
