package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// typeJira is the type of the sources that these routes are about.
const typeJira = "jira"

type bySource struct {
	Source string `path:"source" maxLength:"64" doc:"A source of the type jira." example:"jira"`
}

type jiraStatusAnswer struct{ Body JiraStatus }

type jiraTaskQuestion struct {
	Source string `path:"source" maxLength:"64" doc:"A source of the type jira." example:"jira"`
	Body   JiraTaskBody
}

type jiraStartedAnswer struct{ Body JiraStarted }

type byJiraTask struct {
	Source string `path:"source" maxLength:"64" doc:"A source of the type jira." example:"jira"`
	Task   string `path:"task" enum:"backfill,reconcile,sla" doc:"The task to stop." example:"backfill"`
}

type jiraTaskAnswer struct{ Body JiraTask }

type setAsideQuestion struct {
	Source string `path:"source" maxLength:"64" doc:"A source of the type jira." example:"jira"`
	Limit  int    `query:"limit" minimum:"1" maximum:"10000" default:"100" doc:"The most to list."`
}

// JiraSetAsideList lists what could not be taken in.
type JiraSetAsideList struct {
	SetAside []JiraSetAside `json:"set_aside" doc:"Newest first."`
	Count    int            `json:"count" doc:"How many are listed." example:"1"`
	Total    int64          `json:"total" doc:"How many there are." example:"1"`
}

type setAsideListAnswer struct{ Body JiraSetAsideList }

type byNumber struct {
	Source string `path:"source" maxLength:"64" doc:"A source of the type jira." example:"jira"`
	Number int64  `path:"number" minimum:"1" doc:"The number, as the list has it." example:"7"`
}

// JiraSetAsideDetail is one that could not be taken in, with what it was.
type JiraSetAsideDetail struct {
	JiraSetAside
	Body any `json:"body" doc:"What it was: JSON where it is, else its text."`
}

type setAsideAnswer struct{ Body JiraSetAsideDetail }

// JiraRetried tells what came of another try.
type JiraRetried struct {
	TakenIn int64 `json:"taken_in" doc:"How many are not set aside any more. Issues are fetched again in a moment, and are set aside anew where that does not help." example:"1"`
	Left    int64 `json:"left" doc:"How many are still set aside." example:"0"`
}

type retriedAnswer struct{ Body JiraRetried }

// JiraFieldList lists the fields of a site.
type JiraFieldList struct {
	Fields []JiraField `json:"fields" doc:"By id."`
	Count  int         `json:"count" doc:"How many there are." example:"40"`
	YAML   string      `json:"yaml" doc:"The option fields of the source in instance.yaml, with every proposal taken over."`
}

type fieldsAnswer struct{ Body JiraFieldList }

func (s *Server) jiraRoutes() {
	const path = "/api/admin/sources/{source}/jira"
	failures := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusBadGateway}
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/status", id: "jiraStatus", tag: tagJira, summary: "How a site is",
		text: "What is kept of it, what waits, which tasks run, and what somebody should look at. Jira is asked whether it knows the account.", errors: failures,
	}, s.jiraStatus)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/tasks", id: "startJiraTask", audit: "jira_task.start", tag: tagJira, summary: "Begin a task",
		text:   "Answers once the task began, and for register once it ended; the status tells how far it is. A backfill that was stopped in the middle, by a restart too, goes on from there.",
		errors: append([]int{http.StatusConflict}, failures...),
	}, s.startJiraTask)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/tasks/{task}/stop", id: "stopJiraTask", audit: "jira_task.stop", tag: tagJira, summary: "Stop a task",
		text: "What it did so far stays.", errors: failures,
	}, s.stopJiraTask)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/set-aside", id: "jiraSetAside", tag: tagJira, summary: "List what could not be taken in",
		text: "Webhooks and issues that nothing could be made of. They hold up nothing else.", errors: failures,
	}, s.jiraSetAside)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/set-aside/{number}", id: "showJiraSetAside", audit: "jira_set_aside.show", tag: tagJira, summary: "Look at what could not be taken in",
		text: "With what it was.", errors: failures,
	}, s.showJiraSetAside)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/set-aside/retry", id: "retryAllJiraSetAside", audit: "jira_set_aside.retry", tag: tagJira, summary: "Try all again",
		text: "What fails again stays set aside, with the new reason.", errors: failures,
	}, s.retryAllSetAside)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/set-aside/{number}/retry", id: "retryJiraSetAside", audit: "jira_set_aside.retry", tag: tagJira, summary: "Try one again",
		text: "Where it fails again it stays set aside, with the new reason.", errors: failures,
	}, s.retrySetAside)
	add(s, Admin, op{
		method: http.MethodDelete, path: path + "/set-aside/{number}", id: "dropJiraSetAside", audit: "jira_set_aside.drop", tag: tagJira, summary: "Drop what could not be taken in",
		text: "What is kept of the issue stays as it is.", status: http.StatusNoContent, errors: failures,
	}, s.dropSetAside)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/fields", id: "jiraFields", tag: tagJira, summary: "List the fields of a site",
		text: "With a proposal for each that the field map could take over, and the configuration that takes all of them over.", errors: failures,
	}, s.jiraFields)
}

