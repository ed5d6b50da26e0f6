package state_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestEveryVersionOfThePredecessorOpensWithItsData(t *testing.T) {
	t.Parallel()
	for version := 1; version <= 7; version++ {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			t.Parallel()
			dir := predecessor(t, version)
			s := open(t, dir)
			m := s.Migrated()
			if m.From != version || m.To != s.Version() || len(m.Shadowed) != 0 {
				t.Errorf("migrated %+v", m)
			}
			backup := filepath.Join(dir, "state", filepath.FromSlash(m.Backup), "system.duckdb")
			if got := ask(t, backup, "SELECT max(version) AS v FROM schema_version"); got != fmt.Sprintf("{'v': %d}\n", version) {
				t.Errorf("the copy before the migration says %q", got)
			}
			checkUsers(t, s, version)
			checkRegistry(t, s, version)
			checkTheRest(t, s, dir, version)
		})
	}
}

func checkUsers(t *testing.T, s *state.Store, version int) {
	t.Helper()
	ann := must[state.User](t)(s.Users.ByEmail(t.Context(), "ANN@example.COM"))
	if ann.ID != "u1" || ann.Role != state.RoleAdmin || !ann.HasPassword() || !ann.Active || !ann.CreatedAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("ann is %+v", ann)
	}
	bob := must[state.User](t)(s.Users.Get(t.Context(), "u2"))
	if !bob.Active || bob.HasPassword() || bob.CreatedAt.Nanosecond() != 123456000 {
		t.Errorf("bob is %+v", bob)
	}
	if version >= 5 {
		if u := must[state.User](t)(s.Users.Get(t.Context(), "u3")); !u.Active {
			t.Error("a user whose active was NULL is not active")
		}
		if u := must[state.User](t)(s.Users.Get(t.Context(), "u4")); u.Active {
			t.Error("a deactivated user is active")
		}
	}
	grants := grantsOf(t, s, "u2")
	if len(grants) != 2 || grants[0].Dataset != "orders" || grants[0].Access != "read" || grants[1].Access != "none" {
		t.Errorf("grants %+v", grants)
	}
	if open := must[bool](t)(s.Users.BootstrapOpen(t.Context())); open {
		t.Error("the bootstrap is open on an instance that has a password")
	}
	if version >= 6 {
		tok, owner, err := s.Tokens.WithOwner(t.Context(), "0b5b6f0e-8f8e-4a0e-9d3e-3f6d1d0d9a11")
		if err != nil || owner.ID != "u1" || tok.Prefix != "0b5b6f0e" || (tok.LastUsedIP == "192.0.2.7") != (version >= 7) {
			t.Errorf("the token is %+v of %s, %v", tok, owner.ID, err)
		}
	}
}

func checkRegistry(t *testing.T, s *state.Store, version int) {
	t.Helper()
	orders := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "orders"))
	wantSource, wantPublic := "", true
	if version >= 2 {
		wantSource = "keboola"
	}
	if version >= 3 {
		wantPublic = false
	}
	if orders.Source != wantSource || orders.IsPublic != wantPublic || orders.QueryMode != "local" || !orders.ProfileAfterSync ||
		len(orders.PrimaryKey) != 1 || orders.PrimaryKey[0] != "order_id" || orders.Options != nil {
		t.Errorf("orders is %+v", orders)
	}
	if version >= 2 {
		rows := must[[]state.RegisteredTable](t)(s.Registry.List(t.Context(), "keboola"))
		if len(rows) != 2 || rows[0].ID != "in_c-crm_leads" || rows[0].SyncSchedule != "every 2h" {
			t.Errorf("tables of keboola: %+v", rows)
		}
	}
	stands := must[[]state.TableSync](t)(s.Sync.List(t.Context()))
	if len(stands) != 1 || stands[0].Rows != 42 || stands[0].Hash != "abc" || stands[0].Status != state.SyncOK {
		t.Errorf("sync state %+v", stands)
	}
}

