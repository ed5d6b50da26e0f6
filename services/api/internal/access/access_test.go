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

// resolve gives what ann can read with a role, by rules that are hers alone.
func resolve(tb testing.TB, role string, registry []state.RegisteredTable, given []state.Permission, all []access.Name) *access.Set {
	tb.Helper()
	return resolveRules(tb, role, state.Rules{Registry: registry, Grants: given}, all)
}

// rulesOf reads the same rules every time.
func rulesOf(rules state.Rules) func(context.Context) (state.Rules, error) {
	return func(context.Context) (state.Rules, error) { return rules, nil }
}

type fatal interface {
	Fatal(args ...any)
	Helper()
}

func resolveRules(tb fatal, role string, rules state.Rules, all []access.Name) *access.Set {
	tb.Helper()
	a := access.New(access.Store{Rules: rulesOf(rules), Generation: func() uint64 { return 1 }})
	set, err := a.Readable(context.Background(), identity.Caller{UserID: "ann", Role: role}, access.Of(all))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

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
		got := resolve(t, c.role, registry, c.grants, all)
		if !slices.Equal(names(got), c.want) {
			t.Errorf("%s: %v", name, names(got))
		}
	}
}

func TestTrap_P1_SecondRegistrationOpensNothing(t *testing.T) {
	t.Parallel()
	all := published("shop.orders", "shop.other", "crm.orders", "a.b", "crm.x", "y.x")
	for name, c := range map[string]struct {
		registry []state.RegisteredTable
		grants   []state.Permission
		want     []string
	}{
		"public only if every row says so": {[]state.RegisteredTable{row("orders", "shop", "orders", "", false), row("orders2", "shop", "orders", "", true)}, nil, nil},
		"public only if every row of the data says so": {[]state.RegisteredTable{
			{ID: "orders", Source: "shop", Name: "orders", SourceTable: "o.csv"}, {ID: "x", Source: "crm", Name: "x", SourceTable: "o.csv", IsPublic: true},
			{ID: "orders2", Source: "shop", Name: "other", SourceTable: "o.csv", IsPublic: true},
		}, nil, []string{"crm.x"}},
		"another source's public table of that name":  {[]state.RegisteredTable{row("orders", "shop", "orders", "", true), row("crm.orders", "crm", "orders", "", false)}, nil, []string{"shop.orders"}},
		"an id that looks like another table":         {[]state.RegisteredTable{row("a.b", "z", "a.b", "", false), row("b", "a", "b", "", false)}, grants("a.b"), nil},
		"a bucket that is called like a source":       {[]state.RegisteredTable{row("orders", "shop", "orders", "crm", false)}, grants("crm.*"), []string{"shop.orders"}},
		"a bucket that is called like its own source": {[]state.RegisteredTable{row("x", "crm", "x", "crm", false)}, grants("crm.*"), []string{"crm.orders", "crm.x"}},
		"an id that looks like a wildcard":            {[]state.RegisteredTable{row("crm.*", "z", "crm.*", "", false), row("x", "y", "x", "crm", false)}, grants("crm.*"), nil},
		"a row without a source":                      {[]state.RegisteredTable{row("orders", "", "orders", "", true)}, grants("orders"), nil},
	} {
		got := resolve(t, state.RoleViewer, c.registry, c.grants, all)
		if !slices.Equal(names(got), append([]string{}, c.want...)) {
			t.Errorf("%s: %v", name, names(got))
		}
	}
}

