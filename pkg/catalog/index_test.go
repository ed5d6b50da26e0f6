package catalog

import (
	"strings"
	"testing"
)

func TestIndexLookup(t *testing.T) {
	t.Parallel()
	x := NewIndex([]Source{
		source("crm", "orders", "Contacts", "pinned"),
		source("shop", "orders", "order", "crm.orders", "pinned"),
		source("erp", "pinned"),
	}, map[string]string{"Pinned": "shop.pinned", "main_orders": "crm.orders", "lost": "gone.away", "order": "gone.order"})
	for name, want := range map[string]string{
		"crm.orders":      "crm.orders", // the qualified name, not the table that is called so
		"shop.crm.orders": "shop.crm.orders",
		"CRM.Orders":      "crm.orders",
		"contacts":        "crm.Contacts",
		"CONTACTS":        "crm.Contacts",
		"orders":          "", // two sources have one
		"pinned":          "shop.pinned",
		"erp.pinned":      "erp.pinned",
		"main_orders":     "crm.orders",
		"lost":            "",
		"order":           "", // configured for a table that is not there: never another one
		"shop.order":      "shop.order",
		"":                "", "crm.": "", ".orders": "", "nothing": "",
	} {
		r, ok := x.Lookup(name)
		if ok != (want != "") || ok && r.ID() != want {
			t.Errorf("Lookup(%q) = %q, %v; want %q", name, r.ID(), ok, want)
		}
	}
	var names []string
	for _, a := range x.Aliases() {
		names = append(names, a.Name+"="+a.Ref.ID())
	}
	if got, want := strings.Join(names, " "), "Contacts=crm.Contacts Pinned=shop.pinned crm.orders=shop.crm.orders main_orders=crm.orders"; got != want {
		t.Errorf("Aliases = %s, want %s", got, want)
	}
	if got := x.Problems(); len(got) != 3 {
		t.Errorf("Problems = %v, want orders, and the aliases lost and order", got)
	}
	if got := x.Collisions("crm"); len(got) != 1 || got[0].Table != "orders" || got[0].Code != ProblemCollision {
		t.Errorf("Collisions(crm) = %v, want orders", got)
	}
	if got := len(x.Tables()); got != 8 {
		t.Errorf("Tables gives %d, want 8", got)
	}
}

// Whoever may read what a name stood for must not get another source's rows under that name.
func TestTrap_P6_ANameNeverFallsToAnotherTable(t *testing.T) {
	t.Parallel()
	x := NewIndex([]Source{source("crm", "orders"), source("shop", "orders")}, map[string]string{"orders": "crm.orders"})
	if r, ok := x.Lookup("orders"); !ok || r.ID() != "crm.orders" {
		t.Fatalf("orders stands for %q, %v", r.ID(), ok)
	}
	x.Remove("crm")
	if r, ok := x.Lookup("orders"); ok {
		t.Errorf("with crm.orders gone, orders stands for %s", r.ID())
	}
	if got := x.Problems(); len(got) != 1 || got[0].Table != "orders" {
		t.Errorf("problems %v, want the alias without its table", got)
	}
}

func TestIndexFollowsItsSources(t *testing.T) {
	t.Parallel()
	x := NewIndex(nil, nil)
	x.Set(source("a", "t", "u"))
	x.Set(source("b", "t"))
	if _, ok := x.ByName("t"); ok {
		t.Error("a name that two sources have stands for one of them")
	}
	x.Set(source("b", "v"))
	if r, ok := x.ByName("t"); !ok || r.ID() != "a.t" {
		t.Errorf("after b dropped t: %v, %v", r.ID(), ok)
	}
	x.Remove("a")
	x.Remove("never")
	if _, ok := x.Lookup("a.u"); ok {
		t.Error("a table of a removed source is found")
	}
	if got := x.Sources(); len(got) != 1 || got[0].Name != "b" {
		t.Errorf("Sources = %v, want b", got)
	}
	x.Remove("b")
	if len(x.byID)+len(x.byName)+len(x.sources) != 0 {
		t.Errorf("an emptied index holds %v %v %v", x.byID, x.byName, x.sources)
	}
}

// Sources and tables that differ only in case cannot both be found by a folded name.
func TestIndexNamesThatDifferInCase(t *testing.T) {
	t.Parallel()
	x := NewIndex([]Source{source("crm", "t"), source("CRM", "t")}, nil)
	for name, want := range map[string]string{"crm.t": "crm.t", "CRM.t": "CRM.t", "Crm.t": "", "t": ""} {
		if r, ok := x.Lookup(name); ok != (want != "") || ok && r.ID() != want {
			t.Errorf("Lookup(%q) = %q, %v; want %q", name, r.ID(), ok, want)
		}
	}
}
