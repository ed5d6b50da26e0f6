package state_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// open opens a state that exports nothing by itself, and closes it with the test.
func open(t *testing.T, dataDir string, change ...func(*state.Options)) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), options(dataDir, change...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func options(dataDir string, change ...func(*state.Options)) state.Options {
	o := state.Options{DataDir: dataDir, ExportEvery: -1}
	for _, c := range change {
		c(&o)
	}
	return o
}

// clock is a time that only the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// must gives a function that fails the test on an error: must[T](t)(f()).
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func addUser(ctx context.Context, t *testing.T, s *state.Store, email, role, hash string) state.User {
	t.Helper()
	u, err := s.Users.Create(ctx, state.User{Email: email, Role: role, PasswordHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return u
}