func TestFingerprintTellsSetsApart(t *testing.T) {
	t.Parallel()
	of := func(role string, g ...string) *access.Set {
		return resolve(t, role, nil, grants(g...), published("a.x", "a.y", "b.x"))
	}
	if of(state.RoleViewer, "a.x", "a.y", "b.x").Fingerprint() != of(state.RoleAdmin).Fingerprint() {
		t.Error("equal sets differ")
	}
	if of(state.RoleViewer, "b.x", "a.x").Fingerprint() != of(state.RoleViewer, "a.x", "b.x", "b.x").Fingerprint() {
		t.Error("the order of grants matters")
	}
	seen := map[string]string{}
	for _, g := range []string{"", "a.x", "a.y", "b.x", "a.*"} {
		f := of(state.RoleViewer, g).Fingerprint()
		if other, there := seen[f]; there {
			t.Errorf("%q and %q have one fingerprint", g, other)
		}
		seen[f] = g
	}
	var none *access.Set
	if none.Allows("a", "x") || none.Len() != 0 || none.Fingerprint() != of(state.RoleViewer).Fingerprint() {
		t.Error("a nil set is not an empty one")
	}
	odd := resolve(t, state.RoleAdmin, nil, nil, []access.Name{{Source: "a", Table: "x\n\"b\" y"}})
	if odd.Fingerprint() == resolve(t, state.RoleAdmin, nil, nil, []access.Name{{Source: "a", Table: "x"}, {Source: "b", Table: "y"}}).Fingerprint() {
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
		without := resolveRules(t, state.RoleViewer, state.Rules{Registry: registry}, all)
		with := resolveRules(t, state.RoleViewer, state.Rules{Registry: registry, Grants: given}, all)
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
	generation, failing := uint64(1), false
	a := access.New(access.Store{
		Rules: func(context.Context) (state.Rules, error) {
			if failing {
				return state.Rules{}, broken
			}
			return state.Rules{Registry: []state.RegisteredTable{row("open", "shop", "open", "", true)}}, nil
		},
		Generation: func() uint64 { return generation },
	})
	all, ann := access.Of(published("shop.open")), identity.Caller{UserID: "ann", Role: state.RoleAnalyst}
	if set, err := a.Readable(t.Context(), ann, all); err != nil || set.Len() != 1 {
		t.Fatalf("%v, %v", names(set), err)
	}
	// What was known before the change must not be used in place of what cannot be read.
	generation, failing = 2, true
	set, err := a.Readable(t.Context(), ann, all)
	if !errors.Is(err, broken) || set.Len() != 0 || set.Allows("shop", "open") {
		t.Errorf("%v, %v", names(set), err)
	}
	if reasons, err := a.Explain(t.Context(), state.User{ID: "ann"}, all); !errors.Is(err, broken) || len(reasons) > 0 {
		t.Errorf("reasons: %v, %v", reasons, err)
	}
	if set, err := a.Readable(t.Context(), identity.Caller{Role: state.RoleAnalyst}, all); err == nil || set.Len() != 0 {
		t.Errorf("a caller without an id: %v, %v", names(set), err)
	}
}

// openState gives a state with private tables of the source shop.
func openState(tb testing.TB, tables int) (*state.Store, []access.Name) {
	tb.Helper()
	s, err := state.Open(tb.Context(), state.Options{DataDir: tb.TempDir(), ExportEvery: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	private := false
	var rows []state.NewTable
	var all []access.Name
	for i := range tables {
		name := fmt.Sprintf("t%d", i)
		rows = append(rows, state.NewTable{Name: name, Source: "shop", IsPublic: &private})
		all = append(all, access.Name{Source: "shop", Table: name})
	}
	if _, err := s.Registry.RegisterAll(tb.Context(), rows, "test"); err != nil {
		tb.Fatal(err)
	}
	return s, all
}

func TestRulesAreReadOncePerChangeAndChangesCountAtOnce(t *testing.T) {
	t.Parallel()
	s, all := openState(t, 1000)
	u, err := s.Users.Create(t.Context(), state.User{Email: "ann@example.com", Role: state.RoleAnalyst})
	if err != nil {
		t.Fatal(err)
	}
	var readings atomic.Int32
	store := access.StoreOf(s)
	rules := store.Rules
	store.Rules = func(ctx context.Context) (state.Rules, error) {
		readings.Add(1)
		return rules(ctx)
	}
	a, of := access.New(store), access.Of(all)
	var group state.Group
	public := true
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"nothing", func() error { return nil }, []string{}},
		{"a grant", func() error {
			_, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: u.ID, Dataset: "t7"})
			return err
		}, []string{"shop.t7"}},
		{"revoked", func() error { return s.Permissions.Revoke(t.Context(), state.Permission{UserID: u.ID, Dataset: "t7"}) }, []string{}},
		{"made public", func() error {
			_, _, err := s.Registry.Update(t.Context(), "t9", state.TableChange{IsPublic: &public})
			return err
		}, []string{"shop.t9"}},
		{"made private", func() error {
			private := false
			_, _, err := s.Registry.Update(t.Context(), "t9", state.TableChange{IsPublic: &private})
			return err
		}, []string{}},
		{"a group with a grant", func() (err error) {
			if group, err = s.Groups.Create(t.Context(), state.Group{Name: "finance"}); err != nil {
				return err
			}
			_, err = s.Permissions.Grant(t.Context(), state.Permission{GroupID: group.ID, Dataset: "shop.t3"})
			return err
		}, []string{}},
		{"in the group", func() error { return s.Groups.AddMember(t.Context(), group.ID, u.ID, "") }, []string{"shop.t3"}},
		{"none by name, read by the group", func() error {
			_, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: u.ID, Dataset: "shop.t3", Access: state.AccessNone})
			return err
		}, []string{"shop.t3"}},
		{"out of the group", func() error { return s.Groups.RemoveMember(t.Context(), group.ID, u.ID) }, []string{}},
		{"in again", func() error { return s.Groups.AddMember(t.Context(), group.ID, u.ID, "") }, []string{"shop.t3"}},
		{"the group is gone", func() error { return s.Groups.Delete(t.Context(), group.ID) }, []string{}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		before := readings.Load()
		for range 3 {
			set, err := a.Readable(t.Context(), identity.Caller{UserID: u.ID, Role: u.Role}, of)
			if err != nil || !slices.Equal(names(set), step.want) {
				t.Errorf("%s: %v, %v", step.name, names(set), err)
			}
		}
		if n := readings.Load() - before; n > 1 {
			t.Errorf("%s: the rules were read %d times", step.name, n)
		}
	}
}

