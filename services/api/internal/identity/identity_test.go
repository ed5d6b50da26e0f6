package identity_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var secret = []byte(strings.Repeat("ab", 32))

// quick are parameters that make a hash in no time; they protect nothing.
var quick = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

type house struct {
	*identity.Service
	store *state.Store
	dir   string
	mu    sync.Mutex
	at    time.Time
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

func newHouse(t *testing.T, change ...func(*identity.Config)) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), at: time.Now().UTC().Truncate(time.Second)}
	store, err := state.Open(t.Context(), state.Options{DataDir: h.dir, ExportEvery: -1, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	cfg := identity.Config{Store: store, Secret: secret, Hashing: &quick, Now: h.now, CacheFor: time.Hour}
	for _, c := range change {
		c(&cfg)
	}
	service, err := identity.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Service, h.store = service, store
	return h
}

const password = "correct horse battery"

// add makes a user with the password.
func (h *house) add(t *testing.T, email, role string) state.User {
	t.Helper()
	u, err := h.CreateUser(t.Context(), identity.NewUser{Email: email, Role: role, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// enter signs in and gives the session with who it belongs to.
func (h *house) enter(t *testing.T, email string) (identity.Session, identity.Caller) {
	t.Helper()
	s, err := h.Login(t.Context(), email, password, identity.From{IP: "192.0.2.1", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Verify(t.Context(), s.Token, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func (h *house) refused(t *testing.T, why, token string) {
	t.Helper()
	if _, err := h.Verify(t.Context(), token, "192.0.2.1"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("%s: %v", why, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestLoginOpensASessionWithThePredecessorsClaims(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ann := h.add(t, "Ann@Example.com", state.RoleAnalyst)
	s, c := h.enter(t, "ANN@example.com ")
	if c.UserID != ann.ID || c.Role != state.RoleAnalyst || c.Credential != identity.KindSession || c.CredentialID != s.ID || c.Name != "Ann" || !c.ExpiresAt.Equal(h.now().Add(24*time.Hour)) {
		t.Errorf("the caller is %+v", c)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(s.Token, claims, func(*jwt.Token) (any, error) { return secret, nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sub", "email", "role", "typ", "iat", "jti", "exp"} {
		if claims[name] == nil {
			t.Errorf("the token lacks %s", name)
		}
	}
	if claims["typ"] != "session" || claims["sub"] != ann.ID || len(claims) != 7 {
		t.Errorf("claims %v", claims)
	}
	raw, err := os.ReadFile(filepath.Join(h.dir, "state", "system.duckdb"))
	if err != nil || strings.Contains(string(raw), s.Token) || strings.Contains(string(raw), password) {
		t.Error("a secret is in the state:", err)
	}
}

func TestTrap_O8_EveryRefusalOfALoginHasTheSameWords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "admin@example.com", state.RoleAdmin)
	gone := h.add(t, "gone@example.com", state.RoleViewer)
	if _, err := h.UpdateUser(t.Context(), identity.Caller{}, gone.ID, state.UserChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateUser(t.Context(), identity.NewUser{Email: "none@example.com"}); err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, try := range [][2]string{
		{"nobody@example.com", password}, {"admin@example.com", "wrong password"}, {"gone@example.com", password}, {"none@example.com", password},
		{"none@example.com", ""}, {"", ""}, {"admin@example.com", strings.Repeat("x", 100_000)},
	} {
		_, err := h.Login(t.Context(), try[0], try[1], identity.From{})
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%.30v: %v", try, err)
		}
		words[err.Error()] = true
		if strings.Contains(fmt.Sprintf("%+v", err), try[1]) && try[1] != "" {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	if len(words) != 1 {
		t.Errorf("refusals can be told apart: %v", words)
	}
}

func TestHashOfPythonsArgon2Verifies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// Made by argon2-cffi 25.1 with its defaults from "correct horse battery".
	const python = "$argon2id$v=19$m=65536,t=3,p=4$GinlEt5nxm/uD4/0pE+RZg$QtvDvp9wOkMDCv/hHs9oPL4lbCaHCbJiGSkFKKQ6690"
	if _, err := h.store.Users.Create(t.Context(), state.User{Email: "ann@example.com", Role: state.RoleViewer, PasswordHash: python}); err != nil {
		t.Fatal(err)
	}
	h.enter(t, "ann@example.com")
	if _, err := h.Login(t.Context(), "ann@example.com", password+"!", identity.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another password: %v", err)
	}
}

func TestDamagedHashLetsNobodyInAndHurtsNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i, hash := range []string{"x", "$argon2id$v=19$m=64,t=0,p=0$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5", "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5", "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$", "$2b$12$abcdefghijklmnopqrstuv"} {
		email := fmt.Sprintf("u%d@example.com", i)
		if _, err := h.store.Users.Create(t.Context(), state.User{Email: email, Role: state.RoleViewer, PasswordHash: hash}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"", "x", "the password of nobody"} {
			if _, err := h.Login(t.Context(), email, p, identity.From{}); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s with %q: %v", hash, p, err)
			}
		}
	}
}

func TestPasswordsAreLongEnough(t *testing.T) {
	t.Parallel()
	for p, good := range map[string]bool{"": false, "1234567": false, "12345678": true, "žluťouč": false, "žluťoučk": true, strings.Repeat("x", 1025): false} {
		if err := identity.CheckPassword(p); (err == nil) != good || (err != nil && !fault.Is(err, fault.Invalid)) {
			t.Errorf("%.20q: %v", p, err)
		}
	}
}

func TestTrap_O7_LogoutRevocationDeactivationAndPasswordsCountAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t) // caches for an hour: what counts at once does so by itself
	admin := identity.Caller{UserID: h.add(t, "admin@example.com", state.RoleAdmin).ID, Credential: identity.KindSession}
	ann := h.add(t, "ann@example.com", state.RoleAnalyst)

	s, c := h.enter(t, "ann@example.com")
	if err := h.Logout(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "after logging out", s.Token)

	s, c = h.enter(t, "ann@example.com")
	other, _ := h.enter(t, "ann@example.com")
	if err := h.ChangePassword(t.Context(), c, "not it at all", "another password"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a wrong old password: %v", err)
	}
	if err := h.ChangePassword(t.Context(), c, password, password); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "another session after a new password", other.Token)
	if _, err := h.Verify(t.Context(), s.Token, ""); err != nil {
		t.Errorf("the session in which the password was changed: %v", err)
	}
	token, err := h.CreateToken(t.Context(), c, "laptop", ptr(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(t.Context(), token.Secret, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.UpdateUser(t.Context(), admin, ann.ID, state.UserChange{Role: ptr(state.RoleViewer)}); err != nil {
		t.Fatal(err)
	}
	if c, err := h.Verify(t.Context(), s.Token, ""); err != nil || c.Role != state.RoleViewer {
		t.Errorf("a new role: %+v, %v", c, err)
	}
	if err := h.SetPassword(t.Context(), admin, ann.ID, password); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a session after an administrator set the password", s.Token)
	if _, err := h.UpdateUser(t.Context(), admin, ann.ID, state.UserChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a token of a deactivated user", token.Secret)
	if _, err := h.UpdateUser(t.Context(), admin, ann.ID, state.UserChange{Active: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(t.Context(), token.Secret, ""); err != nil {
		t.Errorf("a token of a reactivated user: %v", err)
	}
	if err := h.RevokeToken(t.Context(), ann.ID, token.ID); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a revoked token", token.Secret)
	s, _ = h.enter(t, "ann@example.com")
	if err := h.DeleteUser(t.Context(), admin, ann.ID); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a session of a removed user", s.Token)
}

func TestCredentialsEndByThemselvesAlsoWhereTheyAreCached(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *identity.Config) { c.CacheFor = 100 * 24 * time.Hour })
	h.add(t, "ann@example.com", state.RoleAnalyst)
	s, c := h.enter(t, "ann@example.com")
	token, err := h.CreateToken(t.Context(), c, "laptop", ptr(2), nil)
	if err != nil {
		t.Fatal(err)
	}
	forever, err := h.CreateToken(t.Context(), c, "robot", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token.Secret, forever.Secret} {
		if _, err := h.Verify(t.Context(), secret, ""); err != nil {
			t.Fatal(err)
		}
	}
	h.pass(24*time.Hour - time.Second)
	if _, err := h.Verify(t.Context(), s.Token, ""); err != nil {
		t.Error("a second before the end:", err)
	}
	h.pass(time.Second)
	h.refused(t, "a session after a day", s.Token)
	h.pass(24 * time.Hour)
	h.refused(t, "a token after its days", token.Secret)
	h.pass(4000 * 24 * time.Hour)
	if _, err := h.Verify(t.Context(), forever.Secret, ""); err != nil {
		t.Error("a token that never ends:", err)
	}
}

func TestTokensAreMadeBySessionsWithinLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleAnalyst)
	_, c := h.enter(t, "ann@example.com")
	for _, days := range []int{0, -1, 3651} {
		if _, err := h.CreateToken(t.Context(), c, "x", &days, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%d days: %v", days, err)
		}
	}
	for _, name := range []string{"", "  ", "a\nb", strings.Repeat("x", 201)} {
		if _, err := h.CreateToken(t.Context(), c, name, nil, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	token, err := h.CreateToken(t.Context(), c, " laptop ", ptr(3650), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token.Name != "laptop" || token.Prefix != token.ID[:8] || !token.ExpiresAt.Equal(h.now().Add(3650*24*time.Hour)) {
		t.Errorf("the token is %+v", token.Token)
	}
	pat, err := h.Verify(t.Context(), token.Secret, "")
	if err != nil || pat.Credential != identity.KindToken || pat.CredentialID != token.ID {
		t.Fatalf("%+v, %v", pat, err)
	}
	if _, err := h.CreateToken(t.Context(), pat, "child", nil, nil); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a token makes a token: %v", err)
	}
	if err := h.SetPassword(t.Context(), pat, pat.UserID, "another password"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a token sets its owner's password: %v", err)
	}
	if _, err := h.ResetFor(t.Context(), pat, pat.UserID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a token makes a link for its owner: %v", err)
	}
	if err := h.ChangePassword(t.Context(), pat, password, "another password"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a token changes the password: %v", err)
	}
	list, err := h.Tokens(t.Context(), c.UserID)
	if err != nil || len(list) != 1 || strings.Contains(fmt.Sprint(list), token.Secret) {
		t.Errorf("tokens %v, %v", list, err)
	}
	if err := h.Logout(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a token that logged out", token.Secret)
}

func TestPredecessorsTokensWorkAndItsSessionsDoNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u, err := h.store.Users.Create(t.Context(), state.User{Email: "Ann@example.com", Role: state.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(typ, sub string, issued ...int64) string {
		// As PyJWT writes it: numbers for times, no expiry for a token that never ends.
		raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": sub, "email": "Ann@example.com", "role": "viewer", "typ": typ, "iat": append(issued, 1767225600)[0], "jti": "0b5b6f0e-8f8e-4a0e-9d3e-3f6d1d0d9a11",
		}).SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	pat := sign("pat", u.ID)
	if err := h.store.Tokens.Create(t.Context(), state.Token{ID: "0b5b6f0e-8f8e-4a0e-9d3e-3f6d1d0d9a11", UserID: u.ID, Name: "old", Hash: sha(pat), Prefix: "0b5b6f0e", CreatedAt: h.now()}); err != nil {
		t.Fatal(err)
	}
	c, err := h.Verify(t.Context(), pat, "")
	if err != nil || c.UserID != u.ID || c.Role != state.RoleAdmin {
		t.Errorf("the predecessor's token: %+v, %v", c, err)
	}
	h.refused(t, "a session of the predecessor", sign("session", u.ID))
	h.refused(t, "a token that is signed well and is not the recorded one", sign("pat", u.ID, 1767225601))
	other, err := h.store.Users.Create(t.Context(), state.User{Email: "eve@example.com", Role: state.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	h.refused(t, "a token in another user's name", sign("pat", other.ID))
	h.refused(t, "another type", sign("refresh", u.ID))
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleAdmin)
	s, c := h.enter(t, "ann@example.com")
	claims := jwt.MapClaims{"sub": c.UserID, "typ": "session", "jti": s.ID, "exp": h.now().Add(time.Hour).Unix()}
	forge := func(method jwt.SigningMethod, key any) string {
		raw, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for why, token := range map[string]string{
		"no signature":     forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"another secret":   forge(jwt.SigningMethodHS256, []byte("guessed")),
		"another method":   forge(jwt.SigningMethodHS512, secret),
		"the same session": forge(jwt.SigningMethodHS256, secret), // signed well, but not the token that was given out
		"empty":            "",
		"not a token":      "a.b.c",
		"huge":             strings.Repeat("a", 1<<20),
	} {
		h.refused(t, why, token)
	}
	if _, err := identity.New(identity.Config{Store: h.store}); err == nil {
		t.Error("identity works without a secret")
	}
}

func TestTrap_O2_BootstrapWorksOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, bad := range [][2]string{{"ann@example.com", "short"}, {"no address", password}, {"ann@example.com", ""}} {
		if _, err := h.Bootstrap(t.Context(), bad[0], "", bad[1], identity.From{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var in []identity.Session
	for i := range 8 {
		wg.Go(func() {
			s, err := h.Bootstrap(t.Context(), fmt.Sprintf("u%d@example.com", i), "", password, identity.From{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				in = append(in, s)
			case !fault.Is(err, fault.Forbidden):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(in) != 1 {
		t.Fatalf("%d of those who came at once got in", len(in))
	}
	c, err := h.Verify(t.Context(), in[0].Token, "")
	if err != nil || !c.Admin() {
		t.Errorf("%+v, %v", c, err)
	}
	if users, err := h.Users(t.Context()); err != nil || len(users) != 1 {
		t.Errorf("users %v, %v", users, err)
	}
	// Even with nobody left who has a password it stays closed.
	second, err := h.CreateUser(t.Context(), identity.NewUser{Email: "second@example.com", Role: state.RoleAdmin})
	if err != nil || second.HasPassword() {
		t.Fatal(second, err)
	}
	if err := h.DeleteUser(t.Context(), identity.Caller{UserID: second.ID}, c.UserID); err != nil {
		t.Fatal(err)
	}
	if open, err := h.BootstrapOpen(t.Context()); err != nil || open {
		t.Errorf("open again: %v, %v", open, err)
	}
	if _, err := h.Bootstrap(t.Context(), "eve@example.com", "", password, identity.From{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a second bootstrap: %v", err)
	}
}

func TestSeedAdministrator(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	seed := func(email, password string) error { return h.SeedAdmin(t.Context(), email, password) }
	if err := errors.Join(seed("", ""), seed("Ann@Example.com", "")); err != nil {
		t.Fatal(err)
	}
	if open, err := h.BootstrapOpen(t.Context()); err != nil || !open {
		t.Errorf("a seed without a password closes the bootstrap: %v, %v", open, err)
	}
	if err := seed("ann@example.com", "short"); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "SEED_ADMIN_PASSWORD") {
		t.Errorf("a short password: %v", err)
	}
	if err := seed("not an address", password); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "SEED_ADMIN_EMAIL") {
		t.Errorf("no address: %v", err)
	}
	if err := seed("ann@example.com", password); err != nil {
		t.Fatal(err)
	}
	s, c := h.enter(t, "Ann@Example.com")
	if !c.Admin() {
		t.Errorf("the seed is %+v", c)
	}
	if open, err := h.BootstrapOpen(t.Context()); err != nil || open {
		t.Errorf("the bootstrap beside a seed with a password: %v, %v", open, err)
	}
	// Later starts change nothing: not the password, and nobody is signed out.
	for _, p := range []string{"another password", "", "short"} {
		if err := seed("ANN@example.com", p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Verify(t.Context(), s.Token, ""); err != nil {
		t.Errorf("the session after another start: %v", err)
	}
	h.enter(t, "ann@example.com")
	bob := h.add(t, "bob@example.com", state.RoleViewer)
	if err := seed("bob@example.com", "yet another password"); err != nil {
		t.Fatal(err)
	}
	if got, err := h.store.Users.Get(t.Context(), bob.ID); err != nil || !got.Admin() || got.PasswordHash != bob.PasswordHash {
		t.Errorf("bob is %+v, %v", got, err)
	}
	if users, err := h.Users(t.Context()); err != nil || len(users) != 2 {
		t.Errorf("users %v, %v", users, err)
	}
}
