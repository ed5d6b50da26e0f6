package extract

import (
	"context"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
)

const holdEnv = "AGNES_EXTRACT_HOLD"

// Another program that holds its extract open is read from a copy, with what it committed, and is not
// disturbed.
func TestTrap_E1_WriterInAnotherProcess(t *testing.T) {
	t.Parallel()
	if path := os.Getenv(holdEnv); path != "" {
		hold(t, path)
		return
	}
	dir := t.TempDir()
	path := PointerPath(dir, "src")
	writeDB(t, path, metaTable)
	reader := newTestReader(t, dir)
	if _, err := reader.OpenVersion(t.Context(), "src"); err != nil || reader.ready() == nil {
		t.Fatalf("no DuckDB is kept, which must not hold the file: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTrap_E1_WriterInAnotherProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	before := pairStamp(path)
	mustTable(t, mustVersion(t, dir), "late")
	for range 2 {
		if v, err := reader.OpenVersion(t.Context(), "src"); err != nil || len(v.Tables) != 1 {
			t.Errorf("%v: %+v", err, v)
		}
	}
	if pairStamp(path) != before {
		t.Error("the reader changed the extract")
	}
	if entries, err := os.ReadDir(scratchRoot(dir)); err != nil || len(entries) > 0 {
		t.Errorf("the copy was left behind: %v %v", entries, err)
	}
	_ = stdin.Close()
	if rest, err := io.ReadAll(stdout); err != nil || cmd.Wait() != nil {
		t.Errorf("the other program was disturbed: %v\n%s", err, rest)
	}
}

// hold is the other program.
func hold(t *testing.T, path string) {
	t.Helper()
	db, err := lake.Open(context.Background(), lake.Options{Path: path, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"CREATE TABLE late AS SELECT 1 AS id", "INSERT INTO _meta (table_name, rows) VALUES ('late', 1)"} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = os.Stdout.WriteString("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if _, err := db.Exec("INSERT INTO late VALUES (2)"); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
