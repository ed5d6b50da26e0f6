package identity_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestGuessingOneAccountIsSlowedDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleViewer)
	guess := func(i int) error {
		_, err := h.Login(t.Context(), "Ann@Example.com", "wrong password", identity.From{IP: fmt.Sprintf("192.0.2.%d", i)})
		return err
	}
	for i := range 5 {
		if err := guess(i); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := guess(100); !fault.Is(err, fault.Busy) || fault.RetryAfter(err) <= 0 || fault.RetryAfter(err) > time.Second {
		t.Errorf("the sixth guess, from elsewhere: %v after %v", err, fault.RetryAfter(err))
	}
	if _, err := h.Login(t.Context(), "bob@example.com", password, identity.From{IP: "192.0.2.1"}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another account: %v", err)
	}
	for i := range 20 { // each failure doubles the pause, to a minute
		h.pass(time.Minute)
		if err := guess(i); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("after a minute: %v", err)
		}
	}
	if err := guess(0); !fault.Is(err, fault.Busy) || fault.RetryAfter(err) != time.Minute {
		t.Errorf("the pause is %v", fault.RetryAfter(err))
	}
	h.pass(time.Minute)
	h.enter(t, "ann@example.com") // nobody is locked out for good, and a success wipes the record
	if err := guess(0); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after a success: %v", err)
	}
}

func TestTrap_O6_GuessingFromOneAddressIsSlowedDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	guess := func(i int, ip string) error {
		_, err := h.Login(t.Context(), fmt.Sprintf("u%d@example.com", i), "wrong password", identity.From{IP: ip})
		return err
	}
	for i := range 20 {
		if err := guess(i, fmt.Sprintf("2001:db8::%x", i)); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := guess(21, "2001:db8::ffff"); !fault.Is(err, fault.Busy) {
		t.Errorf("another account from the same network: %v", err)
	}
	if err := guess(22, "2001:db8:0:1::1"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another network: %v", err)
	}
	h.pass(16 * time.Minute)
	for i := range 5 {
		if err := guess(i, "2001:db8::1"); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("after a quiet time: %v", err)
		}
	}
}

func TestGuessingElsewhereKeepsNobodyOutOfWhereTheySignIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleViewer)
	_, c := h.enter(t, "ann@example.com") // from 192.0.2.1
	login := func(h *identity.Service, ip, password string) error {
		_, err := h.Login(t.Context(), "ann@example.com", password, identity.From{IP: ip})
		return err
	}
	flood := func(h *identity.Service) {
		for i := 2; login(h, fmt.Sprintf("192.0.2.%d", i), "wrong password") == nil || i < 100; i++ {
		}
		if err := login(h, "203.0.113.1", password); !fault.Is(err, fault.Busy) {
			t.Errorf("from somewhere else: %v", err)
		}
	}
	flood(h.Service)
	if err := login(h.Service, "192.0.2.1", password); err != nil {
		t.Errorf("from where they signed in before: %v", err)
	}
	if err := h.ChangePassword(t.Context(), c, password, password); err != nil {
		t.Errorf("whoever is signed in: %v", err)
	}
	for range 5 {
		if err := login(h.Service, "192.0.2.1", "wrong password"); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a guess from there: %v", err)
		}
	}
	if err := login(h.Service, "192.0.2.1", password); !fault.Is(err, fault.Busy) {
		t.Errorf("guessing from there is not slowed down: %v", err)
	}

	// Another process knows it from the sessions.
	next, err := identity.New(identity.Config{Store: h.store, Secret: secret, Hashing: &quick, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	flood(next)
	if err := login(next, "192.0.2.1", password); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestAnOfficeThatMistypesNowAndThenIsNotSlowedDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i := range 100 {
		h.pass(45 * time.Second)
		if _, err := h.Login(t.Context(), fmt.Sprintf("u%d@example.com", i), "mistyped", identity.From{IP: "192.0.2.1"}); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
}

func TestWrongDeviceCodesOfOneUserDoNotHinderAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, email := range []string{"ann@example.com", "eve@example.com"} {
		h.add(t, email, state.RoleViewer)
	}
	_, ann := h.enter(t, "ann@example.com")
	_, eve := h.enter(t, "eve@example.com")
	code, err := h.BeginDevice(t.Context(), "da", identity.From{})
	if err != nil {
		t.Fatal(err)
	}
	for range 9 * 60 { // one a minute would do for ever; here: as often as it is allowed
		h.pass(time.Second)
		_, _ = h.Device(t.Context(), eve, "BBBB-BBBB")
	}
	if _, err := h.Device(t.Context(), eve, "BBBB-BBBB"); !fault.Is(err, fault.Busy) {
		t.Errorf("guessing codes is not slowed down: %v", err)
	}
	if err := h.DecideDevice(t.Context(), ann, code.UserCode, true); err != nil {
		t.Errorf("another user: %v", err)
	}
}

func TestProgramsAtOneAddressDoNotFillTheRoomOfAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	begin := func(ip string) error {
		_, err := h.BeginDevice(t.Context(), "da", identity.From{IP: ip})
		return err
	}
	for i := range 101 {
		if err := begin(fmt.Sprintf("2001:db8::%x", i)); i < 100 && err != nil {
			t.Fatalf("program %d: %v", i, err)
		}
	}
	if err := begin("2001:db8::1"); !fault.Is(err, fault.Busy) || fault.RetryAfter(err) <= 0 {
		t.Errorf("one more: %v", err)
	}
	if err := begin("192.0.2.1"); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	h.pass(10 * time.Minute)
	if err := begin("2001:db8::1"); err != nil {
		t.Errorf("when the codes have ended: %v", err)
	}
}

