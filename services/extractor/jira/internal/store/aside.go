package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Aside is something that could not be taken in, with all that is needed to try again.
type Aside struct {
	Number int64
	// Issue is the number of the issue, and Key its key, where they are known.
	Issue, Key string
	// Origin says where it came from: "webhook", "fetch" or "rows".
	Origin string
	// Reason is a sentence for users.
	Reason string
	At     time.Time
	// Times is how often it was set aside.
	Times int64
	// Body is what could not be taken in; nil in listings.
	Body []byte
}

// SetAside keeps something that could not be taken in; what is kept of the same issue and origin already
// is replaced, and counted.
func (t *Tx) SetAside(ctx context.Context, a Aside) error {
	return t.exec(ctx, `INSERT INTO aside (issue, key, reason, origin, at, times, body) VALUES (?, ?, ?, ?, ?, 1, ?)
		ON CONFLICT (issue, key, origin) DO UPDATE SET reason = excluded.reason, at = excluded.at, times = times + 1, body = excluded.body`,
		a.Issue, a.Key, a.Reason, a.Origin, micros(a.At), t.s.packer.EncodeAll(a.Body, nil))
}

// TakenIn forgets what was set aside of an issue, by its number.
func (t *Tx) TakenIn(ctx context.Context, issue string) error {
	return t.exec(ctx, "DELETE FROM aside WHERE issue = ?", issue)
}

// DropAside forgets one that was set aside; found is false where there is none of that number.
func (t *Tx) DropAside(ctx context.Context, number int64) (found bool, err error) {
	result, err := t.tx.ExecContext(ctx, "DELETE FROM aside WHERE number = ?", number)
	if err != nil {
		return false, unreadable(err)
	}
	n, err := result.RowsAffected()
	return n > 0, unreadable(err)
}

// AsideList lists what is set aside, newest first, at most limit of them, and tells how many there are.
func (s *Store) AsideList(ctx context.Context, limit int) (list []Aside, total int64, err error) {
	if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM aside").Scan(&total); err != nil {
		return nil, 0, unreadable(err)
	}
	rows, err := s.read.QueryContext(ctx, "SELECT number, issue, key, reason, origin, at, times FROM aside ORDER BY at DESC, number DESC LIMIT ?", limit)
	if err != nil {
		return nil, 0, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var a Aside
		var at int64
		if err := rows.Scan(&a.Number, &a.Issue, &a.Key, &a.Reason, &a.Origin, &at, &a.Times); err != nil {
			return nil, 0, unreadable(err)
		}
		a.At = moment(at)
		list = append(list, a)
	}
	return list, total, unreadable(rows.Err())
}

// AsideBody gives one with its body.
func (s *Store) AsideBody(ctx context.Context, number int64) (a Aside, found bool, err error) {
	var at int64
	var packed []byte
	err = s.read.QueryRowContext(ctx, "SELECT number, issue, key, reason, origin, at, times, body FROM aside WHERE number = ?", number).
		Scan(&a.Number, &a.Issue, &a.Key, &a.Reason, &a.Origin, &at, &a.Times, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, unreadable(err)
	}
	a.At = moment(at)
	a.Body, err = s.unpacker.DecodeAll(packed, nil)
	return a, err == nil, unreadable(err)
}

// Refetch is an issue that is to be fetched once more.
type Refetch struct {
	// Ref is the number of the issue, or its key where the number is not known.
	Ref      string
	Since    time.Time
	Attempts int
	Reason   string
}

// Refetch notes that an issue is to be fetched at a time, and why. One that is noted already keeps its
// Since and counts one attempt more; again false leaves its time and its count as they are.
func (t *Tx) Refetch(ctx context.Context, r Refetch, next time.Time, again bool) error {
	update := "reason = excluded.reason, next = min(next, excluded.next)"
	attempts := 0
	if again {
		update, attempts = "reason = excluded.reason, next = excluded.next, attempts = attempts + 1", 1
	}
	return t.exec(ctx, "INSERT INTO refetches VALUES (?, ?, ?, ?, ?) ON CONFLICT (ref) DO UPDATE SET "+update,
		r.Ref, micros(r.Since), attempts, micros(next), r.Reason)
}

// Refetched forgets that an issue is to be fetched, under any of its names.
func (t *Tx) Refetched(ctx context.Context, refs ...string) error {
	for _, ref := range refs {
		if ref == "" {
			continue
		}
		if err := t.exec(ctx, "DELETE FROM refetches WHERE ref = ?", ref); err != nil {
			return err
		}
	}
	return nil
}

// DueRefetches lists issues whose time to be fetched has come, the longest due first, and tells when the
// next one after them is due; zero where there is none.
func (s *Store) DueRefetches(ctx context.Context, now time.Time, limit int) (due []Refetch, next time.Time, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT ref, since, attempts, reason FROM refetches WHERE next <= ? ORDER BY next, ref LIMIT ?", micros(now), limit)
	if err != nil {
		return nil, next, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r Refetch
		var since int64
		if err := rows.Scan(&r.Ref, &since, &r.Attempts, &r.Reason); err != nil {
			return nil, next, unreadable(err)
		}
		r.Since = moment(since)
		due = append(due, r)
	}
	if err := rows.Err(); err != nil {
		return nil, next, unreadable(err)
	}
	var later sql.NullInt64
	err = s.read.QueryRowContext(ctx, "SELECT min(next) FROM refetches WHERE next > ?", micros(now)).Scan(&later)
	return due, moment(later.Int64), unreadable(err)
}

// CountRefetches tells how many issues wait to be fetched, and since when the oldest does.
func (s *Store) CountRefetches(ctx context.Context) (n int64, oldest time.Time, err error) {
	var since sql.NullInt64
	err = s.read.QueryRowContext(ctx, "SELECT count(*), min(since) FROM refetches").Scan(&n, &since)
	return n, moment(since.Int64), unreadable(err)
}

// Cursor gives how far a long task is, as it was set; empty where it never was.
func (s *Store) Cursor(ctx context.Context, name string) (string, error) {
	var value string
	err := s.read.QueryRowContext(ctx, "SELECT value FROM cursors WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, unreadable(err)
}

// SetCursor notes how far a long task is; empty forgets it.
func (t *Tx) SetCursor(ctx context.Context, name, value string) error {
	if value == "" {
		return t.exec(ctx, "DELETE FROM cursors WHERE name = ?", name)
	}
	return t.exec(ctx, "INSERT OR REPLACE INTO cursors VALUES (?, ?)", name, value)
}
