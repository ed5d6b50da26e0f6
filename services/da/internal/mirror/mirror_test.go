package mirror_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

func TestSyncFetchesOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0, 2), table("customers", 4))
	r := b.mustSync(t, mirror.Options{})
	if len(r.Downloaded) != 2 || r.Total != 2 || r.SyncedAt.IsZero() {
		t.Errorf("first: %+v", r)
	}
	if got := b.values(t, "shop.orders"); got != "[0, 2]" {
		t.Errorf("shop.orders: %s", got)
	}
	if got := b.values(t, "orders"); got != "[0, 2]" {
		t.Errorf("orders: %s", got)
	}
	b.api.Requests()

	b.api.Publish(table("orders", 0, 2, 6), table("customers", 4))
	r = b.mustSync(t, mirror.Options{})
	if n := clienttest.Downloads(b.api.Requests()); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
	if len(r.Downloaded) != 1 || r.Downloaded[0].Table != "orders" || !slices.Equal(r.Skipped, []string{"customers"}) {
		t.Errorf("second: %+v", r)
	}
	if got := b.values(t, "orders"); got != "[0, 2, 6]" {
		t.Errorf("orders: %s", got)
	}
	raw, err := os.ReadFile(b.ws.SchemaFile())
	if err != nil || !json.Valid(raw) || !strings.Contains(string(raw), "customers") {
		t.Errorf("schema.json: %s, %v", raw, err)
	}
}

func TestNothingToDoOpensNoDatabase(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	b.mustSync(t, mirror.Options{})
	b.api.Requests()
	before, err := os.Stat(b.ws.Database())
	if err != nil {
		t.Fatal(err)
	}
	r, err := mirror.New(b.client, noViews{t}, b.ws, mirror.Options{}).Sync(t.Context())
	if err != nil || len(r.Downloaded) != 0 || !slices.Equal(r.Skipped, []string{"orders"}) {
		t.Errorf("got %+v, %v", r, err)
	}
	if got := b.api.Requests(); !slices.Equal(got, []string{"GET /api/sync/manifest"}) {
		t.Errorf("asked %v", got)
	}
	if after, _ := os.Stat(b.ws.Database()); after.ModTime() != before.ModTime() {
		t.Error("the database was touched")
	}
}

// noViews fails the test where the database would be opened.
type noViews struct{ t *testing.T }

func (n noViews) Publish(context.Context, map[string]workspace.Table) (mirror.Published, error) {
	n.t.Error("the database was opened")
	return mirror.Published{}, nil
}

func TestTrap_D4_EveryWorkspaceHasItsOwnState(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	b.mustSync(t, mirror.Options{})
	ws, err := workspace.Find(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second := &bench{api: b.api, client: b.client, ws: ws, db: localdb.New(ws)}
	if r := second.mustSync(t, mirror.Options{}); len(r.Downloaded) != 1 {
		t.Errorf("the second workspace: %+v", r)
	}
	if got := second.values(t, "orders"); got != "[0]" {
		t.Errorf("orders: %s", got)
	}
}

func TestWhatIsLostOnDiskIsFetchedAgain(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0, 2), table("customers", 4))
	b.mustSync(t, mirror.Options{})
	part := b.ws.Part("orders", clienttest.Hash(pool[2]))
	for name, damage := range map[string]func() error{
		"deleted":   func() error { return os.Remove(part) },
		"truncated": func() error { return os.Truncate(part, 10) },
		"folder":    func() error { return os.RemoveAll(filepath.Dir(part)) },
		"state":     func() error { return os.Remove(b.ws.StateFile()) },
		"garbage":   func() error { return os.WriteFile(b.ws.StateFile(), []byte("{"), 0o600) },
		"database":  func() error { return os.Remove(b.ws.Database()) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		b.mustSync(t, mirror.Options{})
		if got := b.values(t, "orders") + b.values(t, "shop.customers"); got != "[0, 2][4]" {
			t.Errorf("after %s: %s", name, got)
		}
	}
}

