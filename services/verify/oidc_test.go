//go:build verify

package verify_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// issuer starts npm's oidc-provider for an agnes that listens on addr, and gives its address.
func issuer(t *testing.T, redirect string) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED PEER: oidc-provider needs Node.js, which is not installed")
	}
	modules := tool(t, "node/node_modules/oidc-provider")
	addr := freeAddr(t)
	p := spawn(t, "oidc-provider", []string{
		"PEER_ISSUER=http://" + addr, "PEER_CLIENT_SECRET=the client's secret", "PEER_REDIRECT=" + redirect,
		"PEER_MODULES=" + filepath.Dir(filepath.Dir(modules)),
	}, node, "testdata/oidc-provider.mjs")
	eventually(t, 20*time.Second, "oidc-provider", func() error {
		if !p.alive() {
			return fmt.Errorf("it ended: %s", p.output())
		}
		return get("http://" + addr + "/.well-known/openid-configuration")
	})
	return "http://" + addr
}

var formAction = regexp.MustCompile(`action="([^"]+)"`)

// throughIssuer walks a browser's way: from our login route over the provider's forms back to us.
func throughIssuer(v *visitor, start, login string) reply {
	v.t.Helper()
	at := v.ask(http.MethodGet, start, nil)
	for range 6 {
		action := formAction.FindStringSubmatch(at.body)
		if action == nil || !strings.Contains(at.url.Path, "/interaction/") {
			return at
		}
		form := url.Values{"prompt": {"consent"}}
		if strings.Contains(at.body, `name="login"`) {
			form = url.Values{"prompt": {"login"}, "login": {login}, "password": {"any"}}
		}
		target, err := at.url.Parse(strings.ReplaceAll(action[1], "&amp;", "&"))
		if err != nil {
			v.t.Fatal(err)
		}
		at = v.ask(http.MethodPost, target.String(), form)
	}
	return at
}

// oidcAgnes starts agnes with the provider as the way to sign in.
func oidcAgnes(t *testing.T, env ...string) *single {
	t.Helper()
	addr := freeAddr(t)
	from := issuer(t, "http://"+addr+"/auth/oidc/sso/callback")
	env = append([]string{
		"AGNES_API_ADDR=" + addr, "AGNES_PUBLIC_URL=http://" + addr,
		"AGNES_OIDC_ISSUER=" + from, "AGNES_OIDC_CLIENT_ID=agnes", "AGNES_OIDC_CLIENT_SECRET=the client's secret", "AGNES_OIDC_LABEL=Example SSO",
	}, env...)
	s := newSingleAt(t, addr, env...)
	return s
}

func TestSigningInWithACertifiedProvider(t *testing.T) {
	s := oidcAgnes(t, "AGNES_ALLOWED_DOMAINS=example.com")
	if page := s.visitor().ask(http.MethodGet, "/login", nil); !strings.Contains(page.body, "Example SSO") {
		t.Errorf("the sign-in page does not offer the provider: %d", page.status)
	}

	ann := s.visitor()
	if end := throughIssuer(ann, "/auth/oidc/sso/login?next=/account", "ann@example.com"); end.status != http.StatusOK || end.url.Path != "/account" {
		t.Fatalf("ended at %s with %d: %.400s", end.url, end.status, end.body)
	}
	if who := ann.me(); who.Email != "ann@example.com" || who.Role != "analyst" {
		t.Errorf("signed in as %+v", who)
	}
	// The second sign-in is the same user, also where the case of the letters differs.
	again := s.visitor()
	throughIssuer(again, "/auth/oidc/sso/login", "Ann@Example.com")
	admin := s.signIn(adminEmail, adminPassword)
	var users []struct{ Email string }
	admin.json(http.MethodGet, "/api/users?search=ann", nil, http.StatusOK, &users)
	if len(users) != 1 {
		t.Errorf("ann is %d users: %v", len(users), users)
	}
	// An administrator keeps their role, and comes in by the provider too.
	boss := s.visitor()
	throughIssuer(boss, "/auth/oidc/sso/login", adminEmail)
	if who := boss.me(); who.Role != "admin" {
		t.Errorf("the administrator comes in as %+v", who)
	}
	for login, why := range map[string]string{
		"unverified@example.com":       "an address that is not verified",
		"eve@example.com.evil.example": "another domain",
		"eve@notexample.com":           "a domain that ends alike",
	} {
		v := s.visitor()
		end := throughIssuer(v, "/auth/oidc/sso/login", login)
		if !strings.HasPrefix(end.url.Path, "/login") || end.url.Query().Get("error") == "" {
			t.Errorf("%s ends at %s with %d", why, end.url, end.status)
		}
		if got := v.ask(http.MethodGet, "/auth/me", nil); got.status != http.StatusUnauthorized {
			t.Errorf("%s is signed in: %d %s", why, got.status, got.body)
		}
	}
}

func TestTrap_O3_WithoutDomainsNobodyNewComesIn(t *testing.T) {
	s := oidcAgnes(t)
	v := s.visitor()
	end := throughIssuer(v, "/auth/oidc/sso/login", "stranger@example.com")
	if !strings.HasPrefix(end.url.Path, "/login") || end.url.Query().Get("error") == "" {
		t.Errorf("a stranger ends at %s with %d", end.url, end.status)
	}
	if got := v.ask(http.MethodGet, "/auth/me", nil); got.status != http.StatusUnauthorized {
		t.Errorf("a stranger is signed in: %s", got.body)
	}
	boss := s.visitor()
	throughIssuer(boss, "/auth/oidc/sso/login", adminEmail)
	if who := boss.me(); who.Email != adminEmail {
		t.Errorf("the administrator, who is known, comes in as %+v", who)
	}
}

func TestACallbackThatNobodyAskedForIsRefused(t *testing.T) {
	s := oidcAgnes(t, "AGNES_ALLOWED_DOMAINS=example.com")
	v := s.visitor()
	for _, path := range []string{"/auth/oidc/sso/callback?code=x&state=y", "/auth/oidc/sso/callback", "/auth/oidc/sso/callback?error=access_denied&state=y"} {
		end := v.ask(http.MethodGet, path, nil)
		if !strings.HasPrefix(end.url.Path, "/login") || end.url.Query().Get("error") == "" {
			t.Errorf("%s ends at %s with %d", path, end.url, end.status)
		}
	}
}
