package httpapi

import (
	"context"
	"time"
)

// Jira asks the extractors of sites of Jira. Every method is for administrators; source is a configured
// one of the type jira. fault.Unavailable, with what to do, where its extractor does not answer.
type Jira interface {
	Status(ctx context.Context, source string) (JiraStatus, error)
	// Start begins a task; fault.Conflict where one of its name runs.
	Start(ctx context.Context, source string, t JiraTaskBody) (JiraStarted, error)
	// Stop ends a task; fault.NotFound where none of the name runs.
	Stop(ctx context.Context, source, task string) (JiraTask, error)
	SetAside(ctx context.Context, source string, limit int) (list []JiraSetAside, total int64, err error)
	// ShowSetAside gives one with what it was; fault.NotFound where there is none of the number.
	ShowSetAside(ctx context.Context, source string, number int64) (one JiraSetAside, body []byte, err error)
	// RetrySetAside tries one again, or all where number is 0.
	RetrySetAside(ctx context.Context, source string, number int64) (takenIn, left int64, err error)
	DropSetAside(ctx context.Context, source string, number int64) error
	Fields(ctx context.Context, source string) (list []JiraField, yaml string, err error)
}

// JiraStatus is how a site of Jira is, and what is kept of it.
type JiraStatus struct {
	Source  string      `json:"source" doc:"The source." example:"jira"`
	Site    string      `json:"site" doc:"The address of the site." example:"https://your.atlassian.net"`
	Account JiraAccount `json:"account" doc:"The account that issues are fetched with."`

	Issues       int64      `json:"issues" doc:"Issues that are kept, without deleted ones." example:"50000"`
	Deleted      int64      `json:"deleted" doc:"Issues that were deleted in Jira, of which what was known is kept."`
	Partial      int64      `json:"partial" doc:"Issues of which something may be missing, such as comments: where no account is configured, or until they are fetched again."`
	Open         int64      `json:"open" doc:"Issues that are not done."`
	SetAside     int64      `json:"set_aside" doc:"Webhooks and issues that could not be taken in; see the set-aside list."`
	Refetches    int64      `json:"refetches" doc:"Issues that wait to be fetched again."`
	OldestFetch  *time.Time `json:"oldest_refetch" doc:"Since when the oldest of them does; null for none."`
	NewestUpdate *time.Time `json:"newest_update" doc:"The latest change of an issue that is known of; null for none."`
	LastWebhook  *time.Time `json:"last_webhook" doc:"When a webhook was taken in last; null for none since the extractor started."`
	Unpublished  int64      `json:"unpublished" doc:"Changes that are kept and not published yet; -1 where that is not known yet."`

	ReconcileEvery string          `json:"reconcile_every" doc:"How often what is kept is compared with Jira; empty for never by itself." example:"30m0s"`
	SLAEvery       string          `json:"sla_every" doc:"How often service levels of open issues are read; empty for never by itself." example:"15m0s"`
	Attachments    JiraAttachments `json:"attachments" doc:"The content of attachments."`

	Tasks    []JiraTask    `json:"tasks" doc:"The running tasks, and the last one of every other name since the extractor started; by name."`
	Problems []JiraProblem `json:"problems" doc:"What somebody should look at; empty where all is well."`
}

// JiraAccount is the account that a site is asked with.
type JiraAccount struct {
	Configured bool   `json:"configured" doc:"Whether there is one. Without, what webhooks say themselves is all that is known."`
	OK         bool   `json:"ok" doc:"Whether Jira knows it."`
	Name       string `json:"name" doc:"What Jira calls it; empty where it is not known."`
	Problem    string `json:"problem" doc:"Why it does not work; empty where it does."`
}

// JiraAttachments is what is kept of the content of attachments.
type JiraAttachments struct {
	Kept  bool  `json:"kept" doc:"Whether content is kept; what attachments there are is known in any case."`
	Files int64 `json:"files" doc:"How many files are kept."`
	Bytes int64 `json:"bytes" doc:"Their bytes."`
	Quota int64 `json:"quota" doc:"How many bytes they may have; 0 for no limit."`
}

// JiraProblem is something about a site that somebody should look at.
type JiraProblem struct {
	Code    string `json:"code" enum:"no_account,account_refused,set_aside,not_fetched,task_failed,differences" doc:"A stable word for it."`
	Message string `json:"message" doc:"What is the matter, and what to do."`
}

// JiraTask is one long task over a site.
type JiraTask struct {
	Name       string     `json:"name" doc:"backfill: issues are fetched. reconcile: what is kept is compared with what Jira has. sla: service levels of open issues are read. register: Jira is told where to send webhooks." example:"backfill"`
	State      string     `json:"state" doc:"running, done, failed or stopped." example:"running"`
	Reason     string     `json:"reason" doc:"Why: request, schedule, or resume where it goes on after a restart." example:"request"`
	StartedAt  *time.Time `json:"started_at" doc:"When it began."`
	FinishedAt *time.Time `json:"finished_at" doc:"When it ended; null before."`
	Done       int64      `json:"done" doc:"Issues that are done." example:"1200"`
	Total      int64      `json:"total" doc:"How many there are; 0 where that is not known."`
	Changed    int64      `json:"changed" doc:"Of those that are done: how many differed from what was kept."`
	Failed     int64      `json:"failed" doc:"How many could not be fetched. They are tried again by themselves."`
	Message    string     `json:"message" doc:"What it found, or why it failed; empty where there is nothing to say."`
	JQL        string     `json:"jql" doc:"The issues that it is about; empty where that goes without saying." example:"project = SUP"`

	Differences *JiraDifferences `json:"differences" doc:"What a comparison found; null for other tasks."`
}

