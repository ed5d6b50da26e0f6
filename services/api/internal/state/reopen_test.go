package state_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestADatabaseThatGaveUpIsOpenedAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := must[*state.Store](t)(state.Open(t.Context(), options(dir)))
	addUser(t.Context(), t, s, "before@example.com", state.RoleViewer, "")
	for round := range 3 {
		if err := s.Spoil(t.Context()); err != nil {
			t.Fatal(err)
		}
		addUser(t.Context(), t, s, fmt.Sprintf("spoiled%d@example.com", round), state.RoleViewer, "") // is in the log alone
		if round == 1 {                                                                               // a write is the first to see it
			addUser(t.Context(), t, s, "next@example.com", state.RoleViewer, "")
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := s.Users.List(t.Context()); err != nil {
					t.Errorf("round %d: read: %v", round, err)
				}
				if _, err := s.Permissions.Rules(t.Context()); err != nil {
					t.Errorf("round %d: rules: %v", round, err)
				}
			})
		}
		group.Wait()
		if err := s.Canary(t.Context()); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	if _, err := s.Export(t.Context()); err != nil {
		t.Error(err)
	}
	want := "before@example.com next@example.com spoiled0@example.com spoiled1@example.com spoiled2@example.com"
	if got := emails(t, s); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := s.Spoil(t.Context()); err != nil {
		t.Fatal(err)
	}
	addUser(t.Context(), t, s, "zuletzt@example.com", state.RoleViewer, "")
	if err := s.Close(); err != nil {
		t.Errorf("closing a state that gave up: %v", err)
	}
	if got := emails(t, open(t, dir)); got != want+" zuletzt@example.com" {
		t.Errorf("after a restart: %s", got)
	}
}

func emails(t *testing.T, s *state.Store) string {
	t.Helper()
	var list []string
	for _, u := range must[[]state.User](t)(s.Users.List(t.Context())) {
		list = append(list, u.Email)
	}
	return strings.Join(list, " ")
}
