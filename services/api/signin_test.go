package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/services/api"
)

// me is who a credential belongs to.
func (s *server) me(token string) (who struct{ Email, Role string }) {
	s.t.Helper()
	s.ask("GET", "/auth/me", token, nil).into(s.t, &who)
	return who
}

// gone fails where a credential still works.
func (s *server) gone(what, token string) {
	s.t.Helper()
	if got := s.ask("GET", "/auth/me", token, nil); got.status != http.StatusUnauthorized {
		s.t.Errorf("%s still works: %d %s", what, got.status, got.body)
	}
}

func TestSigningInADeviceOverHTTP(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *api.Config) { c.PublicURL = "https://agnes.example.com" })
	ann, _ := s.analyst("ann@example.com")
	var code struct {
		Secret   string `json:"device_code"`
		UserCode string `json:"user_code"`
		Complete string `json:"verification_uri_complete"`
	}
	s.ask("POST", "/auth/device/code", "", map[string]string{"client_name": "da on laptop"}).into(t, &code)
	if !strings.HasPrefix(code.Complete, "https://agnes.example.com/auth/device?user_code=") {
		t.Errorf("the address to go to: %s", code.Complete)
	}
	question := map[string]string{"device_code": code.Secret}
	if got := s.ask("POST", "/auth/device/requests/"+strings.ToLower(code.UserCode), ann, map[string]bool{"approve": true}); got.status != http.StatusNoContent {
		t.Fatalf("the decision: %d %s", got.status, got.body)
	}
	var session struct {
		Token string `json:"access_token"`
	}
	s.ask("POST", "/auth/device/token", "", question).into(t, &session)
	if who := s.me(session.Token); who.Email != "ann@example.com" {
		t.Errorf("the device is %+v", who)
	}
	var p struct{ Error string }
	if got := s.ask("POST", "/auth/device/token", "", question); got.status != http.StatusBadRequest || json.Unmarshal([]byte(got.body), &p) != nil || p.Error == "" {
		t.Errorf("a code is good twice: %d %s", got.status, got.body)
	}
}

func TestTrap_O7_SessionsEndWhenTheyMust(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	one, id := s.analyst("ann@example.com")
	two := s.login("ann@example.com", "another password")
	if got := s.ask("POST", "/auth/password/change", one, map[string]string{"old_password": "another password", "new_password": "a third password"}); got.status != http.StatusNoContent {
		t.Fatalf("change: %d %s", got.status, got.body)
	}
	s.gone("a session from before the new password", two)
	s.me(one)

	var renewed struct {
		Token string `json:"access_token"`
	}
	s.ask("POST", "/auth/refresh", one, nil).into(t, &renewed)
	s.gone("a session that was renewed", one)
	three := s.login("ann@example.com", "a third password")
	if got := s.ask("POST", "/auth/logout/all", three, map[string]bool{"keep_current": true}); got.status != http.StatusNoContent {
		t.Fatalf("log out everywhere: %d %s", got.status, got.body)
	}
	s.gone("a session after logging out everywhere", renewed.Token)
	s.me(three)
	if got := s.ask("POST", "/api/users/"+id+"/logout", s.admin, nil); got.status != http.StatusNoContent {
		t.Fatalf("an administrator ends sessions: %d %s", got.status, got.body)
	}
	s.gone("a session that an administrator ended", three)

	four := s.login("ann@example.com", "a third password")
	if got := s.ask("POST", "/api/users/"+id+"/deactivate", s.admin, nil); got.status != http.StatusOK {
		t.Fatalf("deactivate: %d %s", got.status, got.body)
	}
	s.gone("a session of a user who is deactivated", four)
}

func TestScopesOfTokensAreKeptAndHeld(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ann, _ := s.analyst("ann@example.com")
	token := func(session, scopes string) string {
		t.Helper()
		var made struct{ Token string }
		s.ask("POST", "/auth/tokens", session, `{"name":"x"`+scopes+`}`).into(t, &made)
		return made.Token
	}
	reads, usual, boss := token(ann, `,"scopes":["read"]`), token(ann, ""), token(s.admin, `,"scopes":["admin"]`)
	for _, c := range []struct {
		who, token, method, path string
		body                     any
		want                     int
	}{
		{"read", reads, "GET", "/api/catalog/tables", nil, 200},
		{"read", reads, "POST", "/api/query", map[string]string{"sql": "SELECT 1"}, 403},
		{"read", reads, "GET", "/api/sync/manifest", nil, 403},
		{"usual", usual, "POST", "/api/query", map[string]string{"sql": "SELECT 1"}, 200},
		{"usual", usual, "GET", "/api/sync/manifest", nil, 200},
		{"usual", usual, "POST", "/auth/tokens", map[string]string{"name": "y"}, 403},
		{"admin", boss, "GET", "/api/users", nil, 200},
		{"admin", boss, "POST", "/api/query", map[string]string{"sql": "SELECT 1"}, 403},
	} {
		if got := s.ask(c.method, c.path, c.token, c.body); got.status != c.want {
			t.Errorf("%s: %s %s: %d, want %d: %s", c.who, c.method, c.path, got.status, c.want, got.body)
		}
	}
}
