"""A connector in another language whose tables stay where they live: it writes views over a catalog that it attaches,
and says in _remote_attach how others may attach it.

remote_extract.py FOLDER EXTENSION_FILE ALIAS EXTENSION ATTACH URL TOKEN_ENV TABLE...
"""
import os
import sys

import duckdb

folder, extension_file, alias, extension, attach, url, token_env, *tables = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
aside = os.path.join(folder, "extract.duckdb.tmp")
if os.path.exists(aside):
    os.remove(aside)
with duckdb.connect(aside) as db:
    db.execute("LOAD '%s'" % extension_file)
    db.execute("ATTACH '%s' AS %s (TYPE %s, READ_ONLY)" % (attach.replace("'", "''"), alias, extension))
    db.execute("CREATE TABLE _meta (table_name VARCHAR, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR)")
    db.execute("CREATE TABLE _remote_attach (alias VARCHAR, extension VARCHAR, url VARCHAR, token_env VARCHAR)")
    db.execute("INSERT INTO _remote_attach VALUES (?, ?, ?, ?)", [alias, extension, url, token_env])
    for table in tables:
        name = table.split(".")[-1]
        db.execute("CREATE VIEW %s AS SELECT * FROM %s.%s" % (name, alias, table))
        db.execute("INSERT INTO _meta VALUES (?, 'stays where it lives', 0, 0, now()::TIMESTAMP, 'remote')", [name])
os.replace(aside, os.path.join(folder, "extract.duckdb"))
