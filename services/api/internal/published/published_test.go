package published_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func table(name string, parts ...string) catalog.Table {
	t := catalog.Table{Name: name, QueryMode: catalog.ModeLocal, Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}}}
	for _, p := range parts {
		t.Parts = append(t.Parts, catalog.Part{Path: "extracts/x/data/" + name + "/" + p + ".parquet", SHA256: p, Rows: 1})
		t.Rows++
	}
	t.Fingerprint = catalog.Fingerprint(t)
	return t
}

func publish(t *testing.T, dir, source string, generation uint64, tables ...catalog.Table) {
	t.Helper()
	err := catalog.SaveSource(dir, catalog.Source{Name: source, Generation: generation, Version: catalog.VersionOf(tables), Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *published.Store {
	t.Helper()
	s, err := published.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ids(s *published.Snapshot) []string {
	out := []string{}
	for _, t := range s.Tables() {
		out = append(out, t.ID)
	}
	return out
}

func TestIDs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "shop", 1, table("orders", "a"), table("customers", "b"), table("a.b", "c"))
	publish(t, dir, "crm", 1, table("customers", "d"), table("Leads", "e"))
	s := open(t, dir)
	if diff := cmp.Diff([]string{"Leads", "crm.customers", "orders", "shop.a.b", "shop.customers"}, ids(s.Current())); diff != "" {
		t.Fatal(diff)
	}
	// A registered id belongs to the table that was registered under it, P6: whatever others are called.
	s.SetRegistry([]published.Registered{
		{ID: "orders", Source: "crm", Name: "customers"},
		{ID: "shop_orders", Source: "shop", Name: "orders"},
		{ID: "Leads", Source: "gone", Name: "leads"},
	})
	snapshot := s.Current()
	if diff := cmp.Diff([]string{"crm.Leads", "orders", "shop.a.b", "shop.customers", "shop_orders"}, ids(snapshot)); diff != "" {
		t.Fatal(diff)
	}
	got, ok := snapshot.Lookup("orders")
	if !ok || got.Source != "crm" {
		t.Errorf("orders is %+v, want the table registered under that id", got)
	}
	if got, ok := snapshot.Lookup("SHOP.orders"); !ok || got.ID != "shop_orders" {
		t.Errorf("SHOP.orders is %+v", got)
	}
	if got, ok := snapshot.Lookup("customers"); ok {
		t.Errorf("customers is ambiguous, yet found %+v", got)
	}
	for _, path := range []string{"../orders", "/etc/passwd", "*", "shop.*", ""} {
		if got, ok := snapshot.Lookup(path); ok {
			t.Errorf("%q found %+v", path, got)
		}
	}
}

func TestRefreshReadsOneSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "shop", 1, table("orders", "a"))
	publish(t, dir, "crm", 1, table("leads", "b"))
	s := open(t, dir)
	before := s.Current()
	var seen []string
	s.OnChange(func(n *published.Snapshot) { seen = append(seen, n.Version) })

	publish(t, dir, "shop", 2, table("orders", "a2"))
	publish(t, dir, "crm", 2, table("leads", "b2"))
	if changed, err := s.Refresh(t.Context(), "shop"); err != nil || !changed {
		t.Fatal(changed, err)
	}
	after := s.Current()
	orders, _ := after.ByID("orders")
	leads, _ := after.ByID("leads")
	if orders.Parts[0].SHA256 != "a2" || leads.Parts[0].SHA256 != "b" {
		t.Errorf("orders %s, leads %s; want a2 and b", orders.Parts[0].SHA256, leads.Parts[0].SHA256)
	}
	if old, _ := before.ByID("orders"); old.Parts[0].SHA256 != "a" {
		t.Error("a snapshot changed")
	}
	if _, ok := after.Part(orders, "a"); !ok {
		t.Error("the part of the version before is forgotten at once")
	}
	if _, ok := after.Part(leads, "a"); ok {
		t.Error("a part of another table is found")
	}
	if changed, err := s.Scan(t.Context()); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if changed, err := s.Scan(t.Context()); err != nil || changed {
		t.Fatal("nothing changed, yet it says so:", changed, err)
	}
	if len(seen) != 2 || seen[1] != s.Current().Version {
		t.Errorf("told of %v", seen)
	}
}

func TestTrap_S8_UnreadableIsNotEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish(t, dir, "shop", 1, table("orders", "a"))
	publish(t, dir, "crm", 1, table("leads", "b"))
	s := open(t, dir)
	if err := os.WriteFile(catalog.SourcePath(dir, "shop"), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"leads", "orders"}, ids(s.Current())); diff != "" {
		t.Fatal(diff)
	}
	if p := s.Current().Problems(); len(p) != 1 || p[0].Code != catalog.ProblemUnreadable {
		t.Errorf("problems: %+v", p)
	}
	if err := catalog.RemoveSource(dir, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"leads"}, ids(s.Current())); diff != "" {
		t.Fatal(diff)
	}
	if p := s.Current().Problems(); len(p) != 0 {
		t.Errorf("problems: %+v", p)
	}
}

func TestWatchSeesWhatNoEventTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	changed := make(chan *published.Snapshot, 8)
	s.OnChange(func(n *published.Snapshot) { changed <- n })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, 5*time.Millisecond)
	}()
	publish(t, dir, "shop", 1, table("orders", "a"))
	select {
	case n := <-changed:
		if _, ok := n.ByID("orders"); !ok {
			t.Error("the change is not the publication")
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was seen")
	}
	stop()
	<-done
	if err := os.RemoveAll(filepath.Join(dir, "analytics")); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Errorf("a data directory without publications is no failure: %v", err)
	}
}
