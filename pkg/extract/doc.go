// Package extract is the contract between Agnes and what brings data in. A connector author
// implements Source; Serve runs it: it consumes extract.requested, extracts tables side by side,
// writes immutable parts, swaps extract.duckdb and announces the new version with extract.ready.
// OpenVersion reads what any program, in any language, wrote by the same rules.
//
// What the package promises about $DATA_DIR/extracts/<source>:
//
//   - A version is published whole or not at all, whenever the process dies.
//   - Parts are named by their content and never rewritten.
//   - A table that failed keeps its last good parts; "could not read" is never "empty".
//   - Equal input gives byte-equal parts, and nothing is published when nothing changed.
//
// The tables and rules are written down in docs/extract-contract.md, and how to write a connector
// in docs/connectors.md. Package extracttest holds the acceptance suite every connector passes.
package extract
