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
