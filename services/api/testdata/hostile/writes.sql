# statements that write, attach, set or load
refused: COPY (SELECT 1) TO '{{granted}}' (USE_TMP_FILE false)
refused: COPY orders TO '{{outside}}/x.csv'
refused: COPY orders TO '{{dir}}/x.parquet' (FORMAT parquet)
refused: COPY (SELECT 1) TO 'x.csv'
refused: COPY (SELECT 1) TO '/dev/stdout'
refused: COPY orders FROM '{{secret}}'
refused: COPY FROM DATABASE memory TO temp
refused: EXPLAIN ANALYZE COPY (SELECT 1) TO '{{granted}}' (USE_TMP_FILE false)
refused: EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{{granted}}'
refused: ATTACH '{{dir}}/state/system.duckdb' AS s
refused: ATTACH ':memory:' AS x
refused: ATTACH DATABASE 'x.db' (TYPE sqlite)
refused: DETACH memory
refused: USE shop
refused: USE system
refused: EXPORT DATABASE '{{outside}}/out'
refused: IMPORT DATABASE '{{outside}}'
refused: PRAGMA version
refused: PRAGMA database_list
refused: PRAGMA show_tables
refused: PRAGMA table_info('orders')
refused: PRAGMA threads = 8
refused: PRAGMA enable_profiling
refused: PRAGMA add_parquet_key('k', '0123456789112345')
refused: PRAGMA memory_limit='1TB'
refused: SET memory_limit = '1TB'
refused: SET GLOBAL threads = 1
refused: SET SESSION search_path = 'shop'
refused: SET lock_configuration = false
refused: SET enable_external_access = true
refused: SET VARIABLE x = 1
refused: RESET memory_limit
refused: RESET VARIABLE x
refused: INSTALL httpfs
refused: FORCE INSTALL httpfs
refused: INSTALL httpfs FROM 'http://127.0.0.1:1'
refused: LOAD icu
refused: LOAD '{{outside}}/x.duckdb_extension'
refused: UPDATE EXTENSIONS
refused: CREATE TABLE x AS SELECT 1
refused: CREATE TEMP TABLE x (i INT)
refused: CREATE OR REPLACE VIEW orders AS SELECT 1
refused: CREATE TEMP VIEW orders AS SELECT 1
refused: CREATE MACRO lower(x) AS 1
refused: CREATE TEMP MACRO f(x) AS TABLE FROM orders
refused: CREATE SECRET (TYPE s3)
refused: CREATE PERSISTENT SECRET x (TYPE http)
refused: CREATE SCHEMA x
refused: CREATE SEQUENCE x
refused: CREATE TYPE x AS ENUM ('a')
refused: CREATE INDEX i ON orders (id)
refused: DROP VIEW orders
refused: DROP SCHEMA shop CASCADE
refused: DROP SECRET x
refused: ALTER VIEW orders RENAME TO o
refused: COMMENT ON VIEW orders IS 'x'
refused: INSERT INTO orders VALUES (1, 'x')
refused: UPDATE orders SET id = 1
refused: DELETE FROM orders
refused: TRUNCATE orders
refused: MERGE INTO orders USING notes ON true WHEN MATCHED THEN DELETE
refused: WITH x AS (DELETE FROM orders RETURNING *) FROM x
refused: CALL pragma_version()
refused: CALL enable_logging()
refused: CALL force_checkpoint()
refused: CHECKPOINT
refused: FORCE CHECKPOINT
refused: VACUUM
refused: VACUUM ANALYZE
refused: ANALYZE
refused: BEGIN
refused: START TRANSACTION
refused: COMMIT
refused: ROLLBACK
refused: ABORT
refused: PREPARE p AS SELECT 1
refused: EXECUTE p
refused: EXECUTE p(1)
refused: DEALLOCATE p
refused: SELECT $1
refused: SELECT ?
refused: SELECT $name
refused: FROM enable_logging()
refused: FROM disable_logging()
refused: FROM enable_profiling()
refused: FROM truncate_duckdb_logs()
refused: FROM checkpoint()
refused: FROM force_checkpoint()
refused: FROM enable_peg_parser()
refused: SELECT write_log('x')
refused: SELECT nextval('x')
