-- Several sources of one type, sessions that can be revoked, and runs that can be followed. All
-- changes of a table's columns stand before changes of its rows: DuckDB refuses the other order.
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS source VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS options JSON;
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS source VARCHAR;

UPDATE users SET active = TRUE WHERE active IS NULL;
UPDATE table_registry SET source = source_type WHERE source IS NULL AND source_type <> '';

-- Who signs in with an e-mail address, whatever the case of its letters. users.email stays as it
-- was written: a predecessor's file can hold two users whose addresses differ in case only.
CREATE TABLE user_logins (
    email_key VARCHAR PRIMARY KEY,
    user_id VARCHAR NOT NULL
);

CREATE TABLE sessions (
    id VARCHAR PRIMARY KEY,
    user_id VARCHAR NOT NULL,
    token_hash VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    last_seen TIMESTAMP,
    ip VARCHAR,
    user_agent VARCHAR,
    revoked_at TIMESTAMP
);

CREATE TABLE sync_runs (
    id VARCHAR PRIMARY KEY,
    status VARCHAR NOT NULL,
    reason VARCHAR,
    requested_by VARCHAR,
    requested_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    forced BOOLEAN NOT NULL DEFAULT FALSE,
    error TEXT
);

CREATE TABLE sync_run_sources (
    run_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    source_type VARCHAR,
    status VARCHAR NOT NULL,
    requested_tables JSON,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    extracted_at TIMESTAMP,
    generation BIGINT,
    event_id VARCHAR,
    error TEXT,
    error_kind VARCHAR,
    PRIMARY KEY (run_id, source)
);

CREATE TABLE sync_run_tables (
    run_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    row_count BIGINT,
    size_bytes BIGINT,
    hash VARCHAR,
    duration_ms BIGINT,
    rejected_rows BIGINT,
    parts_written INTEGER,
    parts_reused INTEGER,
    error TEXT,
    error_kind VARCHAR,
    PRIMARY KEY (run_id, source, table_name)
);

CREATE TABLE settings (
    key VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

-- Digests of whole tables as one file, by the fingerprint of their content.
CREATE TABLE file_digests (
    fingerprint VARCHAR PRIMARY KEY,
    md5 VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- One row that is written and read back to prove that writing works.
CREATE TABLE canary (
    id INTEGER PRIMARY KEY,
    value VARCHAR NOT NULL,
    written_at TIMESTAMP NOT NULL
);