func TestVerifyFindsBytesThatRotted(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	b.mustSync(t, mirror.Options{})
	part := b.ws.Part("orders", clienttest.Hash(pool[0]))
	raw, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	raw[5] ^= 1
	if err := os.WriteFile(part, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := b.mustSync(t, mirror.Options{}); len(r.Downloaded) != 0 {
		t.Errorf("size alone: %+v", r)
	}
	if r := b.mustSync(t, mirror.Options{Verify: true}); len(r.Downloaded) != 1 || len(r.Notes) == 0 {
		t.Errorf("verify: %+v", r)
	}
	if got := b.values(t, "orders"); got != "[0]" {
		t.Errorf("orders: %s", got)
	}
}

func TestTrap_D11_WhatIsGoneOrRevokedLeavesDiskAndViews(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0), table("salaries", 2))
	b.mustSync(t, mirror.Options{})
	b.api.Publish(table("orders", 0))

	b.api.Inject(clienttest.Fault{Path: "/manifest", Cut: clienttest.Bytes(40)})
	if _, err := b.sync(t.Context(), mirror.Options{}); err == nil {
		t.Error("half a manifest was believed")
	}
	b.api.Heal()
	if got := b.values(t, "salaries"); got != "[2]" {
		t.Errorf("after half a manifest: %s", got)
	}
	r := b.mustSync(t, mirror.Options{})
	if !slices.Equal(r.Removed, []string{"salaries"}) {
		t.Errorf("removed %v", r.Removed)
	}
	for _, name := range []string{"salaries", "shop.salaries"} {
		if got := b.values(t, name); !strings.Contains(got, "does not exist") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := b.files(t); len(got) != 1 || !strings.HasPrefix(got[0], "orders/") {
		t.Errorf("on disk: %v", got)
	}
	b.api.Publish()
	b.mustSync(t, mirror.Options{})
	if got := b.ask(t, "SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'shop'"); got != "0" {
		t.Errorf("an empty schema is left: %s", got)
	}
}

func TestTrap_D10_TheAnalystsOwnObjectsStay(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("customers", 4))
	b.mustSync(t, mirror.Options{})
	b.exec(t,
		"CREATE TABLE orders AS SELECT 99 AS v",
		"CREATE TABLE notes AS SELECT 'mine' AS v",
		"CREATE VIEW best AS SELECT v FROM shop.customers",
		"CREATE OR REPLACE VIEW customers AS SELECT 77 AS v",
		"COMMENT ON VIEW shop.customers IS 'I like this one'",
		"CREATE TABLE shop.refunds AS SELECT 1 AS v",
	)
	b.api.Publish(table("customers", 4, 6), table("orders", 0))
	r := b.mustSync(t, mirror.Options{})
	if len(r.Notes) != 2 {
		t.Errorf("notes: %v", r.Notes)
	}
	for query, want := range map[string]string{
		"orders": "[99]", "notes": "[mine]", "best": "[4, 6]", "customers": "[77]", "shop.customers": "[4, 6]", "shop.orders": "[0]",
	} {
		if got := b.values(t, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	b.api.Publish()
	b.mustSync(t, mirror.Options{})
	for query, want := range map[string]string{"orders": "[99]", "notes": "[mine]", "customers": "[77]", "shop.refunds": "[1]"} {
		if got := b.values(t, query); got != want {
			t.Errorf("after all is gone, %s: %s, want %s", query, got, want)
		}
	}
}

func TestAnObjectInTheWayOfATableIsAnErrorEachTime(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("customers", 4))
	b.mustSync(t, mirror.Options{})
	b.exec(t, "CREATE TABLE shop.orders AS SELECT 99 AS v")
	b.api.Publish(table("customers", 4), table("orders", 0))
	for range 2 {
		r, err := b.sync(t.Context(), mirror.Options{})
		if !fault.Is(err, fault.Conflict) || len(r.Errors) != 1 || r.Errors[0].Table != "orders" || !strings.Contains(r.Errors[0].Error, "rename") {
			t.Errorf("got %+v, %v", r.Errors, err)
		}
	}
	b.exec(t, "DROP TABLE shop.orders")
	b.mustSync(t, mirror.Options{})
	if got := b.values(t, "orders"); got != "[0]" {
		t.Errorf("orders: %s", got)
	}
}

