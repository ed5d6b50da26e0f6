package jirawebhook

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
)

func TestAWebhookIsStoredAsItCame(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	spaced := "\n " + updated + "\r\n"
	before := time.Now()
	for n, headers := range [][]string{
		{signature(secret, spaced)},
		{jira.HeaderSignature256 + ": " + jira.Sign([]byte(secret), []byte(spaced))},
		{jira.HeaderSignature + ": " + strings.TrimPrefix(jira.Sign([]byte(secret), []byte(spaced)), "sha256=")},
		{"X-Hub-Signature: nonsense", jira.HeaderSignature256 + ": " + jira.Sign([]byte(secret), []byte(spaced))},
	} {
		got := h.post(pathWebhook, spaced, append(headers, fmt.Sprint(jira.HeaderIdentifier, ": id-", n), "X-Atlassian-Webhook-Flow: Primary", "X-Atlassian-Webhook-Retry: 1",
			"Authorization: Bearer x", "Cookie: a=b", "User-Agent: Atlassian \xe9")...)
		if got.status != http.StatusOK || got.body != `{"status":"ok","event":"jira:issue_updated","issue":"SUP-7"}` || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v: %s %v", headers, got, got.header)
		}
	}
	all := stored(t, h.bus)
	if len(all) != 4 {
		t.Fatalf("%d webhooks in the stream", len(all))
	}
	for n, e := range all {
		if string(e.Payload.GetBody()) != spaced || e.Source != "jira" || e.Origin != "test" && e.Origin != name || e.Payload.GetReceivedAt().AsTime().Before(before.Add(-time.Second)) {
			t.Errorf("%+v", e)
		}
		want := map[string]string{
			"x-atlassian-webhook-identifier": fmt.Sprint("id-", n), "x-atlassian-webhook-flow": "Primary", "x-atlassian-webhook-retry": "1",
			"content-type": "application/json", "user-agent": "Atlassian ?",
		}
		if diff := cmp.Diff(want, e.Payload.GetHeaders()); diff != "" {
			t.Errorf("headers:\n%s", diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"jira/stored": 4}, h.counted()); diff != "" {
		t.Error(diff)
	}
}

func TestTrap_J11_WithoutASecretNothingIsAccepted(t *testing.T) {
	t.Parallel()
	for name, instance := range map[string]string{
		"no source":    "instance: {name: x}",
		"no secret":    "sources: [{name: jira, type: jira, site: https://example.atlassian.net}]",
		"an empty one": "sources: [{name: jira, type: jira, webhook_secret: ''}]",
		"a list of it": "sources: [{name: jira, type: jira, webhook_secret: ['', ' ', null]}]",
		"an unset one": "sources: [{name: jira, type: jira, webhook_secret: '${AGNES_TEST_NOBODY_SETS_THIS}'}]",
		"a number":     "sources: [{name: jira, type: jira, webhook_secret: 12345678901234567}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, instance)
			for _, got := range []answer{
				h.send(updated), h.post(pathWebhook, updated), h.post(pathWebhook, updated, signature("", updated)),
				h.post(pathWebhook+"/jira", updated, signature(secret, updated)), h.post(pathWebhook, ""),
			} {
				if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || strings.Contains(got.body, "example") {
					t.Errorf("%s %v", got, got.header)
				}
			}
			if all := stored(t, h.bus); len(all) != 0 {
				t.Errorf("%d webhooks in the stream", len(all))
			}
			if n := strings.Count(h.log.String(), secret); n > 0 {
				t.Errorf("O8: the secret is in the log:\n%s", h.log)
			}
		})
	}
}

