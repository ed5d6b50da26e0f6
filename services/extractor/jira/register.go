package jira

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// oauthOptions are an OAuth 2.0 app of Atlassian, which alone may have dynamic webhooks.
type oauthOptions struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	TokenURL     string `json:"token_url"`
}

// atlassianTokens is where Atlassian gives out access tokens.
const atlassianTokens = "https://auth.atlassian.com/oauth/token" //nolint:gosec // an address

// tokens gives access tokens of the app, and new ones before they end.
func (o *oauthOptions) tokens() func(ctx context.Context) (string, error) {
	if o == nil {
		return nil
	}
	app := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: cmp.Or(o.TokenURL, atlassianTokens)}
	source := oauth2.ReuseTokenSource(nil, app.TokenSource(context.Background()))
	return func(context.Context) (string, error) {
		t, err := source.Token()
		if err != nil {
			// The answer of the server may repeat what was sent: it is not shown.
			return "", fault.New(fault.Unauthenticated, "Atlassian gives the OAuth app %s no access token: check client_id and client_secret", o.ClientID)
		}
		return t.AccessToken, nil
	}
}

// hookName is what our webhooks are called in Jira.
const hookName = "Agnes"

// hookEvents are the events that the tables need.
var hookEvents = []string{
	jira.IssueCreated, jira.IssueUpdated, jira.IssueDeleted, jira.CommentCreated, jira.CommentUpdated, jira.CommentDeleted,
	jira.WorklogCreated, jira.WorklogUpdated, jira.WorklogDeleted, jira.AttachmentCreated, jira.AttachmentDeleted,
	jira.IssueLinkCreated, jira.IssueLinkDeleted, jira.SprintCreated, jira.SprintUpdated, jira.SprintStarted, jira.SprintClosed, jira.SprintDeleted,
}

// dynamicEvents are those of them that Jira has for dynamic webhooks.
var dynamicEvents = slices.DeleteFunc(slices.Clone(hookEvents), func(e string) bool {
	return strings.HasPrefix(e, "worklog_") || strings.HasPrefix(e, "attachment_")
})

// Dynamic webhooks live for 30 days: they are looked after daily, and refreshed with time to spare.
const (
	registerCursor = "registered"
	refreshEvery   = 24 * time.Hour
	refreshAhead   = 20 * 24 * time.Hour
	taskRefresh    = "refresh"
)

// registered is what was registered, so that it can be looked after.
type registered struct {
	URL  string            `json:"url"`
	Kind cloud.WebhookKind `json:"kind"`
}

// register makes Jira call us: it creates the webhook, or mends the one that is there, or takes it away.
// What is right already stays as it is.
func (f *feed) register(ctx context.Context, q *agnesv1.JiraTaskRequest) (*agnesv1.JiraTaskResponse, error) {
	client, err := f.ask()
	if err != nil {
		return nil, err
	}
	target := cmp.Or(strings.TrimSpace(q.GetUrl()), f.WebhookURL)
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	want := f.hook(target)
	all, err := client.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(slices.Clone(all), func(w cloud.Webhook) bool { return w.URL != target })
	out := &agnesv1.JiraTaskResponse{Task: &agnesv1.JiraTask{Name: taskRegister, State: stateDone, Reason: reasonRequest, StartedAt: stamp(f.now())}}
	switch {
	case q.GetDryRun():
		out.Task.Message = f.plan(want, ours, q.GetRemove())
	case q.GetRemove():
		out.Task.Message, err = f.unregister(ctx, client, ours)
	default:
		out.Task.Message, err = f.ensure(ctx, client, want, ours)
		out.Hints = f.hints(want)
	}
	if err != nil {
		return nil, err
	}
	if all, err = client.Webhooks(ctx); err != nil {
		return nil, err
	}
	for _, w := range all {
		out.Webhooks = append(out.Webhooks, &agnesv1.JiraWebhook{
			Id: w.ID, Kind: string(w.Kind), Url: w.URL, Jql: w.JQL, Events: w.Events, Enabled: w.Enabled, ExpiresAt: stamp(w.Expires),
		})
	}
	out.Task.FinishedAt = stamp(f.now())
	return out, nil
}

// checkTarget refuses an address that Jira cannot call, or should not.
func checkTarget(target string) error {
	if target == "" {
		return fault.New(fault.Invalid, "which address shall Jira call? Give it, or set webhook_url of the source: https://agnes.example.com/webhooks/jira")
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return fault.New(fault.Invalid, "%q is no address that Jira could call, such as https://agnes.example.com/webhooks/jira", target)
	}
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return fault.New(fault.Invalid, "%q is not encrypted: Jira calls addresses with https only", target)
	}
	return nil
}

// hook is the webhook that should be there.
func (f *feed) hook(target string) cloud.Webhook {
	w := cloud.Webhook{Kind: cloud.AdminWebhook, Name: hookName + " (" + f.name + ")", URL: target, Events: hookEvents, Enabled: true, Secret: f.firstSecret()}
	if f.OAuth != nil {
		w.Kind, w.Name, w.Events, w.Secret = cloud.DynamicWebhook, "", dynamicEvents, ""
	}
	if len(f.Projects) > 0 {
		w.JQL = "project in (" + strings.Join(f.Projects, ", ") + ")"
	}
	return w
}

