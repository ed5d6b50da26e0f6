package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// settingRestored names the export that the state was restored from, so that a start that asks for
// the same one again does not undo what happened since.
const settingRestored = "restored_export"

// Restore replaces the state of a data directory by an export, named as in state/exports. No api may
// have it open. The export is checked whole and the new file is complete before anything that stands
// is touched; what stood is kept under state/backups.
func Restore(ctx context.Context, dataDir, export string) error {
	dir := Dir(dataDir)
	unlock, err := lockState(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return restore(ctx, dir, export, Options{}.withDefaults())
}

func restore(ctx context.Context, dir, export string, opts Options) error {
	from := filepath.Join(dir, exportsDir, export)
	m, err := readManifest(from, export)
	if err != nil {
		return err
	}
	aside := filepath.Join(dir, fileName+newSuffix)
	if err := errors.Join(removeIfThere(aside), removeIfThere(aside+".wal")); err != nil {
		return fault.Wrap(err, fault.Unavailable, "what an interrupted restore left cannot be removed")
	}
	now := opts.Now().UTC().Truncate(time.Microsecond)
	if err := buildEmpty(ctx, aside, opts.MemoryBytes, m.Version, now); err != nil {
		return err
	}
	if err := fill(ctx, aside, from, export, m, opts, now); err != nil {
		_ = os.Remove(aside)
		return fault.Wrap(err, fault.Permanent, "the export %s cannot be restored. Nothing was changed", export)
	}
	if err := os.Chmod(aside, 0o600); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the restored state cannot be put in its place")
	}
	if err := setAside(dir, now); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state that stands cannot be moved to state/%s", backupsDir)
	}
	if err := lake.SwapFile(aside, filepath.Join(dir, fileName)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the restored state cannot be put in its place")
	}
	return nil
}

func readManifest(from, export string) (manifest, error) {
	if !filepath.IsLocal(export) || strings.ContainsAny(export, `/\`) || strings.HasPrefix(export, ".") {
		return manifest{}, fault.New(fault.Invalid, "%q is not the name of an export in state/%s", export, exportsDir)
	}
	raw, err := os.ReadFile(filepath.Join(from, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, fault.New(fault.NotFound, "there is no complete export state/%s/%s", exportsDir, export)
	}
	if err != nil {
		return manifest{}, fault.Wrap(err, fault.Unavailable, "the export %s cannot be read", export)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return manifest{}, fault.Wrap(err, fault.Permanent, "the manifest of the export %s is damaged", export)
	}
	if m.Version < baseVersion || m.Version > currentVersion() {
		return manifest{}, fault.New(fault.Permanent, "the export %s is of version %d; this program restores versions %d to %d", export, m.Version, baseVersion, currentVersion())
	}
	for table, t := range m.Tables {
		digest, err := lake.HashFile(filepath.Join(from, filepath.Base(table)+".parquet"))
		if err != nil {
			return manifest{}, fault.Wrap(err, fault.Permanent, "the export %s is not complete: its table %s cannot be read", export, table)
		}
		if digest.SHA256 != t.SHA256 {
			return manifest{}, fault.New(fault.Permanent, "the export %s is damaged: its table %s is not what was exported", export, table)
		}
	}
	return m, nil
}

// fill reads the export's files into an empty state, and proves that every row came over.
func fill(ctx context.Context, path, from, export string, m manifest, opts Options, now time.Time) error {
	db, err := lake.Open(ctx, lake.Options{Path: path, MemoryBytes: opts.MemoryBytes, Threads: 1})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	empty, err := inspect(ctx, db.DB)
	if err != nil {
		return err
	}
	err = transact(ctx, conn, func(ctx context.Context, tx *sql.Tx) error {
		for table := range m.Tables {
			if _, known := empty.rows[table]; known {
				continue
			}
			// Not ours, and kept all the same: somebody put it there.
			if _, err := tx.ExecContext(ctx, "CREATE TABLE "+lake.QuoteIdent(table)+" AS SELECT * FROM "+parquet(from, table)+" LIMIT 0"); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
			empty.rows[table] = 0
		}
		for table := range empty.rows {
			if err := fillTable(ctx, tx, from, table, m); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
		}
		if _, known := empty.rows["settings"]; known {
			return putSetting(ctx, tx, settingRestored, export, now)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	return errors.Join(conn.Close(), db.Close())
}

func fillTable(ctx context.Context, tx *sql.Tx, from, table string, m manifest) error {
	want, exported := m.Tables[table]
	if !exported {
		return errors.New("the export lacks it")
	}
	name := lake.QuoteIdent(table)
	// The empty state was made with rows of its own, such as its version.
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+name); err != nil {
		return err
	}
	columns, err := exportedColumns(ctx, tx, from, table)
	if err != nil {
		return err
	}
	list := strings.Join(columns, ", ")
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+name+" ("+list+") SELECT "+list+" FROM "+parquet(from, table)); err != nil {
		return err
	}
	rows, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM "+name)
	if err != nil {
		return err
	}
	if rows != want.Rows {
		return fmt.Errorf("%d rows came over instead of %d", rows, want.Rows)
	}
	return nil
}

func parquet(from, table string) string {
	return "read_parquet(" + lake.QuoteLiteral(filepath.Join(from, table+".parquet")) + ")"
}

// exportedColumns gives the quoted columns of an exported table, and adds those that the schema lacks:
// an export is restored with all that it holds.
func exportedColumns(ctx context.Context, tx *sql.Tx, from, table string) ([]string, error) {
	type column struct{ name, kind string }
	exported, err := collect(ctx, tx, func(r *sql.Rows) (column, error) {
		var c column
		return c, r.Scan(&c.name, &c.kind)
	}, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+parquet(from, table)+")")
	if err != nil {
		return nil, err
	}
	quoted := make([]string, len(exported))
	for i, c := range exported {
		quoted[i] = lake.QuoteIdent(c.name)
		if _, err := tx.ExecContext(ctx, "ALTER TABLE "+lake.QuoteIdent(table)+" ADD COLUMN IF NOT EXISTS "+quoted[i]+" "+c.kind); err != nil {
			return nil, err
		}
	}
	return quoted, nil
}

// setAside moves what stands out of the way, the log with its file.
func setAside(dir string, now time.Time) error {
	standing := slices.DeleteFunc([]string{fileName, fileName + ".wal"}, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(standing) == 0 {
		return nil
	}
	name := filepath.Join(backupsDir, "replaced-"+now.Format(stampFormat))
	if err := freeName(dir, &name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
		return err
	}
	// The log goes last: a file that is found without its log was checkpointed or moved, but a log
	// alone is refused at the next start instead of being taken for nothing.
	for _, part := range standing {
		if err := os.Rename(filepath.Join(dir, part), filepath.Join(dir, name, part)); err != nil {
			return err
		}
	}
	return errors.Join(lake.SyncDir(filepath.Join(dir, name)), lake.SyncDir(dir))
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
