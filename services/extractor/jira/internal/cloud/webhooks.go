package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
)

// WebhookKind is who registered a webhook.
type WebhookKind string

// The kinds of webhooks. Those of administrators are made by an account that administers Jira, live on, and
// are signed with their secret. Dynamic ones are an OAuth 2.0 app's alone (Config.AppToken), live for 30
// days unless they are refreshed, and have no secret of their own.
const (
	AdminWebhook   WebhookKind = "admin"
	DynamicWebhook WebhookKind = "dynamic"
)

// Webhook is one that is registered, or to be.
type Webhook struct {
	Kind WebhookKind
	// ID is Jira's; empty for one to be made.
	ID   string
	Name string // of those of administrators
	URL  string
	// JQL restricts events of issues; dynamic webhooks must have one.
	JQL     string
	Events  []string
	Enabled bool
	// Expires is zero for one that does not.
	Expires time.Time
	// Secret signs the deliveries of an administrator's webhook. Jira never tells it.
	Secret string
}

// adminHook is a webhook as the older API has it.
type adminHook struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	Events  []string          `json:"events"`
	Filters map[string]string `json:"filters"`
	Enabled *bool             `json:"enabled,omitempty"`
	Secret  string            `json:"secret,omitempty"`
	Self    string            `json:"self,omitempty"`
}

const filterOfIssues = "issue-related-events-section"

// Webhooks lists the webhooks of administrators, and those of the app where there is one.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	out, err := c.adminWebhooks(ctx)
	if err != nil || c.cfg.AppToken == nil {
		return out, err
	}
	dynamic, err := c.dynamicWebhooks(ctx)
	return append(out, dynamic...), err
}

func (c *Client) adminWebhooks(ctx context.Context) ([]Webhook, error) {
	var raw []adminHook
	err := c.do(ctx, call{route: "webhook", what: "list the webhooks", method: http.MethodGet, path: []string{"rest/webhooks/1.0/webhook"}}, &raw)
	if err != nil {
		return nil, administer(err)
	}
	out := make([]Webhook, 0, len(raw))
	for _, h := range raw {
		out = append(out, h.webhook())
	}
	return out, nil
}

func (h adminHook) webhook() Webhook {
	return Webhook{
		Kind: AdminWebhook, ID: h.Self[strings.LastIndexByte(h.Self, '/')+1:], Name: h.Name, URL: h.URL, JQL: h.Filters[filterOfIssues],
		Events: h.Events, Enabled: h.Enabled == nil || *h.Enabled,
	}
}

// administer says what the webhooks of administrators need.
func administer(err error) error {
	if !isAny(err, fault.Forbidden, fault.NotFound) {
		return err
	}
	return fault.Wrap(err, fault.Forbidden, "the account may not look after webhooks: it needs the global permission Administer Jira, or an administrator makes the webhook by hand under System, WebHooks")
}

// dynamicHook is a webhook as the newer API has it.
type dynamicHook struct {
	ID      int64           `json:"id"`
	URL     string          `json:"url"`
	JQL     string          `json:"jqlFilter"`
	Events  []string        `json:"events"`
	Expires json.RawMessage `json:"expirationDate"`
}

func (c *Client) dynamicWebhooks(ctx context.Context) ([]Webhook, error) {
	var out []Webhook
	for {
		var page struct {
			Values []dynamicHook `json:"values"`
			IsLast *bool         `json:"isLast"`
			Total  int           `json:"total"`
		}
		err := c.do(ctx, call{
			route: "webhook", what: "list the webhooks of the app", method: http.MethodGet, path: []string{"rest/api/3/webhook"}, as: asApp,
			query: url.Values{"startAt": {strconv.Itoa(len(out))}, "maxResults": {"100"}},
		}, &page)
		if err != nil {
			return out, apps(err)
		}
		for _, h := range page.Values {
			out = append(out, Webhook{
				Kind: DynamicWebhook, ID: strconv.FormatInt(h.ID, 10), URL: h.URL, JQL: h.JQL, Events: h.Events, Enabled: true, Expires: moment(h.Expires),
			})
		}
		if len(page.Values) == 0 || page.IsLast != nil && *page.IsLast || page.IsLast == nil && len(out) >= page.Total {
			return out, nil
		}
	}
}

// moment reads a time that Jira writes as milliseconds in one place and as text in another.
func moment(raw json.RawMessage) time.Time {
	var ms int64
	if json.Unmarshal(raw, &ms) == nil {
		return time.UnixMilli(ms).UTC()
	}
	t, _ := jira.ParseTime(text(raw))
	return t
}

// apps says what dynamic webhooks need.
func apps(err error) error {
	if !fault.Is(err, fault.Forbidden) {
		return err
	}
	return fault.Wrap(err, fault.Forbidden, "Jira lets only OAuth 2.0 and Connect apps have dynamic webhooks: with an API token register a webhook of the kind admin")
}

// CreateWebhook registers a webhook and gives it with its id. It is not tried again where Jira may have
// made it: list the webhooks before another try.
func (c *Client) CreateWebhook(ctx context.Context, w Webhook) (Webhook, error) {
	if w.Kind == DynamicWebhook {
		return c.createDynamic(ctx, w)
	}
	var made adminHook
	enabled := true
	err := c.do(ctx, call{
		route: "webhook", what: "register a webhook", method: http.MethodPost, path: []string{"rest/webhooks/1.0/webhook"}, once: true,
		body: adminHook{Name: w.Name, URL: w.URL, Events: w.Events, Filters: map[string]string{filterOfIssues: w.JQL}, Enabled: &enabled, Secret: w.Secret},
	}, &made)
	if err != nil {
		return w, administer(err)
	}
	out := made.webhook()
	if !jira.ValidID(out.ID) {
		return w, fault.Wrap(errNonsense, fault.Unavailable, "Jira does not tell the id of the webhook that it made")
	}
	return out, nil
}

