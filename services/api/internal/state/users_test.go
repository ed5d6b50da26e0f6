package state_test

import (
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func ptr[T any](v T) *T { return &v }

func TestTrap_O1_OneUserPerAddressInAnyLetters(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "Ann@Example.com", state.RoleViewer, "")
	for _, email := range []string{"ann@example.com", "ANN@EXAMPLE.COM ", "Ann@Example.com"} {
		if got := must[state.User](t)(s.Users.ByEmail(t.Context(), email)); got.ID != ann.ID {
			t.Errorf("%q is %s", email, got.ID)
		}
		if _, err := s.Users.Create(t.Context(), state.User{Email: email, Role: state.RoleViewer}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second user %q: %v", email, err)
		}
	}
}

func TestTrap_O1_OneUserHoweverTheAddressIsWritten(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "Ren\u00e9@B\u00fccher.example", state.RoleViewer, "")
	for _, email := range []string{"rene\u0301@bu\u0308cher.example", "REN\u00c9@XN--BCHER-KVA.example", " ren\u00e9@B\u00dcCHER.EXAMPLE\t", "ren\u00e9@b\u00fccher\u3002example"} {
		if u, err := s.Users.ByEmail(t.Context(), email); err != nil || u.ID != ann.ID {
			t.Errorf("%q: %v, %v", email, u.ID, err)
		}
		if _, err := s.Users.Create(t.Context(), state.User{Email: email, Role: state.RoleViewer}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second user %q: %v", email, err)
		}
	}
	for _, email := range []string{"rene@b\u00fccher.example", "ren\u00e9@bucher.example", "ren\u00e9@", "@b\u00fccher.example", "\u00e9", ""} {
		if _, err := s.Users.ByEmail(t.Context(), email); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q is somebody: %v", email, err)
		}
	}
}

func TestTrap_O7_DeactivatingAndNewPasswordsEndSessions(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleAnalyst, "old")
	signIn := func(id string) {
		t.Helper()
		now := time.Now()
		if err := s.Sessions.Create(t.Context(), state.Session{ID: id, UserID: ann.ID, Hash: id, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	revoked := func(id string) bool {
		t.Helper()
		v, _, err := s.Sessions.WithOwner(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return !v.RevokedAt.IsZero()
	}
	signIn("one")
	signIn("two")
	generation := s.IdentityGeneration()
	if err := s.Users.SetPassword(t.Context(), ann.ID, "new", "two"); err != nil {
		t.Fatal(err)
	}
	if !revoked("one") || revoked("two") || s.IdentityGeneration() == generation {
		t.Error("a new password ends every session but the one it was set in")
	}
	if _, err := s.Users.Update(t.Context(), ann.ID, state.UserChange{Active: ptr(false), By: "admin"}); err != nil {
		t.Fatal(err)
	}
	if !revoked("two") {
		t.Error("a deactivated user has a session")
	}
	if err := s.Sessions.Create(t.Context(), state.Session{ID: "three", UserID: ann.ID, Hash: "x", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a deactivated user signs in: %v", err)
	}
	back := must[state.User](t)(s.Users.Update(t.Context(), ann.ID, state.UserChange{Active: ptr(true)}))
	if !back.Active || !back.DeactivatedAt.IsZero() || back.DeactivatedBy != "" || !revoked("two") {
		t.Errorf("reactivated: %+v", back)
	}
}

func TestLastAdministratorStays(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleAdmin, "")
	gone := addUser(t.Context(), t, s, "gone@example.com", state.RoleAdmin, "")
	if _, err := s.Users.Update(t.Context(), gone.ID, state.UserChange{Active: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"demote": func() error {
			_, err := s.Users.Update(t.Context(), ann.ID, state.UserChange{Role: ptr(state.RoleViewer)})
			return err
		},
		"deactivate": func() error {
			_, err := s.Users.Update(t.Context(), ann.ID, state.UserChange{Active: ptr(false)})
			return err
		},
		"delete": func() error { return s.Users.Delete(t.Context(), ann.ID) },
	} {
		if err := try(); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s the last active administrator: %v", name, err)
		}
	}
	if _, err := s.Users.Update(t.Context(), ann.ID, state.UserChange{Role: ptr("king")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown role: %v", err)
	}
	if _, err := s.Users.Update(t.Context(), "nobody", state.UserChange{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody: %v", err)
	}
}

func TestDeletedUserLeavesNothingThatOpens(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	addUser(t.Context(), t, s, "admin@example.com", state.RoleAdmin, "")
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	now := time.Now()
	if err := s.Tokens.Create(t.Context(), state.Token{ID: "t", UserID: ann.ID, Name: "n", Hash: "h", Prefix: "t", CreatedAt: now}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: ann.ID, Dataset: "orders"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Users.Delete(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Tokens.WithOwner(t.Context(), "t"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the token: %v", err)
	}
	if list := grantsOf(t, s, ""); len(list) != 0 {
		t.Errorf("grants: %v", list)
	}
	again := addUser(t.Context(), t, s, "Ann@example.com", state.RoleViewer, "")
	if again.ID == ann.ID {
		t.Error("a new user has the id of a deleted one")
	}
}

func TestTokensAreRevokedOnceAndByTheirOwners(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := open(t, t.TempDir(), func(o *state.Options) { o.Now = c.now })
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	for _, id := range []string{"a", "b"} {
		if err := s.Tokens.Create(t.Context(), state.Token{ID: id, UserID: ann.ID, Name: id, Hash: id, Prefix: id, CreatedAt: c.now()}); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(time.Second)
	}
	if err := s.Tokens.Revoke(t.Context(), "somebody else", "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else's token: %v", err)
	}
	first := c.at
	for range 2 {
		if err := s.Tokens.Revoke(t.Context(), ann.ID, "a"); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(time.Hour)
	}
	list := must[[]state.Token](t)(s.Tokens.List(t.Context(), ann.ID))
	if len(list) != 2 || list[0].ID != "b" || !list[1].RevokedAt.Equal(first) || list[1].UserEmail != "ann@example.com" {
		t.Errorf("tokens: %+v", list)
	}
	if err := s.Tokens.MarkUsed(t.Context(), []state.Use{{ID: "b", At: c.now(), IP: "192.0.2.1"}, {ID: "unknown", At: c.now()}}); err != nil {
		t.Fatal(err)
	}
	if b := must[state.Token](t)(s.Tokens.Get(t.Context(), "", "b")); b.LastUsedIP != "192.0.2.1" || !b.LastUsedAt.Equal(c.now()) {
		t.Errorf("b was used: %+v", b)
	}
}
