package state_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// grantsOf lists the grants of a user, or all.
func grantsOf(t *testing.T, s *state.Store, userID string) []state.Permission {
	t.Helper()
	list, total, err := s.Permissions.List(t.Context(), state.PermissionFilter{UserID: userID})
	if err != nil || total != len(list) {
		t.Fatalf("%d of %d grants: %v", len(list), total, err)
	}
	return list
}

func TestTwoAdministratorsRemoveEachOtherAndOneStays(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for name, remove := range map[string]func(id string) error{
		"demote": func(id string) error {
			_, err := s.Users.Update(t.Context(), id, state.UserChange{Role: ptr(state.RoleViewer)})
			return err
		},
		"deactivate": func(id string) error {
			_, err := s.Users.Update(t.Context(), id, state.UserChange{Active: ptr(false)})
			return err
		},
		"delete": func(id string) error { return s.Users.Delete(t.Context(), id) },
	} {
		for round := range 5 {
			var ids []string
			for i := range 2 {
				ids = append(ids, addUser(t.Context(), t, s, fmt.Sprintf("%s%d-%d@example.com", name, round, i), state.RoleAdmin, "").ID)
			}
			// Whoever was left of the round before makes room, so that these two are the only ones.
			for _, u := range must[[]state.User](t)(s.Users.List(t.Context())) {
				if u.ID != ids[0] && u.ID != ids[1] {
					if err := s.Users.Delete(t.Context(), u.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
			var both sync.WaitGroup
			outcomes := make([]error, 2)
			for i := range 2 {
				both.Go(func() { outcomes[i] = remove(ids[i]) })
			}
			both.Wait()
			left := 0
			for _, u := range must[[]state.User](t)(s.Users.List(t.Context())) {
				if u.Admin() && u.Active {
					left++
				}
			}
			if left != 1 || (outcomes[0] == nil) == (outcomes[1] == nil) || !fault.Is(errors.Join(outcomes...), fault.Conflict) {
				t.Fatalf("%s: %d administrators are left, %v", name, left, outcomes)
			}
		}
	}
}

func TestGroupsHaveOneNameMembersAndGrants(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	addUser(t.Context(), t, s, "root@example.com", state.RoleAdmin, "")
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	g := must[state.Group](t)(s.Groups.Create(t.Context(), state.Group{Name: " Finance ", CreatedBy: ann.ID}))
	if g.Name != "Finance" {
		t.Errorf("the name is %q", g.Name)
	}
	other := must[state.Group](t)(s.Groups.Create(t.Context(), state.Group{Name: "sales"}))
	for name, try := range map[string]func() error{
		"made twice":     func() error { _, err := s.Groups.Create(t.Context(), state.Group{Name: "fiNANce"}); return err },
		"renamed to it":  func() error { _, err := s.Groups.Update(t.Context(), other.ID, ptr("FINANCE"), nil); return err },
		"named as an id": func() error { _, err := s.Groups.Update(t.Context(), other.ID, ptr(g.ID), nil); return err },
	} {
		if err := try(); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Groups.Update(t.Context(), g.ID, ptr("FINANCE"), ptr("all of it")); err != nil {
		t.Errorf("its own name in other letters: %v", err)
	}
	for _, key := range []string{g.ID, "finance", "FINANCE"} {
		if found := must[state.Group](t)(s.Groups.Find(t.Context(), key)); found.ID != g.ID || found.Description != "all of it" {
			t.Errorf("%q is %+v", key, found)
		}
	}
	for name, err := range map[string]error{
		"no such group": s.Groups.AddMember(t.Context(), "nothing", ann.ID, ""), "no such user": s.Groups.AddMember(t.Context(), g.ID, "nobody", ""),
		"out of nothing": s.Groups.RemoveMember(t.Context(), "nothing", ann.ID), "delete nothing": s.Groups.Delete(t.Context(), "nothing"),
	} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 { // what is there stays, what is gone is gone
		if err := s.Groups.AddMember(t.Context(), g.ID, ann.ID, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Permissions.Grant(t.Context(), state.Permission{GroupID: g.ID, Dataset: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	if found := must[state.Group](t)(s.Groups.Find(t.Context(), g.ID)); found.Members != 1 || found.Grants != 1 {
		t.Errorf("it has %d members and %d grants", found.Members, found.Grants)
	}
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{GroupID: g.ID, UserID: ann.ID, Dataset: "orders"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a user and a group: %v", err)
	}
	if err := s.Users.Delete(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	if list := must[[]state.Member](t)(s.Groups.Members(t.Context(), g.ID)); len(list) != 0 {
		t.Errorf("a deleted user is a member: %v", list)
	}
	before := s.AccessGeneration()
	if err := s.Groups.Delete(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	rules := must[state.Rules](t)(s.Permissions.Rules(t.Context()))
	if len(rules.Grants)+len(rules.Members) != 0 || s.AccessGeneration() == before {
		t.Errorf("after the group is gone: %+v", rules)
	}
}

func TestRequestsWaitAreDecidedOnceAndGrantTogether(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	root := addUser(t.Context(), t, s, "root@example.com", state.RoleAdmin, "")
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	ask := func(table string) (state.AccessRequest, error) {
		return s.Requests.Create(t.Context(), state.AccessRequest{UserID: ann.ID, UserEmail: ann.Email, TableID: table, Reason: "why not"})
	}
	q := must[state.AccessRequest](t)(ask("orders"))
	if _, err := ask("orders"); !fault.Is(err, fault.Conflict) {
		t.Errorf("asked twice: %v", err)
	}
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: ann.ID, Dataset: "orders", Access: state.AccessNone}); err != nil {
		t.Fatal(err)
	}
	var deciders sync.WaitGroup
	outcomes := make([]error, 4)
	for i := range outcomes {
		deciders.Go(func() {
			_, outcomes[i] = s.Requests.Decide(t.Context(), q.ID, state.Decision{Approve: true, Dataset: "orders", By: root.ID, ByEmail: root.Email, Reason: "fine"})
		})
	}
	deciders.Wait()
	decided := 0
	for _, err := range outcomes {
		if err == nil {
			decided++
		} else if !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
	}
	if list := grantsOf(t, s, ann.ID); decided != 1 || len(list) != 1 || list[0].Access != state.AccessRead || list[0].GrantedBy != root.ID || list[0].GrantedByEmail != root.Email {
		t.Errorf("%d decisions made %+v", decided, list)
	}
	list, total, err := s.Requests.List(t.Context(), state.RequestFilter{Status: state.RequestApproved, Page: state.Page{Limit: 1}})
	if err != nil || total != 1 || list[0].ReviewedBy != root.Email || list[0].DecisionReason != "fine" || list[0].Reason != "why not" {
		t.Errorf("%d: %+v, %v", total, list, err)
	}
	q = must[state.AccessRequest](t)(ask("salaries"))
	before := s.AccessGeneration()
	if _, err := s.Requests.Decide(t.Context(), q.ID, state.Decision{ByEmail: root.Email}); err != nil || s.AccessGeneration() != before || len(grantsOf(t, s, ann.ID)) != 1 {
		t.Errorf("a denial: %v", err)
	}
	q = must[state.AccessRequest](t)(ask("salaries")) // after a denial one may ask again
	if _, err := s.Requests.Cancel(t.Context(), root.ID, q.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	if _, err := s.Requests.Cancel(t.Context(), ann.ID, q.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Requests.Cancel(t.Context(), ann.ID, q.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("cancelled twice: %v", err)
	}
	for i := range state.MaxPendingRequests {
		if _, err := ask(fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask("one too many"); !fault.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	if err := s.Users.Delete(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	if _, total, err := s.Requests.List(t.Context(), state.RequestFilter{}); err != nil || total != 0 {
		t.Errorf("a deleted user has %d requests, %v", total, err)
	}
}

func TestGrantsAreListedInPages(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := open(t, t.TempDir(), func(o *state.Options) { o.Now = c.now })
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	g := must[state.Group](t)(s.Groups.Create(t.Context(), state.Group{Name: "finance"}))
	for _, p := range []state.Permission{{UserID: ann.ID, Dataset: "b", GrantedBy: ann.ID}, {UserID: ann.ID, Dataset: "a"}, {GroupID: g.ID, Dataset: "a"}} {
		if _, err := s.Permissions.Grant(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		filter state.PermissionFilter
		listed string
		total  int
	}{
		"all":           {state.PermissionFilter{}, "ann@example.com a,ann@example.com b,finance a,", 3},
		"a page":        {state.PermissionFilter{Page: state.Page{Limit: 1, Offset: 1}}, "ann@example.com b,", 3},
		"the last page": {state.PermissionFilter{Page: state.Page{Limit: 2, Offset: 2}}, "finance a,", 3},
		"beyond":        {state.PermissionFilter{Page: state.Page{Limit: 2, Offset: 9}}, "", 3},
		"of a user":     {state.PermissionFilter{UserID: ann.ID}, "ann@example.com a,ann@example.com b,", 2},
		"of a group":    {state.PermissionFilter{GroupID: g.ID}, "finance a,", 1},
		"by name":       {state.PermissionFilter{Dataset: "a"}, "ann@example.com a,finance a,", 2},
	} {
		list, total, err := s.Permissions.List(t.Context(), want.filter)
		listed := ""
		for _, p := range list {
			listed += p.UserEmail + p.GroupName + " " + p.Dataset + ","
			if !p.GrantedAt.Equal(c.now()) {
				t.Errorf("%s: granted at %v", name, p.GrantedAt)
			}
		}
		if err != nil || listed != want.listed || total != want.total {
			t.Errorf("%s: %q of %d, %v", name, listed, total, err)
		}
	}
}

func TestDeletedRegistrationTakesItsGrantsAlong(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	g := must[state.Group](t)(s.Groups.Create(t.Context(), state.Group{Name: "finance"}))
	table := must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), state.NewTable{Name: "orders", Source: "shop"}, "test"))
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{GroupID: g.ID, Dataset: table.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Registry.Delete(t.Context(), table.ID); err != nil {
		t.Fatal(err)
	}
	if list := grantsOf(t, s, ""); len(list) != 0 {
		t.Errorf("a later table of that id is granted: %v", list)
	}
}

func TestPreferencesAreReplacedTogether(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	for _, enabled := range []bool{true, false} {
		err := s.Preferences.Put(t.Context(), ann.ID, []state.SyncSetting{
			{Dataset: "*", Enabled: true, TableMode: "explicit", Tables: map[string]bool{"orders": enabled}}, {Dataset: "orders", Enabled: enabled, TableMode: "all"},
		})
		if err != nil {
			t.Fatal(err)
		}
		list := must[[]state.SyncSetting](t)(s.Preferences.List(t.Context(), ann.ID))
		if len(list) != 2 || list[0].TableMode != "explicit" || list[0].Tables["orders"] != enabled || list[1].Enabled != enabled || time.Since(list[1].UpdatedAt) > time.Minute {
			t.Errorf("settings: %+v", list)
		}
	}
	if err := s.Preferences.Put(t.Context(), "nobody", []state.SyncSetting{{Dataset: "x"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody's: %v", err)
	}
}
