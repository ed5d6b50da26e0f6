package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// keepChanges is how many changes are remembered. A table that stands at an older one is made anew.
const keepChanges = 200_000

// Seq is the number of the last change.
func (s *Store) Seq(ctx context.Context) (int64, error) { return s.number(ctx, "seq") }

func (s *Store) number(ctx context.Context, name string) (int64, error) {
	var text string
	err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, unreadable(err)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fault.Wrap(err, fault.Internal, "the store of Jira documents is damaged")
	}
	return n, nil
}

// Touched are the issues whose rows of a table changed, by the month of the parts that hold them.
type Touched map[string][]int64

// Since gives what changed of a table after the change after, up to the change upto. known is false where
// so old changes are not remembered any more: then everything may have changed.
func (s *Store) Since(ctx context.Context, table int, after, upto int64) (touched Touched, known bool, err error) {
	floor, err := s.number(ctx, "floor")
	if err != nil || after < floor || after > upto {
		return nil, false, err
	}
	rows, err := s.read.QueryContext(ctx, "SELECT DISTINCT month, id FROM changes WHERE seq > ? AND seq <= ? AND tables & ? ORDER BY month, id", after, upto, int64(1)<<table)
	if err != nil {
		return nil, false, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	touched = Touched{}
	for rows.Next() {
		var month string
		var id int64
		if err := rows.Scan(&month, &id); err != nil {
			return nil, false, unreadable(err)
		}
		touched[month] = append(touched[month], id)
	}
	return touched, true, unreadable(rows.Err())
}

// ChangedTables are the tables of which rows of issues changed after a change.
func (s *Store) ChangedTables(ctx context.Context, after int64) (Tables, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT DISTINCT tables FROM changes WHERE seq > ?", after)
	if err != nil {
		return 0, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	var all Tables
	for rows.Next() {
		var some int64
		if err := rows.Scan(&some); err != nil {
			return 0, unreadable(err)
		}
		all |= Tables(some) //nolint:gosec // as it was put
	}
	return all, unreadable(rows.Err())
}

// EntitiesChanged is the number of the last change of any entity of a kind.
func (s *Store) EntitiesChanged(ctx context.Context, k Kind) (int64, error) {
	gone, err := s.number(ctx, goneMark(k))
	if err != nil {
		return 0, err
	}
	var changed sql.NullInt64
	if err := s.read.QueryRowContext(ctx, "SELECT max(seq) FROM entities WHERE kind = ?", k).Scan(&changed); err != nil {
		return 0, unreadable(err)
	}
	return max(gone, changed.Int64), nil
}

// Entities calls each for every entity of a kind, in the order of their ids.
func (s *Store) Entities(ctx context.Context, k Kind, each func(Entity) error) error {
	rows, err := s.read.QueryContext(ctx, "SELECT id, attrs FROM entities WHERE kind = ? ORDER BY id", k)
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e := Entity{Kind: k}
		if err := rows.Scan(&e.ID, &e.Attrs); err != nil {
			return unreadable(err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return unreadable(rows.Err())
}

// Named gives the ids of the entities of a kind that each issue names, in the order of their texts.
func (s *Store) Named(ctx context.Context, k Kind) (map[int64][]string, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT issue, id FROM sightings WHERE kind = ? ORDER BY issue, id", k)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	out := map[int64][]string{}
	for rows.Next() {
		var issue int64
		var id string
		if err := rows.Scan(&issue, &id); err != nil {
			return nil, unreadable(err)
		}
		out[issue] = append(out[issue], id)
	}
	return out, unreadable(rows.Err())
}

// LooseLinks calls each for every link of an issue to one that is not kept, or is kept as deleted.
func (s *Store) LooseLinks(ctx context.Context, each func(issue int64, to End)) error {
	rows, err := s.read.QueryContext(ctx, "SELECT issue, other, links.key FROM links LEFT JOIN documents ON documents.id = links.other WHERE documents.id IS NULL OR documents.deleted <> 0 ORDER BY issue, other")
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var issue int64
		var to End
		if err := rows.Scan(&issue, &to.ID, &to.Key); err != nil {
			return unreadable(err)
		}
		each(issue, to)
	}
	return unreadable(rows.Err())
}

// Prune forgets changes beyond the number that is remembered. What is forgotten is how tables of that age
// are brought up to date, never a document.
func (s *Store) Prune(ctx context.Context) error { return s.prune(ctx, keepChanges) }

func (s *Store) prune(ctx context.Context, keep int) error {
	return s.Write(ctx, func(tx *Tx) error {
		var upto sql.NullInt64
		query := fmt.Sprintf("SELECT max(seq) FROM (SELECT seq FROM changes ORDER BY seq DESC LIMIT 1 OFFSET %d)", keep)
		if err := tx.tx.QueryRowContext(ctx, query).Scan(&upto); err != nil || !upto.Valid {
			return err
		}
		if err := tx.exec(ctx, "DELETE FROM changes WHERE seq <= ?", upto.Int64); err != nil {
			return err
		}
		return tx.exec(ctx, "UPDATE meta SET value = ? WHERE name = 'floor'", strconv.FormatInt(upto.Int64, 10))
	})
}
