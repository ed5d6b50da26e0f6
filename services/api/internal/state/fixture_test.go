package state_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// The predecessor's schema at version 1, and what each of its steps did to it.
const predecessorV1 = `
CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP DEFAULT current_timestamp);
CREATE TABLE users (id VARCHAR PRIMARY KEY, email VARCHAR UNIQUE NOT NULL, name VARCHAR, role VARCHAR DEFAULT 'analyst', password_hash VARCHAR,
 setup_token VARCHAR, setup_token_created TIMESTAMP, reset_token VARCHAR, reset_token_created TIMESTAMP, created_at TIMESTAMP DEFAULT current_timestamp, updated_at TIMESTAMP);
CREATE TABLE sync_state (table_id VARCHAR PRIMARY KEY, last_sync TIMESTAMP, rows BIGINT, file_size_bytes BIGINT, uncompressed_size_bytes BIGINT, columns INTEGER, hash VARCHAR, status VARCHAR DEFAULT 'ok', error TEXT);
CREATE TABLE sync_history (id VARCHAR PRIMARY KEY, table_id VARCHAR NOT NULL, synced_at TIMESTAMP NOT NULL, rows BIGINT, duration_ms INTEGER, status VARCHAR, error TEXT);
CREATE TABLE user_sync_settings (user_id VARCHAR, dataset VARCHAR, enabled BOOLEAN DEFAULT false, table_mode VARCHAR DEFAULT 'all', tables JSON, updated_at TIMESTAMP, PRIMARY KEY (user_id, dataset));
CREATE TABLE knowledge_items (id VARCHAR PRIMARY KEY, title VARCHAR NOT NULL, content TEXT, category VARCHAR, tags JSON, status VARCHAR DEFAULT 'pending', contributors JSON, source_user VARCHAR, audience VARCHAR, created_at TIMESTAMP DEFAULT current_timestamp, updated_at TIMESTAMP);
CREATE TABLE knowledge_votes (item_id VARCHAR, user_id VARCHAR, vote INTEGER, voted_at TIMESTAMP DEFAULT current_timestamp, PRIMARY KEY (item_id, user_id));
CREATE TABLE audit_log (id VARCHAR PRIMARY KEY, timestamp TIMESTAMP NOT NULL DEFAULT current_timestamp, user_id VARCHAR, action VARCHAR NOT NULL, resource VARCHAR, params JSON, result VARCHAR, duration_ms INTEGER);
CREATE TABLE telegram_links (user_id VARCHAR PRIMARY KEY, chat_id BIGINT NOT NULL, linked_at TIMESTAMP DEFAULT current_timestamp);
CREATE TABLE pending_codes (code VARCHAR PRIMARY KEY, chat_id BIGINT NOT NULL, created_at TIMESTAMP DEFAULT current_timestamp);
CREATE TABLE script_registry (id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, owner VARCHAR, schedule VARCHAR, source TEXT NOT NULL, deployed_at TIMESTAMP DEFAULT current_timestamp, last_run TIMESTAMP, last_status VARCHAR);
CREATE TABLE table_registry (id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, folder VARCHAR, sync_strategy VARCHAR DEFAULT 'full_refresh', primary_key VARCHAR, description TEXT, registered_by VARCHAR, registered_at TIMESTAMP DEFAULT current_timestamp);
CREATE TABLE table_profiles (table_id VARCHAR PRIMARY KEY, profile JSON NOT NULL, profiled_at TIMESTAMP DEFAULT current_timestamp);
CREATE TABLE dataset_permissions (user_id VARCHAR, dataset VARCHAR, access VARCHAR DEFAULT 'read', PRIMARY KEY (user_id, dataset));
CREATE TABLE access_requests (id VARCHAR PRIMARY KEY, user_id VARCHAR NOT NULL, user_email VARCHAR NOT NULL, table_id VARCHAR NOT NULL, reason TEXT, status VARCHAR DEFAULT 'pending', reviewed_by VARCHAR, reviewed_at TIMESTAMP, created_at TIMESTAMP DEFAULT current_timestamp);
INSERT INTO schema_version (version) VALUES (1);
INSERT INTO users (id, email, name, role, password_hash, created_at) VALUES
 ('u1', 'Ann@Example.com', 'Ann', 'admin', '$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U', '2026-01-02 03:04:05'),
 ('u2', 'bob@example.com', 'Bob', 'analyst', NULL, '2026-01-03 03:04:05.123456');
INSERT INTO table_registry (id, name, sync_strategy, primary_key, description, registered_by) VALUES ('orders', 'orders', 'full_refresh', 'order_id', 'what was ordered', 'u1');
INSERT INTO dataset_permissions VALUES ('u2', 'orders', 'read'), ('u2', 'secrets', 'none');
INSERT INTO sync_state (table_id, last_sync, rows, file_size_bytes, hash) VALUES ('orders', '2026-02-01 00:00:00', 42, 4200, 'abc');
INSERT INTO sync_history VALUES ('h1', 'orders', '2026-02-01 00:00:00', 42, NULL, 'ok', NULL);
INSERT INTO knowledge_items (id, title, tags) VALUES ('k1', 'what a churn is', '["churn"]');
INSERT INTO audit_log (id, action, params) VALUES ('a1', 'user.create', '{"role": "analyst"}');
`

