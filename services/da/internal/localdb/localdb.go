// Package localdb is the analyst's database: a DuckDB file in the workspace that holds views over the
// synced parts beside whatever the analyst makes there. It changes only the views that it made itself.
package localdb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// DB is the database of one workspace. It is open only while it is used: another program can have it
// in between.
type DB struct {
	ws *workspace.Workspace
	// Patience is how long to wait for another program to close the file; 0 means ten seconds.
	Patience time.Duration
}

// New gives the database of a workspace. Nothing is opened.
func New(ws *workspace.Workspace) *DB { return &DB{ws: ws} }

// lockPoll is how often a file is tried that another program has open.
const lockPoll = 200 * time.Millisecond

// open opens the file, waiting a while where another program has it. The caller closes it.
func (d *DB) open(ctx context.Context, readOnly bool) (*lake.DB, error) {
	path := d.ws.Database()
	if readOnly {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "there is no database in %s yet: run `da sync` first, or name the workspace with --workspace", d.ws.Root)
		}
	}
	temp := filepath.Join(filepath.Dir(path), "tmp")
	patience := d.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	until := time.Now().Add(patience)
	for {
		db, err := lake.Open(ctx, lake.Options{Path: path, ReadOnly: readOnly, TempDir: temp})
		if err == nil {
			if err = unbound(ctx, db); err != nil {
				_ = db.Close()
			} else {
				return db, nil
			}
		}
		if !isLocked(err) {
			return nil, fault.Wrap(err, fault.Permanent, "the database %s cannot be opened: %s", path, reason(err))
		}
		if time.Now().After(until) {
			return nil, fault.Wrap(err, fault.Busy, "the database %s is open in another program%s: close it there and try again", path, holder(err))
		}
		select {
		case <-ctx.Done():
			return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "the work was cancelled")
		case <-time.After(lockPoll):
		}
	}
}

// unbound gives the analyst's own machine to the analyst's queries: DuckDB's own idea of how much
// memory there is, and extensions where a query needs them.
func unbound(ctx context.Context, db *lake.DB) error {
	for _, s := range []string{
		"RESET GLOBAL memory_limit",
		"SET GLOBAL autoinstall_known_extensions = true",
		"SET GLOBAL autoload_known_extensions = true",
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func isLocked(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "Could not set lock on file") || fault.Is(err, fault.Conflict))
}

var lockHolder = regexp.MustCompile(`lock is held in (\S+) \(PID (\d+)\)`)

// holder names the program that has the file, where the system told.
func holder(err error) string {
	if m := lockHolder.FindStringSubmatch(err.Error()); m != nil {
		return " (" + filepath.Base(m[1]) + ", process " + m[2] + ")"
	}
	return ""
}

// reason is the first line of what DuckDB says, for a person. It is the analyst's own database: there
// is nothing to hide in it.
func reason(err error) string {
	text := err.Error()
	var e *fault.Error
	if errors.As(err, &e) {
		text = e.Message
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