func TestASourceThatIsNotConfiguredCorrectlyLosesNothing(t *testing.T) {
	t.Parallel()
	for _, projects := range []string{"['../x']", "[1]", "SUP", "{SUP: 1}"} {
		h := start(t, "sources: [{name: jira, type: jira, webhook_secret: '"+secret+"', projects: "+projects+"}, {name: us, type: jira, webhook_secret: 'the secret of the us site'}]")
		if got := h.send(updated); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", projects, got)
		}
		if got := h.post(pathWebhook, updated); got.status != http.StatusUnauthorized {
			t.Errorf("%s, unsigned: %s", projects, got)
		}
		if got := h.post(pathWebhook, updated, signature("the secret of the us site", updated)); got.status != http.StatusOK {
			t.Errorf("another source beside %s: %s", projects, got)
		}
		if all := stored(t, h.bus); len(all) != 1 || !strings.Contains(h.log.String(), "not configured correctly") {
			t.Errorf("%s: %d webhooks in the stream", projects, len(all))
		}
	}
}

func TestTrap_J11_UnsignedWebhooksNeedASwitchAndAreLoud(t *testing.T) {
	t.Parallel()
	h := start(t, "sources: [{name: jira, type: jira}]", func(c *Config) { c.AllowUnsigned = true })
	if got := h.post(pathWebhook, updated); got.status != http.StatusOK {
		t.Error(got)
	}
	if got := h.post(pathWebhook+"/jira", body(jira.IssueCreated, "SUP-8", 1), signature("whatever", "")); got.status != http.StatusOK {
		t.Error(got)
	}
	if len(stored(t, h.bus)) != 2 || !strings.Contains(h.log.String(), "AGNES_JIRA_ALLOW_UNSIGNED") || strings.Count(h.log.String(), "AN UNSIGNED WEBHOOK WAS ACCEPTED") != 2 {
		t.Errorf("%d stored; the log:\n%s", len(stored(t, h.bus)), h.log)
	}
	// A source that has a secret is not opened by the switch.
	h = start(t, "sources: [{name: dev, type: jira}, {name: jira, type: jira, webhook_secret: '"+secret+"'}]", func(c *Config) { c.AllowUnsigned = true })
	if got := h.post(pathWebhook+"/jira", updated); got.status != http.StatusUnauthorized {
		t.Error(got)
	}
	if got := h.send(updated); got.status != http.StatusOK {
		t.Error(got)
	}
	if all := stored(t, h.bus); len(all) != 1 || all[0].Source != "jira" {
		t.Errorf("%+v", all)
	}
}

func TestWrongSignaturesAreRefused(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.Refusals = ratelimit.Rate{} })
	for name, headers := range map[string][]string{
		"none":             nil,
		"empty":            {"X-Hub-Signature: "},
		"another secret":   {signature("another", updated)},
		"another body":     {signature(secret, updated+" ")},
		"the empty secret": {signature("", updated)},
		"another kind":     {"X-Hub-Signature: sha1=da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		"the secret":       {"X-Hub-Signature: " + secret},
		"not ASCII":        {"X-Hub-Signature: sha256=\xc3\xa9\xff"},
		"long":             {"X-Hub-Signature: " + strings.Repeat("a", 10_000)},
		"in the query":     {"Authorization: " + secret},
	} {
		for _, path := range []string{pathWebhook, pathWebhook + "/jira", pathWebhook + "/nobody", pathWebhook + "/..%2f", pathWebhook + "/jira?secret=" + url.QueryEscape(secret)} {
			got := h.post(path, updated, headers...)
			if got.status != http.StatusUnauthorized || got.body != `{"detail":"Invalid signature"}` {
				t.Errorf("%s at %s: %s", name, path, got)
			}
		}
	}
	if got := h.post(pathWebhook+"/nobody", updated, signature(secret, updated)); got.status != http.StatusUnauthorized {
		t.Errorf("a source that does not exist: %s", got)
	}
	if all := stored(t, h.bus); len(all) != 0 {
		t.Errorf("%d webhooks in the stream", len(all))
	}
	if strings.Contains(h.log.String(), secret) {
		t.Errorf("O8: the secret is in the log:\n%s", h.log)
	}
}

