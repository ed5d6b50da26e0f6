# statements that want more than there is; heavy ones cannot be interrupted, only killed; a crash overflows the stack
bomb: SELECT length(repeat('x', 1000000000000))
bomb: SELECT len(range(1000000000000000000))
heavy: SELECT len(range(1000000000))
bomb: SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = -1
bomb: SELECT count(*) FROM generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-01-01', INTERVAL '1 microsecond')
bomb: WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t
bomb: WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(length(s)) FROM t
bomb: SELECT len(list(i)) FROM range(1000000000) t(i)
bomb: SELECT length(string_agg(repeat('x', 1000), ',')) FROM range(100000000)
bomb: SELECT max(x) FROM (SELECT sum(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) x FROM range(50000000) t(i))
bomb: SELECT count(*) FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 200) FROM range(50000000) r(i))
bomb: SELECT i FROM range(100000000) t(i) ORDER BY hash(i)
bomb: SELECT regexp_matches(repeat('a', 100000), '(a*)*(a*)*(a*)*b')
bomb: SELECT regexp_matches('x', '((((x{1,100}){1,100}){1,100}){1,100})')
bomb: FROM range(100000000) LIMIT 9000000000000000000 OFFSET 9000000000000000000
bomb: SELECT {{repeat:100000:(}}1{{repeat:100000:)}}
bomb: SELECT {{repeat:50000:NOT }}true
bomb: SELECT 1{{repeat:60000: + 1}}
bomb: SELECT 1 {{repeat:20000:UNION ALL SELECT 1 }}
bomb: SELECT 1 {{repeat:160000:AND 1 }}
bomb: SELECT 1 FROM orders {{repeat:900:JOIN orders USING (id) }}
bomb: SELECT {{repeat:100000:1,}}1
bomb: SELECT 1 WHERE 1 IN ({{repeat:200000:2,}}3)
bomb: SELECT "{{repeat:900000:x}}"
bomb: SELECT 1 AS "{{repeat:900000:x}}"
bomb: SELECT {{repeat:5000:[}}1{{repeat:5000:]}}
bomb: SELECT NULL::INT{{repeat:5000:[]}}
bomb: SELECT (repeat('[', 100000) || repeat(']', 100000))::INT[]
bomb: SELECT repeat('[', 100000)::JSON
bomb: SELECT json_structure(repeat('[', 1000000))
bomb: SELECT count(*) FROM repeat_row(1, 2, num_rows := 1000000000000)
bomb: SELECT {{repeat:1000000:x}}xxxx
bomb: SELECT quantile_cont(i, 0.5) FROM range(100000000) t(i)
bomb: SELECT sum(hash(a.range + b.range + c.range)) FROM range(10000) a, range(10000) b, range(10000) c
heavy: SELECT length(repeat('x', 4000000000))
heavy: SELECT length(lpad('x', 2000000000, 'y'))
heavy: SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))
heavy: SELECT length(format('{:1000000000}', 1))
heavy: SELECT len(generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-01-01', INTERVAL '1 microsecond'))
heavy: SELECT length(to_json(range(100000000)))
bomb: FROM sql_auto_complete(repeat('(', 100000))
heavy: SELECT {{repeat:50:(SELECT }}1{{repeat:50:)}}
heavy: FROM {{repeat:50:(VALUES (}}1{{repeat:50:))}}
heavy: SELECT {{repeat:300:[}}{{repeat:300:]}}
heavy: SELECT {{repeat:50:list_transform([1], x -> }}1{{repeat:50:)}}
heavy: SELECT '{}'::JSON{{repeat:300: -> 'a'}}
heavy: FROM {{repeat:50:(SUMMARIZE FROM }}(SELECT 1){{repeat:50:)}}
heavy: SELECT 1 FROM orders{{repeat:300:, orders}}
bomb: SELECT 1 {{repeat:150000:+}} 1
bomb: SELECT 1 {{repeat:100000:-+}} 1
bomb: SELECT 1 {{repeat:100000:/*}}
heavy: SELECT {{repeat:400000:?,}}?
heavy: SELECT NULL::{{repeat:50:MAP(INT, }}INT{{repeat:50:)}}
heavy: SELECT {{repeat:30000:*,}}* FROM orders
heavy: FROM query_table([{{repeat:5000:'orders',}}'orders'])
heavy: SELECT ({{repeat:300:[}}{{repeat:300:]}})::VARIANT
bomb: SELECT 1 FROM orders GROUP BY {{repeat:12:CUBE (id, customer), }}()
heavy: WITH a AS (SELECT *, * FROM orders), b AS (SELECT *, * FROM a), c AS (SELECT *, * FROM b), d AS (SELECT *, * FROM c), e AS (SELECT *, * FROM d), f AS (SELECT *, * FROM e), g AS (SELECT *, * FROM f), h AS (SELECT *, * FROM g), i AS (SELECT *, * FROM h), j AS (SELECT *, * FROM i), k AS (SELECT *, * FROM j), l AS (SELECT *, * FROM k), m AS (SELECT *, * FROM l) SELECT count(*) FROM m
heavy: SELECT 'x' AS a, a || a AS b, b || b AS c, c || c AS d, d || d AS e, e || e AS f, f || f AS g, g || g AS h, h || h AS i, i || i AS j, j || j AS k, k || k AS l, l || l AS m, m || m AS n, n || n AS o, o || o AS p, p || p AS q, q || q AS r
bomb: PIVOT (SELECT i FROM range(200000) t(i)) ON i USING count(*)
bomb: PIVOT (SELECT 'x' || i AS i FROM range(100000000) t(i)) ON i
bomb: SELECT repeat('x', 3000000)::INT
bomb: SELECT error(repeat('x', 3000000))
bomb: EXPLAIN ANALYZE SELECT * FROM orders WHERE customer <> '{{repeat:900000:x}}'
bomb: EXPLAIN ANALYZE SELECT '{{repeat:60000:Filename(s):}}' FROM orders
bomb: SELECT repeat('x', 20000) FROM range(2000)
crash: SELECT json_contains('{{repeat:150000:[}}{{repeat:150000:]}}', '{{repeat:150000:[}}{{repeat:150000:]}}')
crash: SELECT '{{repeat:30000:[}}{{repeat:30000:]}}'::JSON::VARIANT
crash: SELECT json_structure(repeat('{"a":', 100000) || '1' || repeat('}', 100000))
