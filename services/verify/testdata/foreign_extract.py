"""A connector in another language: writes an extract that knows nothing of Agnes but the contract."""
import datetime
import os
import sys

import duckdb

folder = sys.argv[1]
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
os.makedirs(os.path.join(folder, "data"), exist_ok=True)
aside = os.path.join(folder, "extract.duckdb.tmp")
if os.path.exists(aside):
    os.remove(aside)

flat = os.path.join(folder, "data", "flat file.parquet")
duckdb.sql("COPY (SELECT * FROM (VALUES (1, 10), (2, 20), (3, 30)) t(id, amount)) TO '%s' (FORMAT parquet)" % flat)

with duckdb.connect(aside) as db:
    db.execute("""CREATE TABLE _meta (table_name VARCHAR NOT NULL, description VARCHAR, rows BIGINT,
        size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR DEFAULT 'local')""")
    db.execute("CREATE VIEW \"flat file\" AS SELECT * FROM read_parquet('%s')" % flat)
    db.execute("CREATE TABLE inside AS SELECT range AS id, 'name ' || range AS name FROM range(%d)" % rows)
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    db.execute("INSERT INTO _meta VALUES ('flat file', 'three rows', 3, ?, ?, 'local')", [os.path.getsize(flat), now])
    db.execute("INSERT INTO _meta VALUES ('inside', 'a real table', ?, 0, ?, 'local')", [rows, now])
os.replace(aside, os.path.join(folder, "extract.duckdb"))