func TestTrap_O6_FloodsOfWrongSignaturesAreLimitedPerAddress(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) {
		c.Refusals, c.Proxies = ratelimit.Rate{Count: 3, Per: time.Hour}, []string{"127.0.0.0/8"}
	})
	records := eventtest.Collect(t, h.bus, event.AuditRecorded)
	statuses := func(address string) (got []int) {
		for range 5 {
			got = append(got, h.post(pathWebhook, updated, signature("wrong", updated), "X-Forwarded-For: "+address).status)
		}
		return got
	}
	if got := fmt.Sprint(statuses("192.0.2.1")); got != "[401 401 401 429 429]" {
		t.Error(got)
	}
	if got := h.post(pathWebhook, updated, signature("wrong", updated), "X-Forwarded-For: 192.0.2.1"); got.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", got, got.header)
	}
	if got := fmt.Sprint(statuses("192.0.2.2")); got != "[401 401 401 429 429]" {
		t.Errorf("another address: %s", got)
	}
	if got := h.send(updated, "X-Forwarded-For: 192.0.2.1"); got.status != http.StatusOK {
		t.Errorf("what Jira sends from the same address: %s", got)
	}
	first := records.Next()
	m := first.Payload
	if m.GetAction() != "webhook.refused" || m.GetResult() != "refused" || m.GetService() != name || m.GetRemoteAddress() != "192.0.2.1" ||
		m.GetResource() != "webhooks:jira" || m.GetParams().AsMap()["error"] != "unauthenticated" {
		t.Errorf("%v", m)
	}
	want := map[string]int{"/bad_signature": 6, "/limited": 5, "jira/stored": 1}
	if diff := cmp.Diff(want, h.counted()); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(h.log.String(), "a webhook was refused"); n != 6 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestTrap_O6_TheAddressIsNotWhatAStrangerWrites(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.Refusals = ratelimit.Rate{Count: 3, Per: time.Hour} })
	var got []int
	for n := range 5 {
		got = append(got, h.post(pathWebhook, updated, fmt.Sprint("X-Forwarded-For: 192.0.2.", n)).status)
	}
	if fmt.Sprint(got) != "[401 401 401 429 429]" {
		t.Error(got)
	}
}

func TestTrap_J12_WhatIsNoWebhookIsRefusedForGood(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	for sent, want := range map[string]string{
		"": "empty", " ": "empty", "null": "object", "[]": "object", "{}": "nothing", "{": "not JSON", "\xff": "not JSON", updated + "x": "not JSON",
		`{"webhookEvent":"jira:issue_updated"}`:                                                                 "no issue",
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","key":"../../etc/passwd"}}`:                     "grammar",
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"x?a=b","key":"SUP-1"}}`:                            "id",
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","fields":{"project":{"key":"not a project"}}}}`: "grammar",
	} {
		got := h.send(sent)
		var problem struct{ Detail string }
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.status != http.StatusBadRequest || !strings.Contains(problem.Detail, want) || got.header.Get("Retry-After") != "" {
			t.Errorf("%.60q: %s %v", sent, got, err)
		}
	}
	if all := stored(t, h.bus); len(all) != 0 {
		t.Errorf("%d webhooks in the stream", len(all))
	}
}

