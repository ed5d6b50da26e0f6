package identity_test

import (
	"fmt"
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
	old, err := h.ResetFor(t.Context(), identity.Caller{UserID: "admin"}, ann.ID)
	if err != nil || old.URL != "" {
		t.Fatalf("%+v, %v", old, err)
	}
	link, err := h.ResetFor(t.Context(), identity.Caller{UserID: "admin"}, ann.ID)
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

func TestLinksThatStrangersAskForSpoilNothingAndFillNoMailbox(t *testing.T) {
	t.Parallel()
	h, box := withMail(t)
	ann := h.add(t, "ann@example.com", state.RoleAnalyst)
	h.add(t, "bob@example.com", state.RoleAnalyst)
	handed, err := h.ResetFor(t.Context(), identity.Caller{UserID: "admin"}, ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-box // the same by mail
	ask := func(email string) {
		t.Helper()
		if err := h.SendLink(t.Context(), email, "", identity.From{}); err != nil {
			t.Fatal(err)
		}
		if err := h.RequestReset(t.Context(), email, identity.From{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		ask("ann@example.com")
	}
	ask("bob@example.com") // work is done in order: his mails are the last ones
	tokens := map[string][]string{}
	for {
		letter := <-box
		if letter.To == "bob@example.com" {
			break
		}
		tokens[letter.Kind] = append(tokens[letter.Kind], tokenInMail.FindStringSubmatch(letter.Text)[1])
	}
	if got := fmt.Sprint(len(tokens[state.PurposeMagic]), len(tokens[state.PurposeReset])); got != "20 19" {
		t.Errorf("mails: %s", got)
	}
	in := func(token string) error {
		_, err := h.VerifyLink(t.Context(), "", token, identity.From{})
		return err
	}
	if err := in(tokens[state.PurposeMagic][0]); err != nil {
		t.Errorf("the first link, after others were asked for: %v", err)
	}
	if err := in(tokens[state.PurposeMagic][19]); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another link, after one was used: %v", err)
	}
	if _, err := h.ConfirmReset(t.Context(), "", handed.Token, "another password", identity.From{}); err != nil {
		t.Errorf("an administrator's link, after strangers asked for others: %v", err)
	}
}
