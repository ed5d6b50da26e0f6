# files and addresses in the place of tables
refused: FROM '{{hidden}}'
refused: SELECT * FROM "{{hidden}}"
refused: FROM '{{secret}}'
refused: FROM '{{dir}}/extracts/*/data/*/*.parquet'
refused: FROM '{{dir}}/extracts/**/*.parquet'
refused: FROM '{{dir}}/state/system.duckdb'
refused: FROM '{{dir}}/extracts/shop/data/orders/../zz_bonus/*.parquet'
refused: FROM 'x.parquet'
refused: FROM "x.csv"
refused: FROM 'glob*.json'
refused: FROM 'x.csv.gz'
refused: FROM '/etc/passwd.csv'
refused: FROM '/proc/self/environ'
refused: FROM '/proc/self/cmdline.csv'
refused: FROM '/dev/stdin'
refused: FROM '/dev/fd/0.csv'
refused: FROM 'https://127.0.0.1:1/x.parquet'
refused: FROM 'http://127.0.0.1:1/x.csv'
refused: FROM 's3://bucket/x.parquet'
refused: FROM 'gcs://bucket/x.parquet'
refused: FROM 'hf://datasets/a/b.parquet'
refused: FROM 'file://{{secret}}'
refused: FROM 'file:///etc/passwd.csv'
refused: SELECT * FROM orders JOIN '{{hidden}}' USING (id)
refused: SELECT (SELECT count(*) FROM '{{hidden}}')
refused: FROM query_table('{{hidden}}')
refused: FROM query('FROM ''{{hidden}}''')
refused: SUMMARIZE '{{hidden}}'
refused: DESCRIBE '{{hidden}}'
refused: DESCRIBE SELECT * FROM 'x.parquet'
refused: EXPLAIN FROM '{{hidden}}'
refused: FROM '~/x.csv'
refused: FROM '../../etc/x.csv'
refused: FROM 'x.parquet' AS t