func TestTrap_J10_EventsWithoutAnIssueAreStored(t *testing.T) {
	t.Parallel()
	h := start(t, "sources: [{name: jira, type: jira, webhook_secret: '"+secret+"', projects: [SUP]}]")
	sent := []string{
		`{"webhookEvent":"attachment_created","attachment":{"id":"30"}}`,
		`{"webhookEvent":"attachment_deleted","attachment":{"id":"30"}}`,
		`{"webhookEvent":"issuelink_created","issueLink":{"id":50,"sourceIssueId":10100,"destinationIssueId":10101}}`,
		`{"webhookEvent":"worklog_deleted","worklog":{"id":"40","issueId":"10100"}}`,
		`{"webhookEvent":"comment_deleted","comment":{"id":"20","self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"}}`,
		`{"webhookEvent":"sprint_started","sprint":{"id":4}}`,
	}
	for _, one := range sent {
		var e struct {
			Name string `json:"webhookEvent"`
		}
		if err := json.Unmarshal([]byte(one), &e); err != nil {
			t.Fatal(err)
		}
		if got := h.send(one); got.String() != `200 {"status":"ok","event":"`+e.Name+`","issue":null}` {
			t.Errorf("%s: %s", one, got)
		}
	}
	all := stored(t, h.bus)
	for n, e := range all {
		if string(e.Payload.GetBody()) != sent[n] {
			t.Errorf("%d is %s", n, e.Payload.GetBody())
		}
	}
	if len(all) != len(sent) {
		t.Errorf("%d webhooks in the stream", len(all))
	}
}

func TestWhatConcernsNoTableIsAnsweredAndNotStored(t *testing.T) {
	t.Parallel()
	h := start(t, "sources: [{name: jira, type: jira, webhook_secret: '"+secret+"', projects: [SUP, OPS]}]")
	for _, sent := range []string{
		`{"webhookEvent":"project_created","project":{"key":"SUP"}}`, `{"webhookEvent":"something_new","issue":{"key":"SUP-1"}}`,
		body(jira.IssueUpdated, "HR-1", 1), body(jira.IssueDeleted, "SUPPORT-1", 2),
		`{"webhookEvent":"comment_created","comment":{"id":"1"},"issue":{"id":"5","key":"HR-2"}}`,
	} {
		if got := h.send(sent); got.status != http.StatusOK || !strings.Contains(got.body, `"status":"ok"`) {
			t.Errorf("%s: %s", sent, got)
		}
	}
	// A link concerns both of its ends.
	link := `{"webhookEvent":"issuelink_created","issueLink":{"id":"50","outwardIssue":{"id":"1","key":"HR-1"},"inwardIssue":{"id":"2","key":%q}}}`
	if got := h.send(fmt.Sprintf(link, "HR-2")); got.status != http.StatusOK || len(stored(t, h.bus)) != 0 {
		t.Errorf("%s, %d stored", got, len(stored(t, h.bus)))
	}
	if got := h.send(fmt.Sprintf(link, "SUP-2")); got.status != http.StatusOK || len(stored(t, h.bus)) != 1 {
		t.Errorf("%s, %d stored", got, len(stored(t, h.bus)))
	}
	moved := `{"webhookEvent":"jira:issue_updated","issue":{"id":"5","key":"HR-2"},"changelog":{"items":[{"field":"Key","fromString":"OPS-1","toString":"HR-2"}]}}`
	for _, sent := range []string{moved, body(jira.IssueUpdated, "OPS-9", 3)} {
		if got := h.send(sent); got.status != http.StatusOK {
			t.Errorf("%s: %s", sent, got)
		}
	}
	if all := stored(t, h.bus); len(all) != 3 || string(all[1].Payload.GetBody()) != moved {
		t.Errorf("%d webhooks in the stream: %v", len(all), all)
	}
	if diff := cmp.Diff(map[string]int{"jira/stored": 3, "jira/ignored": 2, "jira/filtered": 4}, h.counted()); diff != "" {
		t.Error(diff)
	}
}

func TestLongBodiesAreRefusedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.MaxBodyKB = 1024 })
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(eventtest.Patience))
	// Not a byte of the body follows, and the answer comes all the same.
	_, _ = io.WriteString(conn, "POST /webhooks/jira HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n"+signature(secret, "")+"\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge || !response.Close {
		t.Fatalf("%+v %v", response, err)
	}
	_ = response.Body.Close()

	padded := func(n int) string { return updated + strings.Repeat(" ", n-len(updated)) }
	if got := h.send(padded(1 << 20)); got.status != http.StatusOK {
		t.Errorf("as long as allowed: %s", got)
	}
	long := padded(1<<20 + 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+pathWebhook, io.MultiReader(strings.NewReader(long))) // its length is not announced
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(jira.HeaderSignature, jira.Sign([]byte(secret), []byte(long)))
	if got := h.do(request); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("in pieces: %s", got)
	}
	if all := stored(t, h.bus); len(all) != 1 || string(all[0].Payload.GetBody()) != padded(1<<20) {
		t.Errorf("%d webhooks in the stream", len(all))
	}
}

func TestTheLongestWebhookFitsThroughTheBus(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.MaxBodyKB, c.Patience = maxBodyKB, time.Minute })
	// Text that can hardly be compressed, as that of a file in a field.
	noise := make([]byte, maxBodyKB<<10/4*3-200)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	var b strings.Builder
	b.WriteString(`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","key":"SUP-1","fields":{"description":"`)
	b.WriteString(base64.StdEncoding.EncodeToString(noise))
	b.WriteString(`"}}}`)
	if got := h.send(b.String()); got.status != http.StatusOK {
		t.Fatal(got)
	}
	if all := stored(t, h.bus); len(all) != 1 || string(all[0].Payload.GetBody()) != b.String() {
		t.Errorf("%d webhooks in the stream", len(all))
	}
}

