# names of what is not granted, in every spelling
hidden: FROM zz_bonus
hidden: FROM shop.zz_bonus
hidden: SELECT * FROM "shop"."zz_bonus"
hidden: SELECT * FROM SHOP.ZZ_BONUS
hidden: SELECT * FROM memory.shop.zz_bonus
hidden: SELECT * FROM "memory"."shop"."zz_bonus"
hidden: TABLE shop.zz_bonus
hidden: SELECT * FROM hr.zz_people
hidden: FROM zz_people
hidden: SELECT count(*) FROM orders JOIN zz_bonus USING (id)
hidden: SELECT count(*) FROM orders NATURAL JOIN shop.zz_bonus
hidden: SELECT (SELECT max(zz_column) FROM shop.zz_bonus)
hidden: SELECT * FROM orders WHERE id IN (SELECT id FROM shop.zz_bonus)
hidden: SELECT * FROM orders WHERE EXISTS (FROM hr.zz_people)
hidden: WITH a AS (FROM shop.zz_bonus) FROM a
hidden: WITH a AS MATERIALIZED (FROM hr.zz_people) SELECT count(*) FROM a
hidden: SELECT * FROM orders, LATERAL (SELECT * FROM shop.zz_bonus)
hidden: SELECT 1 UNION ALL SELECT id FROM shop.zz_bonus
hidden: DESCRIBE shop.zz_bonus
hidden: SHOW zz_bonus
hidden: SUMMARIZE hr.zz_people
hidden: SUMMARIZE zz_bonus
hidden: DESCRIBE SELECT * FROM hr.zz_people
hidden: EXPLAIN SELECT * FROM hr.zz_people
hidden: EXPLAIN ANALYZE SELECT * FROM shop.zz_bonus
hidden: EXPLAIN (FORMAT json) FROM zz_people
hidden: PIVOT hr.zz_people ON id IN (1) USING count(*)
hidden: UNPIVOT shop.zz_bonus ON zz_column
hidden: FROM query('FROM hr.zz_' || 'people')
hidden: FROM query_table('zz_bonus')
hidden: FROM query_table(['zz_bonus', 'orders'])
hidden: SELECT * FROM 'zz_bonus'
hidden: WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT id FROM shop.zz_bonus) FROM r
hidden: SELECT * FROM orders POSITIONAL JOIN hr.zz_people
refused: FROM system.main.zz_bonus
refused: FROM temp.main.zz_bonus
refused: FROM state.users
refused: FROM system_db.users
refused: FROM users
refused: FROM personal_access_tokens
refused: FROM main.sessions
refused: FROM server.shop.zz_bonus_x
hidden: PIVOT zz_bonus ON zz_column
hidden: PIVOT shop.zz_bonus ON zz_column USING count(*)
hidden: FROM (PIVOT hr.zz_people ON zz_column)
hidden: WITH p AS (PIVOT zz_people ON zz_column USING count(*)) FROM p
hidden: SUMMARIZE TABLE zz_bonus
hidden: DESCRIBE TABLE shop.zz_bonus
hidden: SELECT * FROM (DESCRIBE zz_bonus)
hidden: SELECT * FROM (SUMMARIZE hr.zz_people)
hidden: WITH orders AS (FROM zz_bonus) FROM orders
hidden: SELECT * FROM orders ASOF JOIN zz_bonus USING (id)
hidden: SELECT * FROM orders WHERE id = ANY (SELECT id FROM zz_bonus)
hidden: SELECT list_transform([1], x -> (SELECT max(zz_column) FROM zz_bonus))
hidden: FROM histogram(zz_bonus, id)
hidden: SELECT zz_bonus FROM zz_bonus
hidden: FROM main.zz_bonus
hidden: SELECT ARRAY(SELECT id FROM hr.zz_people)
hidden: FROM zz_bonus TABLESAMPLE 10%
refused: SELECT * FROM zz_bonus AT (VERSION => 1)
refused: FROM shop.main.zz_bonus
refused: SELECT 'zz_bonus'::regclass
refused: FROM [zz_bonus]
refused: SELECT shop.zz_bonus
