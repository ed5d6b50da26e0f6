package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestNewStateKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := must[*state.Store](t)(state.Open(t.Context(), options(dir)))
	if m := s.Migrated(); m.From != 0 || m.To != s.Version() || m.Backup != "" {
		t.Errorf("a new state was migrated: %+v", m)
	}
	u := addUser(t.Context(), t, s, " Ann@Example.com ", state.RoleAdmin, "hash")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error("closing twice:", err)
	}
	info, err := os.Stat(filepath.Join(dir, "state", "system.duckdb"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the state: %v, %v", info.Mode(), err)
	}
	again := open(t, dir)
	got := must[state.User](t)(again.Users.Get(t.Context(), u.ID))
	if got.Email != "Ann@Example.com" || !got.Active || got.Role != state.RoleAdmin || got.CreatedAt.Location() != time.UTC || !got.CreatedAt.Equal(u.CreatedAt) {
		t.Errorf("got %+v, want %+v", got, u)
	}
}

func TestSecondProcessIsRefusedClearly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	_, err := state.Open(t.Context(), options(dir))
	if !fault.Is(err, fault.Conflict) {
		t.Fatalf("a second open: %v", err)
	}
}

func TestTrap_E4_EveryWriteIsInTheFileWithoutItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 20 {
		addUser(t.Context(), t, s, fmt.Sprintf("u%d@example.com", i), state.RoleViewer, "")
		if i%2 == 0 {
			if _, err := s.Users.Update(t.Context(), must[state.User](t)(s.Users.ByEmail(t.Context(), "u0@example.com")).ID, state.UserChange{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitForCheckpoint(t, dir)
	copied := t.TempDir()
	if err := os.MkdirAll(filepath.Join(copied, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "state", "system.duckdb"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "state", "system.duckdb"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := must[int](t)(open(t, copied).Users.Count(t.Context())); n != 20 {
		t.Errorf("the copy of the file alone has %d users", n)
	}
}

// waitForCheckpoint waits until the log is empty: a reader may hold up a checkpoint for a moment.
func waitForCheckpoint(t *testing.T, dir string) {
	t.Helper()
	for range 500 {
		info, err := os.Stat(filepath.Join(dir, "state", "system.duckdb.wal"))
		if errors.Is(err, os.ErrNotExist) || (err == nil && info.Size() == 0) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the log was not written to the file")
}

func TestTrap_E4_LogDoesNotGrowUnderSteadyReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	u := addUser(t.Context(), t, s, "ann@example.com", state.RoleAdmin, "")
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 6 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Users.List(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 50 {
		name := fmt.Sprintf("Ann %d", i)
		if _, err := s.Users.Update(t.Context(), u.ID, state.UserChange{Name: &name}); err != nil {
			t.Fatal(err)
		}
	}
	waitForCheckpoint(t, dir)
	stop()
	readers.Wait()
}

func TestTrap_O9_CanaryFailsWhenWritingDoes(t *testing.T) {
	t.Parallel()
	s := must[*state.Store](t)(state.Open(t.Context(), options(t.TempDir())))
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if err := s.Canary(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // a success counts for a second
	if err := s.Canary(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a closed state: %v", err)
	}
}

func TestWriterThatLeavesDoesNotWriteByHalves(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Users.Create(ctx, state.User{Email: "ann@example.com", Role: state.RoleViewer})
	users := must[[]state.User](t)(s.Users.List(t.Context()))
	if (err == nil) != (len(users) == 1) {
		t.Errorf("the answer was %v and there are %d users", err, len(users))
	}
}

func TestTrap_E1_ReadsWritesAndExportsDoNotPoisonEachOther(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	u := addUser(t.Context(), t, s, "ann@example.com", state.RoleAdmin, "")
	var work sync.WaitGroup
	for _, do := range []func() error{
		func() error { _, err := s.Users.List(t.Context()); return err },
		func() error { _, err := s.Registry.List(t.Context(), ""); return err },
		func() error { _, err := s.Users.Update(t.Context(), u.ID, state.UserChange{}); return err },
		func() error { _, err := s.Export(t.Context()); return err },
		func() error { return s.Canary(t.Context()) },
	} {
		for range 2 {
			work.Go(func() {
				for range 5 {
					if err := do(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	work.Wait()
}
