package cloud_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestConfigurationsAreChecked(t *testing.T) {
	t.Parallel()
	good := cloud.Config{Site: "https://your.atlassian.net", Email: "ann@example.com", Token: "token"}
	for name, c := range map[string]struct {
		change func(*cloud.Config)
		word   string // empty: it is right
	}{
		"as it should be":      {func(*cloud.Config) {}, ""},
		"a host alone":         {func(c *cloud.Config) { c.Site = "your.atlassian.net" }, ""},
		"a slash at the end":   {func(c *cloud.Config) { c.Site = "https://your.atlassian.net/" }, ""},
		"loopback":             {func(c *cloud.Config) { c.Site = "http://127.0.0.1:8080" }, ""},
		"no site":              {func(c *cloud.Config) { c.Site = "" }, "JIRA_DOMAIN"},
		"plain HTTP":           {func(c *cloud.Config) { c.Site = "http://your.atlassian.net" }, "https://"},
		"a path":               {func(c *cloud.Config) { c.Site = "https://your.atlassian.net/jira" }, "host alone"},
		"a password in it":     {func(c *cloud.Config) { c.Site = "https://ann:secret@your.atlassian.net" }, "host alone"},
		"a query":              {func(c *cloud.Config) { c.Site = "https://your.atlassian.net?x=1" }, "host alone"},
		"another scheme":       {func(c *cloud.Config) { c.Site = "file:///etc/passwd" }, "host alone"},
		"no account":           {func(c *cloud.Config) { c.Token = "" }, "JIRA_API_TOKEN"},
		"half a second one":    {func(c *cloud.Config) { c.SLA.Email = "sla@example.com" }, "second account"},
		"no cloud id for it":   {func(c *cloud.Config) { c.SLA = cloud.Account{Email: "x", Token: "y"} }, "tenant_info"},
		"a cloud id of a path": {func(c *cloud.Config) { c.SLA, c.CloudID = cloud.Account{Email: "x", Token: "y"}, "../x" }, "cloud id"},
	} {
		cfg := good
		c.change(&cfg)
		client, err := cloud.New(cfg)
		if c.word == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			client.Close()
			continue
		}
		wantKind(t, err, fault.Invalid)
		if err != nil && (!strings.Contains(fault.Message(err), c.word) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFieldsAndTheSiteTellAboutThemselves(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	fields, err := c.Fields(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(fields, func(f cloud.Field) bool { return f.ID == "customfield_10161" })
	if k < 0 || !fields[k].Custom || fields[k].Name != "Time to resolution" || fields[k].Schema.Custom != "com.atlassian.servicedesk:sd-sla-field" || fields[k].Schema.CustomID != 10161 {
		t.Errorf("%+v", fields)
	}
	me, err := c.Myself(t.Context())
	if err != nil || me.Email != jiratest.DefaultEmail || me.TimeZone != "UTC" {
		t.Errorf("%+v, %v", me, err)
	}
	info, err := c.ServerInfo(t.Context())
	if err != nil || info.Deployment != "Cloud" || info.BaseURL != s.URL || c.Site() != s.URL {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestTrap_O8_NoErrorHasASecret(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, retries(1))
	key := s.Create("SUP", nil)
	id := s.Attach(key, "x", "text/plain", []byte("x"))
	for _, f := range []jiratest.Fault{
		{Status: 400, Body: `{"errorMessages":["what is ` + jiratest.DefaultToken + `?"],"errors":{"x":"` + jiratest.DefaultToken + `"}}`},
		{Status: 403, Body: `{"message":"` + jiratest.DefaultToken + `"}`},
		{Status: 302, Location: "https://evil.example.com/" + jiratest.DefaultToken + "?token=" + jiratest.DefaultToken},
		{Refuse: true}, {Body: jiratest.DefaultToken},
	} {
		s.Mend()
		s.Fail(f)
		_, err := c.Fetch(t.Context(), key)
		if err == nil {
			t.Errorf("%+v is no error", f)
		}
		wantKind(t, err, fault.KindOf(err))
	}
	s.Mend()
	s.Fail(jiratest.Fault{Route: jiratest.RouteMedia, Refuse: true})
	_, err := c.Attachment(t.Context(), fmt.Sprint(id))
	wantKind(t, err, fault.Unavailable)
	s.Close()
	_, err = c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Unavailable)
}

func TestAnAttachmentStreamsFromTheMediaHostWithoutOurCredentials(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	content := strings.Repeat("content of an attachment\n", 100_000)
	id := s.Attach(s.Create("SUP", nil), "x.txt", "text/plain", []byte(content))
	a, err := c.Attachment(t.Context(), fmt.Sprint(id))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if got, err := io.ReadAll(a.Body); err != nil || string(got) != content || a.Size != int64(len(content)) || a.Type != "text/plain" {
		t.Errorf("%d bytes of %d, %s: %v", len(got), a.Size, a.Type, err)
	}
	for _, r := range s.Requests(jiratest.RouteMedia) {
		if r.Authorized {
			t.Error("the media host got our credentials")
		}
	}
	_, err = c.Attachment(t.Context(), "424242")
	wantKind(t, err, fault.NotFound)
}

func TestAnAttachmentThatBreaksOffSaysSo(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, retries(1), func(c *cloud.Config) { c.CallTimeout = 300 * time.Millisecond })
	id := fmt.Sprint(s.Attach(s.Create("SUP", nil), "x.txt", "text/plain", []byte(strings.Repeat("x", 1<<20))))
	s.Fail(jiratest.Fault{Route: jiratest.RouteMedia, Times: 1, Cut: 1000})
	a, err := c.Attachment(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(a.Body)
	wantKind(t, err, fault.Unavailable)
	a.Body.Close()
	s.Fail(jiratest.Fault{Route: jiratest.RouteMedia, Delay: time.Minute})
	_, err = c.Attachment(soon(t), id)
	wantKind(t, err, fault.Unavailable)
}

func TestTrap_J12_AnAttachmentIsFollowedToMediaHostsOnly(t *testing.T) {
	t.Parallel()
	var stolen []string
	evil := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = append(stolen, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(evil.Close)
	s, c := start(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	id := fmt.Sprint(s.Attach(key, "x.txt", "text/plain", []byte("x")))
	media := strings.TrimPrefix(s.MediaURL, "http://")
	for _, to := range []string{
		evil.URL + "/x", "//" + strings.TrimPrefix(evil.URL, "http://") + "/x", "ftp://" + media + "/x", "http://" + media + "@" + strings.TrimPrefix(evil.URL, "http://"),
		"http://user@" + media + "/x", "http://" + media + ".example.com/", "file:///etc/passwd", "", "/rest/api/3/attachment/content/" + id, s.URL + "/rest/api/3/myself",
	} {
		s.Mend()
		s.Fail(jiratest.Fault{Route: jiratest.RouteContent, Status: 303, Location: to})
		_, err := c.Attachment(t.Context(), id)
		wantKind(t, err, fault.Permanent)
	}
	// Nor does any other call follow a redirect.
	s.Mend()
	s.Fail(jiratest.Fault{Status: 307, Location: evil.URL + "/x"})
	_, err := c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Permanent)
	if !strings.Contains(fault.Message(err), strings.TrimPrefix(evil.URL, "http://")) {
		t.Errorf("it does not say where to: %s", fault.Message(err))
	}
	if len(stolen) > 0 || s.Calls()[jiratest.RouteMyself] > 0 {
		t.Errorf("another host was called: %v", stolen)
	}
}

func TestAdministratorsWebhooks(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	want := cloud.Webhook{
		Kind: cloud.AdminWebhook, Name: "Agnes", URL: "https://agnes.example.com/webhooks/jira", JQL: "project in (SUP)",
		Events: []string{jiratest.IssueUpdated, jiratest.CommentDeleted}, Secret: "s3cret",
	}
	made, err := c.CreateWebhook(t.Context(), want)
	if err != nil || made.ID == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	want.ID, want.Enabled, want.Secret = made.ID, true, "" // which nobody tells
	list, err := c.Webhooks(t.Context())
	if diff := cmp.Diff([]cloud.Webhook{want}, list); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	var signed []string
	s.Registered(func(url, secret string, d jiratest.Delivery) {
		if d.Header.Get("X-Hub-Signature") == jiratest.Sign(secret, d.Body) {
			signed = append(signed, url+" "+secret+" "+d.Event)
		}
	})
	s.Update(s.Create("SUP", nil), jiratest.Set{"summary": "x"})
	s.Update(s.Create("OPS", nil), jiratest.Set{"summary": "x"})
	if !slices.Equal(signed, []string{"https://agnes.example.com/webhooks/jira s3cret jira:issue_updated"}) {
		t.Errorf("delivered: %v", signed)
	}
	for range 2 { // what is gone is gone
		if err := c.DeleteWebhook(t.Context(), made); err != nil {
			t.Error(err)
		}
	}
	if list, err := c.Webhooks(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	s.Fail(jiratest.Fault{Route: jiratest.RouteAdminWebhooks, Status: 403})
	_, err = c.CreateWebhook(t.Context(), want)
	wantKind(t, err, fault.Forbidden)
	if !strings.Contains(fault.Message(err), "Administer Jira") {
		t.Errorf("it does not say what to do: %s", fault.Message(err))
	}
}

func TestAWebhookIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	w := cloud.Webhook{Kind: cloud.AdminWebhook, Name: "Agnes", URL: "https://agnes.example.com", Events: []string{jiratest.IssueUpdated}}
	// Its answer is cut: whether Jira made it is not known.
	s.Fail(jiratest.Fault{Route: jiratest.RouteAdminWebhooks, Times: 1, Cut: 5})
	_, err := c.CreateWebhook(t.Context(), w)
	wantKind(t, err, fault.Unavailable)
	if list, err := c.Webhooks(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	// One that was turned away is sent again.
	s.Fail(jiratest.Fault{Route: jiratest.RouteAdminWebhooks, Times: 1, Status: 429, RetryAfter: time.Second})
	if _, err := c.CreateWebhook(soon(t), w); err != nil {
		t.Error(err)
	}
	if list, err := c.Webhooks(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestDynamicWebhooksAreRefreshed(t *testing.T) {
	t.Parallel()
	s, plain := start(t, jiratest.Config{})
	w := cloud.Webhook{Kind: cloud.DynamicWebhook, URL: "https://agnes.example.com/webhooks/jira", JQL: "project = SUP", Events: []string{jiratest.IssueUpdated}}
	_, err := plain.CreateWebhook(t.Context(), w)
	wantKind(t, err, fault.Forbidden)
	if !strings.Contains(fault.Message(err), "admin") {
		t.Errorf("it does not say what to do: %s", fault.Message(err))
	}
	c := client(t, s, func(c *cloud.Config) {
		c.AppToken = func(context.Context) (string, error) { return jiratest.DefaultAppToken, nil }
	})
	made, err := c.CreateWebhook(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.CreateWebhook(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	s.Advance(25 * 24 * time.Hour)
	until, err := c.RefreshWebhooks(t.Context(), []string{made.ID})
	if err != nil || !until.Equal(s.Now().Add(30*24*time.Hour)) {
		t.Errorf("until %v, %v", until, err)
	}
	s.Advance(10 * 24 * time.Hour)
	list, err := c.Webhooks(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != made.ID || !list[0].Expires.Equal(until) || list[0].Kind != cloud.DynamicWebhook || list[0].JQL != w.JQL {
		t.Errorf("%+v, %v; %s has expired", list, err, other.ID)
	}
	s.Keep()
	s.Create("SUP", nil)
	s.FailWebhook(w.URL, s.Deliveries()[0])
	failed, err := c.FailedWebhooks(t.Context(), time.Time{})
	if err != nil || len(failed) != 1 || failed[0].URL != w.URL || len(failed[0].Body) == 0 {
		t.Errorf("%+v, %v", failed, err)
	}
	if failed, err := c.FailedWebhooks(t.Context(), s.Now()); err != nil || len(failed) > 0 {
		t.Errorf("%+v, %v", failed, err)
	}
	if err := c.DeleteWebhook(t.Context(), list[0]); err != nil {
		t.Error(err)
	}
	w.JQL = ""
	_, err = c.CreateWebhook(t.Context(), w)
	wantKind(t, err, fault.Invalid)
}
