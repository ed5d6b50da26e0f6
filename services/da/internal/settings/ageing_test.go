package settings_test

import (
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/da/internal/settings"
)

func TestASessionAgesInItsLastQuarter(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(began, ends time.Duration) settings.Credential {
		return settings.Credential{AccessToken: "x", IssuedAt: now.Add(began), ExpiresAt: now.Add(ends)}
	}
	for name, tc := range map[string]struct {
		c    settings.Credential
		want bool
	}{
		"fresh":                     {at(-time.Hour, 23*time.Hour), false},
		"a bit more than a quarter": {at(-17*time.Hour, 7*time.Hour), false},
		"less than a quarter":       {at(-19*time.Hour, 5*time.Hour), true},
		"ended":                     {at(-25*time.Hour, -time.Hour), false},
		"without an end":            {settings.Credential{AccessToken: "x", IssuedAt: now}, false},
		"the predecessor's":         {settings.Credential{AccessToken: "x"}, false},
		"a personal access token": { // {"typ":"pat"}
			settings.Credential{AccessToken: "e30.eyJ0eXAiOiJwYXQifQ.x", IssuedAt: now.Add(-19 * time.Hour), ExpiresAt: now.Add(time.Hour)}, false,
		},
	} {
		if got := tc.c.Ageing(now); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestWhatWasSeenOfARecordIsKeptForEachServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := &settings.Settings{Dir: dir, Server: "https://one.example.com"}, &settings.Settings{Dir: dir, Server: "https://two.example.com"}
	want := settings.Record{PublicKey: "ed25519 x", Seq: 7, Hash: "abc"}
	if err := one.SaveRecord(want); err != nil {
		t.Fatal(err)
	}
	if got, err := two.LoadRecord(); err != nil || got != (settings.Record{}) {
		t.Errorf("%+v %v", got, err)
	}
	if err := two.SaveRecord(settings.Record{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	if got, err := one.LoadRecord(); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
}
