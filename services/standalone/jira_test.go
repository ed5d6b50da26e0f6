package standalone_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// sees waits until a query gives what is wanted.
func (h *house) sees(sql, want string) {
	h.t.Helper()
	var got string
	var err error
	for began := time.Now(); time.Since(began) < soon; time.Sleep(10 * time.Millisecond) {
		if got, err = h.query(h.admin, sql); err == nil && got == want {
			return
		}
	}
	h.t.Fatalf("%s: %s, %v; want %s", sql, got, err, want)
}

// jiraTask begins a task over the site desk and waits for its end.
func (h *house) jiraTask(what client.JiraTaskRequest) client.JiraTask {
	h.t.Helper()
	started, err := h.admin.StartJiraTask(h.t.Context(), "desk", what)
	if err != nil {
		h.t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < soon; time.Sleep(20 * time.Millisecond) {
		status, err := h.admin.JiraStatus(h.t.Context(), "desk")
		if err != nil {
			h.t.Fatal(err)
		}
		for _, task := range status.Tasks {
			if task.Name == what.Name && task.State != client.JiraRunning && !task.StartedAt.Before(*started.Task.StartedAt) {
				return task
			}
		}
	}
	h.t.Fatalf("the %s does not end", what.Name)
	return client.JiraTask{}
}

// TestAProjectOfJiraGoesLive does what docs/jira.md says, from an empty installation to a change in Jira
// that the next query shows.
func TestAProjectOfJiraGoesLive(t *testing.T) {
	site := jiratest.New(jiratest.Config{Now: time.Now})
	defer site.Close()
	site.Populate(120, 3, 1)
	h := build(t, "")
	const secret = "0123456789abcdef0123456789abcdef"
	text := fmt.Sprintf("sources:\n  - {name: desk, type: jira, site: %q, email: %s, api_token: %s, webhook_secret: %q, reconcile_every: off, sla_every: off}\n",
		site.URL, jiratest.DefaultEmail, jiratest.DefaultToken, secret)
	if err := os.WriteFile(filepath.Join(h.dir, "config", service.InstanceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := make(chan string, 100)
	site.Registered(func(url, signedWith string, d jiratest.Delivery) {
		if signedWith != secret {
			refused <- "not signed with the secret"
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(d.Body))
		if err != nil {
			refused <- err.Error()
			return
		}
		r.Header = d.Header.Clone()
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			refused <- err.Error()
			return
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			refused <- d.Event + ": " + answer.Status
		}
	})
	h.start()
	defer http.DefaultClient.CloseIdleConnections()
	ctx := t.Context()

	// The account works once the extractor answers; until then the api says what is missing.
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		status, err := h.admin.JiraStatus(ctx, "desk")
		if err == nil && status.Account.OK && len(status.Problems) == 0 {
			break
		}
		if time.Since(began) > soon {
			t.Fatalf("%+v, %v", status, err)
		}
	}
	registered, err := h.admin.StartJiraTask(ctx, "desk", client.JiraTaskRequest{Name: "register", URL: h.url + "/webhooks/jira"})
	if err != nil || len(registered.Webhooks) != 1 || len(registered.Webhooks[0].Events) < 10 {
		t.Fatalf("%+v, %v", registered, err)
	}
	if task := h.jiraTask(client.JiraTaskRequest{Name: "backfill"}); task.State != client.JiraDone || task.Changed != 120 {
		t.Fatalf("%+v", task)
	}
	h.sees("SELECT count(*) FROM desk.issues", "[[120]]")

	// From here on Jira tells by itself.
	key := site.Keys()[0]
	began := time.Now()
	site.Update(key, jiratest.Set{"summary": "it is live"})
	h.sees("SELECT issue_key FROM desk.issues WHERE summary = 'it is live'", "[["+key+"]]")
	t.Logf("a webhook was visible after %s", time.Since(began).Round(time.Millisecond))
	created := site.Create("SUP", jiratest.Set{"summary": "a new one"})
	site.Comment(created, "with words")
	site.Delete(site.Keys()[1])
	h.sees(fmt.Sprintf("SELECT (SELECT count(*) FROM issues), (SELECT count(*) FROM comments WHERE issue_key = '%s'), (SELECT count(*) FROM deleted_issues)", created), "[[120 1 1]]")

	if task := h.jiraTask(client.JiraTaskRequest{Name: "reconcile"}); task.Differences == nil || task.Differences.Missing+task.Differences.Gone+task.Differences.Stale != 0 {
		t.Errorf("%+v", task)
	}
	// All of it is in what is kept of the site.
	if run := h.sync(client.SyncRequest{Source: "desk", Force: true}); run.Status != client.RunSucceeded || len(run.Tables) < 10 {
		t.Errorf("%+v", run)
	}
	h.expect(h.admin, "SELECT count(*), count(*) FILTER (WHERE summary = 'it is live') FROM issues", "[[120 1]]")
	fields, err := h.admin.JiraFields(ctx, "desk")
	if err != nil || len(fields.Fields) == 0 {
		t.Errorf("%+v, %v", fields, err)
	}
	status, err := h.admin.JiraStatus(ctx, "desk")
	if err != nil || len(status.Problems) != 0 || status.Issues != 120 || status.Deleted != 1 || status.LastWebhook == nil {
		t.Errorf("%+v, %v", status, err)
	}
	close(refused)
	for r := range refused {
		t.Error(r)
	}
}