func TestTrap_D13_NoIDBecomesAPath(t *testing.T) {
	t.Parallel()
	b := start(t)
	outside := filepath.Join(filepath.Dir(b.ws.Root), "outside")
	entry := func(source, name, hash string, size int) map[string]any {
		return map[string]any{
			"source": source, "name": name, "alias": true, "query_mode": "local", "updated": time.Now(),
			"parts": []any{map[string]any{"sha256": hash, "size_bytes": size}},
		}
	}
	good := clienttest.Hash(pool[0])
	hostile := map[string]map[string]any{
		"../../../outside":  entry("shop", "a", good, 10),
		"/etc/agnes":        entry("shop", "b", "../../../../outside", 10),
		"hash":              entry("shop", "c", strings.ToUpper(good), 10),
		"glob*[a]?":         entry("shop", "d", good[:63], 10),
		"source":            entry("../shop", "e", good, 10),
		"name":              entry("shop", "../f", good, 10),
		"size":              entry("shop", "g", good, -1),
		"con":               entry("shop", "h\x00", good, 10),
		"meta":              entry("agnes_meta", "views", good, len(pool[0])),
		"..":                entry("shop", "l", good, len(pool[0])),
		"reserved":          entry("main", "i", good, 10),
		"no parts":          {"source": "shop", "name": "j", "query_mode": "local"},
		"two sizes at once": {"source": "shop", "name": "k", "parts": []any{map[string]any{"sha256": good, "size_bytes": 1}, map[string]any{"sha256": good, "size_bytes": 2}}},
	}
	for id, e := range hostile {
		b.api.PublishRaw(id, e)
	}
	odd := []string{"a/b", "...", "Orders", "orders.", "nul", "naïve*", "-rf", strings.Repeat("x", 300)}
	tables := []clienttest.Table{table("orders", 0)}
	for i, id := range odd {
		odd := table(fmt.Sprintf("odd%d \"'*[x]", i), 2)
		odd.ID = id
		tables = append(tables, odd)
	}
	b.api.Publish(tables...)
	r, err := b.sync(t.Context(), mirror.Options{})
	if err == nil || len(r.Errors) != len(hostile) {
		t.Errorf("%d errors, want %d: %+v, %v", len(r.Errors), len(hostile), r.Errors, err)
	}
	if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written outside")
	}
	folders := map[string]bool{}
	for _, f := range b.files(t) {
		folder, _, _ := strings.Cut(f, "/")
		folders[strings.ToLower(folder)] = true
		if strings.ContainsAny(folder, `*?[]\:"<>| `) || strings.HasPrefix(folder, ".") || len(folder) > 100 {
			t.Errorf("folder %q", folder)
		}
	}
	if len(folders) != len(tables) {
		t.Errorf("%d folders, want %d: %v", len(folders), len(tables), folders)
	}
	for i := range odd {
		if got := b.values(t, fmt.Sprintf(`shop."odd%d ""'*[x]"`, i)); got != "[2]" {
			t.Errorf("odd%d: %s", i, got)
		}
	}
}

func TestTrap_E6_NamesAreQuoted(t *testing.T) {
	t.Parallel()
	b := start(t)
	names := []string{"order", "select", "a.b", `quo"te`, "it's", "ünï", "SELECT 1; DROP TABLE x"}
	var tables []clienttest.Table
	for _, n := range names {
		tables = append(tables, table(n, 0))
	}
	b.api.Publish(tables...)
	b.mustSync(t, mirror.Options{})
	for _, n := range names {
		if got := b.values(t, `shop."`+strings.ReplaceAll(n, `"`, `""`)+`"`); got != "[0]" {
			t.Errorf("%s: %s", n, got)
		}
	}
}

func TestNamesThatDifferOnlyInCase(t *testing.T) {
	t.Parallel()
	b := start(t)
	first, second := table("Orders", 0), table("orders", 2)
	first.ID, second.ID = "b", "a"
	b.api.Publish(first)
	b.mustSync(t, mirror.Options{})
	b.api.Publish(first, second)
	r, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.Conflict) || len(r.Errors) != 1 || r.Errors[0].Table != "a" {
		t.Errorf("got %+v, %v", r.Errors, err)
	}
	if got := b.values(t, "orders"); got != "[0]" {
		t.Errorf("the name went to the newcomer: %s", got)
	}
}

func TestTrap_D9_ARemoteTableIsNotFetched(t *testing.T) {
	t.Parallel()
	b := start(t)
	remote := table("events", 0)
	remote.Remote = true
	b.api.Publish(table("orders", 0), remote)
	sneaky := map[string]any{"source": "shop", "name": "sneaky", "query_mode": "remote", "parts": []any{map[string]any{"sha256": clienttest.Hash(pool[0]), "size_bytes": len(pool[0])}}}
	b.api.PublishRaw("sneaky", sneaky)
	r := b.mustSync(t, mirror.Options{})
	if r.Total != 1 || len(r.Downloaded) != 1 {
		t.Errorf("got %+v", r)
	}
	if _, err := b.sync(t.Context(), mirror.Options{Tables: []string{"events"}}); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "--remote") {
		t.Errorf("got %v", err)
	}
}

