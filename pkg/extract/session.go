package extract

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const (
	stageCatalog = "agnes_stage"
	stageFile    = "stage.duckdb"
)

// session is the DuckDB of one table: opened when first needed, with one pinned connection, so that
// temporary tables of the connector are seen by its queries.
type session struct {
	dir     string // scratch of this table; empty for none, and then nothing is spilled
	memory  int64
	threads int
	warm    *warm // where one that is not own comes from, and goes to; nil for nowhere

	mu       sync.Mutex
	instance *instance
	conn     *sql.Conn // of the instance
	lent     bool      // by warm
	own      bool      // what ran in it may have left something behind, or will
	staged   bool
}

func (s *session) open(ctx context.Context) (*sql.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	var err error
	if s.lent = s.warm != nil && !s.own; s.lent {
		s.instance, err = s.warm.take(ctx, s.memory)
	} else {
		s.instance, err = s.openOwn(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open the session of a table: %w", err)
	}
	s.conn = s.instance.conn
	return s.conn, nil
}

func (s *session) openOwn(ctx context.Context) (*instance, error) {
	spill := ""
	if s.dir != "" {
		spill = filepath.Join(s.dir, "spill")
		if err := os.MkdirAll(spill, dirMode); err != nil {
			return nil, fmt.Errorf("make scratch: %w", err)
		}
	}
	return openInstance(ctx, lake.Options{MemoryBytes: s.memory, Threads: s.threads, TempDir: spill})
}

// keep says that what runs from now on may leave settings, macros or attached catalogs behind: the
// session is not passed on. Where it is not open yet, it will have all its threads.
func (s *session) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = true
}

// keepNew is keep for a session that is not open yet.
func (s *session) keepNew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = s.own || s.instance == nil
}

// close ends the session. One that is clean, in which everything went well, may be passed on.
func (s *session) close(clean bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil {
		return
	}
	if s.lent {
		s.warm.give(s.instance, clean && !s.own)
	} else {
		s.instance.close()
	}
	s.instance, s.conn = nil, nil
}

// drop closes the session and removes what it kept in scratch, but for the files that were copied.
func (s *session) drop(clean bool) {
	s.close(clean)
	if _, err := os.Lstat(s.dir); err != nil {
		return // nothing was written
	}
	for _, name := range []string{"spill", "connector", stageFile, stageFile + walSuffix} {
		_ = os.RemoveAll(filepath.Join(s.dir, name))
	}
}

func (s *session) exec(ctx context.Context, statement string, args ...any) error {
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, statement, args...); err != nil {
		return ended(ctx, err)
	}
	return nil
}

// rows calls each for every row of a query.
func (s *session) rows(ctx context.Context, query string, each func(scan func(dest ...any) error) error) error {
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	return queryRows(ctx, conn, query, each)
}

// querier is what *sql.DB and *sql.Conn share.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func queryRows(ctx context.Context, q querier, query string, each func(scan func(dest ...any) error) error) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return ended(ctx, err)
	}
	return nil
}

// ended scrubs a driver error, and says that ctx ended where that is why the work stopped: the driver
// reports an interrupt.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), lake.Scrub(err))
	}
	return lake.Scrub(err)
}

// columnsOf gives the columns of a query without running it.
func columnsOf(ctx context.Context, q querier, query string) ([]catalog.Column, error) {
	var out []catalog.Column
	err := queryRows(ctx, q, "SELECT column_name, column_type FROM (DESCRIBE "+query+")", func(scan func(dest ...any) error) error {
		var c catalog.Column
		if err := scan(&c.Name, &c.Type); err != nil {
			return err
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

// stage attaches a database file in scratch, for data that is sorted or appended before it is copied.
func (s *session) stage(ctx context.Context) error {
	if s.staged {
		return nil
	}
	s.keep()
	file := filepath.Join(s.dir, stageFile)
	if err := s.exec(ctx, "ATTACH "+lake.QuoteLiteral(file)+" AS "+lake.QuoteIdent(stageCatalog)); err != nil {
		return err
	}
	s.staged = true
	return nil
}

func stageTable(name string) string { return lake.QuoteName(stageCatalog, "main", name) }

// tempTable names a table that lies in memory, and goes to scratch as it is where that runs short: one of a
// share of a table's rows is written and read much faster than in the file of stage, which is compressed.
func tempTable(name string) string { return lake.QuoteName("memory", "main", "agnes_"+name) }
