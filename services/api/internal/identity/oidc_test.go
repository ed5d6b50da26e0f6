package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// issuer is an OpenID provider (OpenID Connect Core, Discovery; RFC 7636) that can be made to lie.
type issuer struct {
	*httptest.Server
	t         *testing.T
	key       *rsa.PrivateKey
	now       func() time.Time
	challenge string // of the last authorization request
	nonce     string
	claims    jwt.MapClaims // over the right ones; nil takes a claim away
	sign      func(jwt.MapClaims) string
	refuse    string // the code that the token endpoint answers with
}

const clientSecret = "the client's secret, which signs nothing"

func newIssuer(t *testing.T, now func() time.Time) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	is := &issuer{t: t, key: key, now: now}
	is.sign = is.rs256
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": is.URL, "authorization_endpoint": is.URL + "/authorize", "token_endpoint": is.URL + "/token", "jwks_uri": is.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, "authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "alg": "RS256", "use": "sig", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("POST /token", is.token)
	is.Server = httptest.NewServer(mux)
	t.Cleanup(is.Close)
	return is
}

func (is *issuer) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != is.challenge {
		is.t.Error("the code is redeemed without the verifier of its challenge")
	}
	if is.refuse != "" {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": is.refuse, "error_description": "secret " + clientSecret})
		return
	}
	c := jwt.MapClaims{
		"iss": is.URL, "sub": "subject of ann", "aud": "agnes", "iat": is.now().Unix(), "exp": is.now().Add(time.Minute).Unix(), "nonce": is.nonce,
		"email": "Ann@Example.com", "email_verified": true, "name": "Ann",
	}
	maps.Copy(c, is.claims)
	for name, v := range c {
		if v == nil {
			delete(c, name)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "bearer", "id_token": is.sign(c)})
}

func (is *issuer) signed(method jwt.SigningMethod, c jwt.MapClaims, key any) string {
	is.t.Helper()
	token, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		is.t.Error(err)
	}
	return token
}

func (is *issuer) rs256(c jwt.MapClaims) string { return is.signed(jwt.SigningMethodRS256, c, is.key) }

// pending is a sign-in between the redirect and the callback.
type pending struct {
	sealed string
	answer url.Values
}