func TestChosenTables(t *testing.T) {
	t.Parallel()
	b := start(t)
	other := table("orders", 8)
	other.ID, other.Source, other.Alias = "crm.orders", "crm", false
	main := table("orders", 0)
	main.ID, main.Alias = "shop.orders", false
	b.api.Publish(main, other, table("customers", 4))
	b.mustSync(t, mirror.Options{Tables: []string{"customers"}})
	if got := b.values(t, "shop.orders"); !strings.Contains(got, "does not exist") {
		t.Errorf("shop.orders: %s", got)
	}
	b.api.Publish(main, other)
	r := b.mustSync(t, mirror.Options{Tables: []string{"SHOP.orders"}})
	if len(r.Removed) != 0 || len(r.Downloaded) != 1 {
		t.Errorf("got %+v", r)
	}
	if got := b.values(t, "customers"); got != "[4]" {
		t.Errorf("customers, which was not named: %s", got)
	}
	for _, name := range []string{"orders", "nothere", ""} {
		if _, err := b.sync(t.Context(), mirror.Options{Tables: []string{name}}); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	b.mustSync(t, mirror.Options{})
	if got := b.values(t, "crm.orders"); got != "[8]" {
		t.Errorf("crm.orders: %s", got)
	}
}

func TestTrap_D12_PartialIsAnErrorAndTheNextSyncGoesOn(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0), table("customers", 4))
	b.mustSync(t, mirror.Options{})
	b.api.Publish(table("orders", 2, 6), table("customers", 8))
	b.api.Inject(clienttest.Fault{Path: "/data/orders/", Status: 403})
	r, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.Forbidden) || len(r.Errors) != 1 || r.Errors[0].Table != "orders" || len(r.Downloaded) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	if got := b.values(t, "orders") + b.values(t, "customers"); got != "[0][8]" {
		t.Errorf("after the failure: %s", got)
	}
	if l := b.ws.LoadLastSync(); l == nil || l.Complete || l.Errors != 1 {
		t.Errorf("last sync: %+v", l)
	}
	b.api.Heal()
	b.mustSync(t, mirror.Options{})
	if got := b.values(t, "orders"); got != "[2, 6]" {
		t.Errorf("orders: %s", got)
	}
}

func TestAManifestThatChangesInMidway(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0, 2))
	b.api.Inject(clienttest.Fault{Path: "/download", Times: 1, Do: func() {
		b.api.Publish(table("orders", 6, 8))
		b.api.Forget()
	}})
	r := b.mustSync(t, mirror.Options{})
	if len(r.Downloaded) != 1 {
		t.Errorf("got %+v", r)
	}
	if got := b.values(t, "orders"); got != "[6, 8]" {
		t.Errorf("orders: %s", got)
	}
	if got := b.files(t); len(got) != 2 {
		t.Errorf("on disk: %v", got)
	}
}

func TestSignedOutStopsAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t)
	var tables []clienttest.Table
	for i := range 40 {
		tables = append(tables, table(fmt.Sprintf("t%02d", i), i%12))
	}
	b.api.Publish(tables...)
	b.api.Inject(clienttest.Fault{Path: "/download", After: 3, Times: 1, Do: b.api.RevokeAll})
	r, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.Unauthenticated) || len(r.Errors) < 30 {
		t.Errorf("%d errors, %v", len(r.Errors), err)
	}
	if n := clienttest.Downloads(b.api.Requests()); n > 12 {
		t.Errorf("%d downloads after the token was revoked", n)
	}
}

func TestAServerThatGoesAwayIsNotAskedForEveryTable(t *testing.T) {
	t.Parallel()
	b := start(t)
	var tables []clienttest.Table
	for i := range 100 {
		tables = append(tables, table(fmt.Sprintf("t%02d", i), i%12))
	}
	b.api.Publish(tables...)
	b.api.Inject(clienttest.Fault{Path: "/download", Cut: clienttest.Bytes(0)})
	if _, err := b.sync(t.Context(), mirror.Options{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if n := clienttest.Downloads(b.api.Requests()); n > 60 {
		t.Errorf("%d downloads", n)
	}
}

func TestAnotherServerIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0), table("customers", 4))
	b.mustSync(t, mirror.Options{})
	other := start(t)
	other.ws, other.db = b.ws, b.db
	other.api.Publish(table("orders", 0, 2))
	if _, err := other.sync(t.Context(), mirror.Options{}); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "--switch-server") {
		t.Errorf("got %v", err)
	}
	r := other.mustSync(t, mirror.Options{SwitchServer: true})
	if !slices.Equal(r.Removed, []string{"customers"}) || len(r.Downloaded) != 1 || r.Downloaded[0].Parts != 1 {
		t.Errorf("got %+v", r)
	}
	other.mustSync(t, mirror.Options{})
}

func TestOneSyncAtATime(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	var once sync.Once
	b.api.Inject(clienttest.Fault{Path: "/download", Times: 1, Do: func() {
		once.Do(func() {
			if _, err := b.sync(context.Background(), mirror.Options{}); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "another `da sync`") {
				t.Errorf("the second sync: %v", err)
			}
		})
	}})
	b.mustSync(t, mirror.Options{})
}