// firstSecret is the secret that new webhooks are signed with; others may be accepted besides.
func (f *feed) firstSecret() string {
	secrets, err := jira.Secrets(f.WebhookSecret)
	if err != nil || len(secrets) == 0 {
		return ""
	}
	return secrets[0]
}

// right tells whether a webhook does what is wanted. Jira never tells its secret.
func right(w, want cloud.Webhook) bool {
	if w.Kind != want.Kind || !w.Enabled || w.JQL != want.JQL {
		return false
	}
	for _, e := range want.Events {
		if !slices.Contains(w.Events, e) {
			return false
		}
	}
	return true
}

// plan says what would be done.
func (f *feed) plan(want cloud.Webhook, ours []cloud.Webhook, remove bool) string {
	switch {
	case remove:
		return fmt.Sprintf("%d webhooks to %s would be deleted", len(ours), want.URL)
	case slices.ContainsFunc(ours, func(w cloud.Webhook) bool { return right(w, want) }):
		return "the webhook is there already, with all events"
	case len(ours) > 0:
		return "the webhook is there, but not as it should be: it would be made anew"
	}
	return fmt.Sprintf("a webhook of the kind %s to %s would be made", want.Kind, want.URL)
}

func (f *feed) unregister(ctx context.Context, client *cloud.Client, ours []cloud.Webhook) (string, error) {
	for _, w := range ours {
		if err := client.DeleteWebhook(ctx, w); err != nil {
			return "", err
		}
	}
	err := f.store.Write(ctx, func(tx *store.Tx) error { return tx.SetCursor(ctx, registerCursor, "") })
	return fmt.Sprintf("%d webhooks were deleted", len(ours)), err
}

// ensure makes the webhook where there is no right one. The new one is there before an old one goes, so
// that no event falls between them: what comes twice is taken in once.
func (f *feed) ensure(ctx context.Context, client *cloud.Client, want cloud.Webhook, ours []cloud.Webhook) (string, error) {
	if want.Kind == cloud.AdminWebhook && want.Secret == "" {
		return "", fault.New(fault.Invalid, "the source %s has no webhook_secret: set one (JIRA_WEBHOOK_SECRET), for without it no webhook is accepted", f.name)
	}
	if want.Kind == cloud.DynamicWebhook && want.JQL == "" {
		return "", fault.New(fault.Invalid, "Jira wants a filter for the webhook of an app: name the projects of the source %s", f.name)
	}
	at := slices.IndexFunc(ours, func(w cloud.Webhook) bool { return right(w, want) })
	message := "the webhook was there already, with all events"
	var keep string
	if at >= 0 {
		keep = ours[at].ID
	} else {
		made, err := client.CreateWebhook(ctx, want)
		if err != nil {
			return "", err
		}
		keep, message = made.ID, "the webhook was made"
	}
	for _, w := range ours {
		if w.ID == keep && w.Kind == want.Kind {
			continue
		}
		if err := client.DeleteWebhook(ctx, w); err != nil {
			return "", err
		}
		message += ", and one that was not right deleted"
	}
	return message, f.store.Write(ctx, func(tx *store.Tx) error {
		return saveCursor(ctx, tx, registerCursor, registered{URL: want.URL, Kind: want.Kind})
	})
}

// hints are what only the operator can do.
func (f *feed) hints(want cloud.Webhook) []string {
	var out []string
	if want.Kind == cloud.DynamicWebhook {
		out = append(out,
			"Webhooks of an app are signed with the secret of the app: set it as webhook_secret of the source.",
			"Jira has no events of worklogs and attachments for webhooks of an app: they come with the next change of the issue, or by reconciliation.")
	}
	if len(f.Projects) == 0 {
		out = append(out, "No projects are configured, so that the events of all projects are sent.")
	}
	return append(out, "What happened before now comes by a backfill: da admin jira backfill")
}

// lookAfterWebhooks refreshes dynamic webhooks that would end, and makes one anew that is gone.
func (f *feed) lookAfterWebhooks(ctx context.Context) error {
	var r registered
	found, err := f.loadCursor(ctx, registerCursor, &r)
	if err != nil || !found || r.Kind != cloud.DynamicWebhook || f.OAuth == nil {
		return err
	}
	client, err := f.ask()
	if err != nil {
		return err
	}
	all, err := client.Webhooks(ctx)
	if err != nil {
		return err
	}
	var ending []string
	there := false
	for _, w := range all {
		if w.URL != r.URL || w.Kind != cloud.DynamicWebhook {
			continue
		}
		there = true
		if w.Expires.IsZero() || w.Expires.Before(f.now().Add(refreshAhead)) {
			ending = append(ending, w.ID)
		}
	}
	if !there {
		zerolog.Ctx(ctx).Warn().Str("url", r.URL).Msg("the webhook is gone from Jira: it is made anew, and what was missed comes by reconciliation")
		if _, err := client.CreateWebhook(ctx, f.hook(r.URL)); err != nil {
			return err
		}
	}
	if len(ending) > 0 {
		until, err := client.RefreshWebhooks(ctx, ending)
		if err != nil {
			return err
		}
		zerolog.Ctx(ctx).Info().Time("until", until).Int("webhooks", len(ending)).Msg("webhooks were refreshed")
	}
	return f.succeeded(ctx, taskRefresh)
}
