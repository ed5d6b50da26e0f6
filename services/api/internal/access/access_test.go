package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func row(id, source, name, bucket string, public bool) state.RegisteredTable {
	return state.RegisteredTable{ID: id, Source: source, Name: name, Bucket: bucket, IsPublic: public}
}

func grants(datasets ...string) []state.Permission {
	var list []state.Permission
	for _, d := range datasets {
		name, access, found := strings.Cut(d, "=")
		if !found {
			access = state.AccessRead
		}
		list = append(list, state.Permission{UserID: "ann", Dataset: name, Access: access})
	}
	return list
}

func published(ids ...string) []access.Name {
	var list []access.Name
	for _, id := range ids {
		source, table, _ := strings.Cut(id, ".")
		list = append(list, access.Name{Source: source, Table: table})
	}
	return list
}

func names(s *access.Set) []string {
	list := []string{}
	for _, n := range s.Tables() {
		list = append(list, n.Source+"."+n.Table)
	}
	return list
}

func TestWhoMayReadWhat(t *testing.T) {
	t.Parallel()
	registry := []state.RegisteredTable{
		row("open", "shop", "open", "", true), row("orders", "shop", "Orders", "in.c-shop", false), row("leads", "crm", "leads", "in.c-crm", false),
		row("crm.orders", "crm", "orders", "in.c-crm", false), row("dotted", "hr", "a.b", "", false),
	}
	all := published("shop.open", "shop.Orders", "shop.unregistered", "crm.leads", "crm.orders", "hr.a.b")
	for name, c := range map[string]struct {
		role   string
		grants []state.Permission
		want   []string
	}{
		"an administrator reads all":               {state.RoleAdmin, nil, []string{"crm.leads", "crm.orders", "hr.a.b", "shop.Orders", "shop.open", "shop.unregistered"}},
		"nothing granted":                          {state.RoleAnalyst, nil, []string{"shop.open"}},
		"a curator is no administrator":            {state.RoleCurator, nil, []string{"shop.open"}},
		"an unknown role":                          {"ADMIN", nil, []string{"shop.open"}},
		"by id":                                    {state.RoleViewer, grants("orders"), []string{"shop.Orders", "shop.open"}},
		"by another table's id":                    {state.RoleViewer, grants("crm.orders"), []string{"crm.orders", "shop.open"}},
		"by qualified name":                        {state.RoleViewer, grants("shop.Orders"), []string{"shop.Orders", "shop.open"}},
		"names count to the letter":                {state.RoleViewer, grants("ORDERS", "Orders", "SHOP.ORDERS", "shop.orders"), []string{"shop.open"}},
		"by bucket":                                {state.RoleViewer, grants("in.c-crm.*"), []string{"crm.leads", "crm.orders", "shop.open"}},
		"by source, also what is not registered":   {state.RoleViewer, grants("shop.*"), []string{"shop.Orders", "shop.open", "shop.unregistered"}},
		"an unregistered table by qualified name":  {state.RoleViewer, grants("shop.unregistered"), []string{"shop.open", "shop.unregistered"}},
		"an unregistered table by bare name":       {state.RoleViewer, grants("unregistered"), []string{"shop.open"}},
		"none grants nothing":                      {state.RoleViewer, grants("orders=none", "crm.leads=NONE ", "in.c-shop.*=none"), []string{"shop.open"}},
		"none beside a bucket, as it always was":   {state.RoleViewer, grants("orders=none", "in.c-shop.*"), []string{"shop.Orders", "shop.open"}},
		"none on a public table, as it always was": {state.RoleViewer, grants("open=none"), []string{"shop.open"}},
		"no other wildcards":                       {state.RoleViewer, grants("*", "*.*", ".*", "in.*", "sho*", "shop.O*", "%"), []string{"shop.open"}},
		"a name with a dot":                        {state.RoleViewer, grants("hr.a.b"), []string{"hr.a.b", "shop.open"}},
		"not published":                            {state.RoleViewer, grants("nowhere.table"), []string{"shop.open"}},
	} {
		got := access.Resolve(c.role, access.Rules{Registry: registry, Grants: c.grants}, all)
		if !slices.Equal(names(got), c.want) {
			t.Errorf("%s: %v", name, names(got))
		}
	}
}

