package cloud

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/internal/outbound"
)

// secretsOf replaces what must never be in an error, in any form in which it could get there.
func secretsOf(cfg Config) *strings.Replacer {
	var pairs []string
	for _, a := range []Account{{cfg.Email, cfg.Token}, cfg.SLA} {
		if a.Token == "" {
			continue
		}
		for _, s := range []string{
			base64.StdEncoding.EncodeToString([]byte(a.Email + ":" + a.Token)), a.Token, url.QueryEscape(a.Token), url.PathEscape(a.Token),
		} {
			pairs = append(pairs, s, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// scrub takes secrets out of an error of the network, which has no URL in it: that of the media host has
// a token in its query.
func (c *Client) scrub(err error) error {
	return outbound.Scrub(err, c.secrets)
}

// The words of AUTHENTICATED_FAILED and AUTHENTICATION_DENIED in the header X-Seraph-LoginReason, with
// which Jira answers as to a stranger, be it 200 or 404.
const loginReason = "X-Seraph-Loginreason"

// refusedLogin tells whether Jira did not know the account, whatever it answered; nil where it did.
func refusedLogin(h http.Header) error {
	for _, reason := range h.Values(loginReason) {
		switch {
		case strings.Contains(reason, "AUTHENTICATED_FAILED"):
			return fault.New(fault.Unauthenticated, "Jira does not accept the API token: it has expired, was revoked, or belongs to another account. Make a new one at https://id.atlassian.com/manage-profile/security/api-tokens and set api_token (JIRA_API_TOKEN)")
		case strings.Contains(reason, "AUTHENTICATION_DENIED"):
			return fault.New(fault.Unauthenticated, "Jira locked the account after failed logins: sign in to the site in a browser once, and answer its CAPTCHA")
		}
	}
	return nil
}

// failure is the error of an answer that is none of 2xx.
func (c *Client) failure(what string, status int, h http.Header, body []byte) error {
	said := c.said(body)
	switch {
	case status == http.StatusUnauthorized:
		if err := refusedLogin(h); err != nil {
			return err
		}
		return fault.New(fault.Unauthenticated, "Jira asks who we are: check email and api_token (JIRA_EMAIL, JIRA_API_TOKEN)")
	case status == http.StatusForbidden:
		return fault.New(fault.Forbidden, "Jira does not let the account %s%s: give it the permission Browse projects, and to an API token with scopes those that read Jira", what, said)
	case status == http.StatusNotFound || status == http.StatusGone:
		return fault.New(fault.NotFound, "Jira has nothing there, or does not show it to the account: %s%s", what, said)
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Busy, "Jira limits the rate of calls")
	case status == http.StatusRequestEntityTooLarge:
		return fault.New(fault.TooLarge, "Jira finds the request too large: %s", what)
	case status/100 == 3:
		return fault.New(fault.Permanent, "the site answers with a redirect%s: set site to the address that the site has now", redirectHost(h))
	case transient(status):
		return fault.New(fault.Unavailable, "Jira answers %d %s: %s", status, http.StatusText(status), what)
	}
	return fault.New(fault.Invalid, "Jira refuses (%d) to %s%s", status, what, said)
}

func transient(status int) bool {
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

func redirectHost(h http.Header) string {
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Host == "" {
		return ""
	}
	return " to " + u.Host
}

// said is what Jira says in an answer of its own form, ": " before it, and short.
func (c *Client) said(body []byte) string {
	var e struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	parts := e.ErrorMessages
	for field, text := range e.Errors {
		parts = append(parts, field+": "+text)
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	return outbound.Said(c.secrets.Replace(strings.Join(parts, "; ")))
}

// retryAfter reads the header, which has seconds or a date, and else X-RateLimit-Reset; zero where
// neither is there.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if pause, said := outbound.RetryAfter(h, now); said {
		return pause
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z"} {
		if at, err := time.Parse(layout, h.Get("X-Ratelimit-Reset")); err == nil {
			return max(0, at.Sub(now))
		}
	}
	return 0
}