func checkTheRest(t *testing.T, s *state.Store, dir string, version int) {
	t.Helper()
	if err := s.Canary(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state", "system.duckdb")
	if got := ask(t, path, "SELECT tags, status FROM knowledge_items"); got != "{'tags': '[\"churn\"]', 'status': pending}\n" {
		t.Errorf("knowledge %s", got)
	}
	if got := ask(t, path, "SELECT count(*) AS n FROM audit_log"); got != "{'n': 1}\n" {
		t.Errorf("audit %s", got)
	}
	if version >= 4 {
		if got := ask(t, path, "SELECT tables, sql_variants FROM metric_definitions"); !strings.Contains(got, "[orders]") || !strings.Contains(got, "by_channel") {
			t.Errorf("metrics %s", got)
		}
	}
	again := open(t, dir)
	if m := again.Migrated(); m.From != again.Version() || m.Backup != "" {
		t.Errorf("it was migrated again: %+v", m)
	}
}

func TestMigratedAndNewStateHaveTheSameColumns(t *testing.T) {
	t.Parallel()
	// Constraints of columns that were added later cannot be added; names and types must be equal.
	const columns = `SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_catalog = current_database() ORDER BY ALL`
	fresh := t.TempDir()
	if err := must[*state.Store](t)(state.Open(t.Context(), options(fresh))).Close(); err != nil {
		t.Fatal(err)
	}
	want := ask(t, filepath.Join(fresh, "state", "system.duckdb"), columns)
	for _, version := range []int{1, 4, 7} {
		dir := predecessor(t, version)
		if err := must[*state.Store](t)(state.Open(t.Context(), options(dir))).Close(); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, filepath.Join(dir, "state", "system.duckdb"), columns); got != want {
			t.Errorf("migrated from %d:\n%s\nnew:\n%s", version, got, want)
		}
	}
}

func TestSchemaOfVersion7IsThePredecessors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := must[*state.Store](t)(state.Open(t.Context(), options(dir))).Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state", "system.duckdb")
	for query, want := range map[string]string{
		`SELECT is_nullable AS n, column_default AS d FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'active'`:             "{'n': NO, 'd': 'CAST(\\'t\\' AS BOOLEAN)'}\n",
		`SELECT constraint_type AS c FROM duckdb_constraints() WHERE table_name = 'users' AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') ORDER BY ALL`: "{'c': PRIMARY KEY}\n{'c': UNIQUE}\n",
		`SELECT count(*) AS n FROM duckdb_indexes()`: "{'n': 0}\n",
		`SELECT column_default AS d FROM information_schema.columns WHERE table_name = 'dataset_permissions' AND column_name = 'access'`:         "{'d': '\\'read\\''}\n",
		`SELECT data_type AS t FROM information_schema.columns WHERE table_name = 'metric_definitions' AND column_name = 'tables'`:               "{'t': 'VARCHAR[]'}\n",
		`SELECT constraint_column_names AS c FROM duckdb_constraints() WHERE table_name = 'column_metadata' AND constraint_type = 'PRIMARY KEY'`: "{'c': [table_id, column_name]}\n",
	} {
		if got := ask(t, path, query); got != want {
			t.Errorf("%s:\n got %q\nwant %q", query, got, want)
		}
	}
}

func TestNewerStateIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	dir := predecessor(t, 7, "UPDATE schema_version SET version = 99")
	before := fingerprints(t, dir)
	_, err := state.Open(t.Context(), options(dir))
	if !fault.Is(err, fault.Permanent) || !strings.Contains(fault.Message(err), "version 99") {
		t.Fatalf("a newer state: %v", err)
	}
	if after := fingerprints(t, dir); !maps.Equal(before, after) {
		t.Errorf("it was touched: %v, then %v", before, after)
	}
}

func TestWhatIsNoStateIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	write := func(raw []byte) func(t *testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "state", "exports", "20260101T000000Z"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string][]byte{"system.duckdb": raw, "exports/20260101T000000Z/manifest.json": []byte("{}")} {
				if err := os.WriteFile(filepath.Join(dir, "state", name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T) string
		says string
	}{
		"garbage":          {write([]byte("this is no database, and long enough to be read as one")), "newest export is state/exports/20260101T000000Z"},
		"empty":            {write(nil), "newest export is state/exports/20260101T000000Z"},
		"a cut header":     {write([]byte("\x00\x00\x00\x00\x00\x00\x00\x00DUCK\x40\x00")), "newest export is state/exports/20260101T000000Z"},
		"another database": {func(t *testing.T) string { t.Helper(); return stateOf(t, "CREATE TABLE somebodys (a INTEGER)") }, "something else"},
		"a log alone": {func(t *testing.T) string {
			t.Helper()
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "state", "system.duckdb.wal"), []byte("log"), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "its log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := c.make(t)
			before := fingerprints(t, dir)
			_, err := state.Open(t.Context(), options(dir))
			if !fault.Is(err, fault.Permanent) || !strings.Contains(fault.Message(err), c.says) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(fault.Message(err), dir) {
				t.Errorf("the message names a folder of the server: %v", fault.Message(err))
			}
			if after := fingerprints(t, dir); !maps.Equal(before, after) {
				t.Errorf("it was touched: %v, then %v", before, after)
			}
		})
	}
}

