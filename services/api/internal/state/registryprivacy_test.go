package state_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestTrap_P1_ASecondRegistrationOfTheSameDataIsNotPublicByItself(t *testing.T) {
	t.Parallel()
	first := state.NewTable{Name: "pay", Source: "erp", Bucket: "in.c-hr", SourceTable: "salaries", IsPublic: ptr(false)}
	some := json.RawMessage(`{"columns":["id"]}`)
	for name, c := range map[string]struct {
		table state.NewTable
		want  bool
	}{
		"found":              {state.NewTable{Name: "salaries", Source: "erp", Bucket: "in.c-hr", SourceTable: "salaries"}, false},
		"by its name":        {state.NewTable{Name: "salaries", Source: "erp", Bucket: "in.c-hr"}, false},
		"with options":       {state.NewTable{Name: "ids", Source: "erp", Bucket: "in.c-hr", SourceTable: "salaries", Options: some}, false},
		"narrowed, and said": {state.NewTable{Name: "ids", Source: "erp", Bucket: "in.c-hr", SourceTable: "salaries", Options: some, IsPublic: ptr(true)}, true},
		"another bucket":     {state.NewTable{Name: "salaries", Source: "erp", Bucket: "in.c-demo", SourceTable: "salaries"}, true},
		"another source":     {state.NewTable{Name: "salaries", Source: "demo", Bucket: "in.c-hr", SourceTable: "salaries"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := must[state.Registered](t)(open(t, t.TempDir()).Registry.RegisterAll(t.Context(), []state.NewTable{first, c.table}, "connector"))
			if len(done.Registered) != 2 || done.Registered[1].IsPublic != c.want {
				t.Errorf("%+v", done)
			}
		})
	}
	s := open(t, t.TempDir())
	must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), first, "ann"))
	again := first
	again.Name, again.IsPublic = "pay2", ptr(true)
	if _, err := s.Registry.Register(t.Context(), again, "ann"); !fault.Is(err, fault.Conflict) {
		t.Errorf("the data of a private table is made public under another name: %v", err)
	}
	again.IsPublic = nil
	if row := must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), again, "ann")); row.IsPublic {
		t.Error("it is public")
	}
	for _, public := range []bool{true, false} {
		if _, _, err := s.Registry.Update(t.Context(), "pay2", state.TableChange{IsPublic: &public}); err != nil {
			t.Fatal(err)
		}
		if row := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "pay")); row.IsPublic != public {
			t.Errorf("one of two rows with the same data is public: %v", row.IsPublic)
		}
	}
}

func TestTrap_P1_ARemovedPrivateTableDoesNotComeBackPublic(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	register := func(name string, public *bool) state.RegisteredTable {
		t.Helper()
		return must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), state.NewTable{Name: name, Source: "shop", SourceTable: "orders.csv", IsPublic: public}, "connector"))
	}
	register("Orders", nil)
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "orders"))
	if !register("orders", nil).IsPublic {
		t.Error("a table that was public is not")
	}
	if _, _, err := s.Registry.Update(t.Context(), "orders", state.TableChange{IsPublic: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders", "renamed", "ORDERS"} { // by its data, then by its name
		for _, t2 := range must[[]state.RegisteredTable](t)(s.Registry.List(t.Context(), "")) {
			must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), t2.ID))
		}
		if register(name, nil).IsPublic {
			t.Errorf("%s comes back public", name)
		}
	}
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "orders"))
	if !register("orders", ptr(true)).IsPublic {
		t.Error("what is said does not hold")
	}
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "orders"))
	if !register("orders", nil).IsPublic {
		t.Error("it was public when it was removed")
	}
}

func TestTrap_P6_GrantsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), func(o *state.Options) { o.Sources = func() []string { return []string{"shop", "lake"} } })
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "").ID
	grant := func(datasets ...string) {
		t.Helper()
		for _, d := range datasets {
			must[state.Permission](t)(s.Permissions.Grant(t.Context(), state.Permission{UserID: ann, Dataset: d}))
		}
	}
	register := func(source, name, bucket string) (state.RegisteredTable, error) {
		return s.Registry.Register(t.Context(), state.NewTable{Name: name, Source: source, Bucket: bucket}, "connector")
	}
	standing := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range grantsOf(t, s, "") {
			got = append(got, p.Dataset)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("grants on %q stand, not %q", got, want)
		}
	}

	grant("shop.orders", "shop.*")
	if row := must[state.RegisteredTable](t)(register("lake", "shop.orders", "")); row.ID != "lake.shop.orders" {
		t.Errorf("the name of another source's table became the id %s", row.ID)
	}
	if row := must[state.RegisteredTable](t)(register("lake", "in.c-crm.orders", "")); row.ID != "in.c-crm.orders" {
		t.Errorf("a name with dots has the id %s", row.ID)
	}
	if _, err := register("lake", "x", "shop"); !fault.Is(err, fault.Conflict) {
		t.Errorf("grants on a source became grants on a bucket: %v", err)
	}
	must[state.RegisteredTable](t)(register("lake", "x", ""))
	if _, _, err := s.Registry.Update(t.Context(), "x", state.TableChange{Bucket: ptr("shop")}); !fault.Is(err, fault.Conflict) {
		t.Errorf("by a change: %v", err)
	}
	if err := s.Permissions.Revoke(t.Context(), state.Permission{UserID: ann, Dataset: "shop.*"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Registry.Update(t.Context(), "x", state.TableChange{Bucket: ptr("shop")}); err != nil {
		t.Fatal(err)
	}
	grant("shop.*") // the bucket
	must[state.RegisteredTable](t)(register("lake", "y", "shop"))
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "x"))
	standing("shop.*", "shop.orders")
	if _, _, err := s.Registry.Update(t.Context(), "y", state.TableChange{Bucket: ptr("other")}); err != nil {
		t.Fatal(err)
	}
	standing("shop.orders") // the bucket is gone, and the source was never granted

	must[state.RegisteredTable](t)(register("shop", "orders", ""))
	grant("orders")
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "orders"))
	standing() // neither name of a removed table opens the next one
}

func TestTrap_P6_NothingIsGrantedOnATableThatIsJustRemoved(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "").ID
	must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), state.NewTable{Name: "orders", Source: "shop"}, "ann"))
	asked := must[state.AccessRequest](t)(s.Requests.Create(t.Context(), state.AccessRequest{UserID: ann, TableID: "orders"}))
	must[state.RegisteredTable](t)(s.Registry.Delete(t.Context(), "orders"))
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: ann, Dataset: "orders", While: "orders"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a grant: %v", err)
	}
	if _, err := s.Requests.Decide(t.Context(), asked.ID, state.Decision{Approve: true, Dataset: "orders", While: "orders"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an approval: %v", err)
	}
	if grants := grantsOf(t, s, ""); len(grants) != 0 {
		t.Errorf("granted: %v", grants)
	}
	if waiting := must[state.AccessRequest](t)(s.Requests.Pending(t.Context(), asked.ID)); waiting.Status != state.RequestPending {
		t.Errorf("the request is %s", waiting.Status)
	}
}
