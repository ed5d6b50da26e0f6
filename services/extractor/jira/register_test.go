package jira

import (
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func (h *house) registerHook(q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) {
	q.Name = taskRegister
	return event.Call(h.t.Context(), h.bus, event.JiraTask("jira"), q)
}

func TestAWebhookIsRegisteredOnce(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	h.options["webhook_secret"], h.options["projects"] = jiratest.DefaultSecret, []any{"SUP"}
	h.start()
	h.answers()
	const url = "https://agnes.example.com/webhooks/jira"
	for name, bad := range map[string]string{"none": "", "not encrypted": "http://agnes.example.com/webhooks/jira", "no address": "x"} {
		if _, err := h.registerHook(&agnesv1.JiraTaskRequest{Url: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := h.registerHook(&agnesv1.JiraTaskRequest{Url: url, DryRun: true}); err != nil || len(got.GetWebhooks()) != 0 {
		t.Fatalf("dry run: %v %v", got, err)
	}
	for range 2 {
		got, err := h.registerHook(&agnesv1.JiraTaskRequest{Url: url})
		if err != nil || len(got.GetWebhooks()) != 1 || got.GetWebhooks()[0].GetJql() != "project in (SUP)" || len(got.GetWebhooks()[0].GetEvents()) != len(hookEvents) {
			t.Fatalf("registered: %v %v", got, err)
		}
	}
	if got, err := h.registerHook(&agnesv1.JiraTaskRequest{Url: url, Remove: true}); err != nil || len(got.GetWebhooks()) != 0 {
		t.Fatalf("removed: %v %v", got, err)
	}
}

func TestAWebhookWithoutASecretIsNotRegistered(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	h.start()
	h.answers()
	if _, err := h.registerHook(&agnesv1.JiraTaskRequest{Url: "https://agnes.example.com/webhooks/jira"}); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "webhook_secret") {
		t.Fatalf("got %v", err)
	}
}

// A dynamic webhook is refreshed before it ends, and made anew where Jira has lost it.
func TestDynamicWebhooksLiveOn(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{Tick: -1})
	defer site.Close()
	s := openTestSite(t, site, map[string]any{"projects": []any{"SUP"}})
	s.OAuth = &oauthOptions{ClientID: "app", ClientSecret: "secret"}
	s.now = site.Now
	f := &feed{site: s}
	const url = "https://agnes.example.com/webhooks/jira"
	got, err := f.register(t.Context(), &agnesv1.JiraTaskRequest{Url: url})
	if err != nil || len(got.GetWebhooks()) != 1 || got.GetWebhooks()[0].GetKind() != "dynamic" || len(got.GetHints()) == 0 {
		t.Fatalf("registered %v: %v", got, err)
	}
	first := got.GetWebhooks()[0].GetExpiresAt().AsTime()
	for range 3 {
		site.Advance(15 * 24 * time.Hour)
		if err := f.lookAfterWebhooks(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.client.Webhooks(t.Context())
	if err != nil || len(all) != 1 || !all[0].Expires.After(first.Add(30*24*time.Hour)) {
		t.Fatalf("after 45 days: %v %v", all, err)
	}
	site.Advance(31 * 24 * time.Hour) // nobody looked
	if err := f.lookAfterWebhooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err = s.client.Webhooks(t.Context()); err != nil || len(all) != 1 {
		t.Fatalf("made anew: %v %v", all, err)
	}
}
