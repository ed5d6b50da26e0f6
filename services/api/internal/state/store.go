// Package state keeps what Agnes must remember: users and their credentials, the table registry,
// grants, and how extractions went. It is $DATA_DIR/state/system.duckdb, which the api alone opens.
//
// DuckDB is no OLTP store, so the package is strict about how it is used: one connection writes, one
// transaction per operation, a checkpoint after every write, no secondary indexes, and never a delete
// and an insert of one key. Reads run beside writes and see what was committed. The SQL of the
// repositories keeps to what DuckDB and PostgreSQL share.
package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Options say where the state is and how it is kept.
type Options struct {
	// DataDir is the root of all data; the state is in its folder state/.
	DataDir string
	// ValidSchedule tells why a schedule cannot be used; nil means that every schedule is accepted.
	ValidSchedule func(schedule string) error
	// Sources names the sources that are known beyond the registry, such as those that are configured;
	// nil for none.
	Sources func() []string
	// MemoryBytes bounds DuckDB; zero means 128 MiB.
	MemoryBytes int64
	// ExportEvery is how often the state is exported; zero means every six hours, negative never.
	ExportEvery time.Duration
	// ExportKeep is how many exports are kept; zero means 28.
	ExportKeep int
	// Restore names an export to restore first, unless the state is the one restored from it; empty
	// for none. See Restore.
	Restore string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 128 << 20
	}
	if o.ExportEvery == 0 {
		o.ExportEvery = 6 * time.Hour
	}
	if o.ExportKeep <= 0 {
		o.ExportKeep = 28
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

const (
	readers      = 8                // connections that read at once
	readTimeout  = 15 * time.Second // of one read
	writeTimeout = 30 * time.Second // of one write, once it began
)

// Store is the open state. It is safe for concurrent use.
type Store struct {
	Users       *Users
	Tokens      *Tokens
	Sessions    *Sessions
	Registry    *Registry
	Permissions *Permissions
	Groups      *Groups
	Requests    *Requests
	Preferences *Preferences
	OneTimes    *OneTimes
	Devices     *DeviceGrants
	Accounts    *OIDCAccounts
	Sync        *SyncState
	Runs        *Runs
	Settings    *Settings
	Digests     *Digests
	Profiles    *Profiles

	opts      Options
	dir       string // the folder state/
	db        *lake.DB
	writer    *sql.Conn
	unlock    func()
	log       zerolog.Logger
	migration Migration

	writing chan struct{} // holds one token: who has it may write
	// gate is held for reading by every read. A checkpoint after an update needs a moment in which no
	// read has an older snapshot open; it holds the gate for writing where it does not find one.
	gate  sync.RWMutex
	dirty atomic.Bool          // a write is in the log but not in the file
	full  atomic.Bool          // the disk was full at the last checkpoint
	lost  atomic.Pointer[loss] // why the database must be opened anew; nil where it need not
	kick  chan struct{}        // wakes the upkeep
	// changes counts writes of what is worth an export; exported is one more than its value at the
	// last export of this process, 0 before that.
	changes, exported atomic.Uint64
	access, identity  atomic.Uint64
	everybody         atomic.Uint64 // changes of identity that no user is named for
	owners            *owners
	probes            probes

	closing context.CancelFunc
	life    context.Context
	work    sync.WaitGroup
	once    sync.Once
}

// Open opens the state, making it where there is none and migrating it where it is of an earlier
// version. An error leaves what stands as it is: fault.Conflict where another process has it open,
// fault.Permanent where the file is damaged or newer than this program. The logger is taken from ctx.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.DataDir == "" {
		return nil, fault.New(fault.Invalid, "the data directory is not named")
	}
	opts = opts.withDefaults()
	dir := Dir(opts.DataDir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder state/ of the data directory cannot be made")
	}
	unlock, err := lockState(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: opts, dir: dir, unlock: unlock, log: *zerolog.Ctx(ctx), owners: newOwners(),
		writing: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	if err := s.open(ctx); err != nil {
		s.abandon()
		return nil, err
	}
	for _, l := range s.migration.Shadowed {
		s.log.Warn().Str("user_id", l.UserID).Str("owner_id", l.OwnerID).
			Msg("two users have one e-mail address, written in two ways: one of them signs in with it, the other keeps everything else")
	}
	s.repositories()
	s.life, s.closing = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(s.upkeep)
	return s, nil
}

