package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Tables is a set of tables, one bit each.
type Tables uint32

// Has tells whether a table is in the set.
func (t Tables) Has(table int) bool { return t&(1<<table) != 0 }

// With is the set with a table.
func (t Tables) With(table int) Tables { return t | 1<<table }

// Tx is one change of the store, which happens whole or not at all.
type Tx struct {
	s   *Store
	tx  *sql.Tx
	seq int64 // of this change; 0 until something is put
}

// Write changes the store. When it returns nil, all that do did is on the disk; an error undoes it. One
// change happens at a time: what do reads by the Tx is not older than what it writes.
func (s *Store) Write(ctx context.Context, do func(tx *Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(&Tx{s: s, tx: tx}); err != nil {
		return unreadable(err)
	}
	return unreadable(tx.Commit())
}

func (t *Tx) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, statement, args...)
	return unreadable(err)
}

// each calls do for every row of a query within this change.
func (t *Tx) each(ctx context.Context, do func(row scanner) error, query string, args ...any) error {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := do(rows); err != nil {
			return unreadable(err)
		}
	}
	return unreadable(rows.Err())
}

// Get gives the document of an issue as it is within this change.
func (t *Tx) Get(ctx context.Context, id int64) (Document, bool, error) {
	return t.s.one(t.tx.QueryRowContext(ctx, "SELECT "+heads+", doc FROM documents WHERE id = ?", id))
}

// Head is Get without the JSON.
func (t *Tx) Head(ctx context.Context, id int64) (d Document, found bool, err error) {
	d, err = t.s.scan(t.tx.QueryRowContext(ctx, "SELECT "+heads+" FROM documents WHERE id = ?", id), false)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, unreadable(err)
}

// next is the number of this change.
func (t *Tx) next(ctx context.Context) (int64, error) {
	if t.seq != 0 {
		return t.seq, nil
	}
	err := t.tx.QueryRowContext(ctx, "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'seq' RETURNING CAST(value AS INTEGER)").Scan(&t.seq)
	return t.seq, unreadable(err)
}

// Put keeps a document in place of the one of its issue. The tables are those of which the issue's rows
// are other ones now, in the month that the document belongs to, and in before, where it belonged to
// another one.
func (t *Tx) Put(ctx context.Context, d Document, tables Tables, before string) error {
	packed := t.s.packer.EncodeAll(d.JSON, make([]byte, 0, len(d.JSON)/3))
	err := t.exec(ctx, `INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
		key = excluded.key, project = excluded.project, month = excluded.month, created = excluded.created, updated = excluded.updated,
		synced = excluded.synced, deleted = excluded.deleted, open = excluded.open, partial = excluded.partial, doc = excluded.doc`,
		d.ID, d.Key, d.Project, d.Month, micros(d.Created), micros(d.Updated), micros(d.Synced), micros(d.Deleted), d.Open, d.Partial, packed)
	if err != nil || tables == 0 {
		return err
	}
	seq, err := t.next(ctx)
	if err != nil {
		return err
	}
	for _, month := range slices.Compact([]string{d.Month, before}) {
		if month == "" {
			continue
		}
		if err := t.exec(ctx, "INSERT INTO changes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET tables = tables | excluded.tables", seq, d.ID, month, int64(tables)); err != nil {
			return err
		}
	}
	return nil
}

// Read notes that an issue was read at a time and is as it is kept.
func (t *Tx) Read(ctx context.Context, id int64, at time.Time) error {
	return t.exec(ctx, "UPDATE documents SET synced = ? WHERE id = ? AND synced < ?", micros(at), id, micros(at))
}

// Kind is a kind of entity: something that issues name and that has a table of its own.
type Kind int

// The kinds. The numbers are kept in the file.
const (
	KindUser   Kind = 1
	KindSprint Kind = 2
)

// Entity is what is known of a person or a sprint.
type Entity struct {
	Kind Kind
	ID   string
	// Attrs is what its row holds, in the words of whoever keeps it; equal texts are the same row.
	Attrs string
}

// Sight says which entities an issue names now. Of an entity, what was fetched last holds; one that no
// issue names any more is forgotten.
func (t *Tx) Sight(ctx context.Context, issue int64, synced int64, seen []Entity) error {
	before := map[Entity]bool{}
	err := t.each(ctx, func(row scanner) error {
		var e Entity
		err := row.Scan(&e.Kind, &e.ID)
		before[e] = true
		return err
	}, "SELECT kind, id FROM sightings WHERE issue = ?", issue)
	if err != nil {
		return err
	}
	for _, e := range seen {
		if err := t.Entity(ctx, e, synced); err != nil {
			return err
		}
		name := Entity{Kind: e.Kind, ID: e.ID}
		if before[name] {
			delete(before, name)
			continue
		}
		if err := t.exec(ctx, "INSERT OR IGNORE INTO sightings VALUES (?, ?, ?)", issue, e.Kind, e.ID); err != nil {
			return err
		}
	}
	for gone := range before {
		if err := t.unsight(ctx, issue, gone); err != nil {
			return err
		}
	}
	return nil
}