// jiraSource checks that a source is a configured site of Jira, and says what the request is about.
func (s *Server) jiraSource(ctx context.Context, source string) error {
	noteResource(ctx, "source", source)
	configured, ok := s.instance().Source(source)
	switch {
	case !ok:
		return fault.New(fault.NotFound, "there is no source %q in the configuration; of the type jira there are: %s", source, orNone(s.jiraNames()))
	case configured.Type != typeJira:
		return fault.New(fault.Invalid, "the source %q is of type %s; of the type jira there are: %s", source, configured.Type, orNone(s.jiraNames()))
	}
	return nil
}

func (s *Server) jiraNames() []string {
	var names []string
	for _, c := range s.instance().OfType(typeJira) {
		names = append(names, c.Name)
	}
	return names
}

func (s *Server) jiraStatus(ctx context.Context, in *bySource) (*jiraStatusAnswer, error) {
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	status, err := s.jira.Status(ctx, in.Source)
	if err != nil {
		return nil, err
	}
	status.Tasks = orEmpty(status.Tasks)
	for i := range status.Tasks {
		status.Tasks[i] = status.Tasks[i].whole()
	}
	status.Problems = jiraProblems(status, time.Now())
	return &jiraStatusAnswer{Body: status}, nil
}

// refetchPatience is for how long an issue may wait to be fetched before that is a problem.
const refetchPatience = 15 * time.Minute