// begin goes to the provider and comes back with a code.
func (is *issuer) begin(h *house, next string) pending {
	is.t.Helper()
	redirect, sealed, err := h.BeginOIDC(is.t.Context(), "sso", next)
	if err != nil {
		is.t.Fatal(err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		is.t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("redirect_uri") != "https://agnes.example.com/auth/oidc/sso/callback" || q.Get("response_type") != "code" {
		is.t.Errorf("the request is %s", redirect)
	}
	is.challenge, is.nonce = q.Get("code_challenge"), q.Get("nonce")
	return pending{sealed, url.Values{"code": {"a code"}, "state": {q.Get("state")}, "iss": {is.URL}}}
}

func (p pending) finish(t *testing.T, h *house) (identity.Session, string, error) {
	t.Helper()
	return h.FinishOIDC(t.Context(), "sso", p.sealed, p.answer, identity.From{IP: "192.0.2.1"})
}

// withIssuer makes a house whose people sign in at an issuer.
func withIssuer(t *testing.T, change ...func(*identity.Config)) (*house, *issuer) {
	t.Helper()
	var h *house
	is := newIssuer(t, func() time.Time { return h.now() })
	h = newHouse(t, append([]func(*identity.Config){func(c *identity.Config) {
		c.PublicURL = "https://agnes.example.com"
		c.AllowedDomains = func() []string { return []string{"example.com"} }
		for _, name := range []string{"sso", "other"} {
			c.Providers = append(c.Providers, identity.ProviderConfig{Name: name, Issuer: is.URL, ClientID: "agnes", ClientSecret: clientSecret})
		}
	}}, change...)...)
	return h, is
}

func refusedWith(err error, code string) bool {
	var refused *identity.RefusedError
	return errors.As(err, &refused) && refused.Code == code
}

func TestAProviderSignsInOneUserHoweverTheirAddressIsWritten(t *testing.T) {
	t.Parallel()
	h, is := withIssuer(t)
	s, next, err := is.begin(h, "/account").finish(t, h)
	if err != nil || next != "/account" || s.User.Email != "ann@example.com" || s.User.Role != state.RoleAnalyst {
		t.Fatalf("%+v, %q, %v", s.User, next, err)
	}
	is.claims = jwt.MapClaims{"email": "ann@EXAMPLE.com"}
	again, next, err := is.begin(h, "//evil.example").finish(t, h)
	if err != nil || again.User.ID != s.User.ID || next != "/" {
		t.Errorf("%+v, %q, %v", again.User, next, err)
	}
	// The account is known by its subject: another address there is no other user here, and another
	// subject with the address is the same one.
	is.claims = jwt.MapClaims{"email": "ann.married@example.com"}
	if s, _, err := is.begin(h, "").finish(t, h); err != nil || s.User.ID != again.User.ID {
		t.Errorf("another address: %+v, %v", s.User, err)
	}
	if _, err := h.store.Users.Update(t.Context(), s.User.ID, state.UserChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := is.begin(h, "").finish(t, h); !refusedWith(err, identity.RefusedDeactivated) {
		t.Errorf("deactivated: %v", err)
	}
}

func TestIDTokensThatLieAreRefused(t *testing.T) {
	t.Parallel()
	h, is := withIssuer(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signs := map[string]func(jwt.MapClaims) string{
		"another key":                    func(c jwt.MapClaims) string { return is.signed(jwt.SigningMethodRS256, c, stranger) },
		"the client secret as a key":     func(c jwt.MapClaims) string { return is.signed(jwt.SigningMethodHS256, c, []byte(clientSecret)) },
		"the public key as a shared one": func(c jwt.MapClaims) string { return is.signed(jwt.SigningMethodHS256, c, is.key.N.Bytes()) },
		"no signature": func(c jwt.MapClaims) string {
			return is.signed(jwt.SigningMethodNone, c, jwt.UnsafeAllowNoneSignatureType)
		},
		"no token":                         func(jwt.MapClaims) string { return "" },
		"a token of the same key, cut off": func(c jwt.MapClaims) string { return is.rs256(c)[:100] },
	}
	for why, sign := range signs {
		is.sign = sign
		if _, _, err := is.begin(h, "").finish(t, h); !refusedWith(err, identity.RefusedFailed) {
			t.Errorf("%s: %v", why, err)
		}
	}
	is.sign = is.rs256
	lies := map[string]jwt.MapClaims{
		"another issuer":              {"iss": "https://evil.example"},
		"another audience":            {"aud": "another"},
		"several audiences, no azp":   {"aud": []string{"agnes", "another"}},
		"another party":               {"azp": "another"},
		"no subject":                  {"sub": nil},
		"another nonce":               {"nonce": "another"},
		"no nonce":                    {"nonce": nil},
		"expired":                     {"exp": h.now().Add(-2 * time.Minute).Unix()},
		"no expiry":                   {"exp": nil},
		"issued in the future":        {"iat": h.now().Add(time.Hour).Unix()},
		"no time of issue":            {"iat": nil},
		"a nonce of an earlier login": {"nonce": is.nonce},
	}
	for why, c := range lies {
		is.claims = c
		if _, _, err := is.begin(h, "").finish(t, h); !refusedWith(err, identity.RefusedFailed) {
			t.Errorf("%s: %v", why, err)
		}
	}
	for code, list := range map[string][]jwt.MapClaims{
		identity.RefusedNotVerified: {{"email_verified": false}, {"email_verified": nil}, {"email_verified": "false"}, {"email_verified": "yes"}, {"email_verified": 1}, {"email_verified": []any{true}}},
		identity.RefusedNoEmail:     {{"email": nil}, {"email": ""}, {"email": "nobody"}, {"email": "a@b@example.com"}, {"email": "ann@example.com\r\nBcc: x"}, {"email": "\u212aim@example.com"}},
		identity.RefusedDomain:      {{"email": "ann@evil.example"}, {"email": "ann@example.com.evil.example"}, {"email": "ann@sub.example.com"}, {"email": "ann@notexample.com"}},
	} {
		for _, c := range list {
			is.claims = c
			if _, _, err := is.begin(h, "").finish(t, h); !refusedWith(err, code) {
				t.Errorf("%v: %v, not %s", c, err, code)
			}
		}
	}
	is.claims, is.refuse = nil, "invalid_client"
	if _, _, err := is.begin(h, "").finish(t, h); !refusedWith(err, identity.RefusedFailed) {
		t.Errorf("a wrong client secret: %v", err)
	}
	if users, err := h.Users(t.Context()); err != nil || len(users) != 0 {
		t.Errorf("users were made: %v, %v", users, err)
	}
}

func TestCallbacksOfOtherSignInsAreRefused(t *testing.T) {
	t.Parallel()
	h, is := withIssuer(t)
	good := is.begin(h, "")
	other := is.begin(h, "")
	with := func(name, value string) url.Values {
		q := maps.Clone(other.answer)
		q[name] = []string{value}
		return q
	}
	changed := []byte(other.sealed)
	changed[20] ^= 1 // another letter, or none: the cookie is none in any case
	for why, p := range map[string]pending{
		"the cookie of another sign-in": {good.sealed, other.answer},
		"no cookie":                     {"", other.answer},
		"a cookie that was changed":     {string(changed), other.answer},
		"no state":                      {other.sealed, with("state", "")},
		"an answer of another issuer":   {other.sealed, with("iss", "https://evil.example")},
	} {
		if _, _, err := p.finish(t, h); !refusedWith(err, identity.RefusedFailed) {
			t.Errorf("%s: %v", why, err)
		}
	}
	unnamed := is.begin(h, "")
	unnamed.answer.Del("iss") // this issuer says that it always names itself
	if _, _, err := unnamed.finish(t, h); !refusedWith(err, identity.RefusedFailed) {
		t.Errorf("an answer without an issuer: %v", err)
	}
	cancelled := is.begin(h, "")
	cancelled.answer = url.Values{"error": {"access_denied"}, "state": cancelled.answer["state"], "iss": {is.URL}}
	if _, _, err := cancelled.finish(t, h); !refusedWith(err, identity.RefusedCancelled) {
		t.Errorf("cancelled: %v", err)
	}

	last := is.begin(h, "")
	if _, _, err := h.FinishOIDC(t.Context(), "other", last.sealed, last.answer, identity.From{}); !refusedWith(err, identity.RefusedFailed) {
		t.Errorf("the callback of another provider: %v", err)
	}
	if _, _, err := last.finish(t, h); err != nil {
		t.Fatal(err)
	}
	if _, _, err := last.finish(t, h); !refusedWith(err, identity.RefusedFailed) {
		t.Errorf("a second time: %v", err)
	}
	late := is.begin(h, "")
	h.pass(11 * time.Minute)
	if _, _, err := late.finish(t, h); !refusedWith(err, identity.RefusedFailed) {
		t.Errorf("after eleven minutes: %v", err)
	}
}

func TestTrap_O3_OnlyListedDomainsOrAnOpenDoorByNameMakeUsers(t *testing.T) {
	t.Parallel()
	none := func(c *identity.Config) { c.AllowedDomains = func() []string { return nil } }
	for _, c := range []struct {
		change func(*identity.Config)
		in     bool
	}{
		{none, false},
		{func(c *identity.Config) { c.AllowedDomains = nil }, false},
		{func(c *identity.Config) { none(c); c.OpenSignup = true }, true},
		{func(c *identity.Config) {
			c.OpenSignup, c.AllowedDomains = true, func() []string { return []string{"else.example"} }
		}, false},
	} {
		h, is := withIssuer(t, c.change)
		_, _, err := is.begin(h, "").finish(t, h)
		if (err == nil) != c.in || (!c.in && !refusedWith(err, identity.RefusedDomain)) {
			t.Errorf("in should be %v: %v", c.in, err)
		}
		// Whoever is a user already needs no sign-up.
		h.add(t, "bob@else.example", state.RoleViewer)
		is.claims = jwt.MapClaims{"sub": "bob", "email": "bob@else.example"}
		if s, _, err := is.begin(h, "").finish(t, h); err != nil || s.User.Email != "bob@else.example" {
			t.Errorf("a user: %+v, %v", s.User, err)
		}
	}
}

func TestSignInsAtOnceMakeOneUser(t *testing.T) {
	t.Parallel()
	h, is := withIssuer(t)
	type out struct {
		id  string
		err error
	}
	const many = 8
	results := make(chan out, many)
	for i := range many {
		a := state.OIDCAccount{Issuer: is.URL, Subject: fmt.Sprint("subject", i%2), Email: "ann@example.com"}
		go func() {
			u, _, err := h.store.Accounts.Resolve(t.Context(), a, state.OIDCPolicy{Link: true, SignUp: true, Role: state.RoleViewer})
			results <- out{u.ID, err}
		}()
	}
	ids := map[string]bool{}
	for range many {
		o := <-results
		if o.err != nil && !fault.Is(o.err, fault.Busy) {
			t.Error(o.err)
		}
		ids[o.id] = true
	}
	if len(ids) != 1 {
		t.Errorf("users: %v", ids)
	}
}
