// Package bigquery is the client of Google BigQuery: what tables there are, what a query would cost, and rows as
// Arrow, from the Storage Read API by parallel streams. It is the only importer of Google's libraries.
//
// Types become those of DuckDB:
//
//	BOOL → BOOLEAN, INT64 → BIGINT, FLOAT64 → DOUBLE, STRING → VARCHAR, BYTES → BLOB
//	DATE, TIME, JSON and INTERVAL → the types of these names
//	DATETIME → TIMESTAMP, TIMESTAMP → TIMESTAMP WITH TIME ZONE (UTC)
//	NUMERIC → DECIMAL(38,9), NUMERIC(p,s) → DECIMAL(p,s)
//	BIGNUMERIC → VARCHAR, since it has more digits than any number of DuckDB; BIGNUMERIC(p,s) → DECIMAL(p,s) where p ≤ 38
//	GEOGRAPHY → VARCHAR (WKT), ARRAY<T> → T[] (BigQuery stores NULL as an empty one)
//	STRUCT → the same, RANGE<T> → STRUCT("start" T, "end" T)
//
// Errors have kinds of pkg/fault: what trying again may mend is Busy or Unavailable. Their texts are Google's own,
// without secrets and without paths of this machine.
package bigquery
