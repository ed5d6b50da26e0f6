package lake_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
)

func TestFullDisksAreTold(t *testing.T) {
	t.Parallel()
	for text, want := range map[error]bool{
		&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}:                                       true,
		fmt.Errorf("publish: %w", syscall.EDQUOT):                                                        true,
		errors.New(`IO Error: Could not write file "/d/x.parquet": No space left on device`):             true,
		lake.Scrub(errors.New(`IO Error: Could not write file "/d/x.parquet": No space left on device`)): true,
		errors.New("IO Error: Cannot open file"):                                                         false,
		context.Canceled:                                                                                 false,
	} {
		if got := lake.DiskFull(text); got != want {
			t.Errorf("%v: %v", text, got)
		}
	}
	if lake.DiskFull(nil) {
		t.Error("no error is no full disk")
	}
}

func TestADatabaseThatGaveUpIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.duckdb")
	db, err := lake.Open(t.Context(), lake.Options{Path: path, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"CREATE TABLE a AS SELECT 1 AS x", "CHECKPOINT", "SET GLOBAL debug_checkpoint_abort = 'before_header'", "INSERT INTO a VALUES (2)"} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	_, err = db.ExecContext(t.Context(), "CHECKPOINT")
	if !lake.Invalidated(err) {
		t.Errorf("an aborted checkpoint: %v", err)
	}
	_, err = db.ExecContext(t.Context(), "SELECT * FROM a")
	if !lake.Invalidated(err) {
		t.Errorf("a question after it: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Log(err)
	}
	if db, err = lake.Open(t.Context(), lake.Options{Path: path, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows of 2 after it was opened anew: %v", n, err)
	}
	for _, err := range []error{nil, context.Canceled, errors.New(`Conversion Error: "x has been invalidated because"`), errors.New("IO Error: No space left on device")} {
		if lake.Invalidated(err) {
			t.Errorf("%v is no such error", err)
		}
	}
}

func TestFreeBytesAreKnown(t *testing.T) {
	t.Parallel()
	if free, err := lake.FreeBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
	if _, err := lake.FreeBytes(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a folder that is missing has no space")
	}
}