func TestADatabaseThatIsOpenElsewhere(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	b.mustSync(t, mirror.Options{})
	b.api.Publish(table("orders", 2))
	held := holdDatabase(t, b)
	_, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.Busy) || !strings.Contains(fault.Message(err), "open in another program") {
		t.Errorf("got %v", err)
	}
	held()
	b.api.Requests()
	b.mustSync(t, mirror.Options{})
	if n := clienttest.Downloads(b.api.Requests()); n != 0 {
		t.Errorf("%d downloads, though all parts were there", n)
	}
	if got := b.values(t, "orders"); got != "[2]" {
		t.Errorf("orders: %s", got)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	r := b.mustSync(t, mirror.Options{DryRun: true})
	if !r.DryRun || len(r.Downloaded) != 1 || r.Bytes != int64(len(pool[0])) {
		t.Errorf("got %+v", r)
	}
	if entries, _ := os.ReadDir(b.ws.Root); len(entries) != 0 {
		t.Errorf("it made %v", entries)
	}
}

func TestAMovedWorkspaceIsMended(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0))
	b.mustSync(t, mirror.Options{})
	moved := filepath.Join(t.TempDir(), "year=2026 [*] it's")
	if err := os.Rename(b.ws.Root, moved); err != nil {
		t.Fatal(err)
	}
	ws, err := workspace.Find(moved)
	if err != nil {
		t.Fatal(err)
	}
	b.ws, b.db = ws, localdb.New(ws)
	b.api.Requests()
	b.mustSync(t, mirror.Options{})
	if n := clienttest.Downloads(b.api.Requests()); n != 0 {
		t.Errorf("%d downloads", n)
	}
	if got := b.ask(t, "SELECT orders::VARCHAR FROM orders"); got != "{'v': 0}" {
		t.Errorf("orders: %s", got)
	}
}

func TestABrokenPartHidesNothingElse(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0), table("customers", 4))
	b.mustSync(t, mirror.Options{})
	broken := table("orders")
	broken.Parts = [][]byte{[]byte("this is no parquet file at all")}
	b.api.Publish(broken, table("customers", 6), table("products", 8))
	r, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.Invalid) || len(r.Errors) != 1 || r.Errors[0].Table != "orders" {
		t.Errorf("got %+v, %v", r.Errors, err)
	}
	if got := b.values(t, "orders") + b.values(t, "customers") + b.values(t, "products"); got != "[0][6][8]" {
		t.Errorf("got %s", got)
	}
}

func TestATableWithoutParts(t *testing.T) {
	t.Parallel()
	b := start(t)
	empty := clienttest.Table{Name: "empty", Source: "shop", Columns: []clienttest.Column{
		{Name: "v", Type: "DECIMAL(18,2)"}, {Name: "w", Type: "VARCHAR); SELECT read_text('/etc/hostname') --"}, {Name: "x", Type: "BIGINT[]"},
	}}
	b.api.Publish(empty)
	b.mustSync(t, mirror.Options{})
	if got := b.ask(t, "SELECT string_agg(column_name || ' ' || data_type, ', ') FROM duckdb_columns() WHERE table_name = 'empty'"); got != "v DECIMAL(18,2), w VARCHAR, x BIGINT[]" {
		t.Errorf("got %s", got)
	}
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	b := start(t)
	huge := map[string]any{"source": "shop", "name": "huge", "parts": []any{map[string]any{"sha256": clienttest.Hash(pool[0]), "size_bytes": int64(1) << 60}}}
	b.api.PublishRaw("huge", huge)
	b.api.Publish(table("orders", 0))
	r, err := b.sync(t.Context(), mirror.Options{})
	if !fault.Is(err, fault.TooLarge) || !strings.Contains(fault.Message(err), "1.0 EiB are needed") {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestInterruptedSyncKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.api.Publish(table("orders", 0, 2, 4, 6))
	ctx, cancel := context.WithCancel(t.Context())
	b.api.Inject(clienttest.Fault{Path: "/download", After: 2, Times: 1, Do: cancel})
	if _, err := b.sync(ctx, mirror.Options{Parallel: 1}); err == nil || !strings.Contains(fault.Message(err), "run `da sync` again") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(b.ws.Database()); err == nil {
		t.Error("half a table was published")
	}
	b.api.Requests()
	b.mustSync(t, mirror.Options{})
	if n := clienttest.Downloads(b.api.Requests()); n > 2 {
		t.Errorf("%d downloads, though two parts were there", n)
	}
}

var _ mirror.Server = (*client.Client)(nil)
