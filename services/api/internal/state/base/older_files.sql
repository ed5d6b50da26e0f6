-- What the predecessor's steps 1→2 to 6→7 add to a file of an earlier version, and columns that the
-- oldest files lack. Every statement may find its work done: the predecessor migrated without a
-- transaction, so a file can stand between two versions. Runs after schema_v7.sql, which made every table.
ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS applied_at TIMESTAMP;

ALTER TABLE users ADD COLUMN IF NOT EXISTS name VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS role VARCHAR DEFAULT 'analyst';
ALTER TABLE users ADD COLUMN IF NOT EXISTS password_hash VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS setup_token VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS setup_token_created TIMESTAMP;
ALTER TABLE users ADD COLUMN IF NOT EXISTS reset_token VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS reset_token_created TIMESTAMP;
ALTER TABLE users ADD COLUMN IF NOT EXISTS active BOOLEAN DEFAULT TRUE;
ALTER TABLE users ADD COLUMN IF NOT EXISTS deactivated_at TIMESTAMP;
ALTER TABLE users ADD COLUMN IF NOT EXISTS deactivated_by VARCHAR;
ALTER TABLE users ADD COLUMN IF NOT EXISTS created_at TIMESTAMP;
ALTER TABLE users ADD COLUMN IF NOT EXISTS updated_at TIMESTAMP;

ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS source_type VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS bucket VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS source_table VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS sync_strategy VARCHAR DEFAULT 'full_refresh';
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS query_mode VARCHAR DEFAULT 'local';
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS sync_schedule VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS profile_after_sync BOOLEAN DEFAULT TRUE;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS primary_key VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS folder VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS description TEXT;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS registered_by VARCHAR;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS is_public BOOLEAN DEFAULT TRUE;
ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS registered_at TIMESTAMP;

ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS uncompressed_size_bytes BIGINT;
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS columns INTEGER;
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS hash VARCHAR;
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS status VARCHAR DEFAULT 'ok';
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS error TEXT;

ALTER TABLE dataset_permissions ADD COLUMN IF NOT EXISTS access VARCHAR DEFAULT 'read';

ALTER TABLE personal_access_tokens ADD COLUMN IF NOT EXISTS scopes VARCHAR;
ALTER TABLE personal_access_tokens ADD COLUMN IF NOT EXISTS last_used_at TIMESTAMP;
ALTER TABLE personal_access_tokens ADD COLUMN IF NOT EXISTS last_used_ip VARCHAR;
ALTER TABLE personal_access_tokens ADD COLUMN IF NOT EXISTS revoked_at TIMESTAMP;
