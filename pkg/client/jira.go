package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// jiraTimeout is for what asks Jira before it answers.
const jiraTimeout = 150 * time.Second

// JiraStatus is how a site of Jira is, and what is kept of it.
type JiraStatus struct {
	Source  string      `json:"source"`
	Site    string      `json:"site"`
	Account JiraAccount `json:"account"`
	// Issues that are kept; Deleted are not among them, Partial and Open are.
	Issues   int64 `json:"issues"`
	Deleted  int64 `json:"deleted"`
	Partial  int64 `json:"partial"`
	Open     int64 `json:"open"`
	SetAside int64 `json:"set_aside"`
	// Refetches wait to be fetched, the oldest since OldestFetch.
	Refetches    int64      `json:"refetches"`
	OldestFetch  *time.Time `json:"oldest_refetch"`
	NewestUpdate *time.Time `json:"newest_update"`
	LastWebhook  *time.Time `json:"last_webhook"`
	// Unpublished changes are kept and not queryable yet; -1 where that is not known yet.
	Unpublished    int64           `json:"unpublished"`
	ReconcileEvery string          `json:"reconcile_every"`
	SLAEvery       string          `json:"sla_every"`
	Attachments    JiraAttachments `json:"attachments"`
	Tasks          []JiraTask      `json:"tasks"`
	// Problems are what somebody should look at.
	Problems []JiraProblem `json:"problems"`
}

// JiraAccount is the account that a site is asked with.
type JiraAccount struct {
	Configured bool   `json:"configured"`
	OK         bool   `json:"ok"`
	Name       string `json:"name"`
	Problem    string `json:"problem"`
}

// JiraAttachments is what is kept of the content of attachments; a Quota of 0 is none.
type JiraAttachments struct {
	Kept  bool  `json:"kept"`
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	Quota int64 `json:"quota"`
}

// JiraProblem is something about a site that somebody should look at.
type JiraProblem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// States of a JiraTask.
const (
	JiraRunning = "running"
	JiraDone    = "done"
	JiraFailed  = "failed"
	JiraStopped = "stopped"
)

