package jira

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// asked starts a task.
func (f *feed) asked(ctx context.Context, q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) {
	var t *agnesv1.JiraTask
	var err error
	switch q.GetName() {
	case taskBackfill:
		t, err = f.backfill(ctx, q, reasonRequest)
	case taskReconcile:
		t, err = f.reconcile(q, reasonRequest)
	case taskSLA:
		t, err = f.refreshSLA(reasonRequest)
	case taskRegister:
		return f.register(ctx, q)
	case taskStop:
		t, err = f.tasks.stop(q.GetStop())
	default:
		err = fault.New(fault.Invalid, "there is no task %q", q.GetName())
	}
	if err != nil {
		return nil, err
	}
	return &agnesv1.JiraTaskResponse{Task: t}, nil
}

// accountPatience is how long a status waits for Jira, and accountFresh for how long its answer holds: who
// follows a task asks for the status again and again.
const (
	accountPatience = 5 * time.Second
	accountFresh    = 15 * time.Second
)

// accountState is what Jira said last of the account.
type accountState struct {
	mu            sync.Mutex
	at            time.Time
	name, problem string
}

// status tells how the site is.
func (f *feed) status(ctx context.Context, _ *agnesv1.JiraStatusRequest) (*agnesv1.JiraStatusResponse, error) {
	counts, err := f.store.Count(ctx)
	if err != nil {
		return nil, err
	}
	_, aside, err := f.store.AsideList(ctx, 0)
	if err != nil {
		return nil, err
	}
	waiting, oldest, err := f.store.CountRefetches(ctx)
	if err != nil {
		return nil, err
	}
	newest, err := f.store.Newest(ctx)
	if err != nil {
		return nil, err
	}
	out := &agnesv1.JiraStatusResponse{
		Source: f.name, Site: f.Site, Issues: counts.Issues, Deleted: counts.Deleted, Partial: counts.Partial, Open: counts.Open,
		SetAside: aside, Refetches: waiting, OldestRefetch: stamp(oldest), NewestUpdate: stamp(newest), LastWebhook: stamp(f.lastWebhook()),
		Unpublished: f.fold.behind(ctx), Tasks: f.tasks.list(), ReconcileEvery: spell(f.reconcileEvery), SlaEvery: spell(f.slaEvery),
	}
	if f.keeper != nil {
		out.AttachmentsKept, out.AttachmentQuota = true, f.keeper.quota
		if out.AttachmentFiles, out.AttachmentBytes, _, err = f.store.CountFiles(ctx); err != nil {
			return nil, err
		}
	}
	f.account(ctx, out)
	return out, nil
}