// abandon lets go of a state that could not be opened: of its connection first, which would keep the
// file locked.
func (s *Store) abandon() {
	if s.writer != nil {
		_ = s.writer.Close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	s.unlock()
}

// Dir is the folder of the state in a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, "state") }

// fileName is that of the database in the folder.
const fileName = "system.duckdb"

func (s *Store) path() string { return filepath.Join(s.dir, fileName) }

func (s *Store) repositories() {
	s.Users = &Users{s}
	s.Tokens = &Tokens{s}
	s.Sessions = &Sessions{s}
	s.Registry = &Registry{s}
	s.Permissions = &Permissions{s}
	s.Groups = &Groups{s}
	s.Requests = &Requests{s}
	s.Preferences = &Preferences{s}
	s.OneTimes = &OneTimes{s}
	s.Devices = &DeviceGrants{s}
	s.Accounts = &OIDCAccounts{s}
	s.Sync = &SyncState{s}
	s.Runs = &Runs{s}
	s.Settings = &Settings{s}
	s.Digests = &Digests{s}
	s.Profiles = &Profiles{s}
}

func lockState(dir string) (func(), error) {
	unlock, ok, err := lake.TryLock(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the state cannot be locked")
	}
	if !ok {
		return nil, fault.New(fault.Conflict, "the state is open in another process: only one api may use a data directory at a time")
	}
	return unlock, nil
}

// connect opens the file, once it is known to be ours.
func (s *Store) connect(ctx context.Context) error {
	db, err := lake.Open(ctx, lake.Options{Path: s.path(), MemoryBytes: s.opts.MemoryBytes, Threads: 1})
	if err != nil {
		return unreadable(err, s.dir)
	}
	s.db = db
	db.SetMaxOpenConns(readers + 1)
	db.SetMaxIdleConns(readers + 1)
	if s.writer, err = db.Conn(context.WithoutCancel(ctx)); err != nil {
		return unreadable(err, s.dir)
	}
	return nil
}

// Close writes what is left to be written and releases the state. It may be called more than once.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.closing()
		s.work.Wait()
		s.writing <- struct{}{}
		s.gate.Lock() // for good: nobody reads a closed state
		if _, cerr := s.writer.ExecContext(context.Background(), "CHECKPOINT"); cerr != nil {
			s.log.Warn().Err(lake.Scrub(cerr)).Msg("the last checkpoint of the state failed; the log stays beside the file")
		}
		if err = errors.Join(s.writer.Close(), s.db.Close()); s.lost.Load() != nil {
			err = nil // it was closed when it was given up
		}
		s.gate.Unlock()
		s.unlock()
	})
	return err
}

// Version is the schema version of the open state.
func (s *Store) Version() int { return currentVersion() }

// Migrated tells what opening the state changed.
func (s *Store) Migrated() Migration { return s.migration }

// AccessGeneration grows with every change of the registry, the grants, or the groups. Access rules that
// were read at an earlier generation are stale; read it before them. A role is no rule: it is the
// caller's, and IdentityGeneration grows with it.
func (s *Store) AccessGeneration() uint64 { return s.access.Load() }

// IdentityGeneration grows with every change of a user or a credential. Read it before the rows: what
// was read at an earlier generation is stale.
func (s *Store) IdentityGeneration() uint64 { return s.identity.Load() }

// now is the time in UTC, in the precision that the database keeps.
func (s *Store) now() time.Time { return s.opts.Now().UTC().Truncate(time.Microsecond) }

// touch says what a write changed.
type touch uint8

const (
	touchesAccess   touch = 1 << iota // registry, grants, groups
	touchesIdentity                   // users and credentials
	touchesNothing  touch = 0         // neither
	touchesTrifle   touch = 1 << 7    // not worth an export: the canary, the time of a last use
)

