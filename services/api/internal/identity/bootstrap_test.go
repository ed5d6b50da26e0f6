package identity_test

import (
	"context"
	"regexp"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/mail"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// mailbox takes mails in.
type mailbox chan mail.Message

func (m mailbox) Enqueue(letter mail.Message) error {
	m <- letter
	return nil
}

func (m mailbox) Send(_ context.Context, letter mail.Message) error { return m.Enqueue(letter) }

var tokenInMail = regexp.MustCompile(`token=([\w-]+)`)

// token waits for a mail and gives the token of its link.
func (m mailbox) token(t *testing.T) string {
	t.Helper()
	select {
	case letter := <-m:
		return tokenInMail.FindStringSubmatch(letter.Text)[1]
	case <-t.Context().Done():
		t.Fatal("no mail came")
		return ""
	}
}

// withMail makes a house that mails links, and works off what answers do not wait for.
func withMail(t *testing.T) (*house, mailbox) {
	t.Helper()
	box := make(mailbox, 1000)
	h := newHouse(t, func(c *identity.Config) { c.Mail, c.PublicURL = box, "https://agnes.example.com" })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h, box
}

func TestTrap_O2_AWayInWithoutAPasswordClosesTheBootstrap(t *testing.T) {
	t.Parallel()
	closed := func(t *testing.T, h *house, why string) {
		t.Helper()
		if open, err := h.BootstrapOpen(t.Context()); err != nil || open {
			t.Errorf("%s: open is %v, %v", why, open, err)
		}
		for _, email := range []string{"eve@example.com", "ann@example.com"} {
			if _, err := h.Bootstrap(t.Context(), email, "", password, identity.From{}); !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: a stranger bootstraps as %s: %v", why, email, err)
			}
		}
	}

	h, box := withMail(t)
	if open, err := h.BootstrapOpen(t.Context()); err != nil || !open {
		t.Errorf("a server without users: open is %v, %v", open, err)
	}
	if err := h.SeedAdmin(t.Context(), "ann@example.com", ""); err != nil {
		t.Fatal(err)
	}
	closed(t, h, "the administrator can have a link mailed")
	if err := h.SendLink(t.Context(), "ann@example.com", "", identity.From{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.VerifyLink(t.Context(), "", box.token(t), identity.From{}); err != nil {
		t.Fatal(err)
	}

	// Without mail from now on: what was closed stays so.
	later, err := identity.New(identity.Config{Store: h.store, Secret: secret, Hashing: &quick, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, &house{Service: later, store: h.store}, "somebody signed in by a link")
	if err := h.store.Settings.Delete(t.Context(), "bootstrap_closed"); err != nil {
		t.Fatal(err)
	}
	closed(t, &house{Service: later, store: h.store}, "the mark is lost, but there is a session")
}

func TestTrap_O2_OnlyTheSeededAdministratorBootstraps(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.SeedAdmin(t.Context(), "Ann@example.com", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Bootstrap(t.Context(), "eve@example.com", "", password, identity.From{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a stranger beside the administrator: %v", err)
	}
	s, err := h.Bootstrap(t.Context(), "ann@EXAMPLE.com", "", password, identity.From{})
	if err != nil || s.User.Role != state.RoleAdmin {
		t.Fatalf("the administrator: %+v, %v", s.User, err)
	}
	if users, err := h.Users(t.Context()); err != nil || len(users) != 1 {
		t.Errorf("users %v, %v", users, err)
	}
}
