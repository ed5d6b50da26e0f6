// Package store keeps the state of record of one Jira site: the raw document of every issue, compressed,
// in one SQLite file, and beside it what the extraction needs to know of them: what changed since when,
// which people and sprints they name, what was set aside and how far long tasks are. Every table that
// Agnes publishes of Jira can be made from it.
//
// A change is on the disk when Write returns. The file is used by one process, which writes through one
// connection and reads through others beside it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	_ "github.com/mattn/go-sqlite3" // the driver

	"github.com/agnes-platform/agnes/pkg/fault"
)

// File is the name of the store below a source's raw folder.
const File = "jira.db"

// format is the version of the schema below.
const format = 1

// Schema. Times are microseconds since 1970 in UTC; 0 is none.
const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
	id INTEGER PRIMARY KEY, key TEXT NOT NULL, project TEXT NOT NULL, month TEXT NOT NULL,
	created INTEGER NOT NULL, updated INTEGER NOT NULL, synced INTEGER NOT NULL, deleted INTEGER NOT NULL,
	open INTEGER NOT NULL, partial INTEGER NOT NULL, doc BLOB NOT NULL
);
CREATE INDEX documents_month ON documents (month);
CREATE INDEX documents_key ON documents (key);
-- Counting must not read the documents: see Count and Newest.
CREATE INDEX documents_state ON documents (updated, deleted, partial, open);
-- What changed, in the order of its becoming known: rows of an issue in the parts of a month.
CREATE TABLE changes (seq INTEGER NOT NULL, id INTEGER NOT NULL, month TEXT NOT NULL, tables INTEGER NOT NULL, PRIMARY KEY (seq, id, month)) WITHOUT ROWID;
-- What issues name, and which do.
CREATE TABLE entities (kind INTEGER NOT NULL, id TEXT NOT NULL, attrs TEXT NOT NULL, synced INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE sightings (issue INTEGER NOT NULL, kind INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (issue, kind, id)) WITHOUT ROWID;
CREATE INDEX sightings_of ON sightings (kind, id);
-- Which issues link to which, by what is kept of the former.
CREATE TABLE links (issue INTEGER NOT NULL, other INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (issue, other)) WITHOUT ROWID;
CREATE INDEX links_of ON links (other);
CREATE TABLE aside (number INTEGER PRIMARY KEY AUTOINCREMENT, issue TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL, origin TEXT NOT NULL, at INTEGER NOT NULL, times INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (issue, key, origin));
CREATE TABLE refetches (ref TEXT PRIMARY KEY, since INTEGER NOT NULL, attempts INTEGER NOT NULL, next INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX refetches_next ON refetches (next);
CREATE TABLE files (id INTEGER PRIMARY KEY, issue INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL, next INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX files_issue ON files (issue);
CREATE INDEX files_wanted ON files (next) WHERE state = 0;
CREATE TABLE cursors (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`

// Store is an open store. It is safe for concurrent use.
type Store struct {
	write, read *sql.DB
	writing     sync.Mutex
	identity    string
	packer      *zstd.Encoder
	unpacker    *zstd.Decoder
}

// Open opens the store in a folder, and makes it where there is none. A file that is damaged, or of a
// newer version, is refused and left as it is.
func Open(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, File)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of the Jira documents cannot be made")
	}
	s := &Store{}
	var err error
	if s.packer, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, fmt.Errorf("compress documents: %w", err)
	}
	if s.unpacker, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxDocument)); err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	s.write, err = connect(path, 1, "_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	if s.read, err = connect(path, 4, "_query_only=true"); err != nil {
		_ = s.Close()
		return nil, err
	}
	if err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'identity'").Scan(&s.identity); err != nil {
		_ = s.Close()
		return nil, unreadable(err)
	}
	return s, nil
}

// Identity is a word that no other store has: one that takes the place of another begins to count its
// changes anew, which their numbers do not tell.
func (s *Store) Identity() string { return s.identity }

// connect opens connections to the file. Every commit is synced before it is answered.
func connect(path string, most int, more string) (*sql.DB, error) {
	where := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_cache_size=-8000&" + more}
	db, err := sql.Open("sqlite3", where.String())
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// prepare makes the tables of a new file, and checks those of one that is there.
func (s *Store) prepare(ctx context.Context) error {
	var found int
	if err := s.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return unreadable(err)
	}
	switch found {
	case format:
		return nil
	case 0:
	default:
		return fault.New(fault.Conflict, "the store of Jira documents is of version %d, which this version of Agnes does not know: start the newer one", found)
	}
	var tables int
	if err := s.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return unreadable(err)
	}
	if tables > 0 {
		return fault.New(fault.Conflict, "the file %s is no store of Jira documents: move it away", File)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range []string{schema, "INSERT INTO meta VALUES ('seq', '0'), ('floor', '0'), ('identity', lower(hex(randomblob(8))))", fmt.Sprintf("PRAGMA user_version = %d", format)} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return unreadable(err)
		}
	}
	return unreadable(tx.Commit())
}

// Close lets go of the file.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.unpacker != nil {
		s.unpacker.Close()
	}
	if s.packer != nil {
		errs = append(errs, s.packer.Close())
	}
	return errors.Join(errs...)
}

// unreadable gives an error of SQLite a kind: what fails for a reason of the machine may be tried again.
func unreadable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var classified *fault.Error
	if errors.As(err, &classified) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "the store of Jira documents cannot be used: is the disk full, or the file damaged?")
}