// jiraProblems are what somebody should look at.
func jiraProblems(s JiraStatus, now time.Time) []JiraProblem {
	list := []JiraProblem{}
	tell := func(code, format string, args ...any) {
		list = append(list, JiraProblem{Code: code, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case !s.Account.Configured:
		tell("no_account", "no account is configured, so that comments, changelog and worklogs are known only from what webhooks say: set email and api_token of the source")
	case !s.Account.OK:
		tell("account_refused", "the account does not work: %s", s.Account.Problem)
	}
	if s.SetAside > 0 {
		tell("set_aside", "%d could not be taken in: look at the set-aside list, then try again or drop them", s.SetAside)
	}
	if s.OldestFetch != nil && now.Sub(*s.OldestFetch) > refetchPatience {
		tell("not_fetched", "%d wait to be fetched, the oldest since %s: Jira does not give them", s.Refetches, s.OldestFetch.Format(time.RFC3339))
	}
	for _, t := range s.Tasks {
		switch {
		case t.State == "failed":
			tell("task_failed", "the last %s failed: %s", t.Name, t.Message)
		case t.Differences != nil && t.Differences.AboveThreshold:
			tell("differences", "%s", t.Message)
		}
	}
	return list
}

func (s *Server) startJiraTask(ctx context.Context, in *jiraTaskQuestion) (*jiraStartedAnswer, error) {
	b := in.Body
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	noteParam(ctx, "task", b.Name)
	for key, value := range map[string]string{"jql": b.JQL, "issues": strings.Join(b.Issues, " "), "url": b.URL} {
		if value != "" {
			noteParam(ctx, key, clip(value, 400))
		}
	}
	for key, value := range map[string]bool{"force": b.Force, "restart": b.Restart, "dry_run": b.DryRun, "remove": b.Remove} {
		if value {
			noteParam(ctx, key, value)
		}
	}
	started, err := s.jira.Start(ctx, in.Source, b)
	started.Task = started.Task.whole()
	started.Webhooks, started.Hints = orEmpty(started.Webhooks), orEmpty(started.Hints)
	for i, w := range started.Webhooks {
		started.Webhooks[i].Events = orEmpty(w.Events)
	}
	return &jiraStartedAnswer{Body: started}, err
}

func (s *Server) stopJiraTask(ctx context.Context, in *byJiraTask) (*jiraTaskAnswer, error) {
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	noteParam(ctx, "task", in.Task)
	task, err := s.jira.Stop(ctx, in.Source, in.Task)
	return &jiraTaskAnswer{Body: task.whole()}, err
}

// whole has lists where there are none.
func (t JiraTask) whole() JiraTask {
	if t.Differences != nil {
		d := *t.Differences
		d.MissingKeys, d.GoneKeys, d.StaleKeys = orEmpty(d.MissingKeys), orEmpty(d.GoneKeys), orEmpty(d.StaleKeys)
		t.Differences = &d
	}
	return t
}

func (s *Server) jiraSetAside(ctx context.Context, in *setAsideQuestion) (*setAsideListAnswer, error) {
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	list, total, err := s.jira.SetAside(ctx, in.Source, in.Limit)
	return &setAsideListAnswer{Body: JiraSetAsideList{SetAside: orEmpty(list), Count: len(list), Total: total}}, err
}

// numbered is jiraSource for one that is set aside.
func (s *Server) numbered(ctx context.Context, in *byNumber) error {
	noteParam(ctx, "number", strconv.FormatInt(in.Number, 10))
	return s.jiraSource(ctx, in.Source)
}

func (s *Server) showJiraSetAside(ctx context.Context, in *byNumber) (*setAsideAnswer, error) {
	if err := s.numbered(ctx, in); err != nil {
		return nil, err
	}
	one, body, err := s.jira.ShowSetAside(ctx, in.Source, in.Number)
	return &setAsideAnswer{Body: JiraSetAsideDetail{JiraSetAside: one, Body: payloadOf(body)}}, err
}

func (s *Server) retryAllSetAside(ctx context.Context, in *bySource) (*retriedAnswer, error) {
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	return s.retried(ctx, in.Source, 0)
}

func (s *Server) retrySetAside(ctx context.Context, in *byNumber) (*retriedAnswer, error) {
	if err := s.numbered(ctx, in); err != nil {
		return nil, err
	}
	return s.retried(ctx, in.Source, in.Number)
}

func (s *Server) retried(ctx context.Context, source string, number int64) (*retriedAnswer, error) {
	taken, left, err := s.jira.RetrySetAside(ctx, source, number)
	noteParam(ctx, "taken_in", taken)
	return &retriedAnswer{Body: JiraRetried{TakenIn: taken, Left: left}}, err
}

func (s *Server) dropSetAside(ctx context.Context, in *byNumber) (*none, error) {
	if err := s.numbered(ctx, in); err != nil {
		return nil, err
	}
	return nil, s.jira.DropSetAside(ctx, in.Source, in.Number)
}

func (s *Server) jiraFields(ctx context.Context, in *bySource) (*fieldsAnswer, error) {
	if err := s.jiraSource(ctx, in.Source); err != nil {
		return nil, err
	}
	list, yaml, err := s.jira.Fields(ctx, in.Source)
	return &fieldsAnswer{Body: JiraFieldList{Fields: orEmpty(list), Count: len(list), YAML: yaml}}, err
}
