package store

import (
	"context"
	"database/sql"
	"time"
)

// FileState says what is known of the content of an attachment.
type FileState int

// The states. The numbers are kept in the file.
const (
	FileWanted FileState = 0 // not fetched yet
	FileKept   FileState = 1
	FileAbsent FileState = 2 // Jira does not have it, or it is larger than what is kept
)

// Attachment is a file of an issue, and whether its content is kept.
type Attachment struct {
	ID, Issue int64
	Name      string
	Size      int64 // as Jira says; of one that is kept, its bytes
	State     FileState
	Attempts  int
	Reason    string // why it is not kept
}

// Files says which attachments an issue has now. The content of those that it has no more is to be
// removed: they are the answer.
func (t *Tx) Files(ctx context.Context, issue int64, has []Attachment) (gone []Attachment, err error) {
	before := map[int64]Attachment{}
	err = t.each(ctx, func(row scanner) error {
		a := Attachment{Issue: issue}
		err := row.Scan(&a.ID, &a.Name, &a.Size, &a.State)
		before[a.ID] = a
		return err
	}, "SELECT id, name, size, state FROM files WHERE issue = ?", issue)
	if err != nil {
		return nil, err
	}
	for _, a := range has {
		if _, known := before[a.ID]; known {
			delete(before, a.ID)
			continue
		}
		err := t.exec(ctx, "INSERT INTO files VALUES (?, ?, ?, ?, ?, 0, 0, ?) ON CONFLICT (id) DO UPDATE SET issue = excluded.issue",
			a.ID, issue, a.Name, a.Size, a.State, a.Reason)
		if err != nil {
			return nil, err
		}
	}
	for _, a := range before {
		gone = append(gone, a)
		if err := t.exec(ctx, "DELETE FROM files WHERE id = ?", a.ID); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// FileTried notes what came of fetching a content; of one that is still wanted, when to try again.
func (t *Tx) FileTried(ctx context.Context, a Attachment, next time.Time) error {
	return t.exec(ctx, "UPDATE files SET size = ?, state = ?, attempts = attempts + 1, next = ?, reason = ? WHERE id = ?", a.Size, a.State, micros(next), a.Reason, a.ID)
}

// WantedFiles lists attachments whose content is to be fetched now.
func (s *Store) WantedFiles(ctx context.Context, now time.Time, limit int) (list []Attachment, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, issue, name, size, attempts FROM files WHERE state = 0 AND next <= ? ORDER BY next, id LIMIT ?", micros(now), limit)
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var a Attachment
		if err := rows.Scan(&a.ID, &a.Issue, &a.Name, &a.Size, &a.Attempts); err != nil {
			return nil, unreadable(err)
		}
		list = append(list, a)
	}
	return list, unreadable(rows.Err())
}

// CountFiles tells how many files are kept and how many bytes they have, and how many are still wanted.
func (s *Store) CountFiles(ctx context.Context) (kept, bytes, wanted int64, err error) {
	var sum sql.NullInt64
	err = s.read.QueryRowContext(ctx, "SELECT count(*) FILTER (WHERE state = 1), sum(size) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 0) FROM files").Scan(&kept, &sum, &wanted)
	return kept, sum.Int64, wanted, unreadable(err)
}
