package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// publicRoutes are all that a stranger may ask. Whoever adds one says here that it is meant.
var publicRoutes = []string{
	"GET /", "GET /api/health", "GET /api/version", "GET /docs", "GET /livez", "GET /openapi.json", "GET /openapi.yaml", "GET /readyz",
	"GET /static/docs.js", "GET /static/icon.svg", "GET /static/style.css",
	"GET /auth/email/verify", "HEAD /auth/email/verify", "GET /auth/google/callback", "GET /auth/google/login",
	"GET /auth/oidc/:provider/callback", "GET /auth/oidc/:provider/login", "GET /auth/password/reset", "HEAD /auth/password/reset",
	"GET /auth/password/setup", "HEAD /auth/password/setup", "GET /auth/ways", "GET /login", "HEAD /login", "GET /login/email", "HEAD /login/email",
	"GET /login/password", "HEAD /login/password",
	"GET /tokens", "HEAD /tokens", "GET /profile", "HEAD /profile", "GET /dashboard", "HEAD /dashboard", // lead to where they are now
	"POST /auth/bootstrap", "POST /auth/device/code", "POST /auth/device/token", "POST /auth/email/send-link", "POST /auth/email/verify",
	"POST /auth/email/verify/web", "POST /auth/password/login", "POST /auth/password/login/web", "POST /auth/password/reset",
	"POST /auth/password/reset/confirm", "POST /auth/password/setup", "POST /auth/password/setup/confirm", "POST /auth/password/setup/request",
	"POST /auth/token", "POST /login/email",
	"GET /webhooks/jira/health", "POST /webhooks/jira", "POST /webhooks/jira/:source", "GET /ws", "GET /ws/*",
}

func TestTrap_P5_EveryPublicRouteIsMeantToBe(t *testing.T) {
	t.Parallel()
	doors := httpapi.DoorsOf(t, t.TempDir())
	for route, d := range doors {
		if d.Gate == httpapi.Public && !slices.Contains(publicRoutes, route) {
			t.Errorf("%s is public and not on the list: is that meant?", route)
		}
	}
	for _, route := range publicRoutes {
		if d, ok := doors[route]; ok && d.Gate != httpapi.Public {
			t.Errorf("%s is on the list, but its gate is %s", route, d.Gate)
		}
	}
}

// unrecorded are the routes that change something, or seem to, and stand in no record.
var unrecorded = []string{
	"POST /webhooks/jira", "POST /webhooks/jira/:source", // recorded by their service, which knows whether they are genuine
}

func TestEveryRouteThatChangesSomethingIsRecorded(t *testing.T) {
	t.Parallel()
	for route, d := range httpapi.DoorsOf(t, t.TempDir()) {
		method, path, _ := strings.Cut(route, " ")
		looks := method == http.MethodGet || method == http.MethodHead
		if !looks && d.Audit == "" && !slices.Contains(unrecorded, route) {
			t.Errorf("%s changes something without an audit action", route)
		}
		hands := strings.HasPrefix(path, "/api/data/") || path == "/api/query" || strings.HasPrefix(path, "/api/admin/audit") || path == "/api/uploads/:kind/:filename"
		if looks && hands && d.Audit == "" {
			t.Errorf("%s hands data out without an audit action", route)
		}
		if d.Audit != "" && (strings.Count(d.Audit, ".") != 1 || strings.ContainsAny(d.Audit, " ABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
			t.Errorf("%s has the action %q: name it noun.verb", route, d.Audit)
		}
		if strings.HasPrefix(d.Audit, "signin.") && d.Limit == "" && route != "POST /auth/device/token" {
			t.Errorf("%s signs people in and is not limited", route)
		}
		if d.Form && method != http.MethodPost {
			t.Errorf("%s is a form that is not sent by POST", route)
		}
	}
}

// TestATokenDoesOnlyWhatItsScopesSay asks every route that needs a scope with an administrator's token
// that has none.
func TestATokenDoesOnlyWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	asked := 0
	for route, d := range httpapi.DoorsOf(t, h.dir) {
		if d.Gate == httpapi.Public || d.Scope == httpapi.ScopeAny {
			continue
		}
		asked++
		method, path, _ := strings.Cut(route, " ")
		got := h.ask(method, concrete(path), "admin-pat", "")
		if got.err == nil && got.status != http.StatusForbidden {
			t.Errorf("%s (%s) lets a token without scopes in: %d", route, d.Scope, got.status)
		}
	}
	if asked < 60 {
		t.Errorf("only %d routes were asked", asked)
	}
	if got := h.ask("GET", "/auth/me", "admin-pat", ""); got.status != http.StatusOK {
		t.Errorf("who am I: %d", got.status)
	}
}

// concrete fills the parameters of a pattern in.
func concrete(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") || p == "*" {
			parts[i] = "x"
		}
	}
	return strings.Join(parts, "/")
}

func TestStrangersOfPagesAreSentToSignInAndBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/account", "/login?next=%2Faccount"},
		{"GET", "/auth/device?user_code=WDJB-MJHT", "/login?next=%2Fauth%2Fdevice%3Fuser_code%3DWDJB-MJHT"},
		{"POST", "/account/tokens", "/login?next=%2Faccount"},
		{"POST", "/auth/device", "/login?next=%2Fauth%2Fdevice"},
	} {
		if got := h.ask(c.method, c.path, "", ""); got.status != http.StatusSeeOther || got.header.Get("Location") != c.want {
			t.Errorf("%s %s: %d to %q, want %q", c.method, c.path, got.status, got.header.Get("Location"), c.want)
		}
	}
	for _, path := range []string{"/auth/sessions", "/api/users", "/auth/device/requests/x"} {
		if got := h.ask("GET", path, "", ""); got.status != http.StatusUnauthorized || !strings.Contains(got.header.Get("Content-Type"), "json") {
			t.Errorf("%s: %d %s", path, got.status, got.header.Get("Content-Type"))
		}
	}
}
