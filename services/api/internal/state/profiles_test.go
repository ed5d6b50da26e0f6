package state_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestNewestProfileWins(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, err := s.Profiles.Get(t.Context(), "shop.orders"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a profile that was never made: %v", err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, p := range []state.Profile{
		{JSON: json.RawMessage(`{"rows":1}`), ProfiledAt: at},
		{JSON: json.RawMessage(`{"rows":2}`), ProfiledAt: at.Add(time.Minute)},
		{JSON: json.RawMessage(`{"rows":0}`), ProfiledAt: at.Add(-time.Minute)},
	} {
		if err := s.Profiles.Put(t.Context(), map[string]state.Profile{"shop.orders": p, "shop.other": {JSON: json.RawMessage("{}"), ProfiledAt: at}}); err != nil {
			t.Fatal(err)
		}
	}
	got := must[state.Profile](t)(s.Profiles.Get(t.Context(), "shop.orders"))
	if string(got.JSON) != `{"rows":2}` || !got.ProfiledAt.Equal(at.Add(time.Minute)) {
		t.Errorf("got %s of %s", got.JSON, got.ProfiledAt)
	}
}