func (c *Client) createDynamic(ctx context.Context, w Webhook) (Webhook, error) {
	type hook struct {
		JQL    string   `json:"jqlFilter"`
		Events []string `json:"events"`
	}
	var made struct {
		Results []struct {
			ID     int64    `json:"createdWebhookId"`
			Errors []string `json:"errors"`
		} `json:"webhookRegistrationResult"`
	}
	err := c.do(ctx, call{
		route: "webhook", what: "register a webhook", method: http.MethodPost, path: []string{"rest/api/3/webhook"}, as: asApp, once: true,
		body: map[string]any{"url": w.URL, "webhooks": []hook{{w.JQL, w.Events}}},
	}, &made)
	if err != nil {
		return w, apps(err)
	}
	if len(made.Results) != 1 {
		return w, fault.Wrap(errNonsense, fault.Unavailable, "Jira does not tell the id of the webhook that it made")
	}
	if r := made.Results[0]; len(r.Errors) > 0 || r.ID == 0 {
		return w, fault.New(fault.Invalid, "Jira refuses the webhook: %s", c.secrets.Replace(strings.Join(r.Errors, "; ")))
	}
	w.ID, w.Enabled = strconv.FormatInt(made.Results[0].ID, 10), true
	// Jira tells the day of its end in the list; until that is asked, what its documentation says.
	w.Expires = c.cfg.Clock.Now().UTC().AddDate(0, 0, 30)
	return w, nil
}

// RefreshWebhooks gives dynamic webhooks another 30 days, and tells until when. Jira ignores ids that it
// does not know: look whether they are still listed.
func (c *Client) RefreshWebhooks(ctx context.Context, ids []string) (time.Time, error) {
	numbers, err := numbersOf(ids)
	if err != nil {
		return time.Time{}, err
	}
	var out struct {
		Expires json.RawMessage `json:"expirationDate"`
	}
	err = c.do(ctx, call{
		route: "webhook", what: "refresh webhooks", method: http.MethodPut, path: []string{"rest/api/3/webhook/refresh"}, as: asApp,
		body: map[string]any{"webhookIds": numbers},
	}, &out)
	return moment(out.Expires), apps(err)
}

// DeleteWebhook removes a webhook. One that is not there is no error.
func (c *Client) DeleteWebhook(ctx context.Context, w Webhook) error {
	numbers, err := numbersOf([]string{w.ID})
	if err != nil {
		return err
	}
	if w.Kind == DynamicWebhook {
		return apps(c.do(ctx, call{
			route: "webhook", what: "delete a webhook", method: http.MethodDelete, path: []string{"rest/api/3/webhook"}, as: asApp,
			body: map[string]any{"webhookIds": numbers},
		}, nil))
	}
	err = c.do(ctx, call{route: "webhook", what: "delete a webhook", method: http.MethodDelete, path: []string{"rest/webhooks/1.0/webhook", w.ID}}, nil)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return administer(err)
}

func numbersOf(ids []string) ([]int64, error) {
	out := make([]int64, len(ids))
	for i, id := range ids {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || !jira.ValidID(id) {
			return nil, fault.New(fault.Invalid, "%q is not the id of a webhook", shortened(id))
		}
		out[i] = n
	}
	return out, nil
}

// FailedWebhook is a delivery that Jira gave up.
type FailedWebhook struct {
	ID   string
	URL  string
	Body []byte // empty where Jira did not keep it
	At   time.Time
}

// FailedWebhooks lists the deliveries to the app that Jira gave up after a time, oldest first; Jira keeps
// them for 72 hours.
func (c *Client) FailedWebhooks(ctx context.Context, after time.Time) ([]FailedWebhook, error) {
	var out []FailedWebhook
	for {
		var page struct {
			Values []struct {
				ID   string `json:"id"`
				URL  string `json:"url"`
				Body string `json:"body"`
				At   int64  `json:"failureTime"`
			} `json:"values"`
			Next string `json:"next"`
		}
		query := url.Values{}
		if !after.IsZero() {
			query.Set("after", strconv.FormatInt(after.UnixMilli(), 10))
		}
		err := c.do(ctx, call{
			route: "webhook", what: "list the failed webhooks", method: http.MethodGet, path: []string{"rest/api/3/webhook/failed"}, as: asApp, query: query,
		}, &page)
		if err != nil {
			return out, apps(err)
		}
		for _, f := range page.Values {
			out = append(out, FailedWebhook{ID: f.ID, URL: f.URL, Body: []byte(f.Body), At: time.UnixMilli(f.At).UTC()})
		}
		// The address of the next page is not followed: only its meaning is, the time of the last failure.
		if page.Next == "" || len(page.Values) == 0 {
			return out, nil
		}
		last := out[len(out)-1].At
		if !last.After(after) {
			return out, fault.Wrap(errors.Join(errNonsense, fmt.Errorf("the page after %s is itself", after)), fault.Unavailable, "Jira's answer cannot be read")
		}
		after = last
	}
}