func TestSeveralSources(t *testing.T) {
	t.Parallel()
	h := start(t, `sources:
  - {name: eu, type: jira, webhook_secret: "the secret of the eu site"}
  - {name: us, type: jira, webhook_secret: ["the secret of the us site", "its earlier secret, of 30 bytes"]}
  - {name: one, type: jira, webhook_secret: "the secret of two sites.."}
  - {name: two, type: jira, webhook_secret: "the secret of two sites.."}
  - {name: mute, type: jira}
  - {name: shop, type: csv, path: .}`)
	for n, c := range []struct {
		path, secret string
		status       int
		source       string
	}{
		{"", "the secret of the eu site", 200, "eu"},
		{"", "the secret of the us site", 200, "us"},
		{"", "its earlier secret, of 30 bytes", 200, "us"},
		{"/us", "its earlier secret, of 30 bytes", 200, "us"},
		{"/eu", "the secret of the eu site", 200, "eu"},
		{"/eu", "the secret of the us site", 401, ""},
		{"", "the secret of two sites..", 503, ""},
		{"/two", "the secret of two sites..", 200, "two"},
		{"/one", "the secret of two sites..", 200, "one"},
		{"/mute", "the secret of the eu site", 503, ""},
		{"/shop", "the secret of the eu site", 401, ""},
		{"/EU", "the secret of the eu site", 401, ""},
		{"", "no secret of any of the sites", 401, ""},
		{"/", "the secret of the eu site", 404, ""},
	} {
		sent := body(jira.IssueUpdated, "SUP-7", n)
		before := len(stored(t, h.bus))
		got := h.post(pathWebhook+c.path, sent, signature(c.secret, sent))
		all := stored(t, h.bus)[before:]
		if got.status != c.status || (len(all) > 0) != (c.source != "") || len(all) == 1 && all[0].Source != c.source {
			t.Errorf("%q with %q: %s, stored %v", c.path, c.secret, got, all)
		}
	}
	if got, err := h.config.Metrics.Gather(); err != nil || !strings.Contains(fmt.Sprint(got), "previous_secret") {
		t.Error("which secret is still in use is not shown")
	}
	for _, want := range []string{"two sources have one webhook_secret", "the source has no webhook_secret"} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

func TestDuplicatesAreAnsweredAndStoredOnce(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	identified := jira.HeaderIdentifier + ": 1ba8ab8a-3c0d-4b5c-9b0a-5d1f0c1d2e3f"
	for range 3 {
		if got := h.send(updated, identified); got.String() != `200 {"status":"ok","event":"jira:issue_updated","issue":"SUP-7"}` {
			t.Error(got)
		}
	}
	// The same identifier for something else is no duplicate.
	for _, sent := range []string{body(jira.IssueUpdated, "SUP-8", 1), body(jira.IssueDeleted, "SUP-7", 100), `{"webhookEvent":"comment_created","comment":{"id":"1"}}`, `{"webhookEvent":"comment_created","comment":{"id":"2"}}`} {
		if got := h.send(sent, identified); got.status != http.StatusOK {
			t.Error(got)
		}
	}
	if n := len(stored(t, h.bus)); n != 5 {
		t.Errorf("%d webhooks in the stream", n)
	}
	// Without an identifier the body is what is recognized, where it says when it was sent.
	timeless := `{"issue":{"id":"10100","key":"SUP-7"}}`
	for _, sent := range []string{updated, updated, timeless, timeless} {
		if got := h.send(sent); got.status != http.StatusOK {
			t.Error(got)
		}
	}
	if n := len(stored(t, h.bus)); n != 8 {
		t.Errorf("%d webhooks in the stream", n)
	}
	// Identifiers of any kind do no harm.
	for _, id := range []string{strings.Repeat("x", 10_000), "\xff\xfe", "a b", "=?utf-8?q?=", "../..", "é"} {
		for range 2 {
			if got := h.send(updated, jira.HeaderIdentifier+": "+id); got.status != http.StatusOK {
				t.Errorf("%.20q: %s", id, got)
			}
		}
	}
	if n := len(stored(t, h.bus)); n != 14 {
		t.Errorf("%d webhooks in the stream", n)
	}
	if diff := cmp.Diff(map[string]int{"jira/stored": 14, "jira/duplicate": 9}, h.counted()); diff != "" {
		t.Error(diff)
	}
	// They are known over a restart of the service.
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	h.run("")
	if got := h.send(updated, identified); got.status != http.StatusOK || len(stored(t, h.bus)) != 14 {
		t.Errorf("after a restart: %s, %d in the stream", got, len(stored(t, h.bus)))
	}
}

func TestManyCopiesAtOnceAreStoredOnce(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for m := range 10 {
				if got := h.send(body(jira.IssueUpdated, "SUP-7", m), fmt.Sprint(jira.HeaderIdentifier, ": ", m)); got.status != http.StatusOK {
					t.Errorf("%d: %s", n, got)
				}
			}
		})
	}
	all.Wait()
	if n := len(stored(t, h.bus)); n != 10 {
		t.Errorf("%d webhooks in the stream", n)
	}
}

func TestTheBusMayBeAway(t *testing.T) {
	t.Parallel()
	r := newRestartable(t)
	h := &house{t: t}
	h.configure(oneSite)
	h.config.NATSURL = r.server.URL()
	h.run("", func(c *Config) { c.Patience = 300 * time.Millisecond })
	h.until("the bus is in use", func() bool { return h.send(body(jira.IssueUpdated, "SUP-1", 1)).status == http.StatusOK })
	h.until("it is healthy", func() bool { return h.health() == http.StatusOK })
	r.server.Stop()
	began := time.Now()
	got := h.send(body(jira.IssueUpdated, "SUP-2", 2), jira.HeaderIdentifier+": two")
	if took := time.Since(began); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || took > 5*time.Second {
		t.Errorf("%s %v after %s", got, got.header, took)
	}
	h.until("O9: it is not healthy", func() bool { return h.health() == http.StatusServiceUnavailable })
	r.start()
	// What Jira sends again gets in, once, even if the attempt before had been stored.
	h.until("the bus is back", func() bool {
		return h.send(body(jira.IssueUpdated, "SUP-2", 2), jira.HeaderIdentifier+": two").status == http.StatusOK
	})
	h.until("it is healthy again", func() bool { return h.health() == http.StatusOK })
	bus := eventtest.Connect(t, r.server, "test")
	if all := stored(t, bus); len(all) != 2 || string(all[1].Payload.GetBody()) != body(jira.IssueUpdated, "SUP-2", 2) {
		t.Errorf("%v", all)
	}
}