var predecessorSteps = map[int]string{
	2: `ALTER TABLE table_registry ADD COLUMN source_type VARCHAR; ALTER TABLE table_registry ADD COLUMN bucket VARCHAR; ALTER TABLE table_registry ADD COLUMN source_table VARCHAR;
 ALTER TABLE table_registry ADD COLUMN query_mode VARCHAR DEFAULT 'local'; ALTER TABLE table_registry ADD COLUMN sync_schedule VARCHAR; ALTER TABLE table_registry ADD COLUMN profile_after_sync BOOLEAN DEFAULT true;
 UPDATE table_registry SET source_type = 'keboola', bucket = 'in.c-shop';
 INSERT INTO table_registry (id, name, source_type, bucket, sync_schedule) VALUES ('in_c-crm_leads', 'leads', 'keboola', 'c-crm', 'every 2h')`,
	3: `ALTER TABLE table_registry ADD COLUMN is_public BOOLEAN DEFAULT true; UPDATE table_registry SET is_public = false WHERE id = 'orders'`,
	4: `CREATE TABLE metric_definitions (id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, display_name VARCHAR NOT NULL, category VARCHAR NOT NULL, description TEXT, type VARCHAR DEFAULT 'sum', unit VARCHAR, grain VARCHAR DEFAULT 'monthly',
 table_name VARCHAR, tables VARCHAR[], expression VARCHAR, time_column VARCHAR, dimensions VARCHAR[], filters VARCHAR[], synonyms VARCHAR[], notes VARCHAR[], sql TEXT NOT NULL, sql_variants JSON, validation JSON, source VARCHAR DEFAULT 'manual',
 created_at TIMESTAMP DEFAULT current_timestamp, updated_at TIMESTAMP DEFAULT current_timestamp);
 CREATE TABLE column_metadata (table_id VARCHAR NOT NULL, column_name VARCHAR NOT NULL, basetype VARCHAR, description VARCHAR, confidence VARCHAR DEFAULT 'manual', source VARCHAR DEFAULT 'manual', updated_at TIMESTAMP DEFAULT current_timestamp, PRIMARY KEY (table_id, column_name));
 INSERT INTO metric_definitions (id, name, display_name, category, tables, synonyms, sql, sql_variants) VALUES ('revenue/mrr', 'mrr', 'MRR', 'revenue', ['orders'], ['monthly recurring revenue'], 'SELECT 1', '{"by_channel": "SELECT 2"}')`,
	5: `ALTER TABLE users ADD COLUMN active BOOLEAN DEFAULT TRUE; ALTER TABLE users ADD COLUMN deactivated_at TIMESTAMP; ALTER TABLE users ADD COLUMN deactivated_by VARCHAR;
 INSERT INTO users (id, email, role, active) VALUES ('u3', 'null@example.com', 'viewer', NULL), ('u4', 'gone@example.com', 'viewer', FALSE)`,
	6: `CREATE TABLE personal_access_tokens (id VARCHAR PRIMARY KEY, user_id VARCHAR NOT NULL, name VARCHAR NOT NULL, token_hash VARCHAR NOT NULL, prefix VARCHAR NOT NULL, scopes VARCHAR, created_at TIMESTAMP NOT NULL DEFAULT current_timestamp, expires_at TIMESTAMP, last_used_at TIMESTAMP, revoked_at TIMESTAMP);
 INSERT INTO personal_access_tokens (id, user_id, name, token_hash, prefix) VALUES ('0b5b6f0e-8f8e-4a0e-9d3e-3f6d1d0d9a11', 'u1', 'laptop', '366232d51a91ce73abc82f9eeb14727398689bc4c1c69f89e5d18c6896ce2534', '0b5b6f0e')`,
	7: `ALTER TABLE personal_access_tokens ADD COLUMN last_used_ip VARCHAR; UPDATE personal_access_tokens SET last_used_ip = '192.0.2.7'`,
}

// predecessor makes the data directory of a predecessor at a version and gives its path. more are
// statements to run at the end.
func predecessor(t *testing.T, version int, more ...string) string {
	t.Helper()
	statements := []string{predecessorV1}
	for v := 2; v <= version; v++ {
		statements = append(statements, predecessorSteps[v])
	}
	statements = append(statements, fmt.Sprintf("UPDATE schema_version SET version = %d", version))
	return stateOf(t, append(statements, more...)...)
}

// stateOf makes a data directory whose state is made by the statements.
func stateOf(t *testing.T, statements ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := lake.Open(t.Context(), lake.Options{Path: filepath.Join(dir, "state", "system.duckdb"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ask runs a query on a database file that nobody has open, and gives its rows as text.
func ask(t *testing.T, path, query string) string {
	t.Helper()
	db, err := lake.Open(t.Context(), lake.Options{Path: path, ReadOnly: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var out strings.Builder
	rows, err := db.QueryContext(t.Context(), "SELECT CAST(q AS VARCHAR) FROM ("+query+") q")
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		out.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// fingerprints gives the content of every file of the folder of the state, but the lock.
func fingerprints(t *testing.T, dataDir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	root := filepath.Join(dataDir, "state")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		raw, err := os.ReadFile(path)
		sum := sha256.Sum256(raw)
		found[strings.TrimPrefix(path, root)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
