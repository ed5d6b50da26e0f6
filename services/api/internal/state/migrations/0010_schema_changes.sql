-- What was different in the columns of a table, as a JSON list; NULL for nothing.
ALTER TABLE sync_run_tables ADD COLUMN IF NOT EXISTS schema_changes VARCHAR;
