package identity_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestTrap_O5_LinksWorkOnceAndForTheirPurposeAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ann := h.add(t, "ann@example.com", state.RoleAnalyst)
	before, _ := h.enter(t, "ann@example.com")
	if _, err := h.Invite(t.Context(), identity.Caller{}, ann.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("an invitation for somebody with a password: %v", err)
	}
	old, err := h.ResetFor(t.Context(), identity.Caller{}, ann.ID)
	if err != nil || old.URL != "" {
		t.Fatalf("%+v, %v", old, err)
	}
	link, err := h.ResetFor(t.Context(), identity.Caller{}, ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.VerifyLink(t.Context(), "", link.Token, identity.From{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a reset token signs in: %v", err)
	}
	for why, token := range map[string]string{"spoilt by a newer one": old.Token, "guessed": "x"} {
		if _, err := h.ConfirmReset(t.Context(), "", token, "another password", identity.From{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", why, err)
		}
	}
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := h.ConfirmReset(t.Context(), "Ann@Example.com", link.Token, "another password", identity.From{}); err == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d of those who came at once got in", in.Load())
	}
	h.refused(t, "a session from before the reset", before.Token)
}