func TestItAnswersBeforeThereIsABus(t *testing.T) {
	t.Parallel()
	r := newRestartable(t)
	r.server.Stop()
	h := &house{t: t}
	h.configure(oneSite)
	h.config.NATSURL = "nats://" + r.config.Listen
	h.run("")
	if got := h.send(updated); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", got, got.header)
	}
	if got := h.post(pathWebhook, updated); got.status != http.StatusUnauthorized {
		t.Error(got)
	}
	if err := func() error { // a stop does not wait for it, and is none of its errors
		other := &house{t: t}
		other.configure(oneSite)
		other.config.NATSURL = h.config.NATSURL
		other.run("")
		return other.stop()
	}(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	r.start()
	h.until("the bus is there", func() bool { return h.send(updated).status == http.StatusOK })
}

func TestHealthTellsStrangersNothing(t *testing.T) {
	t.Parallel()
	for _, instance := range []string{oneSite, "instance: {name: x}"} {
		h := start(t, instance)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+pathHealth, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.do(request); got.String() != `200 {"status":"ok"}` {
			t.Error(got)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	for target, want := range map[string]int{
		"GET " + pathWebhook: 405, "PUT " + pathWebhook: 405, "POST /": 404, "POST /webhooks": 404, "GET /webhooks/jira/jira": 405, "POST /webhooks/jira/a/b": 401,
	} {
		method, path, _ := strings.Cut(target, " ")
		request, err := http.NewRequestWithContext(t.Context(), method, h.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.do(request); got.status != want || !strings.HasPrefix(got.body, `{"detail":`) {
			t.Errorf("%s: %s", target, got)
		}
	}
}

// slowly sends the head of a webhook and a part of its body, and gives what sends the rest.
func (h *house) slowly(sent string) (finish func() answer) {
	h.t.Helper()
	conn, err := new(net.Dialer).DialContext(h.t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * eventtest.Patience))
	_, _ = fmt.Fprintf(conn, "POST /webhooks/jira HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n\r\n%s", len(sent), signature(secret, sent), sent[:10])
	return func() answer {
		_, _ = io.WriteString(conn, sent[10:])
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return answer{body: err.Error()}
		}
		defer response.Body.Close()
		raw, _ := io.ReadAll(response.Body)
		return answer{response.StatusCode, response.Header, string(raw)}
	}
}

func (h *house) inFlight(n float64) {
	h.t.Helper()
	h.until(fmt.Sprint(n, " are under way"), func() bool {
		families, err := h.config.Metrics.Gather()
		for _, f := range families {
			if f.GetName() == "agnes_jira_webhooks_in_flight" {
				return f.GetMetric()[0].GetGauge().GetValue() == n
			}
		}
		return err != nil
	})
}

func TestAStopLetsWebhooksEnd(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	finish := h.slowly(updated)
	h.inFlight(1)
	stopped := make(chan error, 1)
	go func() { stopped <- h.stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("it stopped under a webhook: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if got := finish(); got.status != http.StatusOK {
		t.Error(got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if n := len(stored(t, h.bus)); n != 1 {
		t.Errorf("%d webhooks in the stream", n)
	}
}

func TestAStopDoesNotWaitForWhoNeverEnds(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.StopBudget = 100 * time.Millisecond })
	finish := h.slowly(updated)
	h.inFlight(1)
	began := time.Now()
	if err := h.stop(); err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	if got := finish(); got.status == http.StatusOK {
		t.Error(got)
	}
}

func TestABodyThatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite)
	finish := h.slowly(updated)
	h.inFlight(1)
	h.until("the wait is over", func() bool { return h.counted()["/unread"] == 1 })
	if got := finish(); got.status != http.StatusRequestTimeout {
		t.Error(got)
	}
	h.inFlight(0)
}

