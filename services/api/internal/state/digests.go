package state

import (
	"context"
	"database/sql"
	"slices"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// Digests remembers the digest of a table as one file, by the fingerprint of its content: taking one
// means reading the whole table.
type Digests struct{ s *Store }

// Get gives the digests that are known, by fingerprint.
func (r *Digests) Get(ctx context.Context, fingerprints []string) (map[string]lake.Digest, error) {
	found := make(map[string]lake.Digest, len(fingerprints))
	err := r.s.read(ctx, func(ctx context.Context, q querier) error {
		for chunk := range slices.Chunk(fingerprints, 1000) {
			_, err := collect(ctx, q, func(row *sql.Rows) (struct{}, error) {
				var fingerprint string
				var d lake.Digest
				err := row.Scan(&fingerprint, &d.MD5, &d.SHA256, &d.Size)
				found[fingerprint] = d
				return struct{}{}, err
			}, "SELECT fingerprint, md5, sha256, size_bytes FROM file_digests WHERE fingerprint IN ("+placeholders(1, len(chunk))+")", anys(chunk)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Put remembers digests.
func (r *Digests) Put(ctx context.Context, digests map[string]lake.Digest) error {
	if len(digests) == 0 {
		return nil
	}
	var rows [][]any
	for fingerprint, d := range digests {
		rows = append(rows, []any{fingerprint, d.MD5, d.SHA256, d.Size, r.s.now()})
	}
	return r.s.write(ctx, touchesNothing|touchesTrifle, func(ctx context.Context, tx *sql.Tx) error {
		return insertRows(ctx, tx, "INSERT INTO file_digests (fingerprint, md5, sha256, size_bytes, created_at)", rows,
			"ON CONFLICT (fingerprint) DO UPDATE SET md5 = excluded.md5, sha256 = excluded.sha256, size_bytes = excluded.size_bytes")
	})
}

// Retain forgets the digests of every content but those named, and tells how many it forgot.
func (r *Digests) Retain(ctx context.Context, fingerprints []string) (int, error) {
	all, err := readAll(ctx, r.s, scanString, "SELECT fingerprint FROM file_digests")
	if err != nil {
		return 0, err
	}
	keep := make(map[string]bool, len(fingerprints))
	for _, f := range fingerprints {
		keep[f] = true
	}
	gone := slices.DeleteFunc(all, func(f string) bool { return keep[f] })
	if len(gone) == 0 {
		return 0, nil
	}
	return len(gone), r.s.write(ctx, touchesNothing|touchesTrifle, func(ctx context.Context, tx *sql.Tx) error {
		return deleteKeys(ctx, tx, "DELETE FROM file_digests WHERE fingerprint IN", gone)
	})
}

// insertRows writes rows of one width with few statements.
func insertRows(ctx context.Context, tx *sql.Tx, insert string, rows [][]any, onConflict string) error {
	for chunk := range slices.Chunk(rows, rowsPerStatement) {
		statement := insert + " VALUES " + valueRows(len(chunk), len(chunk[0])) + " " + onConflict
		if _, err := tx.ExecContext(ctx, statement, slices.Concat(chunk...)...); err != nil {
			return err
		}
	}
	return nil
}

// deleteKeys runs a statement that ends in "IN" for keys.
func deleteKeys(ctx context.Context, tx *sql.Tx, statement string, keys []string) error {
	for chunk := range slices.Chunk(keys, rowsPerStatement) {
		if _, err := tx.ExecContext(ctx, statement+" ("+placeholders(1, len(chunk))+")", anys(chunk)...); err != nil {
			return err
		}
	}
	return nil
}
