package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// How long the extractor of a site may take to answer: for what it knows, and for what it asks Jira first.
const (
	jiraWait     = 20 * time.Second
	jiraLongWait = 2 * time.Minute
)

// jiraSites asks the extractors of sites of Jira over the bus.
type jiraSites struct {
	bus *event.Bus
}

// askJira calls a method of the extractor of a source.
func askJira[Req, Resp proto.Message](ctx context.Context, bus *event.Bus, source string, method event.Method[Req, Resp], req Req, wait time.Duration) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, err := event.Call(ctx, bus, method, req)
	switch {
	case errors.Is(err, event.ErrNobody):
		return answer, fault.Wrap(err, fault.Unavailable,
			"no extractor answers for the source %q: start agnes-extractor-jira (agnes runs it by itself); where it runs, its log says what it lacks", source)
	case errors.Is(err, context.DeadlineExceeded):
		return answer, fault.Wrap(err, fault.Unavailable,
			"the extractor of the source %q did not answer within %s: its log and that of the bus say why", source, wait)
	}
	return answer, err
}

// Status tells how a site is.
func (j jiraSites) Status(ctx context.Context, source string) (httpapi.JiraStatus, error) {
	a, err := askJira(ctx, j.bus, source, event.JiraStatus(source), &agnesv1.JiraStatusRequest{}, jiraWait)
	if err != nil {
		return httpapi.JiraStatus{}, err
	}
	s := httpapi.JiraStatus{
		Source: a.GetSource(), Site: a.GetSite(),
		Account: httpapi.JiraAccount{Configured: a.GetAccountConfigured(), OK: a.GetAccountOk(), Name: a.GetAccountName(), Problem: a.GetAccountProblem()},
		Issues:  a.GetIssues() - a.GetDeleted(), Deleted: a.GetDeleted(), Partial: a.GetPartial(), Open: a.GetOpen(), SetAside: a.GetSetAside(),
		Refetches: a.GetRefetches(), OldestFetch: moment(a.GetOldestRefetch()), NewestUpdate: moment(a.GetNewestUpdate()),
		LastWebhook: moment(a.GetLastWebhook()), Unpublished: a.GetUnpublished(), ReconcileEvery: a.GetReconcileEvery(), SLAEvery: a.GetSlaEvery(),
		Attachments: httpapi.JiraAttachments{
			Kept: a.GetAttachmentsKept(), Files: a.GetAttachmentFiles(), Bytes: a.GetAttachmentBytes(), Quota: a.GetAttachmentQuota(),
		},
	}
	for _, t := range a.GetTasks() {
		s.Tasks = append(s.Tasks, jiraTask(t))
	}
	return s, nil
}

// moment is a time of the bus as the API has it; nil for none.
func moment(t *timestamppb.Timestamp) *time.Time {
	if !t.IsValid() {
		return nil
	}
	at := t.AsTime()
	return &at
}

func jiraTask(t *agnesv1.JiraTask) httpapi.JiraTask {
	view := httpapi.JiraTask{
		Name: t.GetName(), State: t.GetState(), Reason: t.GetReason(), StartedAt: moment(t.GetStartedAt()), FinishedAt: moment(t.GetFinishedAt()),
		Done: t.GetDone(), Total: t.GetTotal(), Changed: t.GetChanged(), Failed: t.GetFailed(), Message: t.GetMessage(), JQL: t.GetJql(),
	}
	if d := t.GetDifferences(); d != nil {
		view.Differences = &httpapi.JiraDifferences{
			InJira: d.GetInJira(), Kept: d.GetKept(), Missing: d.GetMissing(), Gone: d.GetGone(), Stale: d.GetStale(), Healed: d.GetHealed(),
			AboveThreshold: d.GetAboveThreshold(), MissingKeys: d.GetMissingKeys(), GoneKeys: d.GetGoneKeys(), StaleKeys: d.GetStaleKeys(),
		}
	}
	return view
}