func TestOneAddressDoesNotTakeAllTheRoom(t *testing.T) {
	t.Parallel()
	i := newIntake(Config{MaxBodyKB: 1}, &sites{}, nil, newMetrics(prometheus.NewRegistry()), zerolog.Nop())
	var leaves []func()
	for n := 0; ; n++ {
		leave, ok := i.slot("192.0.2.1")
		if !ok {
			break
		}
		leaves = append(leaves, leave)
	}
	if len(leaves) != maxOfAddress {
		t.Errorf("one address has %d of %d", len(leaves), maxInFlight)
	}
	leave, ok := i.slot("192.0.2.2")
	if !ok {
		t.Fatal("there is no room for another")
	}
	for _, l := range append(leaves, leave) {
		l()
	}
	if len(i.reading) != 0 || len(i.slots) != 0 {
		t.Errorf("%v and %d slots are left", i.reading, len(i.slots))
	}
	i.cut()
}

func TestManyLongWebhooksAtOnceWaitForEachOther(t *testing.T) {
	t.Parallel()
	h := start(t, oneSite, func(c *Config) { c.Patience = time.Minute })
	var all sync.WaitGroup
	for n := range 3 * maxLong {
		all.Go(func() {
			sent := body(jira.IssueUpdated, "SUP-7", n) + strings.Repeat(" ", longBody)
			if got := h.send(sent); got.status != http.StatusOK {
				t.Error(got)
			}
		})
	}
	all.Wait()
	if n := len(stored(t, h.bus)); n != 3*maxLong {
		t.Errorf("%d webhooks in the stream", n)
	}
}

func TestConfigurationThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"AGNES_JIRA_WEBHOOK_MAX_KB":   func(c *Config) { c.MaxBodyKB = maxBodyKB + 1 },
		"AGNES_JIRA_WEBHOOK_PATIENCE": func(c *Config) { c.Patience = 0 },
		"AGNES_TRUSTED_PROXIES":       func(c *Config) { c.Proxies = []string{"10.0.0.0/99"} },
		"AGNES_JIRA_WEBHOOK_ADDR":     func(c *Config) { c.Addr = "nowhere:nothing" },
	} {
		h := &house{t: t}
		h.configure(oneSite)
		change(&h.config)
		if err := Run(t.Context(), h.config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzWebhook throws bodies and headers at the handler: without the secret nothing is ever accepted.
func FuzzWebhook(f *testing.F) {
	i := newIntake(Config{MaxBodyKB: 64, Patience: time.Second}, &sites{list: []site{{name: "jira", secrets: [][]byte{[]byte(secret)}}}}, nil,
		newMetrics(prometheus.NewRegistry()), zerolog.Nop())
	h := i.handler()
	f.Add([]byte(updated), "sha256=", "id", "/jira", true)
	f.Add([]byte("null"), "", "", "", false)
	f.Fuzz(func(t *testing.T, sent []byte, signed, identifier, path string, right bool) {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "http://example.com"+pathWebhook, strings.NewReader(string(sent)))
		r.URL.Path = pathWebhook + path
		r.Header = http.Header{jira.HeaderSignature: {signed}, jira.HeaderIdentifier: {identifier}}
		if right {
			r.Header.Add(jira.HeaderSignature256, jira.Sign([]byte(secret), sent))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%q: %s", sent, w.Body)
		}
		given := strings.ToLower(strings.TrimSpace(signed))
		genuine := right || "sha256="+strings.TrimPrefix(given, "sha256=") == jira.Sign([]byte(secret), sent)
		if w.Code == http.StatusOK && !genuine {
			t.Errorf("%q with %q is accepted", sent, signed)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answered %q", w.Body)
		}
	})
}