func TestGuessesAtOnceDoNotAllGetTheirTry(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleViewer)
	var checked atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := h.Login(t.Context(), "ann@example.com", "wrong password", identity.From{}); fault.Is(err, fault.Unauthenticated) {
				checked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := checked.Load(); n != 5 {
		t.Errorf("%d guesses were checked", n)
	}
}

func TestCallerWhoLeftIsNoFailedAttempt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// A cancelled caller costs no hashing, and is no failure.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		if _, err := h.Login(ctx, "ann@example.com", "x", identity.From{IP: fmt.Sprint(i)}); fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("a caller who left: %v", err)
		}
	}
	h.add(t, "ann@example.com", state.RoleViewer)
	h.enter(t, "ann@example.com")
}

func TestUseIsWrittenDownOncePerMinuteWithoutAWritePerRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add(t, "ann@example.com", state.RoleViewer)
	_, c := h.enter(t, "ann@example.com")
	token, err := h.CreateToken(t.Context(), c, "laptop", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	use := func(ip string) state.Token {
		t.Helper()
		for range 100 {
			if _, err := h.Verify(t.Context(), token.Secret, ip); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.FlushUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := h.store.Tokens.Get(t.Context(), "", token.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := h.now()
	if got := use("192.0.2.1"); !got.LastUsedAt.Equal(first) || got.LastUsedIP != "192.0.2.1" {
		t.Errorf("the first use: %+v", got)
	}
	h.pass(30 * time.Second)
	if got := use("192.0.2.2"); !got.LastUsedAt.Equal(first) {
		t.Errorf("a use within the minute: %+v", got)
	}
	h.pass(30 * time.Second)
	generation := h.store.IdentityGeneration()
	if got := use("192.0.2.2"); !got.LastUsedAt.Equal(first.Add(time.Minute)) || got.LastUsedIP != "192.0.2.2" {
		t.Errorf("a use after the minute: %+v", got)
	}
	if h.store.IdentityGeneration() != generation {
		t.Error("writing down a use spoils what is cached")
	}
}

func TestRunWritesDownWhatIsLeft(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *identity.Config) { c.FlushEvery = time.Hour })
	h.add(t, "ann@example.com", state.RoleViewer)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.pass(time.Hour)
	s, c := h.enter(t, "ann@example.com")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	list, err := h.Sessions(t.Context(), c.UserID)
	if err != nil || len(list) != 1 || list[0].ID != s.ID || !list[0].LastSeen.Equal(h.now()) || list[0].UserAgent != "test" {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

func TestSecretIsMadeOnceAndThePredecessorsIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := identity.LoadSecret(dir, "")
	if err != nil || len(first) != 64 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	if again, err := identity.LoadSecret(dir, ""); err != nil || string(again) != string(first) {
		t.Errorf("a second start has another secret: %v", err)
	}
	if given, err := identity.LoadSecret(dir, "from the environment"); err != nil || string(given) != "from the environment" {
		t.Errorf("%q, %v", given, err)
	}
	path := filepath.Join(dir, "state", identity.SecretFile)
	if err := os.WriteFile(path, []byte("the predecessor's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := identity.LoadSecret(dir, ""); err != nil || string(got) != "the predecessor's" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the secret: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := identity.LoadSecret(dir, ""); err != nil || len(got) != 64 {
		t.Errorf("an empty file gives a secret of %d bytes, %v", len(got), err)
	}
}

func TestPeopleAreChecked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	admin := h.add(t, "admin@example.com", state.RoleAdmin)
	me := identity.Caller{UserID: admin.ID, Role: state.RoleAdmin}
	for _, n := range []identity.NewUser{{Email: "nobody"}, {Email: "@x"}, {Email: "a@"}, {Email: "a b@x"}, {Email: "a@x", Role: "king"}, {Email: "a@x", Password: "short"}, {Email: "a@x", Name: "a\x00"}, {Email: "a@x", Name: "\u202enimda"}, {Email: "a\u200b@x"}, {Email: "a\xff@x"}} {
		if _, err := h.CreateUser(t.Context(), n); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", n, err)
		}
	}
	if err := h.DeleteUser(t.Context(), me, admin.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("removing oneself: %v", err)
	}
	second := h.add(t, "second@example.com", state.RoleAdmin)
	if _, err := h.UpdateUser(t.Context(), me, admin.ID, state.UserChange{Active: ptr(false)}); !fault.Is(err, fault.Conflict) {
		t.Errorf("deactivating oneself: %v", err)
	}
	u, err := h.UpdateUser(t.Context(), me, second.ID, state.UserChange{Active: ptr(false)})
	if err != nil || u.DeactivatedBy != admin.ID {
		t.Errorf("%+v, %v", u, err)
	}
}
