// Package federation answers statements over what is not copied. SQL of users never meets an attached catalog or
// a network: a statement is planned over empty stand-ins, what it needs is fetched into parquet files by SQL or
// requests that are made here, within a budget that holds across processes, and it runs in a locked session over
// these files.
package federation