// Start begins a task.
func (j jiraSites) Start(ctx context.Context, source string, b httpapi.JiraTaskBody) (httpapi.JiraStarted, error) {
	a, err := askJira(ctx, j.bus, source, event.JiraTask(source), &agnesv1.JiraTaskRequest{
		Name: b.Name, Jql: b.JQL, Issues: b.Issues, Force: b.Force, DryRun: b.DryRun, Restart: b.Restart, Url: b.URL, Remove: b.Remove,
	}, jiraLongWait)
	if err != nil {
		return httpapi.JiraStarted{}, err
	}
	started := httpapi.JiraStarted{Task: jiraTask(a.GetTask()), Hints: a.GetHints()}
	for _, w := range a.GetWebhooks() {
		started.Webhooks = append(started.Webhooks, httpapi.JiraWebhook{
			ID: w.GetId(), Kind: w.GetKind(), URL: w.GetUrl(), JQL: w.GetJql(), Events: w.GetEvents(), Enabled: w.GetEnabled(), ExpiresAt: moment(w.GetExpiresAt()),
		})
	}
	return started, nil
}

// Stop ends a task.
func (j jiraSites) Stop(ctx context.Context, source, task string) (httpapi.JiraTask, error) {
	a, err := askJira(ctx, j.bus, source, event.JiraTask(source), &agnesv1.JiraTaskRequest{Name: "stop", Stop: task}, jiraWait)
	if err != nil {
		return httpapi.JiraTask{}, err
	}
	return jiraTask(a.GetTask()), nil
}

// setAside carries out one action on what is set aside.
func (j jiraSites) setAside(ctx context.Context, source string, q *agnesv1.JiraSetAsideRequest, wait time.Duration) (*agnesv1.JiraSetAsideResponse, error) {
	return askJira(ctx, j.bus, source, event.JiraSetAside(source), q, wait)
}

// SetAside lists what could not be taken in, newest first.
func (j jiraSites) SetAside(ctx context.Context, source string, limit int) (list []httpapi.JiraSetAside, total int64, err error) {
	a, err := j.setAside(ctx, source, &agnesv1.JiraSetAsideRequest{Action: "list", Limit: int64(limit)}, jiraWait)
	if err != nil {
		return nil, 0, err
	}
	for _, i := range a.GetItems() {
		list = append(list, jiraSetAside(i))
	}
	return list, a.GetTotal(), nil
}

func jiraSetAside(i *agnesv1.JiraSetAside) httpapi.JiraSetAside {
	return httpapi.JiraSetAside{
		Number: i.GetNumber(), IssueID: i.GetIssueId(), IssueKey: i.GetIssueKey(), Origin: i.GetOrigin(), Reason: i.GetReason(),
		At: i.GetAt().AsTime(), Times: i.GetTimes(),
	}
}

// ShowSetAside gives one with what it was.
func (j jiraSites) ShowSetAside(ctx context.Context, source string, number int64) (one httpapi.JiraSetAside, body []byte, err error) {
	a, err := j.setAside(ctx, source, &agnesv1.JiraSetAsideRequest{Action: "show", Number: number}, jiraWait)
	if err != nil {
		return one, nil, err
	}
	if len(a.GetItems()) != 1 {
		return one, nil, fault.New(fault.Internal, "the extractor gave %d for number %d", len(a.GetItems()), number)
	}
	return jiraSetAside(a.GetItems()[0]), []byte(a.GetItems()[0].GetBody()), nil
}

// RetrySetAside tries one again, or all where number is 0.
func (j jiraSites) RetrySetAside(ctx context.Context, source string, number int64) (takenIn, left int64, err error) {
	a, err := j.setAside(ctx, source, &agnesv1.JiraSetAsideRequest{Action: "retry", Number: number, Limit: 1}, jiraLongWait)
	return a.GetTakenIn(), a.GetTotal(), err
}

// DropSetAside drops one for good.
func (j jiraSites) DropSetAside(ctx context.Context, source string, number int64) error {
	_, err := j.setAside(ctx, source, &agnesv1.JiraSetAsideRequest{Action: "drop", Number: number, Limit: 1}, jiraWait)
	return err
}

// Fields lists the fields of a site, by id.
func (j jiraSites) Fields(ctx context.Context, source string) (list []httpapi.JiraField, yaml string, err error) {
	a, err := askJira(ctx, j.bus, source, event.JiraFields(source), &agnesv1.JiraFieldsRequest{}, jiraLongWait)
	if err != nil {
		return nil, "", err
	}
	for _, f := range a.GetFields() {
		list = append(list, httpapi.JiraField{
			ID: f.GetId(), Name: f.GetName(), Custom: f.GetCustom(), Type: f.GetType(), Column: f.GetColumn(), Kind: f.GetKind(), Mapped: f.GetMapped(),
		})
	}
	slices.SortFunc(list, func(a, b httpapi.JiraField) int { return strings.Compare(a.ID, b.ID) })
	return list, a.GetYaml(), nil
}