func TestExplainSaysAllReasonsAndAgreesWithTheSet(t *testing.T) {
	t.Parallel()
	rules := state.Rules{
		Registry: []state.RegisteredTable{row("open", "shop", "open", "", true), row("orders", "shop", "orders", "in.c-shop", false), row("leads", "crm", "leads", "", false)},
		Grants: append(grants("orders", "leads=none"),
			state.Permission{GroupID: "g", GroupName: "finance", Dataset: "in.c-shop.*", Access: "read"}, state.Permission{GroupID: "other", GroupName: "sales", Dataset: "crm.*", Access: "read"},
		),
		Members: []state.Membership{{GroupID: "g", UserID: "ann"}, {GroupID: "other", UserID: "bob"}},
	}
	a := access.New(access.Store{Rules: rulesOf(rules), Generation: func() uint64 { return 1 }})
	of := access.Of(published("shop.open", "shop.orders", "crm.leads"))
	for role, want := range map[string]string{
		state.RoleAnalyst: "[{{shop open} [public]} {{shop orders} [grant orders group finance: in.c-shop.*]}]",
		state.RoleAdmin:   "[{{crm leads} [admin]} {{shop open} [public admin]} {{shop orders} [admin grant orders group finance: in.c-shop.*]}]",
	} {
		reasons, err := a.Explain(t.Context(), state.User{ID: "ann", Role: role}, of)
		if err != nil || fmt.Sprint(reasons) != want {
			t.Errorf("%s: %v, %v", role, reasons, err)
		}
		set, err := a.Readable(t.Context(), identity.Caller{UserID: "ann", Role: role}, of)
		if err != nil || set.Len() != len(reasons) {
			t.Errorf("%s can read %v, and there are reasons for %v", role, names(set), reasons)
		}
	}
}

func TestDatasetsThatExistAndThoseThatWereMeant(t *testing.T) {
	t.Parallel()
	rules := state.Rules{Registry: []state.RegisteredTable{row("orders", "shop", "Orders", "in.c-shop", false), row("odd.*", "hr", "odd", "", false)}}
	a := access.New(access.Store{Rules: rulesOf(rules), Generation: func() uint64 { return 1 }})
	known, err := a.Datasets(t.Context(), access.Of(published("shop.Orders", "crm.leads")), []string{"empty", "in.c-shop"})
	if err != nil {
		t.Fatal(err)
	}
	for dataset, want := range map[string]bool{
		"orders": true, "shop.Orders": true, "shop.*": true, "in.c-shop.*": true, "crm.leads": true, "crm.*": true, "empty.*": true, "hr.odd": true, "hr.*": true,
		"Orders": false, "shop.orders": false, "leads": false, "nowhere.*": false, "*": false, "": false,
	} {
		if known.Has(dataset) != want {
			t.Errorf("%q exists: %v", dataset, !want)
		}
	}
	for typo, want := range map[string]string{"ordres": "orders", "SHOP.ORDERS": "shop.Orders", "leads": "crm.leads", "in.c-shop": "in.c-shop.*"} {
		if near := known.Near(typo); len(near) == 0 || near[0] != want {
			t.Errorf("%q: %v", typo, near)
		}
	}
	if near := known.Near("nothing like it"); len(near) > 0 {
		t.Errorf("far off: %v", near)
	}
}
