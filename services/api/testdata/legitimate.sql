# what must work
works: SELECT 1;
works: SELECT 1 ; ;
works: -- a comment; with SELECT{{x:0a}}SELECT 1
works: /* a /* nested */ comment */ SELECT 1 -- end
works: (SELECT 1)
works: ((SELECT 1)) ;
works: FROM orders
works: FROM orders SELECT id LIMIT 1
works: TABLE orders
works: VALUES (1, 'a'), (2, 'b')
works: select ID from ORDERS
works: SELECT * FROM shop.orders
works: SELECT * FROM "shop"."orders"
works: SELECT * FROM memory.shop.orders
works: SELECT * FROM "order"
works: SELECT * FROM shop."order"
works: SELECT "select" FROM "order"
works: SELECT * FROM "dotted.name"
works: SELECT * FROM shop."dotted.name"
works: SELECT * FROM "ärger"
works: SELECT "größe" FROM "ärger"
works: SELECT copy, "attach", load, last_update FROM notes
works: SELECT last_update AS "update", 1 AS "delete", 2 AS "set" FROM notes
works: SELECT 'please update me; DROP TABLE orders; COPY x TO y' AS text
works: SELECT 'read_text(''/etc/passwd'')' AS text
works: SELECT $$it's; a -- text$$ AS text
works: SELECT $tag$ $$ $tag$
works: SELECT E'a\n\'b'
works: SELECT * FROM orders WHERE customer NOT LIKE 'query (%'
works: SELECT * FROM orders WHERE customer GLOB 'c*'
works: WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM b
works: WITH a AS MATERIALIZED (FROM orders) SELECT count(*) FROM a
works: WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 5) FROM t
works: SELECT count(*) FROM orders o JOIN notes n USING (id)
works: SELECT * FROM orders NATURAL JOIN notes
works: SELECT * FROM orders o LEFT JOIN notes n ON o.id = n.id AND n.load > 0
works: SELECT * FROM orders o SEMI JOIN notes n USING (id)
works: SELECT * FROM orders o ANTI JOIN notes n USING (id)
works: SELECT * FROM orders POSITIONAL JOIN notes
works: SELECT o.id, n.load FROM orders o ASOF JOIN notes n ON o.id >= n.id
works: SELECT * FROM orders, LATERAL (SELECT orders.id * 2 AS twice)
works: SELECT id, row_number() OVER (ORDER BY id DESC) FROM orders
works: SELECT id, sum(id) OVER w FROM orders WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
works: SELECT id FROM orders QUALIFY rank() OVER (ORDER BY id) < 3
works: SELECT customer, count(*) FROM orders GROUP BY ALL ORDER BY ALL
works: SELECT customer, count(*) FROM orders GROUP BY ROLLUP (customer)
works: SELECT customer, id, count(*) FROM orders GROUP BY GROUPING SETS ((customer), (id), (customer, id))
works: SELECT count(*) FILTER (WHERE id > 1) FROM orders
works: SELECT DISTINCT ON (customer) * FROM orders ORDER BY customer, id
works: SELECT * EXCLUDE (id) FROM orders
works: SELECT * REPLACE (id + 1 AS id) FROM orders
works: SELECT COLUMNS('i.*') FROM orders
works: SELECT COLUMNS(c -> c LIKE 'c%') FROM orders
works: PIVOT orders ON customer IN ('c1', 'c2') USING count(*)
works: PIVOT (FROM orders) ON customer IN ('c1') USING sum(id) GROUP BY id
works: UNPIVOT orders ON id INTO NAME n VALUE v
works: SELECT {'a': 1, 'b': [1, 2]}.b[1]
works: SELECT list_transform([1, 2, 3], x -> x + 1), list_filter([1, 2], x -> x > 1)
works: SELECT [x * 2 FOR x IN [1, 2, 3] IF x > 1]
works: SELECT unnest([1, 2, 3]), unnest({'a': 1})
works: SELECT MAP {'k': 1}['k'], map_keys(MAP {'k': 1})
works: SELECT list_aggregate([1, 2], 'sum'), list_sort([2, 1])
works: SELECT regexp_extract('a1b2', '([a-z])(\d)', 2), regexp_matches('abc', '^a.c$')
works: SELECT ('abc').upper().replace('B', 'x')
works: SELECT json_extract('{"a": [1, 2]}', '$.a[0]'), '{"a": 1}'->>'a'
works: SELECT json_serialize_sql('SELECT 1')
works: SELECT to_json(o) FROM orders o LIMIT 1
works: SELECT * FROM json_each('{"a": 1}')
works: SELECT now() IS NOT NULL, current_date > DATE '2020-01-01'
works: SELECT TIMESTAMPTZ '2026-01-02 03:04:05+00' AT TIME ZONE 'Europe/Prague'
works: SELECT current_setting('TimeZone')
works: SELECT date_trunc('month', DATE '2026-02-03'), strftime(DATE '2026-02-03', '%Y'), INTERVAL 3 DAY
works: SELECT * FROM range(3)
works: SELECT * FROM generate_series(1, 3)
works: SELECT * FROM pg_timezone_names() LIMIT 1
works: SELECT 1.10::DECIMAL(9, 2), '5'::INT, TRY_CAST('x' AS INT), 1e3, 0xff, 1_000
works: SELECT CASE WHEN id > 1 THEN 'many' ELSE 'few' END FROM orders
works: SELECT * FROM orders TABLESAMPLE 100%
works: SELECT * FROM orders ORDER BY id LIMIT 2 OFFSET 1
works: SELECT id FROM orders UNION SELECT id FROM notes EXCEPT SELECT 5
works: SELECT * FROM orders WHERE id IN (SELECT id FROM notes) AND EXISTS (FROM notes)
works: SELECT (SELECT max(id) FROM orders), ARRAY(SELECT id FROM orders)
works: SELECT arg_max(customer, id), median(id), mode(customer), approx_quantile(id, 0.5), histogram(id) FROM orders
works: EXPLAIN SELECT 1
works: EXPLAIN FROM orders
works: EXPLAIN ANALYZE SELECT * FROM orders
works: EXPLAIN (FORMAT json) SELECT * FROM orders
works: EXPLAIN (ANALYZE, FORMAT json) FROM orders
works: explain (select 1)
works: DESCRIBE orders
works: DESC orders
works: DESCRIBE SELECT 1 AS x
works: DESCRIBE
works: SHOW TABLES
works: SHOW ALL TABLES
works: SHOW orders
works: SUMMARIZE orders
works: SUMMARIZE SELECT id FROM orders
works: SELECT column_name FROM (DESCRIBE orders)
works: SELECT table_name FROM information_schema.tables
works: SELECT * FROM information_schema.columns WHERE table_name = 'orders'
works: FROM query('FROM ord' || 'ers')
works: FROM query_table('orders')
works: FROM query_table(['orders'])
works: SELECT 1 AS checkpoint, 2 AS query, 3 AS "read_text"
works: SELECT 'ü', '日本', '🙂', 'a' || chr(10)
works: {{x:efbbbf}}SELECT 1
works: SELECT{{x:c2a0}}1
works: PIVOT orders ON customer USING count(*)
works: PIVOT orders ON customer
works: FROM (PIVOT orders ON customer USING sum(id))
works: WITH p AS (PIVOT orders ON customer USING count(*)) SELECT * FROM p
works: SELECT * FROM orders PIVOT (count(*) FOR customer IN ('c1', 'c2'))
works: SELECT * FROM (SELECT 1 AS a, 2 AS b) UNPIVOT (v FOR k IN (a, b))
works: SELECT * FROM orders USING SAMPLE 50%
works: SELECT * FROM orders USING SAMPLE reservoir(2 ROWS) REPEATABLE (42)
works: SELECT * FROM orders TABLESAMPLE bernoulli(10 PERCENT)
works: SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS b
works: SELECT * FROM orders LIMIT 50%
works: SELECT * RENAME (id AS number) FROM orders
works: SELECT o.* EXCLUDE (id) FROM orders o
works: SELECT min(COLUMNS(*)) FROM orders
works: SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN 2 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM orders
works: SELECT customer, id, grouping(customer, id), count(*) FROM orders GROUP BY CUBE (customer, id)
works: SELECT list_reduce([1, 2, 3], lambda a, b : a + b), list_zip([1], [2])
works: WITH RECURSIVE t(n) USING KEY (n) AS (SELECT 1 UNION SELECT n + 1 FROM t WHERE n < 3) FROM t
works: SELECT x FROM generate_series(DATE '2024-01-01', DATE '2024-03-01', INTERVAL 1 MONTH) t(x)
works: SELECT time_bucket(INTERVAL 1 WEEK, last_update), date_diff('day', last_update, DATE '2026-02-01') FROM notes
works: FROM histogram(orders, id, bin_count := 3)
works: SELECT orders FROM orders
works: SELECT 'https://example.com/a?b=c' AS url, '/path/x' AS path, split_part('a/b', '/', 1) AS first
works: SELECT * FROM orders WHERE customer LIKE '/%' OR customer = '://'
works: SELECT t.set, t.load, t.call, t.export FROM (SELECT 1 AS set, 2 AS load, 3 AS call, 4 AS export) t
works: SELECT 1 AS update, 2 AS install
works: SELECT 1; -- a comment; behind
works: EXPLAIN ANALYZE SELECT * FROM orders WHERE customer <> '{{repeat:100000:x}}'
works: SHOW SCHEMAS
works: SUMMARIZE TABLE orders
works: DESCRIBE TABLE orders
works: SELECT name FROM pragma_table_info('orders')
works: SELECT 1::BIT, 'a'::ENUM('a', 'b'), 5::UHUGEINT, 5::BIGNUM, union_value(k := 1), [1, 2]::INT[2]
works: SELECT 'NaN'::DOUBLE, 1 / 0, 'infinity'::DATE, '2024-01-01'::TIMESTAMP_NS