func (f *feed) account(ctx context.Context, out *agnesv1.JiraStatusResponse) {
	out.AccountConfigured = f.client != nil
	if f.client == nil {
		out.AccountProblem = "no account is configured: only what webhooks say themselves is kept"
		return
	}
	a := &f.accountIs
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := f.now(); a.at.IsZero() || now.Sub(a.at) > accountFresh {
		asking, cancel := context.WithTimeout(ctx, accountPatience)
		defer cancel()
		me, err := f.client.Myself(asking)
		if ctx.Err() != nil {
			return // whoever asked is gone: that says nothing of the account
		}
		a.at, a.name, a.problem = now, me.DisplayName, fault.Message(err)
	}
	out.AccountOk, out.AccountName, out.AccountProblem = a.problem == "", a.name, a.problem
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func spell(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// Actions on what is set aside.
const (
	actionList  = "list"
	actionShow  = "show"
	actionRetry = "retry"
	actionDrop  = "drop"

	asideDefault = 100
	asideMost    = 10_000
)

// aside lists what could not be taken in, tries it again, or drops it.
func (f *feed) aside(ctx context.Context, q *agnesv1.JiraSetAsideRequest) (*agnesv1.JiraSetAsideResponse, error) {
	out := &agnesv1.JiraSetAsideResponse{}
	var err error
	switch q.GetAction() {
	case actionShow, actionDrop:
		if q.GetNumber() == 0 {
			return nil, fault.New(fault.Invalid, "which one? give its number, as the list has it")
		}
		a, found, err := f.store.AsideBody(ctx, q.GetNumber())
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fault.New(fault.NotFound, "nothing is set aside under the number %d", q.GetNumber())
		}
		if q.GetAction() == actionShow {
			out.Items = append(out.Items, shown(a))
			break
		}
		err = f.store.Write(ctx, func(tx *store.Tx) error { _, err := tx.DropAside(ctx, a.Number); return err })
		if err != nil {
			return nil, err
		}
		out.Dropped = 1
	case actionRetry:
		if out.TakenIn, err = f.retryAside(ctx, q.GetNumber()); err != nil {
			return nil, err
		}
	case actionList, "":
	default:
		return nil, fault.New(fault.Invalid, "there is no action %q: list, show, retry, drop", q.GetAction())
	}
	limit := q.GetLimit()
	if limit <= 0 {
		limit = asideDefault
	}
	list, total, err := f.store.AsideList(ctx, int(min(limit, asideMost)))
	if err != nil {
		return nil, err
	}
	out.Total = total
	if q.GetAction() != actionShow {
		for _, a := range list {
			out.Items = append(out.Items, shown(a))
		}
	}
	return out, nil
}

func shown(a store.Aside) *agnesv1.JiraSetAside {
	return &agnesv1.JiraSetAside{
		Number: a.Number, IssueId: a.Issue, IssueKey: a.Key, Origin: a.Origin, Reason: a.Reason, At: stamp(a.At), Times: a.Times, Body: string(a.Body),
	}
}

// retryAside tries again to take in what is set aside: one, or all. What fails again stays, with the new
// reason. The answer is how many are not set aside any more.
func (f *feed) retryAside(ctx context.Context, number int64) (takenIn int64, err error) {
	list, before, err := f.store.AsideList(ctx, asideMost)
	if err != nil {
		return 0, err
	}
	found := number == 0
	for _, a := range list {
		if number != 0 && a.Number != number {
			continue
		}
		found = true
		whole, there, err := f.store.AsideBody(ctx, a.Number)
		if err != nil {
			return 0, err
		}
		if !there {
			continue
		}
		if err := f.retryOne(ctx, whole); err != nil {
			return 0, err
		}
	}
	if !found {
		return 0, fault.New(fault.NotFound, "nothing is set aside under the number %d", number)
	}
	f.fold.wake()
	_, after, err := f.store.AsideList(ctx, 0)
	return before - after, err
}

func (f *feed) retryOne(ctx context.Context, a store.Aside) error {
	ref := a.Issue
	if ref == "" {
		ref = a.Key
	}
	if f.client != nil && isRef(ref) {
		return f.store.Write(ctx, func(tx *store.Tx) error {
			if err := tx.Refetch(ctx, store.Refetch{Ref: ref, Since: f.now(), Reason: "it was set aside: " + a.Reason}, f.now(), false); err != nil {
				return err
			}
			_, err := tx.DropAside(ctx, a.Number)
			return err
		})
	}
	doc, err := cloud.Assemble(json.RawMessage(a.Body), a.At)
	if err != nil {
		return nil //nolint:nilerr // it stays set aside, for the reason that it has
	}
	return f.store.Write(ctx, func(tx *store.Tx) error { return f.merge(ctx, tx, incoming{doc: doc}) })
}

// listFields lists the fields of the site with proposals for the field map.
func (f *feed) listFields(ctx context.Context, _ *agnesv1.JiraFieldsRequest) (*agnesv1.JiraFieldsResponse, error) {
	if f.client == nil {
		_, err := f.ask()
		return nil, err
	}
	fields, err := f.client.Fields(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the fields of the site cannot be read")
	}
	proposals, err := rows.DiscoverFields(raw, f.fields)
	if err != nil {
		return nil, err
	}
	out := &agnesv1.JiraFieldsResponse{}
	entries := slices.Clone(f.Fields) // the proposal is what stands and what is not mapped yet
	if len(entries) == 0 {
		entries = []rows.Field{{Use: rows.UseReference}}
	}
	for _, p := range proposals {
		out.Fields = append(out.Fields, &agnesv1.JiraField{
			Id: p.ID, Name: p.Title, Custom: true, Type: p.Type, Column: p.Name, Kind: string(p.Kind), Mapped: p.Mapped,
		})
		if !p.Mapped {
			entries = append(entries, p.Field)
		}
	}
	text, err := yaml.Marshal(map[string]any{"fields": entries})
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the proposal cannot be written")
	}
	out.Yaml = string(text)
	return out, nil
}

// isRef tells whether a word is the number or the key of an issue.
func isRef(ref string) bool { return jira.ValidID(ref) || jira.ValidIssueKey(ref) }
