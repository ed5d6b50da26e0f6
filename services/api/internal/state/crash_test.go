package state_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// crashDir tells this test binary to be a process that is killed in mid-work.
const crashDir = "STATE_TEST_CRASH_DIR"

// crash runs the named test as a process of its own, which ends itself without closing anything.
func crash(t *testing.T, test, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process was to be killed, and ended with %v:\n%s", err, out)
	}
}

func killMyself(t *testing.T) {
	t.Helper()
	me, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	_ = me.Kill()
	select {}
}

// predecessorWithLog makes a predecessor's data directory whose last commit is in the log only.
func predecessorWithLog(t *testing.T) string {
	t.Helper()
	dir := predecessor(t, 7)
	crash(t, "TestCrashPredecessor", dir)
	if info, err := os.Stat(filepath.Join(dir, "state", "system.duckdb.wal")); err != nil || info.Size() == 0 {
		t.Fatalf("there is no log: %v", err)
	}
	return dir
}

func TestCrashPredecessor(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("runs as a process that is killed")
	}
	db, err := lake.Open(t.Context(), lake.Options{Path: filepath.Join(dir, "state", "system.duckdb"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO users (id, email) VALUES ('late', 'late@example.com')"); err != nil {
		t.Fatal(err)
	}
	killMyself(t)
}

func TestKilledStateOpensWithEveryCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	crash(t, "TestCrashState", dir)
	s := open(t, dir) // the lock of the dead process is free
	users := must[[]state.User](t)(s.Users.List(t.Context()))
	if len(users) != 5 {
		t.Errorf("%d of 5 users survived the kill", len(users))
	}
}

func TestCrashState(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("runs as a process that is killed")
	}
	s, err := state.Open(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		addUser(t.Context(), t, s, name+"@example.com", state.RoleViewer, "")
	}
	killMyself(t)
}
