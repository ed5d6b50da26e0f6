package state_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/disktest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// TestAFullDiskCostsNoAcknowledgedWrite fills the disk to the last byte: reads go on, writes are refused with
// what to do, and with space again the state takes writes without a restart.
func TestAFullDiskCostsNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	for _, leave := range []int64{0, 8 << 10, 64 << 10} {
		t.Run(fmt.Sprintf("%d bytes", leave), func(t *testing.T) {
			t.Parallel()
			dir := disktest.Small(t, "16m")
			s := must[*state.Store](t)(state.Open(t.Context(), options(dir)))
			addUser(t.Context(), t, s, "a@example.com", state.RoleViewer, "")
			acknowledged := []string{"a@example.com"}
			ballast := disktest.Fill(t, dir, leave)
			var refused error
			for i := 0; i < 5_000 && refused == nil; i++ {
				u := state.User{Email: fmt.Sprintf("u%04d@example.com", i), Role: state.RoleViewer, PasswordHash: strings.Repeat("x", 500)}
				if _, refused = s.Users.Create(t.Context(), u); refused == nil {
					acknowledged = append(acknowledged, u.Email)
				}
				if i < 10 || refused != nil {
					if got := emails(t, s); got != strings.Join(acknowledged, " ") {
						t.Fatalf("after %d writes: %v: %q", i, refused, got)
					}
				}
			}
			if !fault.Is(refused, fault.Unavailable) || !strings.Contains(fault.Message(refused), "disk of the data directory is full") {
				t.Errorf("a write without space: %v", refused)
			}
			if err := s.Canary(t.Context()); !strings.Contains(fault.Message(err), "full") {
				t.Errorf("the canary without space: %v", err)
			}
			t.Logf("%d users were acknowledged", len(acknowledged))
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			until(t, func() error { return s.Canary(t.Context()) })
			addUser(t.Context(), t, s, "v@example.com", state.RoleViewer, "")
			want := strings.Join(append(acknowledged, "v@example.com"), " ")
			if got := emails(t, s); got != want {
				t.Errorf("with space again: %s", got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if got := emails(t, open(t, dir)); got != want {
				t.Errorf("after a restart: %s", got)
			}
		})
	}
}

// until asks again until it is well, for at most half a minute.
func until(t *testing.T, well func() error) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := well()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("it did not recover: %v", err)
		}
	}
}