// JiraTask is one long task over a site.
type JiraTask struct {
	Name       string     `json:"name"`
	State      string     `json:"state"`
	Reason     string     `json:"reason"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	// Done issues of Total, which is 0 where it is not known. Changed differed from what was kept, and
	// Failed are tried again by themselves.
	Done    int64  `json:"done"`
	Total   int64  `json:"total"`
	Changed int64  `json:"changed"`
	Failed  int64  `json:"failed"`
	Message string `json:"message"`
	JQL     string `json:"jql"`
	// Differences are what a comparison found; nil for other tasks.
	Differences *JiraDifferences `json:"differences"`
}

// JiraDifferences are what a complete enumeration of a site showed.
type JiraDifferences struct {
	InJira         int64    `json:"in_jira"`
	Kept           int64    `json:"kept"`
	Missing        int64    `json:"missing"`
	Gone           int64    `json:"gone"`
	Stale          int64    `json:"stale"`
	Healed         int64    `json:"healed"`
	AboveThreshold bool     `json:"above_threshold"`
	MissingKeys    []string `json:"missing_keys"`
	GoneKeys       []string `json:"gone_keys"`
	StaleKeys      []string `json:"stale_keys"`
}

// JiraTaskRequest asks for a task: "backfill", "reconcile", "sla" or "register".
type JiraTaskRequest struct {
	Name string `json:"name"`
	// JQL or Issues are what a backfill is about; all issues of the configured projects where empty.
	JQL    string   `json:"jql,omitempty"`
	Issues []string `json:"issues,omitempty"`
	// Force fetches issues that are as new as in Jira, or puts any number of differences right.
	Force bool `json:"force,omitempty"`
	// Restart begins a backfill anew instead of where the last one was stopped.
	Restart bool `json:"restart,omitempty"`
	DryRun  bool `json:"dry_run,omitempty"`
	// URL is where Jira is to send webhooks to; Remove takes away what is registered instead.
	URL    string `json:"url,omitempty"`
	Remove bool   `json:"remove,omitempty"`
}

// JiraStarted is what became of a task that was asked for.
type JiraStarted struct {
	Task     JiraTask      `json:"task"`
	Webhooks []JiraWebhook `json:"webhooks"`
	// Hints are what is left to be done by hand.
	Hints []string `json:"hints"`
}

// JiraWebhook is a webhook that a site has for the server.
type JiraWebhook struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	URL       string     `json:"url"`
	JQL       string     `json:"jql"`
	Events    []string   `json:"events"`
	Enabled   bool       `json:"enabled"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// JiraSetAside is something that could not be taken in.
type JiraSetAside struct {
	Number   int64     `json:"number"`
	IssueID  string    `json:"issue_id"`
	IssueKey string    `json:"issue_key"`
	Origin   string    `json:"origin"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	Times    int64     `json:"times"`
	// Body is what it was, where one is shown.
	Body json.RawMessage `json:"body,omitempty"`
}

// JiraRetried tells what came of another try.
type JiraRetried struct {
	TakenIn int64 `json:"taken_in"`
	Left    int64 `json:"left"`
}

// JiraFields are the fields of a site, with a proposal for each and the configuration that takes all over.
type JiraFields struct {
	Fields []JiraField `json:"fields"`
	YAML   string      `json:"yaml"`
}

// JiraField is one field; Column and Kind are empty where it cannot become a column.
type JiraField struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Custom bool   `json:"custom"`
	Type   string `json:"type"`
	Column string `json:"column"`
	Kind   string `json:"kind"`
	Mapped bool   `json:"mapped"`
}

func jiraPath(source string, segments ...string) string {
	return at(append([]string{"api", "admin", "sources", source, "jira"}, segments...)...)
}

// JiraStatus tells how a site is.
func (c *Client) JiraStatus(ctx context.Context, source string) (JiraStatus, error) {
	var s JiraStatus
	err := c.call(ctx, request{method: http.MethodGet, path: jiraPath(source, "status")}, &s)
	return s, err
}

// StartJiraTask begins a task; one for "register" has ended when it returns. fault.Conflict where one of
// its name runs.
func (c *Client) StartJiraTask(ctx context.Context, source string, t JiraTaskRequest) (JiraStarted, error) {
	var s JiraStarted
	err := c.call(ctx, request{method: http.MethodPost, path: jiraPath(source, "tasks"), body: t, timeout: jiraTimeout}, &s)
	return s, err
}

// StopJiraTask stops a task. What it did so far stays.
func (c *Client) StopJiraTask(ctx context.Context, source, task string) (JiraTask, error) {
	var t JiraTask
	err := c.call(ctx, request{method: http.MethodPost, path: jiraPath(source, "tasks", task, "stop")}, &t)
	return t, err
}

// JiraSetAside lists what could not be taken in, newest first; limit 0 is the server's. total is how many
// there are.
func (c *Client) JiraSetAside(ctx context.Context, source string, limit int) (list []JiraSetAside, total int64, err error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var answer struct {
		SetAside []JiraSetAside `json:"set_aside"`
		Total    int64          `json:"total"`
	}
	err = c.call(ctx, request{method: http.MethodGet, path: jiraPath(source, "set-aside"), query: q}, &answer)
	return answer.SetAside, answer.Total, err
}

// ShowJiraSetAside gives one with its body.
func (c *Client) ShowJiraSetAside(ctx context.Context, source string, number int64) (JiraSetAside, error) {
	var one JiraSetAside
	err := c.call(ctx, request{method: http.MethodGet, path: jiraPath(source, "set-aside", strconv.FormatInt(number, 10))}, &one)
	return one, err
}

// RetryJiraSetAside tries one again, or all where number is 0.
func (c *Client) RetryJiraSetAside(ctx context.Context, source string, number int64) (JiraRetried, error) {
	path := jiraPath(source, "set-aside", "retry")
	if number != 0 {
		path = jiraPath(source, "set-aside", strconv.FormatInt(number, 10), "retry")
	}
	var r JiraRetried
	err := c.call(ctx, request{method: http.MethodPost, path: path, repeatable: number == 0, timeout: jiraTimeout}, &r)
	return r, err
}

// DropJiraSetAside drops one for good. What is kept of the issue stays as it is.
func (c *Client) DropJiraSetAside(ctx context.Context, source string, number int64) error {
	return c.call(ctx, request{method: http.MethodDelete, path: jiraPath(source, "set-aside", strconv.FormatInt(number, 10))}, nil)
}

// JiraFields lists the fields of a site.
func (c *Client) JiraFields(ctx context.Context, source string) (JiraFields, error) {
	var f JiraFields
	err := c.call(ctx, request{method: http.MethodGet, path: jiraPath(source, "fields"), timeout: jiraTimeout}, &f)
	return f, err
}
