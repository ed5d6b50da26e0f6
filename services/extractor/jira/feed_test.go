package jira

import (
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestAWebhookBecomesRows(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	site.Hook(h.deliver, jiratest.Disorder{})
	h.start()
	key := site.Create("SUP", jiratest.Set{"summary": "The first"})
	h.expect("SELECT issue_key, summary, comment_count FROM issues", key+" | The first | 0")
	comment := site.Comment(key, "hello")
	site.Worklog(key, time.Hour, "worked")
	site.RemoteLink(key, "https://example.com/page", "A page", "wiki")
	h.expect("SELECT (SELECT string_agg(body) FROM comments), (SELECT sum(time_spent_seconds) FROM worklogs), (SELECT string_agg(title) FROM remote_links), comment_count FROM issues",
		"hello | 3600 | A page | 1")
	other := site.Create("SUP", jiratest.Set{"summary": "The second"})
	site.Link("Blocks", key, other)
	h.expect("SELECT count(*), count(DISTINCT issue_key) FROM issuelinks", "2 | 2")
	site.DeleteComment(key, comment)
	h.expect("SELECT (SELECT count(*) FROM comments), (SELECT count(*) FROM issues)", "0 | 2")
	site.Delete(other)
	h.expect("SELECT (SELECT string_agg(issue_key) FROM issues), (SELECT string_agg(issue_key) FROM deleted_issues), (SELECT count(*) FROM issuelinks)", key+" | "+other+" | 0")
	moved := site.Move(key, "OPS")
	h.expect("SELECT issue_key, project_key FROM issues", moved+" | OPS")
	if got, err := h.ask("SELECT count(*) > 0 FROM users"); err != nil || got != "true" {
		t.Errorf("users: %s %v", got, err)
	}
	h.end()
	if !h.scratchIsEmpty() {
		t.Error("a run left scratch behind")
	}
}

// What was taken in while nobody published is published after the start.
func TestARestartPublishesWhatWasTakenIn(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	site.Hook(h.deliver, jiratest.Disorder{})
	h.start()
	key := site.Create("SUP", jiratest.Set{"summary": "one"})
	h.expect("SELECT summary FROM issues", "one")
	h.end()
	site.Update(key, jiratest.Set{"summary": "two"})
	h.start()
	h.expect("SELECT summary FROM issues", "two")
}
