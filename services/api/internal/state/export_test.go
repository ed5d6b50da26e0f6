package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// furnished is a state with something in every corner that an export could lose.
func furnished(t *testing.T) (string, *state.Store) {
	t.Helper()
	dir := predecessor(t, 7, `CREATE TABLE notes_of_an_operator AS SELECT 1 AS a, [1.5, 2] AS b`, `ALTER TABLE users ADD COLUMN badge INTEGER`, `UPDATE users SET badge = 7`)
	s := open(t, dir)
	now := time.Date(2026, 3, 1, 2, 3, 4, 567890000, time.UTC)
	if _, err := s.Registry.Register(t.Context(), state.NewTable{Name: "Ünïcode, \"quoted\" 'name'", Source: "shop", PrimaryKey: []string{"a,b", "c"}, Options: []byte(`{"delimiter":";"}`)}, "u1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Sessions.Create(t.Context(), state.Session{ID: "s1", UserID: "u1", Hash: "h", CreatedAt: now, ExpiresAt: now.Add(24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	run := state.Run{ID: "r1", Status: "succeeded", RequestedAt: now, FinishedAt: now, Sources: []state.RunSource{{Source: "shop", Status: "succeeded", Requested: []string{"orders"}, Tables: []state.RunTable{{Table: "orders", Outcome: "updated", Rows: 7}}}}}
	if err := s.Runs.Save(t.Context(), []state.Run{run}, "", state.Recorded{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Digests.Put(t.Context(), map[string]lake.Digest{"f1": {MD5: "m", SHA256: "s", Size: 1 << 40}}); err != nil {
		t.Fatal(err)
	}
	return dir, s
}

// dump is the content of every table but what a restore adds.
func dump(t *testing.T, dir string) map[string]string {
	t.Helper()
	path := filepath.Join(dir, "state", "system.duckdb")
	content := map[string]string{}
	for _, name := range strings.Fields(strings.NewReplacer("{'table_name': ", "", "}", "").Replace(ask(t, path, "SELECT table_name FROM information_schema.tables WHERE table_catalog = current_database()"))) {
		filter := ""
		if name == "settings" {
			filter = " WHERE key <> 'restored_export'"
		}
		columns := strings.TrimSuffix(strings.NewReplacer("{'c': ", "", "}\n", ", ").Replace(ask(t, path,
			"SELECT column_name AS c FROM information_schema.columns WHERE table_name = "+lake.QuoteLiteral(name)+" ORDER BY 1")), ", ")
		content[name] = ask(t, path, "SELECT "+columns+" FROM "+lake.QuoteIdent(name)+filter+" ORDER BY ALL")
	}
	return content
}

func TestTrap_Q3_ExportRestoresEverything(t *testing.T) {
	t.Parallel()
	dir, s := furnished(t)
	name := must[string](t)(s.Export(t.Context()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := dump(t, dir)
	if len(want) < 25 {
		t.Fatalf("only %d tables", len(want))
	}
	info, err := os.Stat(filepath.Join(dir, "state", "exports", name))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can read the export: %v, %v", info.Mode(), err)
	}
	path := filepath.Join(dir, "state", "system.duckdb")
	if err := os.WriteFile(path, []byte("a disk that forgot everything"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.Restore(t.Context(), dir, name); err != nil {
		t.Fatal(err)
	}
	got := dump(t, dir)
	for table := range want {
		if got[table] != want[table] {
			t.Errorf("%s:\n got %s\nwant %s", table, got[table], want[table])
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "state", "backups", "replaced-*", "system.duckdb"))
	if err != nil || len(kept) != 1 {
		t.Errorf("what stood before is not kept: %v, %v", kept, err)
	}
	again := open(t, dir)
	addUser(t.Context(), t, again, "new@example.com", state.RoleViewer, "")
	if _, err := again.Users.Create(t.Context(), state.User{Email: "ANN@example.com", Role: state.RoleViewer}); !fault.Is(err, fault.Conflict) {
		t.Errorf("the restored state forgot its constraints: %v", err)
	}
}

func TestRestoreThatIsAskedForAgainKeepsWhatCameSince(t *testing.T) {
	t.Parallel()
	dir, s := furnished(t)
	name := must[string](t)(s.Export(t.Context()))
	addUser(t.Context(), t, s, "lost@example.com", state.RoleViewer, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	asked := func(o *state.Options) { o.Restore = name }
	restored := must[*state.Store](t)(state.Open(t.Context(), options(dir, asked)))
	if _, err := restored.Users.ByEmail(t.Context(), "lost@example.com"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the export was not restored: %v", err)
	}
	addUser(t.Context(), t, restored, "kept@example.com", state.RoleViewer, "")
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, asked)
	if _, err := again.Users.ByEmail(t.Context(), "kept@example.com"); err != nil {
		t.Errorf("a second start with the same setting undid what came since: %v", err)
	}
}

func TestRestoreRefusesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	dir, s := furnished(t)
	name := must[string](t)(s.Export(t.Context()))
	if err := state.Restore(t.Context(), dir, name); !fault.Is(err, fault.Conflict) {
		t.Errorf("restoring under an open state: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := dump(t, dir)
	for _, bad := range []string{"", ".", "..", "../exports/" + name, "nowhere", name + "/"} {
		if err := state.Restore(t.Context(), dir, bad); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.NotFound) {
			t.Errorf("export %q: %v", bad, err)
		}
	}
	users := filepath.Join(dir, "state", "exports", name, "users.parquet")
	raw, err := os.ReadFile(users)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(users, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.Restore(t.Context(), dir, name); !fault.Is(err, fault.Permanent) || !strings.Contains(fault.Message(err), "users") {
		t.Errorf("a damaged export: %v", err)
	}
	after := dump(t, dir)
	if len(before) != len(after) || before["users"] != after["users"] {
		t.Error("a restore that failed changed what stands")
	}
}

func TestLostStateIsNotReplacedByAnEmptyOne(t *testing.T) {
	t.Parallel()
	dir, s := furnished(t)
	name := must[string](t)(s.Export(t.Context()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "state", "system.duckdb")); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(t.Context(), options(dir)); !fault.Is(err, fault.Permanent) || !strings.Contains(fault.Message(err), name) {
		t.Fatalf("the state is lost, and it began anew: %v", err)
	}
	if open := must[bool](t)(open(t, dir, func(o *state.Options) { o.Restore = name }).Users.BootstrapOpen(t.Context())); open {
		t.Error("the bootstrap is open after a restore")
	}
}

func TestExportsAreMadeByThemselvesAndPruned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, func(o *state.Options) { o.ExportEvery, o.ExportKeep = 20*time.Millisecond, 3 })
	// Names carry seconds, so that the interval is over when the second is.
	for i := range 400 {
		names := must[[]string](t)(s.Exports())
		if len(names) >= 1 {
			break
		}
		if i == 399 {
			t.Fatal("nothing was exported")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for range 5 {
		must[string](t)(s.Export(t.Context()))
	}
	names := must[[]string](t)(s.Exports())
	if len(names) != 3 || names[0] <= names[1] {
		t.Errorf("exports that are kept: %v", names)
	}
}
