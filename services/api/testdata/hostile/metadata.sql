# what tells about the server, its settings, and what is hidden
refused: FROM duckdb_settings()
refused: FROM duckdb_secrets()
refused: FROM duckdb_secret_types()
refused: FROM duckdb_views()
refused: FROM duckdb_views
refused: FROM main.duckdb_views
refused: FROM system.main.duckdb_views
refused: FROM duckdb_temporary_files()
refused: FROM duckdb_memory()
refused: FROM duckdb_logs()
refused: FROM duckdb_logs
refused: FROM duckdb_log_contexts()
refused: FROM duckdb_logs_parsed('QueryLog')
refused: FROM duckdb_extensions()
refused: FROM duckdb_external_file_cache()
refused: FROM duckdb_connection_count()
refused: FROM duckdb_connections()
refused: FROM duckdb_approx_database_count()
refused: FROM duckdb_prepared_statements()
refused: FROM duckdb_profiling_settings()
refused: FROM duckdb_table_sample('orders')
refused: FROM pragma_database_size()
refused: FROM pragma_storage_info('orders')
refused: FROM pragma_metadata_info()
refused: FROM which_secret('s3://x', 's3')
refused: FROM information_schema.views
refused: FROM pg_views
refused: FROM pg_catalog.pg_views
refused: FROM pg_settings
refused: FROM pg_prepared_statements
refused: FROM sqlite_master
refused: FROM sqlite_schema
refused: FROM system.sqlite_temp_master
refused: SELECT current_setting('allowed_paths')
refused: SELECT current_setting('temp_directory')
refused: SELECT current_setting('secret_directory')
refused: SELECT current_setting('allowed' || '_paths')
refused: SELECT getenv('AGNES_CANARY')
refused: SELECT getenv('HOME')
refused: SELECT pg_get_viewdef(1)
refused: SELECT json_serialize_plan('FROM orders')
refused: SUMMARIZE duckdb_views
refused: SELECT max(sql) FROM (FROM sqlite_master)
refused: EXPLAIN (ANALYZE, FORMAT html) FROM orders
refused: EXPLAIN (ANALYZE, FORMAT graphviz) FROM orders
refused: EXPLAIN (ANALYZE, FORMAT yaml) FROM orders
refused: SELECT * FROM ordrs
refused: SELECT zz FROM orders
refused: SELECT zz_colum FROM orders
answered: EXPLAIN ANALYZE FROM orders
answered: EXPLAIN ANALYZE SELECT * FROM orders JOIN notes USING (id)
answered: EXPLAIN (ANALYZE, FORMAT json) FROM orders
answered: SHOW ALL TABLES
answered: SHOW TABLES
answered: SHOW DATABASES
answered: FROM duckdb_tables()
answered: FROM duckdb_columns()
answered: FROM duckdb_databases()
answered: FROM duckdb_schemas()
answered: FROM duckdb_constraints()
answered: FROM duckdb_variables()
answered: FROM duckdb_functions()
answered: FROM information_schema.tables
answered: FROM information_schema.columns
answered: FROM information_schema.schemata
answered: FROM pg_catalog.pg_class
answered: FROM pg_catalog.pg_attribute
answered: FROM pg_tables
answered: FROM pragma_database_list
refused: FROM sql_auto_complete('SELECT * FROM zz')
refused: FROM sql_auto_complete('SELECT * FROM shop.')
answered: SELECT getvariable('x')
answered: FROM pragma_platform()
answered: FROM test_all_types()
answered: EXPLAIN ANALYZE SELECT o.id FROM orders o LEFT JOIN notes n ON o.id = n.id WHERE o.customer <> '{{repeat:60:a}}{{repeat:80:日}}'
answered: EXPLAIN ANALYZE SELECT o.id FROM orders o LEFT JOIN orders n ON o.id = n.id WHERE o.customer <> '{{repeat:30:a}}{{repeat:80:é}}'
answered: EXPLAIN ANALYZE SELECT o.id FROM orders o LEFT JOIN orders n ON o.id = n.id WHERE o.customer <> repeat(chr(127), 40)
answered: EXPLAIN ANALYZE SELECT o.id FROM orders o LEFT JOIN orders n ON o.id = n.id WHERE o.customer <> '{{repeat:20:│ └─┘ Filename(s): }}'
answered: SHOW ALL
answered: SHOW VARIABLES
answered: SHOW TABLES FROM shop
answered: SHOW TABLES FROM system
hidden: SHOW allowed_paths
hidden: SHOW memory_limit
hidden: SHOW SECRETS
hidden: SHOW EXTENSIONS
answered: FROM duckdb_dependencies()
answered: FROM duckdb_types()
answered: FROM duckdb_sequences()
answered: FROM duckdb_indexes()
answered: FROM pg_catalog.pg_depend
answered: FROM pg_catalog.pg_enum
answered: FROM pg_catalog.pg_proc
answered: FROM information_schema.table_constraints
answered: SELECT has_table_privilege('zz_bonus', 'select')
answered: SELECT current_user, current_database(), current_query(), version()
