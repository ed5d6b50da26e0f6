// Package lake is how Agnes opens DuckDB and keeps files: quoting, limits, locked sessions, Arrow,
// immutable files that are published by rename, scratch space, locks, and parquet files made of
// parts. It is the only importer of duckdb-go and its bindings.
//
// What it promises:
//
//   - No instance of DuckDB is opened without limits on memory and threads, and none spills to a
//     folder that was not named for it.
//   - A locked session reaches the files of its views and nothing else, whatever its statement says.
//   - A published file is on the disk, whole, before its name is.
package lake