// Entity keeps what is known of an entity, unless something newer is known.
func (t *Tx) Entity(ctx context.Context, e Entity, synced int64) error {
	var attrs string
	var last int64
	err := t.tx.QueryRowContext(ctx, "SELECT attrs, synced FROM entities WHERE kind = ? AND id = ?", e.Kind, e.ID).Scan(&attrs, &last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return unreadable(err)
	}
	switch {
	case err != nil: // it is new
	case synced < last:
		return nil
	case attrs == e.Attrs: // it was so then, too: what is older than that is no news
		return t.exec(ctx, "UPDATE entities SET synced = ? WHERE kind = ? AND id = ?", synced, e.Kind, e.ID)
	}
	seq, err := t.next(ctx)
	if err != nil {
		return err
	}
	return t.exec(ctx, "INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?, ?)", e.Kind, e.ID, e.Attrs, synced, seq)
}

// Renew keeps what is known of an entity where it is listed already.
func (t *Tx) Renew(ctx context.Context, e Entity, synced int64) error {
	var listed bool
	err := t.tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entities WHERE kind = ? AND id = ?)", e.Kind, e.ID).Scan(&listed)
	if err != nil || !listed {
		return unreadable(err)
	}
	return t.Entity(ctx, e, synced)
}

// Naming lists the issues that name an entity.
func (t *Tx) Naming(ctx context.Context, e Entity) ([]int64, error) {
	return t.ids(ctx, "SELECT issue FROM sightings WHERE kind = ? AND id = ? ORDER BY issue", e.Kind, e.ID)
}

// End is the other end of a link: the number of an issue, and the key that the link has for it.
type End struct {
	ID  int64
	Key string
}

// Link says which issues an issue links to now.
func (t *Tx) Link(ctx context.Context, issue int64, ends []End) error {
	before, err := t.ends(ctx, issue)
	if err != nil {
		return err
	}
	for _, e := range ends {
		if key, found := before[e.ID]; !found || key != e.Key {
			if err := t.exec(ctx, "INSERT OR REPLACE INTO links VALUES (?, ?, ?)", issue, e.ID, e.Key); err != nil {
				return err
			}
		}
		delete(before, e.ID)
	}
	for other := range before {
		if err := t.exec(ctx, "DELETE FROM links WHERE issue = ? AND other = ?", issue, other); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tx) ends(ctx context.Context, issue int64) (keys map[int64]string, err error) {
	rows, err := t.tx.QueryContext(ctx, "SELECT other, key FROM links WHERE issue = ?", issue)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	keys = map[int64]string{}
	for rows.Next() {
		var e End
		if err := rows.Scan(&e.ID, &e.Key); err != nil {
			return nil, unreadable(err)
		}
		keys[e.ID] = e.Key
	}
	return keys, unreadable(rows.Err())
}

// LinkedTo lists the issues that link to an issue.
func (t *Tx) LinkedTo(ctx context.Context, issue int64) ([]int64, error) {
	return t.ids(ctx, "SELECT issue FROM links WHERE other = ? ORDER BY issue", issue)
}

func (t *Tx) ids(ctx context.Context, query string, args ...any) (ids []int64, err error) {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, unreadable(err)
		}
		ids = append(ids, id)
	}
	return ids, unreadable(rows.Err())
}

func (t *Tx) unsight(ctx context.Context, issue int64, e Entity) error {
	if err := t.exec(ctx, "DELETE FROM sightings WHERE issue = ? AND kind = ? AND id = ?", issue, e.Kind, e.ID); err != nil {
		return err
	}
	var named bool
	if err := t.tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM sightings WHERE kind = ? AND id = ?)", e.Kind, e.ID).Scan(&named); err != nil || named {
		return unreadable(err)
	}
	return t.Forget(ctx, e)
}

// Forget takes an entity out.
func (t *Tx) Forget(ctx context.Context, e Entity) error {
	result, err := t.tx.ExecContext(ctx, "DELETE FROM entities WHERE kind = ? AND id = ?", e.Kind, e.ID)
	if err != nil {
		return unreadable(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return unreadable(err)
	}
	seq, err := t.next(ctx)
	if err != nil {
		return err
	}
	// The row is gone: that it went is told by a mark of its kind.
	return t.exec(ctx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", goneMark(e.Kind), strconv.FormatInt(seq, 10))
}

func goneMark(k Kind) string { return fmt.Sprintf("gone-%d", k) }