// JiraDifferences are what a complete enumeration of a site showed.
type JiraDifferences struct {
	InJira         int64    `json:"in_jira" doc:"Issues that Jira has."`
	Kept           int64    `json:"kept" doc:"Issues that are kept."`
	Missing        int64    `json:"missing" doc:"Issues that Jira has and that are not kept."`
	Gone           int64    `json:"gone" doc:"Issues that are kept and that Jira does not have."`
	Stale          int64    `json:"stale" doc:"Issues that are kept in an older state."`
	Healed         int64    `json:"healed" doc:"How many of these were put right."`
	AboveThreshold bool     `json:"above_threshold" doc:"Whether they were too many to be put right without being asked: look at them, then reconcile with force."`
	MissingKeys    []string `json:"missing_keys" doc:"Some of the missing ones."`
	GoneKeys       []string `json:"gone_keys" doc:"Some of those that are gone."`
	StaleKeys      []string `json:"stale_keys" doc:"Some of the stale ones."`
}

// JiraTaskBody asks for a task.
type JiraTaskBody struct {
	Name    string   `json:"name" enum:"backfill,reconcile,sla,register" doc:"Which task."`
	JQL     string   `json:"jql,omitempty" nullable:"true" maxLength:"10000" doc:"backfill: which issues, in Jira's query language; all of the configured projects where missing." example:"project = SUP AND created >= -30d"`
	Issues  []string `json:"issues,omitempty" nullable:"true" maxItems:"1000" doc:"backfill: keys or numbers of issues, in place of a JQL." example:"[\"SUP-1\"]"`
	Force   bool     `json:"force,omitempty" doc:"backfill: fetch also issues that are as new as in Jira. reconcile: put any number of differences right."`
	Restart bool     `json:"restart,omitempty" doc:"backfill: begin anew instead of where the last one was stopped."`
	DryRun  bool     `json:"dry_run,omitempty" doc:"Tell what would be done, and do nothing."`
	URL     string   `json:"url,omitempty" nullable:"true" maxLength:"2000" doc:"register: where Jira sends webhooks to; the configured webhook_url where missing." example:"https://agnes.example.com/webhooks/jira"`
	Remove  bool     `json:"remove,omitempty" doc:"register: take away what is registered instead."`
}

// JiraStarted is what became of a task that was asked for.
type JiraStarted struct {
	Task     JiraTask      `json:"task" doc:"The task as it stands. It goes on by itself: its status tells how far it is."`
	Webhooks []JiraWebhook `json:"webhooks" doc:"register: the webhooks that the site has for us now; empty for other tasks."`
	Hints    []string      `json:"hints" doc:"What is left to be done by hand, in sentences."`
}

// JiraWebhook is a webhook that a site has for us.
type JiraWebhook struct {
	ID        string     `json:"id" doc:"Its id in Jira." example:"10000"`
	Kind      string     `json:"kind" doc:"admin: made on Jira's page of webhooks. dynamic: made by an app, and ends after 30 days unless it is refreshed." example:"dynamic"`
	URL       string     `json:"url" doc:"Where it goes to."`
	JQL       string     `json:"jql" doc:"The issues that it is about; empty for all."`
	Events    []string   `json:"events" doc:"What it tells of." example:"[\"jira:issue_updated\"]"`
	Enabled   bool       `json:"enabled" doc:"Whether it is on."`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it ends; null for never."`
}

// JiraSetAside is something that could not be taken in.
type JiraSetAside struct {
	Number   int64     `json:"number" doc:"Names it." example:"7"`
	IssueID  string    `json:"issue_id" doc:"The number of the issue; empty where it is not known." example:"10042"`
	IssueKey string    `json:"issue_key" doc:"The key of the issue, or else what is known in its place." example:"SUP-42"`
	Origin   string    `json:"origin" doc:"Where it came from: webhook, fetch or rows." example:"rows"`
	Reason   string    `json:"reason" doc:"Why it could not be taken in."`
	At       time.Time `json:"at" doc:"When it was set aside last."`
	Times    int64     `json:"times" doc:"How often." example:"1"`
}

// JiraField is a field of a site, with a proposal for the field map.
type JiraField struct {
	ID     string `json:"id" doc:"The id of the field." example:"customfield_10016"`
	Name   string `json:"name" doc:"What the site calls it." example:"Story Points"`
	Custom bool   `json:"custom" doc:"Whether the site made it."`
	Type   string `json:"type" doc:"Jira's own word for its type." example:"number"`
	Column string `json:"column" doc:"The proposed column; empty where it cannot become one." example:"story_points"`
	Kind   string `json:"kind" doc:"The proposed kind; empty where it cannot become a column." example:"number"`
	Mapped bool   `json:"mapped" doc:"Whether the field map has it already."`
}
