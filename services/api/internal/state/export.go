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

const (
	exportsDir   = "exports"
	manifestName = "manifest.json"
	// stampFormat names exports and backups so that they sort by time.
	stampFormat   = "20060102T150405Z"
	exportTimeout = 5 * time.Minute
)

// manifest describes an export: one parquet file per table.
type manifest struct {
	Version    int                      `json:"version"` // of the schema
	ExportedAt time.Time                `json:"exported_at"`
	Tables     map[string]manifestTable `json:"tables"`
}

type manifestTable struct {
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"` // of the file
}

// Export writes every table to state/exports/<time>/, all as of one moment, and removes what is more
// than Options.ExportKeep. It gives the name of the export. Any DuckDB can read the files, so an
// export outlives a damaged database. It holds what the state holds: keep it as secret.
func (s *Store) Export(ctx context.Context) (string, error) {
	name, err := s.export(ctx)
	if err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the state cannot be exported")
	}
	if err := s.pruneExports(); err != nil {
		s.log.Warn().Err(err).Msg("old exports of the state cannot be removed")
	}
	return name, nil
}

func (s *Store) export(ctx context.Context) (string, error) {
	root := filepath.Join(s.dir, exportsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	partial, err := os.MkdirTemp(root, partialPrefix)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(partial) }()
	changes := s.changes.Load()
	m, err := s.exportTables(ctx, partial)
	if err != nil {
		return "", err
	}
	for table, t := range m.Tables {
		digest, err := lake.HashFile(filepath.Join(partial, table+".parquet"))
		if err != nil {
			return "", err
		}
		t.SHA256 = digest.SHA256
		m.Tables[table] = t
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	if err := lake.WriteFileAtomic(filepath.Join(partial, manifestName), append(raw, '\n'), 0o600); err != nil {
		return "", err
	}
	name := m.ExportedAt.Format(stampFormat)
	if err := freeName(root, &name); err != nil {
		return "", err
	}
	if err := os.Rename(partial, filepath.Join(root, name)); err != nil {
		return "", err
	}
	if err := lake.SyncDir(root); err != nil {
		return "", err
	}
	s.exported.Store(changes + 1)
	return name, nil
}

// exportTables writes the tables in one transaction that reads.
func (s *Store) exportTables(ctx context.Context, dir string) (manifest, error) {
	m := manifest{Version: currentVersion(), ExportedAt: s.now(), Tables: map[string]manifestTable{}}
	err := s.reading(ctx, exportTimeout, func(ctx context.Context) error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		tables, err := collect(ctx, tx, scanString, `SELECT table_name FROM information_schema.tables
			WHERE table_schema = 'main' AND table_type = 'BASE TABLE' AND table_catalog = current_database() ORDER BY table_name`)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if err := exportTable(ctx, tx, dir, table, &m); err != nil {
				return err
			}
		}
		return nil
	})
	return m, err
}

func exportTable(ctx context.Context, tx *sql.Tx, dir, table string, m *manifest) error {
	file := filepath.Join(dir, table+".parquet")
	_, err := tx.ExecContext(ctx, fmt.Sprintf("COPY (SELECT * FROM %s) TO %s (FORMAT parquet, COMPRESSION zstd)",
		lake.QuoteIdent(table), lake.QuoteLiteral(file)))
	if err != nil {
		return err
	}
	rows, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM "+lake.QuoteIdent(table))
	if err != nil {
		return err
	}
	m.Tables[table] = manifestTable{Rows: rows}
	return os.Chmod(file, 0o600)
}

// exportIfDue exports where the newest export is old enough and something changed since.
func (s *Store) exportIfDue() {
	if s.opts.ExportEvery < 0 {
		return
	}
	newest, err := newestExport(s.dir)
	if err != nil {
		s.log.Warn().Err(err).Msg("the exports of the state cannot be listed")
		return
	}
	if newest != "" {
		at, err := time.Parse(stampFormat, newest[:len(stampFormat)])
		if err == nil && s.now().Sub(at) < s.opts.ExportEvery {
			return
		}
		if s.exported.Load() == s.changes.Load()+1 {
			return // nothing changed since
		}
	}
	if _, err := s.Export(s.life); err != nil && s.life.Err() == nil {
		s.log.Error().Err(err).Msg("the state was not exported; trying again")
	}
}

// Exports lists the complete exports by name, newest first.
func (s *Store) Exports() ([]string, error) { return exports(s.dir) }

func exports(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, exportsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list exports: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) < len(stampFormat) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, exportsDir, e.Name(), manifestName)); err == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func newestExport(dir string) (string, error) {
	all, err := exports(dir)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

func (s *Store) pruneExports() error {
	all, err := exports(s.dir)
	if err != nil {
		return err
	}
	for i, name := range all {
		if i >= s.opts.ExportKeep {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, exportsDir, name)))
		}
	}
	return err
}