// write runs one operation in one transaction, and writes it to the file before it returns. It waits
// for its turn until ctx ends; once begun, an operation is not interrupted by a caller who left.
func (s *Store) write(ctx context.Context, what touch, work func(ctx context.Context, tx *sql.Tx) error) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Busy, "the state is busy with other writes")
	}
	defer func() { <-s.writing }()
	if s.life.Err() != nil {
		return errClosed
	}
	if err := s.reopen(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := transact(ctx, s.writer, work); err != nil {
		s.noteLoss(err)
		return err
	}
	if what&touchesIdentity != 0 {
		s.identity.Add(1)
		s.everybody.Add(1)
	}
	if what&touchesAccess != 0 {
		s.access.Add(1)
	}
	if what&touchesTrifle == 0 {
		s.changes.Add(1)
	}
	s.checkpoint(ctx)
	return nil
}

var errClosed = fault.New(fault.Unavailable, "the state is being closed")

// transact runs work in a transaction.
func transact(ctx context.Context, conn *sql.Conn, work func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return sqlError(err)
	}
	if err := work(ctx, tx); err != nil {
		_ = tx.Rollback()
		return sqlError(err)
	}
	if err := tx.Commit(); err != nil {
		_ = tx.Rollback()
		return sqlError(err)
	}
	return nil
}

// checkpoint moves the log into the file. The caller has the writer's token. Where a reader stands in
// the way, or the disk is full, the commit is safe in the log, and the upkeep does it later.
func (s *Store) checkpoint(ctx context.Context) {
	if !s.cramped() {
		_, err := s.writer.ExecContext(ctx, "CHECKPOINT")
		s.fullUp(err)
		s.noteLoss(err)
		if err == nil {
			s.dirty.Store(false)
			return
		}
	}
	s.dirty.Store(true)
	s.wake()
}

// querier is what reads need: the pool, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// read runs short queries that see everything committed before.
func (s *Store) read(ctx context.Context, work func(ctx context.Context, q querier) error) error {
	return s.reading(ctx, readTimeout, func(ctx context.Context) error { return work(ctx, s.db) })
}

// reading runs work that asks the database beside writes.
func (s *Store) reading(ctx context.Context, limit time.Duration, work func(ctx context.Context) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.life.Err() != nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := work(ctx)
	s.noteLoss(err)
	return sqlError(err)
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, q querier, scan func(row *sql.Rows) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}

// readAll is collect as one read.
func readAll[T any](ctx context.Context, s *Store, scan func(row *sql.Rows) (T, error), query string, args ...any) (list []T, err error) {
	err = s.read(ctx, func(ctx context.Context, q querier) error {
		list, err = collect(ctx, q, scan, query, args...)
		return err
	})
	return list, err
}

// one reads a row that a key names; missing is the error where there is none.
func one[T any](ctx context.Context, q querier, missing error, scan func(row *sql.Rows) (T, error), query string, args ...any) (T, error) {
	list, err := collect(ctx, q, scan, query, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	if len(list) == 0 {
		var zero T
		return zero, missing
	}
	return list[0], nil
}

// readOne is one as one read.
func readOne[T any](ctx context.Context, s *Store, missing error, scan func(row *sql.Rows) (T, error), query string, args ...any) (item T, err error) {
	err = s.read(ctx, func(ctx context.Context, q querier) error {
		item, err = one(ctx, q, missing, scan, query, args...)
		return err
	})
	return item, err
}

// sqlError gives an error of the database the kind and the sentence for users. Faults and errors of
// contexts stay what they are.
func sqlError(err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	scrubbed := lake.Scrub(err)
	if lake.DiskFull(scrubbed) {
		return fault.Wrap(scrubbed, fault.Unavailable, "the state cannot be written: %s", reasonOf(scrubbed))
	}
	switch lake.ClassOf(scrubbed) {
	case lake.ClassIO, lake.ClassOutOfMemory, lake.ClassFatal:
		return fault.Wrap(scrubbed, fault.Unavailable, "the state cannot be read or written at the moment")
	}
	return fmt.Errorf("state: %w", scrubbed)
}