func TestTrap_P1_SecondRegistrationOpensNothing(t *testing.T) {
	t.Parallel()
	all := published("shop.orders", "crm.orders", "a.b", "crm.x", "y.x")
	for name, c := range map[string]struct {
		registry []state.RegisteredTable
		grants   []state.Permission
		want     []string
	}{
		"public only if every row says so":            {[]state.RegisteredTable{row("orders", "shop", "orders", "", false), row("orders2", "shop", "orders", "", true)}, nil, nil},
		"another source's public table of that name":  {[]state.RegisteredTable{row("orders", "shop", "orders", "", true), row("crm.orders", "crm", "orders", "", false)}, nil, []string{"shop.orders"}},
		"an id that looks like another table":         {[]state.RegisteredTable{row("a.b", "z", "a.b", "", false), row("b", "a", "b", "", false)}, grants("a.b"), nil},
		"a bucket that is called like a source":       {[]state.RegisteredTable{row("orders", "shop", "orders", "crm", false)}, grants("crm.*"), []string{"shop.orders"}},
		"a bucket that is called like its own source": {[]state.RegisteredTable{row("x", "crm", "x", "crm", false)}, grants("crm.*"), []string{"crm.orders", "crm.x"}},
		"an id that looks like a wildcard":            {[]state.RegisteredTable{row("crm.*", "z", "crm.*", "", false), row("x", "y", "x", "crm", false)}, grants("crm.*"), nil},
		"a row without a source":                      {[]state.RegisteredTable{row("orders", "", "orders", "", true)}, grants("orders"), nil},
	} {
		got := access.Resolve(state.RoleViewer, access.Rules{Registry: c.registry, Grants: c.grants}, all)
		if !slices.Equal(names(got), append([]string{}, c.want...)) {
			t.Errorf("%s: %v", name, names(got))
		}
	}
}

func TestFingerprintTellsSetsApart(t *testing.T) {
	t.Parallel()
	resolve := func(role string, g ...string) *access.Set {
		return access.Resolve(role, access.Rules{Grants: grants(g...)}, published("a.x", "a.y", "b.x"))
	}
	if resolve(state.RoleViewer, "a.x", "a.y", "b.x").Fingerprint() != resolve(state.RoleAdmin).Fingerprint() {
		t.Error("equal sets differ")
	}
	if resolve(state.RoleViewer, "b.x", "a.x").Fingerprint() != resolve(state.RoleViewer, "a.x", "b.x", "b.x").Fingerprint() {
		t.Error("the order of grants matters")
	}
	seen := map[string]string{}
	for _, g := range []string{"", "a.x", "a.y", "b.x", "a.*"} {
		f := resolve(state.RoleViewer, g).Fingerprint()
		if other, there := seen[f]; there {
			t.Errorf("%q and %q have one fingerprint", g, other)
		}
		seen[f] = g
	}
	var none *access.Set
	if none.Allows("a", "x") || none.Len() != 0 || none.Fingerprint() != resolve(state.RoleViewer).Fingerprint() {
		t.Error("a nil set is not an empty one")
	}
	odd := access.Resolve(state.RoleAdmin, access.Rules{}, []access.Name{{Source: "a", Table: "x\n\"b\" y"}})
	if odd.Fingerprint() == access.Resolve(state.RoleAdmin, access.Rules{}, []access.Name{{Source: "a", Table: "x"}, {Source: "b", Table: "y"}}).Fingerprint() {
		t.Error("a name can imitate another set")
	}
}

// TestGrantsOnlyAdd: whatever the registry is, a grant never takes away, and nothing is readable that
// is neither public nor granted.
func TestGrantsOnlyAdd(t *testing.T) {
	t.Parallel()
	word := rapid.SampledFrom([]string{"a", "b", "c", "a.b", "b.*", "x"})
	rapid.Check(t, func(t *rapid.T) {
		var registry []state.RegisteredTable
		for i := range rapid.IntRange(0, 6).Draw(t, "rows") {
			registry = append(registry, row(fmt.Sprint(word.Draw(t, "id"), i), word.Draw(t, "source"), word.Draw(t, "name"), word.Draw(t, "bucket"), rapid.Bool().Draw(t, "public")))
		}
		var all []access.Name
		for range rapid.IntRange(1, 8).Draw(t, "tables") {
			all = append(all, access.Name{Source: word.Draw(t, "psource"), Table: word.Draw(t, "ptable")})
		}
		var given []state.Permission
		for range rapid.IntRange(0, 4).Draw(t, "grants") {
			given = append(given, grants(word.Draw(t, "one")+rapid.SampledFrom([]string{"", ".*", ".b", "0"}).Draw(t, "suffix"))...)
		}
		without := access.Resolve(state.RoleViewer, access.Rules{Registry: registry}, all)
		with := access.Resolve(state.RoleViewer, access.Rules{Registry: registry, Grants: given}, all)
		for _, n := range without.Tables() {
			if !with.Allows(n.Source, n.Table) {
				t.Fatalf("a grant took %v away", n)
			}
			if !slices.ContainsFunc(registry, func(r state.RegisteredTable) bool { return r.Source == n.Source && r.Name == n.Table && r.IsPublic }) {
				t.Fatalf("%v is readable and not public", n)
			}
		}
		if len(given) == 0 && with.Fingerprint() != without.Fingerprint() {
			t.Fatal("no grants, and another set")
		}
	})
}

