# more than one statement, comments, quotes and letters
refused: SELECT 1; SELECT 2
refused: SELECT 1;;DROP VIEW orders
refused: SELECT 1{{x:0a}};{{x:0a}}SET threads = 1
refused: SELECT 1; -- x{{x:0a}}DROP VIEW orders
refused: SELECT 1 /* ; */; COPY (SELECT 1) TO '{{granted}}'
refused: /* /* */ */ DROP VIEW orders
refused: /* SELECT 1 */ PRAGMA version
refused: -- SELECT 1{{x:0a}}PRAGMA version
refused: -- SELECT 1{{x:0d}}PRAGMA version
refused: /**/SET/**/threads/**/=/**/1
refused: EXPLAIN /* /* x */ */ ANALYZE COPY (SELECT 1) TO '{{granted}}'
refused: EXPLAIN PRAGMA version
refused: EXPLAIN EXPLAIN SELECT 1
refused: EXPLAIN
refused: SELECT e'\''; DROP VIEW orders --'
refused: SELECT '\'; DROP VIEW orders; --'
refused: SELECT $$a$$; DROP VIEW orders; SELECT $$b$$
refused: SELECT $x$ $$ $x$; DROP VIEW orders
refused: SELECT $a$ unclosed
refused: SELECT 'unclosed
refused: SELECT /* unclosed
refused: SELECT "unclosed
refused: SELECT 1{{x:00}}; DROP VIEW orders
refused: {{x:00}}SELECT 1
refused: {{x:efbbbf}}DROP VIEW orders
refused: {{x:efbbbf}}PRAGMA version
refused: {{x:efbcb3}}ELECT 1
refused: S{{x:d095}}LECT 1
refused: SELECT{{x:e2808b}}1;DROP VIEW orders
refused: SELECT 1{{x:c2a0}};{{x:c2a0}}DROP VIEW orders
refused: {{x:e280ae}}SELECT 1
refused: SELECT 1 {{x:efbc9b}} DROP VIEW orders
refused: FROM read{{x:e2808b}}_text('{{secret}}')
refused: FROM {{x:efbd92}}ead_text('{{secret}}')
refused: FROM enable_logging{{x:c2a0}}()
refused: FROM query{{x:0b}}('FROM enable_' || 'logging()')
refused: FROM query('SELECT 1; SELECT 2')
refused: FROM query('DROP VIEW orders')
refused: FROM query('COPY (SELECT 1) TO ''{{granted}}''')
refused: FROM query(CASE WHEN random() < 0.5 THEN 'SELECT 1' ELSE 'FROM duckdb_settings()' END)
refused: FROM query(lower('SELECT 1'))
refused: FROM query(chr(70) || 'ROM orders')
refused: FROM query('FROM query(''FROM query(''''FROM duckdb_settings()'''')'')')
refused: FROM query_table(lower('DUCKDB_VIEWS'))
refused: FROM query_table('duckdb_views')
refused: FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
refused: SELECT json_deserialize_sql(json_serialize_sql('SELECT 1'))
refused: FROM check_peg_parser('SELECT 1')
refused: FROM arrow_scan(1, 2, 3)
refused: FROM arrow_scan_dumb(0, 0, 0)
refused: SELECT finalize(sum(1) EXPORT_STATE)
refused: SELECT variant_bytes_to_variant('x'::BLOB)
refused: SELECT __internal_decompress_string(1::UBIGINT)
refused: SELECT * FROM (DELETE FROM orders)
refused: (DROP VIEW orders)
refused: ;
refused: {{x:20}}
refused: -- nothing
refused: SELECT sleep_ms(1000)
refused: SELECT pg_sleep(10)
refused: PIVOT orders ON customer; DROP VIEW orders
refused: PIVOT orders ON customer; SELECT 1
refused: SELECT 1; PIVOT orders ON customer
refused: PIVOT (FROM duckdb_views()) ON sql
refused: PIVOT (FROM read_text('{{secret}}')) ON content
refused: PIVOT '{{granted}}' ON customer
refused: PIVOT (SELECT current_setting('allowed_paths') AS x) ON x
refused: COPY (PIVOT orders ON customer) TO '{{outside}}/x.csv'
refused: CREATE TABLE x AS FROM (PIVOT orders ON customer)
refused: FROM query('PIVOT orders ON customer')
refused: FROM query(E'FROM duckdb\x5fviews()')
refused: FROM query(E'FROM duckdb\137views()')
refused: FROM query('FROM duckdb'{{x:0a}}'_views()')
refused: FROM query('FROM duckdb'::VARCHAR || '_views()')
refused: FROM U&"duckdb\005fviews"
refused: FROM U&"zz\005fbonus"
refused: SELECT list_aggregate([1], 'com' || 'bine')
refused: SELECT list_aggregate([1], 'fin' || 'alize')
refused: SELECT @allowed_paths
refused: WITH a AS (SELECT 1) INSERT INTO orders SELECT * FROM a
refused: FROM orders INSERT INTO orders
refused: SELECT * INTO x FROM orders
refused: SELECT * FROM orders FOR UPDATE; COMMIT
refused: DECLARE c CURSOR FOR SELECT 1
refused: LISTEN x
refused: DO $$ SELECT 1 $$
refused: EXPLAIN (ANALYZE, FORMAT mermaid) FROM orders
refused: SELECT 1 \; SELECT 2
