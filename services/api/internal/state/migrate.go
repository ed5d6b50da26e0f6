package state

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

//go:embed base/*.sql migrations/*.sql
var scripts embed.FS

// baseVersion is the predecessor's last version; ours are numbered from the next one on.
const baseVersion = 7

// Migration tells what opening the state changed.
type Migration struct {
	// From is the version that stood, 0 for a new state; To is the version now.
	From, To int
	// Backup is the verified copy of the file as it was, relative to the folder state/; empty where
	// nothing was migrated.
	Backup string
	// Shadowed are users whose address differs from another one's only in how it is written, as in the
	// case of letters. They keep everything but signing in by that address, which is the other one's: an
	// active user's, and of those the oldest one's.
	Shadowed []ShadowedLogin
}

// ShadowedLogin is a user who shares an address with another one.
type ShadowedLogin struct {
	UserID, Email       string
	OwnerID, OwnerEmail string
}

// step brings a state to a version: a script, and where SQL is not enough, code in its transaction.
type step struct {
	version int
	script  string
	code    func(ctx context.Context, tx *sql.Tx, now time.Time) error
}

// steps are all migrations beyond baseVersion, in order.
func steps() []step {
	names, err := fs.Glob(scripts, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	slices.Sort(names)
	list := make([]step, 0, len(names))
	for _, name := range names {
		digits, _, _ := strings.Cut(filepath.Base(name), "_")
		version, err := strconv.Atoi(digits)
		if err != nil || version != baseVersion+1+len(list) {
			panic("migration " + name + " is out of order") // a test opens every version
		}
		list = append(list, step{version: version, script: script(name)})
	}
	list[0].code = settleIdentity // version 8
	return list
}

func script(name string) string {
	raw, err := scripts.ReadFile(name)
	if err != nil {
		panic(err) // embedded
	}
	return string(raw)
}

func currentVersion() int {
	all := steps()
	return all[len(all)-1].version
}

// migrate brings the open file from a version to the current one, each step in a transaction of its
// own. A step that fails leaves the file at the version before it.
func (s *Store) migrate(ctx context.Context, from int) error {
	if from == currentVersion() {
		return nil
	}
	if err := migrateConn(ctx, s.writer, from, currentVersion(), s.now()); err != nil {
		return fault.Wrap(err, fault.Permanent, "the state cannot be migrated from version %d to %d; the file as it was is state/%s", from, currentVersion(), s.migration.Backup)
	}
	if _, err := s.writer.ExecContext(ctx, "CHECKPOINT"); err != nil {
		return fault.Wrap(lake.Scrub(err), fault.Unavailable, "the migrated state cannot be written")
	}
	shadowed, err := collect(ctx, s.db, func(r *sql.Rows) (ShadowedLogin, error) {
		var l ShadowedLogin
		return l, r.Scan(&l.UserID, &l.Email, &l.OwnerID, &l.OwnerEmail)
	}, `SELECT u.id, u.email, o.id, o.email FROM settings s
		JOIN users u ON s.key = 'login_shadowed.' || u.id JOIN users o ON o.id = s.value ORDER BY u.email`)
	if err != nil {
		return sqlError(err)
	}
	s.migration.Shadowed = shadowed
	s.log.Info().Int("from", from).Int("to", currentVersion()).Str("backup", s.migration.Backup).Msg("the state was migrated")
	return nil
}

func migrateConn(ctx context.Context, conn *sql.Conn, from, to int, now time.Time) error {
	if from < baseVersion {
		err := transact(ctx, conn, func(ctx context.Context, tx *sql.Tx) error {
			for _, name := range []string{"base/schema_v7.sql", "base/older_files.sql"} {
				if _, err := tx.ExecContext(ctx, script(name)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return setVersion(ctx, tx, baseVersion, now)
		})
		if err != nil {
			return err
		}
	}
	for _, st := range steps() {
		if st.version <= from || st.version > to {
			continue
		}
		err := transact(ctx, conn, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, st.script); err != nil {
				return err
			}
			if st.code != nil {
				if err := st.code(ctx, tx, now); err != nil {
					return err
				}
			}
			return setVersion(ctx, tx, st.version, now)
		})
		if err != nil {
			return fmt.Errorf("version %d: %w", st.version, err)
		}
	}
	return nil
}

// setVersion writes the version as the predecessor does: into every row, so that it reads the same.
func setVersion(ctx context.Context, tx *sql.Tx, version int, now time.Time) error {
	n, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM schema_version")
	if err != nil {
		return err
	}
	if n == 0 {
		_, err = tx.ExecContext(ctx, "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)", version, now)
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE schema_version SET version = $1, applied_at = $2", version, now)
	return err
}

// buildEmpty makes an empty state of a version at path.
func buildEmpty(ctx context.Context, path string, memory int64, version int, now time.Time) error {
	db, err := lake.Open(ctx, lake.Options{Path: path, MemoryBytes: memory, Threads: 1})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state cannot be made")
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return sqlError(err)
	}
	defer func() { _ = conn.Close() }()
	if err := migrateConn(ctx, conn, 0, version, now); err != nil {
		return sqlError(err)
	}
	if _, err := conn.ExecContext(ctx, "CHECKPOINT"); err != nil {
		return sqlError(err)
	}
	if err := conn.Close(); err != nil {
		return sqlError(err)
	}
	return sqlError(db.Close())
}

// settleIdentity gives every user of a predecessor's file their login, and closes the bootstrap where
// the instance is in use: with a password, with a token, or with more than the one seeded user.
func settleIdentity(ctx context.Context, tx *sql.Tx, now time.Time) error {
	users, err := collect(ctx, tx, scanUser, selectUsers+byRight)
	if err != nil {
		return err
	}
	owners := make(map[string]string, len(users))
	passwords := 0
	for _, u := range users {
		if u.HasPassword() {
			passwords++
		}
		key := EmailKey(u.Email)
		if owner, taken := owners[key]; taken {
			if err := putSetting(ctx, tx, shadowed+u.ID, owner, now); err != nil {
				return err
			}
			continue
		}
		owners[key] = u.ID
		if _, err := tx.ExecContext(ctx, "INSERT INTO user_logins (email_key, user_id) VALUES ($1, $2)", key, u.ID); err != nil {
			return err
		}
	}
	tokens, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM personal_access_tokens")
	if err != nil {
		return err
	}
	if passwords > 0 || tokens > 0 || len(users) > 1 {
		return putSetting(ctx, tx, settingBootstrapClosed, now.Format(time.RFC3339), now)
	}
	return nil
}

const (
	backupsDir    = "backups"
	partialPrefix = ".partial-"
)

// backup copies the file and its log as they stand, and proves that the copy holds as many rows of
// every table. It gives the copy's folder, relative to the folder of the state.
func (s *Store) backup(ctx context.Context, found finding) (string, error) {
	name := filepath.Join(backupsDir, fmt.Sprintf("v%d-%s", found.version, s.now().Format(stampFormat)))
	partial := filepath.Join(s.dir, backupsDir, partialPrefix+filepath.Base(name))
	err := s.backupInto(ctx, partial, found)
	if err == nil {
		err = freeName(s.dir, &name)
	}
	if err == nil {
		err = os.Rename(partial, filepath.Join(s.dir, name))
	}
	if err == nil {
		err = lake.SyncDir(filepath.Join(s.dir, backupsDir))
	}
	if err != nil {
		_ = os.RemoveAll(partial)
		return "", fault.Wrap(err, fault.Unavailable, "the state has to be migrated from version %d, but it cannot be copied first. Nothing was changed", found.version)
	}
	return filepath.ToSlash(name), nil
}

// freeName appends a number to a name that is taken.
func freeName(dir string, name *string) error {
	plain := *name
	for n := 2; ; n++ {
		_, err := os.Lstat(filepath.Join(dir, *name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		*name = fmt.Sprintf("%s-%d", plain, n)
	}
}

func (s *Store) backupInto(ctx context.Context, dir string, found finding) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, suffix := range []string{"", ".wal"} {
		err := copyFile(s.path()+suffix, filepath.Join(dir, fileName+suffix))
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue // everything is in the file
		}
		if err != nil {
			return err
		}
	}
	if err := lake.SyncDir(dir); err != nil {
		return err
	}
	db, err := lake.Open(ctx, lake.Options{Path: filepath.Join(dir, fileName), ReadOnly: true, MemoryBytes: s.opts.MemoryBytes, Threads: 1})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	copied, err := inspect(ctx, db.DB)
	if err != nil {
		return err
	}
	if copied.version != found.version || !maps.Equal(copied.rows, found.rows) {
		return errors.New("the copy does not hold what the file holds")
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
