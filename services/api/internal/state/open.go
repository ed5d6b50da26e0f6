package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// open finds out what stands, migrates it where needed, and connects.
func (s *Store) open(ctx context.Context) error {
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	if err := s.restoreAsked(ctx); err != nil {
		return err
	}
	found, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.migration = Migration{From: found.version, To: currentVersion()}
	if found.missing {
		if err := s.create(ctx); err != nil {
			return err
		}
		return s.connect(ctx)
	}
	if found.version < currentVersion() {
		if s.migration.Backup, err = s.backup(ctx, found); err != nil {
			return err
		}
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx, found.version); err != nil {
		return err
	}
	return sqlError(s.settleLogins(ctx))
}

// restoreAsked restores the export that Options.Restore names, once: a state that was restored from it
// and has gone on since is left alone.
func (s *Store) restoreAsked(ctx context.Context) error {
	if s.opts.Restore == "" || s.restoredFrom(ctx) == s.opts.Restore {
		return nil
	}
	if err := restore(ctx, s.dir, s.opts.Restore, s.opts); err != nil {
		return err
	}
	s.log.Info().Str("export", s.opts.Restore).Msg("the state was restored from an export")
	return nil
}

// restoredFrom names the export that the standing file was restored from; empty where it says none or
// cannot be read.
func (s *Store) restoredFrom(ctx context.Context) string {
	db, err := lake.Open(ctx, lake.Options{Path: s.path(), ReadOnly: true, MemoryBytes: s.opts.MemoryBytes, Threads: 1})
	if err != nil {
		return ""
	}
	defer func() { _ = db.Close() }()
	name, err := one(ctx, db.DB, nil, scanString, "SELECT value FROM settings WHERE key = $1", settingRestored)
	if err != nil {
		return ""
	}
	return name
}

// finding is what stands at the path of the state.
type finding struct {
	missing bool
	version int              // 0 where no version was written down
	rows    map[string]int64 // by table
}

// look reads the version of the file without changing a byte of it.
func (s *Store) look(ctx context.Context) (finding, error) {
	info, err := os.Stat(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return finding{missing: true}, s.mayCreate()
	}
	if err != nil {
		return finding{}, fault.Wrap(err, fault.Unavailable, "the state file state/%s cannot be read", fileName)
	}
	if info.IsDir() {
		return finding{}, fault.New(fault.Permanent, "state/%s is a folder, not a database", fileName)
	}
	db, err := lake.Open(ctx, lake.Options{Path: s.path(), ReadOnly: true, MemoryBytes: s.opts.MemoryBytes, Threads: 1})
	if err != nil {
		return finding{}, unreadable(err, s.dir)
	}
	defer func() { _ = db.Close() }()
	found, err := inspect(ctx, db.DB)
	if err != nil {
		return finding{}, unreadable(err, s.dir)
	}
	if found.version > currentVersion() {
		return finding{}, fault.New(fault.Permanent,
			"the state is of version %d and this program knows versions up to %d: it was written by a newer release. Nothing was changed; start that release again, or restore an export of version %d",
			found.version, currentVersion(), currentVersion())
	}
	if found.version == 0 && len(found.rows) > 0 {
		if _, ours := found.rows["users"]; !ours {
			return finding{}, fault.New(fault.Permanent, "state/%s is a database of something else: it has no table of users. Nothing was changed", fileName)
		}
	}
	return found, nil
}

// mayCreate refuses to begin anew where a state was there before: an empty one would lock everybody
// out and open the bootstrap again.
func (s *Store) mayCreate() error {
	if _, err := os.Stat(s.path() + ".wal"); err == nil {
		return fault.New(fault.Permanent, "state/%s is missing, but its log state/%s.wal is there. Nothing was changed; %s", fileName, fileName, restoreHint(s.dir))
	}
	if newest, err := newestExport(s.dir); err == nil && newest != "" {
		return fault.New(fault.Permanent, "state/%s is missing, but there are exports of it. Nothing was changed; %s. To begin with an empty state instead, move the folder state/%s away",
			fileName, restoreHint(s.dir), exportsDir)
	}
	return nil
}

// unreadable is the error for a file that cannot be used as it is, with the way out.
func unreadable(err error, dir string) error {
	scrubbed := lake.Scrub(err)
	if fault.Is(err, fault.Conflict) || isForeignLock(scrubbed) {
		return fault.Wrap(scrubbed, fault.Conflict, "another program has state/%s open: close it first", fileName)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(scrubbed, fault.Permanent, "state/%s cannot be read and may be damaged. Nothing was changed; %s", fileName, restoreHint(dir))
}

func isForeignLock(err error) bool {
	return err != nil && strings.Contains(err.Error(), "set lock on file")
}

func restoreHint(dir string) string {
	newest, err := newestExport(dir)
	if err != nil || newest == "" {
		return "there is no export to restore; put back a backup of the folder state/"
	}
	return fmt.Sprintf("the newest export is state/%s/%s, and AGNES_RESTORE_EXPORT=%s at the next start restores it", exportsDir, newest, newest)
}

// inspect reads the version and counts the rows of every table.
func inspect(ctx context.Context, db *sql.DB) (finding, error) {
	tables, err := collect(ctx, db, scanString,
		`SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' AND table_type = 'BASE TABLE' AND table_catalog = current_database() ORDER BY table_name`)
	if err != nil {
		return finding{}, err
	}
	found := finding{rows: make(map[string]int64, len(tables))}
	for _, t := range tables {
		n, err := one(ctx, db, nil, scanInt, "SELECT count(*) FROM "+lake.QuoteIdent(t))
		if err != nil {
			return finding{}, err
		}
		found.rows[t] = n
	}
	if _, known := found.rows["schema_version"]; known {
		v, err := one(ctx, db, nil, scanInt, "SELECT coalesce(max(version), 0) FROM schema_version")
		if err != nil {
			return finding{}, err
		}
		found.version = int(v)
	}
	return found, nil
}

// create makes an empty state aside and gives it its name when it is complete.
func (s *Store) create(ctx context.Context) error {
	aside := filepath.Join(s.dir, fileName+newSuffix)
	if err := buildEmpty(ctx, aside, s.opts.MemoryBytes, currentVersion(), s.now()); err != nil {
		return err
	}
	if err := os.Chmod(aside, 0o600); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state cannot be made")
	}
	if err := lake.SwapFile(aside, s.path()); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state cannot be made")
	}
	return nil
}

const newSuffix = ".new"

// removeLeftovers takes away what a killed process was making. The lock is held, so it is nobody's.
func (s *Store) removeLeftovers() error {
	for _, name := range []string{fileName + newSuffix, fileName + newSuffix + ".wal"} {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap(err, fault.Unavailable, "what an interrupted start left in the folder state/ cannot be removed")
		}
	}
	for _, dir := range []string{exportsDir, backupsDir} {
		left, err := filepath.Glob(filepath.Join(s.dir, dir, partialPrefix+"*"))
		if err != nil {
			return fmt.Errorf("look for leftovers: %w", err)
		}
		for _, l := range left {
			if err := os.RemoveAll(l); err != nil {
				return fault.Wrap(err, fault.Unavailable, "what an interrupted process left in state/%s cannot be removed", dir)
			}
		}
	}
	return nil
}