func TestTrap_P3_RulesThatCannotBeReadGiveNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	for name, store := range map[string]access.Store{
		"registry": {Registry: func(context.Context) ([]state.RegisteredTable, error) { return nil, broken }},
		"grants": {
			Registry: func(context.Context) ([]state.RegisteredTable, error) {
				return []state.RegisteredTable{row("open", "shop", "open", "", true)}, nil
			},
			Grants: func(context.Context, string) ([]state.Permission, error) { return nil, broken },
		},
	} {
		store.Generation = func() uint64 { return 1 }
		set, err := access.New(store).Readable(t.Context(), identity.Caller{UserID: "ann", Role: state.RoleAnalyst}, published("shop.open"))
		if !errors.Is(err, broken) || set.Len() != 0 || set.Allows("shop", "open") {
			t.Errorf("%s: %v, %v", name, names(set), err)
		}
	}
}

func TestRulesAreReadOncePerChange(t *testing.T) {
	t.Parallel()
	s, err := state.Open(t.Context(), state.Options{DataDir: t.TempDir(), ExportEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	private := false
	var tables []state.NewTable
	var all []access.Name
	for i := range 1000 {
		name := fmt.Sprintf("t%d", i)
		tables = append(tables, state.NewTable{Name: name, Source: "shop", IsPublic: &private})
		all = append(all, access.Name{Source: "shop", Table: name})
	}
	if _, err := s.Registry.RegisterAll(t.Context(), tables, "test"); err != nil {
		t.Fatal(err)
	}
	u, err := s.Users.Create(t.Context(), state.User{Email: "ann@example.com", Role: state.RoleAnalyst})
	if err != nil {
		t.Fatal(err)
	}
	var queries atomic.Int32
	store := access.StoreOf(s)
	registry, given := store.Registry, store.Grants
	store.Registry = func(ctx context.Context) ([]state.RegisteredTable, error) {
		queries.Add(1)
		return registry(ctx)
	}
	store.Grants = func(ctx context.Context, id string) ([]state.Permission, error) {
		queries.Add(1)
		return given(ctx, id)
	}
	a := access.New(store)
	readable := func(atMost int32) *access.Set {
		t.Helper()
		before := queries.Load()
		set, err := a.Readable(t.Context(), identity.Caller{UserID: u.ID, Role: u.Role}, all)
		if err != nil {
			t.Fatal(err)
		}
		if n := queries.Load() - before; n > atMost {
			t.Errorf("%d queries for 1000 tables", n)
		}
		return set
	}
	if set := readable(2); set.Len() != 0 {
		t.Errorf("%d tables are readable", set.Len())
	}
	if set := readable(2); set.Allows("shop", "t7") {
		t.Error("t7 is readable")
	}
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: u.ID, Dataset: "t7"}); err != nil {
		t.Fatal(err)
	}
	if set := readable(2); set.Len() != 1 || !set.Allows("shop", "t7") {
		t.Error("a grant does not count at once")
	}
	if err := s.Permissions.Revoke(t.Context(), u.ID, "t7"); err != nil {
		t.Fatal(err)
	}
	if set := readable(2); set.Len() != 0 {
		t.Error("a revoked grant counts")
	}
	public := true
	if _, _, err := s.Registry.Update(t.Context(), "t9", state.TableChange{IsPublic: &public}); err != nil {
		t.Fatal(err)
	}
	if set := readable(2); !slices.Equal(names(set), []string{"shop.t9"}) {
		t.Errorf("after opening t9: %v", names(set))
	}
}
