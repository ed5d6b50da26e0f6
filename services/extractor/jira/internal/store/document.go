package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// maxDocument bounds what a stored document may unpack to, in bytes.
const maxDocument = 256 << 20

// Document is what is kept of one issue.
type Document struct {
	// ID is the number that Jira knows the issue by, whatever becomes of its key.
	ID           int64
	Key, Project string
	// Month is the one, in UTC, in which the issue was created: YYYY-MM.
	Month string
	// Created, Updated and Synced are as in the document; Deleted is zero unless the issue is known to be gone.
	Created, Updated, Synced, Deleted time.Time
	// Open tells that the issue is not done.
	Open bool
	// Partial tells that some list of the document is not known to be complete.
	Partial bool
	// JSON is the document itself; nil where only the rest was asked for.
	JSON []byte
}

const heads = "id, key, project, month, created, updated, synced, deleted, open, partial"

// scanner is a row of a result.
type scanner interface{ Scan(dest ...any) error }

func (s *Store) scan(row scanner, withJSON bool) (d Document, err error) {
	var created, updated, synced, deleted int64
	var packed []byte
	fields := []any{&d.ID, &d.Key, &d.Project, &d.Month, &created, &updated, &synced, &deleted, &d.Open, &d.Partial}
	if withJSON {
		fields = append(fields, &packed)
	}
	if err := row.Scan(fields...); err != nil {
		return d, err
	}
	d.Created, d.Updated, d.Synced, d.Deleted = moment(created), moment(updated), moment(synced), moment(deleted)
	if withJSON {
		if d.JSON, err = s.unpacker.DecodeAll(packed, nil); err != nil {
			return d, fault.Wrap(err, fault.Internal, "the document of issue %s is damaged: fetch it again with a backfill of its key", d.Key)
		}
	}
	return d, nil
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Get gives the document of an issue; found is false where there is none.
func (s *Store) Get(ctx context.Context, id int64) (d Document, found bool, err error) {
	return s.one(s.read.QueryRowContext(ctx, "SELECT "+heads+", doc FROM documents WHERE id = ?", id))
}

// ByKey gives the document of the issue that has, or last had, the key: of several the one updated last.
func (s *Store) ByKey(ctx context.Context, key string) (d Document, found bool, err error) {
	return s.one(s.read.QueryRowContext(ctx, "SELECT "+heads+", doc FROM documents WHERE key = ? ORDER BY deleted = 0 DESC, updated DESC, id DESC LIMIT 1", key))
}

func (s *Store) one(row *sql.Row) (Document, bool, error) {
	d, err := s.scan(row, true)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, unreadable(err)
}

// Documents calls each for the documents of these issues, in the order of their numbers; those that are
// not there are left out.
func (s *Store) Documents(ctx context.Context, ids []int64, each func(Document) error) error {
	return s.some(ctx, ids, true, each)
}

// HeadsOf is Documents without their JSON.
func (s *Store) HeadsOf(ctx context.Context, ids []int64, each func(Document) error) error {
	return s.some(ctx, ids, false, each)
}

func (s *Store) some(ctx context.Context, ids []int64, withJSON bool, each func(Document) error) error {
	const most = 500
	for len(ids) > 0 {
		some := ids[:min(most, len(ids))]
		ids = ids[len(some):]
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		if err := s.all(ctx, each, withJSON, "WHERE id IN (?"+strings.Repeat(", ?", len(some)-1)+") ORDER BY id", args...); err != nil {
			return err
		}
	}
	return nil
}

// Month calls each for every document of a month, in the order of their numbers.
func (s *Store) Month(ctx context.Context, month string, each func(Document) error) error {
	return s.all(ctx, each, true, "WHERE month = ? ORDER BY id", month)
}

// Heads calls each for every document without its JSON, deleted ones too, in the order of their numbers.
func (s *Store) Heads(ctx context.Context, each func(Document) error) error {
	return s.all(ctx, each, false, "ORDER BY id")
}

// OpenIssues calls each for the documents of issues that are neither done nor deleted, without their JSON.
func (s *Store) OpenIssues(ctx context.Context, each func(Document) error) error {
	return s.all(ctx, each, false, "WHERE open AND deleted = 0 ORDER BY id")
}

func (s *Store) all(ctx context.Context, each func(Document) error, withJSON bool, rest string, args ...any) error {
	fields := heads
	if withJSON {
		fields += ", doc"
	}
	rows, err := s.read.QueryContext(ctx, "SELECT "+fields+" FROM documents "+rest, args...)
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		d, err := s.scan(rows, withJSON)
		if err != nil {
			return unreadable(err)
		}
		if err := each(d); err != nil {
			return err
		}
	}
	return unreadable(rows.Err())
}

// Months are those that documents belong to, in order.
func (s *Store) Months(ctx context.Context) ([]string, error) {
	// One step of the index per month, however many documents a month has.
	rows, err := s.read.QueryContext(ctx, `WITH RECURSIVE m(month) AS (
		SELECT min(month) FROM documents UNION ALL SELECT (SELECT min(month) FROM documents WHERE month > m.month) FROM m WHERE m.month IS NOT NULL
	) SELECT month FROM m WHERE month IS NOT NULL`)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	var months []string
	for rows.Next() {
		var m string
		if err := rows.Scan(&m); err != nil {
			return nil, unreadable(err)
		}
		months = append(months, m)
	}
	return months, unreadable(rows.Err())
}

// Counts are how many documents there are, and of these deleted and partial ones.
type Counts struct{ Issues, Deleted, Partial, Open int64 }

// What is asked for often is answered by an index alone.
const (
	countQuery = `SELECT count(*), count(*) FILTER (WHERE deleted <> 0), count(*) FILTER (WHERE partial AND deleted = 0),
		count(*) FILTER (WHERE open AND deleted = 0) FROM documents`
	newestQuery = "SELECT max(updated) FROM documents"
)

// Count counts the documents.
func (s *Store) Count(ctx context.Context) (c Counts, err error) {
	err = s.read.QueryRowContext(ctx, countQuery).Scan(&c.Issues, &c.Deleted, &c.Partial, &c.Open)
	return c, unreadable(err)
}

// Newest is the latest Updated of all documents; zero where there are none.
func (s *Store) Newest(ctx context.Context) (time.Time, error) {
	var updated sql.NullInt64
	err := s.read.QueryRowContext(ctx, newestQuery).Scan(&updated)
	return moment(updated.Int64), unreadable(err)
}

// Check reads every page of the file and tells whether it is sound.
func (s *Store) Check(ctx context.Context) error {
	var verdict string
	if err := s.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return unreadable(err)
	}
	if verdict != "ok" {
		return fault.Wrap(fmt.Errorf("quick_check: %s", verdict), fault.Permanent, "the store of Jira documents is damaged: restore it from a backup, or move it away and run a backfill")
	}
	return nil
}
