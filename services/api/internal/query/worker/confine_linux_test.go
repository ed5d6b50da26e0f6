package worker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// TestMain is also the worker of these tests, with a hook below SQL.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Argument {
		os.Exit(run(os.Stderr, probed)) //nolint:forbidigo // here the test binary is the process of queries
	}
	goleak.VerifyTestMain(m)
}

// probed does what somebody would who took the worker over, and gives "" where that works.
func probed(what string) string {
	verb, argument, _ := strings.Cut(what, " ")
	var err error
	switch verb {
	case "read":
		_, err = os.ReadFile(argument)
	case "write":
		err = os.WriteFile(argument, []byte("x"), 0o600)
	case "socket":
		_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	case "unix":
		_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	case "exec":
		err = exec.Command(argument).Run()
	case "kill":
		err = unix.Kill(unix.Getppid(), 0)
	case "env":
		return strings.Join(os.Environ(), "\n")
	case "threads":
		return unreached()
	case "descriptors":
		return descriptors()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func descriptors() string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var found []string
	for _, e := range entries {
		var stat unix.Stat_t
		var n int
		if _, err := fmt.Sscan(e.Name(), &n); err != nil || n <= connection || unix.Fstat(n, &stat) != nil {
			continue
		}
		if kind := stat.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFSOCK {
			found = append(found, e.Name())
		}
	}
	return strings.Join(found, " ")
}

// unreached names the threads that a call by psx does not reach. That is how Landlock reaches them, of
// which the kernel tells nothing by thread.
func unreached() string {
	name := []byte("reached\x00")
	if _, _, failed := psx.Syscall3(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0); failed != 0 {
		return failed.Error()
	}
	threads, _ := filepath.Glob("/proc/self/task/*/comm")
	left := make([]string, 0, len(threads))
	for _, thread := range threads {
		if raw, err := os.ReadFile(thread); err != nil || strings.TrimSpace(string(raw)) != "reached" {
			left = append(left, fmt.Sprint(thread, " ", string(raw), " ", err))
		}
	}
	if len(threads) < 4 { // DuckDB's alone are three beside the caller's
		left = append(left, fmt.Sprintf("only %d threads", len(threads)))
	}
	return strings.Join(left, ", ")
}

func TestAWorkerIsHeldBelowSQL(t *testing.T) {
	t.Setenv("JWT_SECRET_KEY", "canary")
	dir := t.TempDir()
	granted := filepath.Join(dir, "extracts", "crm", "data", "orders", "a.parquet")
	hidden := filepath.Join(dir, "extracts", "hr", "data", "salaries", "b.parquet")
	state := filepath.Join(dir, "state", "system.duckdb")
	for _, f := range []string{granted, hidden, state} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o755), os.WriteFile(f, []byte("PAR1"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	inherited, err := os.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inherited.Close() }()
	if _, err := unix.FcntlInt(inherited.Fd(), unix.F_SETFD, 0); err != nil { // as a careless library leaves it
		t.Fatal(err)
	}
	p := startAny(t, Options{Command: []string{"/proc/self/exe", Argument}, DataDir: dir, Scratch: filepath.Join(dir, "tmp", "1"),
		MemoryBytes: 1 << 30, Answer: answer.Config{MemoryBytes: 256 << 20, Threads: 4, Dir: filepath.Join(dir, "tmp", "1")}})
	t.Logf("%+v", p.Report())
	held := func(holds bool, what string) {
		t.Helper()
		if got := p.probe(t, what); holds && got == "" {
			t.Errorf("%s works", what)
		} else if !holds {
			t.Logf("not held here: %s: %q", what, got)
		}
	}
	if got := p.probe(t, "env"); strings.Contains(got, "canary") || strings.Contains(got, "JWT") {
		t.Errorf("the environment is %q", got)
	}
	if got := p.probe(t, "descriptors"); got != "" {
		t.Errorf("it has descriptors %s", got)
	}
	if got := p.probe(t, "threads"); got != "" {
		t.Errorf("not reached: %s", got)
	}
	r := p.Report()
	if err := writeJSON(p.conn, frameBind, binding{Fingerprint: "f", Views: []lake.View{{Schema: "crm", Name: "orders", Files: []string{granted}}}}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"read " + state, "read " + hidden, "read /etc/passwd", "write " + granted, "write " + filepath.Join(dir, "x")} {
		held(r.Landlock, what)
	}
	for _, what := range []string{"socket", "unix", "exec /bin/true", "kill"} {
		held(r.Seccomp, what)
	}
	if got := p.probe(t, "read "+granted); got != "" {
		t.Errorf("what is granted: %s", got)
	}
}

// startAny starts a worker with the most isolation that this system has.
func startAny(t *testing.T, o Options) *Process {
	t.Helper()
	for ; ; o.Isolation++ {
		p, err := Start(o)
		if err == nil {
			err = p.Ready()
		}
		if err == nil {
			t.Cleanup(p.Kill)
			return p
		}
		if o.Isolation == NotIsolated {
			t.Fatal(err)
		}
	}
}

func (p *Process) probe(t *testing.T, what string) string {
	t.Helper()
	if err := writeFrame(p.conn, frameProbe, []byte(what)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := readFrame(p.conn, nil, maxTold)
	if err != nil {
		t.Fatalf("%s: %v; it said: %s", what, err, p.stderr.text())
	}
	return string(answer)
}