func TestTrap_E4_CommitsInTheLogSurviveTheMigration(t *testing.T) {
	t.Parallel()
	dir := predecessorWithLog(t)
	s := open(t, dir)
	if _, err := s.Users.ByEmail(t.Context(), "late@example.com"); err != nil {
		t.Error("a commit that was only in the log is lost:", err)
	}
	backup := filepath.Join(dir, "state", filepath.FromSlash(s.Migrated().Backup), "system.duckdb")
	if got := ask(t, backup, "SELECT count(*) AS n FROM users WHERE id = 'late'"); got != "{'n': 1}\n" {
		t.Error("the copy lacks what was only in the log:", got)
	}
}

func TestTrap_O1_AddressesThatDifferInCaseAreOneLogin(t *testing.T) {
	t.Parallel()
	dir := predecessor(t, 7, `INSERT INTO users (id, email, role, password_hash, created_at) VALUES ('older', 'ann@example.com', 'viewer', 'h', '2025-01-01'), ('newer', ' ANN@EXAMPLE.COM', 'viewer', 'h', '2026-05-01')`,
		`INSERT INTO dataset_permissions VALUES ('newer', 'orders', 'read')`)
	s := open(t, dir)
	m := s.Migrated()
	if len(m.Shadowed) != 2 || m.Shadowed[0].OwnerID != "older" || m.Shadowed[1].OwnerID != "older" {
		t.Errorf("shadowed: %+v", m.Shadowed)
	}
	login := must[state.User](t)(s.Users.ByEmail(t.Context(), "Ann@example.com"))
	if login.ID != "older" {
		t.Errorf("the address belongs to %s", login.ID)
	}
	for _, id := range []string{"u1", "older", "newer"} {
		if _, err := s.Users.Get(t.Context(), id); err != nil {
			t.Errorf("user %s is lost: %v", id, err)
		}
	}
	if grants := grantsOf(t, s, "newer"); len(grants) != 1 {
		t.Errorf("grants of the shadowed user: %v", grants)
	}
	if _, err := s.Users.Create(t.Context(), state.User{Email: "aNN@example.com", Role: state.RoleViewer}); !fault.Is(err, fault.Conflict) {
		t.Errorf("one more user with the address: %v", err)
	}
	// The login passes on, oldest first, and is free when the last one is gone.
	for _, next := range []string{"u1", "newer"} {
		if err := s.Users.Delete(t.Context(), must[state.User](t)(s.Users.ByEmail(t.Context(), "ann@example.com")).ID); err != nil && next == "u1" {
			t.Fatal(err)
		}
		if next == "u1" {
			addUser(t.Context(), t, s, "other-admin@example.com", state.RoleAdmin, "")
		}
		if got := must[state.User](t)(s.Users.ByEmail(t.Context(), "ann@example.com")); got.ID != next {
			t.Errorf("the address passed on to %s instead of %s", got.ID, next)
		}
	}
	if err := s.Users.Delete(t.Context(), "newer"); err != nil {
		t.Fatal(err)
	}
	addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
}

func TestTrap_O1_OfTwoUsersTheActiveOneHasTheLogin(t *testing.T) {
	t.Parallel()
	s := open(t, predecessor(t, 7, `INSERT INTO users (id, email, role, active, created_at) VALUES
		('oldest', 'bo@example.com', 'viewer', FALSE, '2024-01-01'), ('older', 'Bo@example.com', 'viewer', TRUE, '2025-01-01'),
		('newer', 'BO@example.com', 'viewer', TRUE, '2026-01-01')`))
	if got := must[state.User](t)(s.Users.ByEmail(t.Context(), "bo@example.com")); got.ID != "older" {
		t.Errorf("the address belongs to %s", got.ID)
	}
	if err := s.Users.Delete(t.Context(), "older"); err != nil {
		t.Fatal(err)
	}
	if got := must[state.User](t)(s.Users.ByEmail(t.Context(), "bo@example.com")); got.ID != "newer" {
		t.Errorf("the address passed on to %s", got.ID)
	}
}

func TestLoginsFollowTheRuleOfTheirKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	ann := addUser(t.Context(), t, s, "ann@b\u00fccher.example", state.RoleViewer, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// As a version wrote it that knew of the case of letters only.
	db, err := lake.Open(t.Context(), lake.Options{Path: filepath.Join(dir, "state", "system.duckdb"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE user_logins SET email_key = 'ann@b\u00fccher.example'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := must[state.User](t)(s.Users.ByEmail(t.Context(), "ann@xn--bcher-kva.example")); got.ID != ann.ID {
		t.Errorf("the address belongs to %s", got.ID)
	}
}

func TestTrap_O2_BootstrapOfAPredecessor(t *testing.T) {
	t.Parallel()
	only := "DELETE FROM users WHERE id <> 'u1'; UPDATE users SET password_hash = NULL; DELETE FROM personal_access_tokens"
	for name, c := range map[string]struct {
		change string
		open   bool
	}{
		"a seeded administrator without a password": {only, true},
		"nobody":                           {"DELETE FROM users; DELETE FROM personal_access_tokens", true},
		"several users without a password": {"UPDATE users SET password_hash = NULL; DELETE FROM personal_access_tokens", false},
		"one user with a token":            {"DELETE FROM users WHERE id <> 'u1'; UPDATE users SET password_hash = NULL", false},
		"one user with a password":         {"DELETE FROM users WHERE id <> 'u1'; DELETE FROM personal_access_tokens", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, predecessor(t, 7, c.change))
			if got := must[bool](t)(s.Users.BootstrapOpen(t.Context())); got != c.open {
				t.Errorf("open is %v", got)
			}
			if err := s.Settings.Delete(t.Context(), "bootstrap_closed"); err != nil {
				t.Fatal(err)
			}
			if got := must[bool](t)(s.Users.BootstrapOpen(t.Context())); got && strings.Contains(name, "with a password") {
				t.Error("without the mark it is open beside somebody's password")
			}
		})
	}
}

func TestInterruptedPredecessorMigrationIsFinished(t *testing.T) {
	t.Parallel()
	// The predecessor added columns before it wrote the version: a crash left a file between two.
	dir := predecessor(t, 7, "UPDATE schema_version SET version = 4")
	if u := must[[]state.User](t)(open(t, dir).Users.List(t.Context())); len(u) != 4 {
		t.Errorf("%d users", len(u))
	}
	empty := predecessor(t, 7, "DELETE FROM schema_version")
	if u := must[[]state.User](t)(open(t, empty).Users.List(t.Context())); len(u) != 4 {
		t.Errorf("%d users of a file without a version", len(u))
	}
	stub := stateOf(t, "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (2); CREATE TABLE users (id VARCHAR PRIMARY KEY, email VARCHAR UNIQUE NOT NULL); INSERT INTO users VALUES ('u', 'u@example.com')")
	if u := must[state.User](t)(open(t, stub).Users.ByEmail(t.Context(), "u@example.com")); !u.Active {
		t.Errorf("a stub's user is %+v", u)
	}
}

func TestMigrationThatFailsLeavesTheVersionBefore(t *testing.T) {
	t.Parallel()
	dir := predecessor(t, 5, "CREATE TABLE settings (somebodys INTEGER)", "INSERT INTO settings VALUES (7)")
	for range 2 {
		_, err := state.Open(t.Context(), options(dir))
		if !fault.Is(err, fault.Permanent) || !strings.Contains(fault.Message(err), "state/backups/v") {
			t.Fatalf("got %v", err)
		}
	}
	path := filepath.Join(dir, "state", "system.duckdb")
	got := ask(t, path, "SELECT version FROM schema_version") + ask(t, path, "SELECT * FROM settings") +
		ask(t, path, "SELECT count(*) AS n FROM information_schema.tables WHERE table_name IN ('sessions', 'user_logins')")
	if got != "{'version': 7}\n{'somebodys': 7}\n{'n': 0}\n" {
		t.Errorf("a failed step left %s", got)
	}
}
