package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// children is an engine whose queries run in processes, and a scope of small tables in its data directory.
func children(tb testing.TB, cfg Config) (*Engine, *Scope) {
	tb.Helper()
	if runtime.GOOS != "linux" {
		tb.Skip("queries run in processes of their own on Linux only")
	}
	dir := tb.TempDir()
	folder := filepath.Join(dir, "extracts", "crm", "data", "orders")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		tb.Fatal(err)
	}
	scope := NewScope("small", []lake.View{tableOf(tb, folder, "orders", "SELECT i::BIGINT AS id, 'row ' || i AS name FROM range(3000) r(i)")})
	cfg.DataDir, cfg.TempRoot, cfg.Worker = dir, filepath.Join(dir, "tmp"), []string{"/proc/self/exe", worker.Argument}
	return engine(tb, cfg), scope
}

const endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = -1"

func TestProcessesAnswer(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{})
	for _, media := range MediaTypes() {
		out, s, err := ask(t, e, scope, media, "SELECT * FROM orders ORDER BY id", 0)
		local := engine(t, Config{})
		want, _, werr := ask(t, local, scope, media, "SELECT * FROM orders ORDER BY id", 0)
		if err != nil || werr != nil || out != want || s.Rows != 3000 {
			t.Errorf("%s: %d bytes for %d, %v, %v", media, len(out), len(want), err, werr)
		}
	}
	if _, _, err := ask(t, e, scope, TypeJSON, "FROM salaries", 0); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	for layer, holds := range e.Confinement() {
		t.Logf("%s %v", layer, holds)
	}
	t.Log(e.pool.report().Notes)
}

func TestADeadlineEndsAProcessAtWork(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{Timeout: time.Second})
	start := time.Now()
	if _, _, err := ask(t, e, scope, TypeJSON, endless, 0); !fault.Is(err, fault.TooLarge) || time.Since(start) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	if got, _, err := ask(t, e, scope, TypeCSV, "SELECT count(*) AS n FROM orders", 0); err != nil || got != "n\r\n3000\r\n" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// busy waits for the process that runs a query.
func (p *pool) working(tb testing.TB) *worker.Process {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		for w := range p.busy {
			if w.Place() != "" {
				p.mu.Unlock()
				return w
			}
		}
		p.mu.Unlock()
	}
	tb.Fatal("no process is at work")
	return nil
}

// slow takes what it is given when it is told to.
type slow struct {
	bytes.Buffer
	first, more chan struct{}
}

func (w *slow) Write(b []byte) (int, error) {
	select {
	case w.first <- struct{}{}:
		<-w.more
	default:
	}
	return w.Buffer.Write(b)
}

func TestAProcessKilledInMidAnswerCutsIt(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{})
	out := &slow{first: make(chan struct{}, 1), more: make(chan struct{})}
	ended := make(chan error, 1)
	var s Summary
	go func() {
		var err error
		s, err = e.Run(context.Background(), Request{User: "ann", Scope: scope, SQL: "SELECT i FROM range(100000000000) r(i)", MediaType: TypeJSON}, func() io.Writer { return out })
		ended <- err
	}()
	w := e.pool.working(t)
	<-out.first
	if err := syscall.Kill(w.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-w.Ended()
	close(out.more)
	err := <-ended
	var died *worker.DeathError
	if !fault.Is(err, fault.Internal) || !errors.As(err, &died) || !s.Started || strings.HasSuffix(out.String(), "}\n") {
		t.Errorf("%+v, %v", s, err)
	}
	entries, err := os.ReadDir(e.scratch.Dir)
	if err != nil {
		t.Fatal(err)
	}
	e.pool.mu.Lock()
	made := e.pool.made
	e.pool.mu.Unlock()
	if len(entries) > made-1 {
		t.Errorf("its scratch is still there: %v", entries)
	}
	if got, _, err := ask(t, e, scope, TypeCSV, "SELECT count(*) AS n FROM orders", 0); err != nil || got != "n\r\n3000\r\n" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestAQueryWhoseProcessSomebodyEndedIsAskedAgain(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{})
	const sql = "SELECT count(*) AS n FROM orders"
	if _, _, err := ask(t, e, scope, TypeCSV, sql, 0); err != nil {
		t.Fatal(err)
	}
	e.pool.mu.Lock()
	for _, idle := range e.pool.idle { // whichever is taken does not answer
		_ = syscall.Kill(idle.Pid(), syscall.SIGSTOP)
	}
	e.pool.mu.Unlock()
	type told struct {
		text string
		err  error
	}
	answer := make(chan told, 1)
	go func() {
		var out bytes.Buffer
		_, err := e.Run(context.Background(), Request{User: "ann", Scope: scope, SQL: sql, MediaType: TypeCSV}, func() io.Writer { return &out })
		answer <- told{out.String(), err}
	}()
	first := e.pool.working(t).Pid()
	_ = syscall.Kill(first, syscall.SIGKILL)
	if got := <-answer; got.err != nil || got.text != "n\r\n3000\r\n" {
		t.Errorf("%q, %v", got.text, got.err)
	}
	// One that is ended twice is not asked for ever.
	ended := make(chan error, 1)
	go func() {
		_, err := e.Run(context.Background(), Request{User: "ann", Scope: scope, SQL: endless, MediaType: TypeCSV}, func() io.Writer { return io.Discard })
		ended <- err
	}()
	killed := map[int]bool{first: true}
	for len(killed) < 3 {
		pid := e.pool.working(t).Pid()
		killed[pid] = true
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := <-ended; !fault.Is(err, fault.Internal) {
		t.Errorf("%v", err)
	}
}

func TestWithoutANewProcessAQueryMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "binary")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := engine(t, Config{DataDir: dir, TempRoot: filepath.Join(dir, "tmp"), Worker: []string{link, worker.Argument}})
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, scope := range []string{"a", "b", "c"} { // more than wait already
		_, _, last = ask(t, e, NewScope(scope, nil), TypeCSV, "SELECT 1", 0)
	}
	if !fault.Is(last, fault.Unavailable) || fault.RetryAfter(last) == 0 || strings.Contains(fault.Message(last), "/") {
		t.Errorf("%v", last)
	}
}

func TestALongValueIsPassedOnInPieces(t *testing.T) {
	t.Parallel()
	apart, scope := children(t, Config{})
	for _, e := range []*Engine{apart, engine(t, Config{})} {
		out := &widest{}
		_, err := e.Run(t.Context(), Request{User: "ann", Scope: scope, SQL: "SELECT repeat('x', 3000000) AS x", MediaType: TypeCSV}, func() io.Writer { return out })
		if err != nil || out.all != 3_000_005 || out.most > 256<<10 {
			t.Errorf("%+v, %v", out, err)
		}
	}
}

// widest counts what is written, and the most at once.
type widest struct{ all, most int }

func (w *widest) Write(b []byte) (int, error) {
	w.all, w.most = w.all+len(b), max(w.most, len(b))
	return len(b), nil
}

func TestAQueryBeyondItsMemoryEndsAndOthersGoOn(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{PerUser: 1, Running: 2, Threads: 1, MemoryBytes: 3 * 64 << 20})
	other := make(chan error, 1)
	go func() {
		_, err := e.Run(context.Background(), Request{User: "bob", Scope: scope, SQL: "SELECT sum(i) FROM range(200000000) r(i)", MediaType: TypeCSV}, func() io.Writer { return io.Discard })
		other <- err
	}()
	// Lists of this length grow outside of what DuckDB counts in time.
	_, _, err := ask(t, e, scope, TypeJSON, "SELECT length(repeat(repeat('x', 1000000), 900)) + length(list(repeat('y', 1000)))::BIGINT AS n FROM range(2000000)", 0)
	if !fault.Is(err, fault.TooLarge) || !strings.Contains(fault.Message(err), "64 MB") {
		t.Errorf("%v", err)
	}
	if err := <-other; err != nil {
		t.Errorf("the other query: %v", err)
	}
}

func TestTrap_O9_NestingWithoutEndHarmsNobody(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{Timeout: 30 * time.Second})
	for _, sql := range []string{
		"SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		"SELECT " + strings.Repeat("NOT ", 100_000) + "true",
		"SELECT 1" + strings.Repeat(" + 1", 100_000),
	} {
		start := time.Now()
		_, _, err := ask(t, e, scope, TypeJSON, sql, 0)
		if time.Since(start) > 35*time.Second {
			t.Errorf("%.20s took %v", sql, time.Since(start))
		}
		t.Logf("%.20s after %v: %.200v", sql, time.Since(start), err)
	}
	if got, _, err := ask(t, e, scope, TypeCSV, "SELECT count(*) AS n FROM orders", 0); err != nil || got != "n\r\n3000\r\n" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestASourceThatIsLinkedIsRead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("queries run in processes of their own on Linux only")
	}
	dir, elsewhere := t.TempDir(), t.TempDir()
	folder := filepath.Join(elsewhere, "data", "orders")
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.Mkdir(filepath.Join(dir, "extracts"), 0o755), os.Symlink(elsewhere, filepath.Join(dir, "extracts", "crm"))); err != nil {
		t.Fatal(err)
	}
	scope := NewScope("linked", []lake.View{tableOf(t, filepath.Join(dir, "extracts", "crm", "data", "orders"), "orders", "SELECT 7 AS id")})
	e := engine(t, Config{DataDir: dir, TempRoot: filepath.Join(dir, "tmp"), Worker: []string{"/proc/self/exe", worker.Argument}})
	if got, _, err := ask(t, e, scope, TypeCSV, "FROM orders", 0); err != nil || got != "id\r\n7\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// What other programs extract has no parts: the orchestrator makes them, and puts them elsewhere.
func TestATableThatWasCopiedOutOfAnExtractIsRead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("queries run in processes of their own on Linux only")
	}
	dir := filepath.Join(t.TempDir(), "data")
	e := engine(t, Config{DataDir: dir, TempRoot: filepath.Join(dir, "tmp"), Worker: []string{"/proc/self/exe", worker.Argument}})
	folder := filepath.Join(catalog.DerivedDir(dir), "foreign", "orders") // after the first processes were started
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	scope := NewScope("copied", []lake.View{tableOf(t, folder, "orders", "SELECT 7 AS id")})
	if got, _, err := ask(t, e, scope, TypeCSV, "FROM orders", 0); err != nil || got != "id\r\n7\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAClientThatLeavesEndsItsProcessAtWork(t *testing.T) {
	t.Parallel()
	e, scope := children(t, Config{})
	ctx, leave := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, Request{User: "ann", Scope: scope, SQL: endless, MediaType: TypeJSON}, func() io.Writer { return io.Discard })
		ended <- err
	}()
	e.pool.working(t)
	leave()
	select {
	case err := <-ended:
		if !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the query goes on")
	}
}

func TestADataDirThatIsAPatternIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data[1]")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), Config{DataDir: dir, TempRoot: filepath.Join(t.TempDir(), "tmp"), Worker: []string{"/proc/self/exe", worker.Argument}})
	if err == nil {
		_ = e.Close()
	}
	if runtime.GOOS == "linux" && !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

// TestAProcessGoesOnWithLaterVersionsOfItsTables asks the same tables over versions, as a source gives that
// is published every second.
func TestAProcessGoesOnWithLaterVersionsOfItsTables(t *testing.T) {
	t.Parallel()
	e, _ := children(t, Config{})
	folder := filepath.Join(e.cfg.DataDir, "extracts", "crm", "data", "orders")
	part := func(n int) []lake.View {
		v := tableOf(t, folder, "orders", fmt.Sprintf("SELECT %d AS id", n))
		moved := filepath.Join(folder, fmt.Sprintf("v%d.parquet", n))
		if err := os.Rename(v.Files[0], moved); err != nil {
			t.Fatal(err)
		}
		v.Files = []string{moved}
		return []lake.View{v}
	}
	want := func(key string, views []lake.View, answer string) int {
		t.Helper()
		got, _, err := ask(t, e, e.Scope(key, func() []lake.View { return views }), TypeCSV, "SELECT id FROM orders", 0)
		if err != nil || got != "id\r\n"+answer+"\r\n" {
			t.Errorf("%s: %q, %v", key, got, err)
		}
		e.pool.mu.Lock()
		defer e.pool.mu.Unlock()
		return e.pool.idle[len(e.pool.idle)-1].Pid()
	}
	one := part(1)
	first := want("1/a", one, "1")
	if again := want("1/b", one, "1"); again != first {
		t.Error("equal views under another key had another process")
	}
	if e.Scope("1/a", nil).Fingerprint != e.Scope("1/b", nil).Fingerprint {
		t.Error("equal views have different fingerprints")
	}
	for n := 2; n < 6; n++ {
		if pid := want(fmt.Sprint(n), part(n), fmt.Sprint(n)); pid != first {
			t.Errorf("version %d had another process", n)
		}
	}
	more := append(part(6), lake.View{Schema: "crm", Name: "later", Columns: []catalog.Column{{Name: "id", Type: "INTEGER"}}})
	if pid := want("6", more, "6"); pid == first {
		t.Error("another set of tables had the same process")
	}
	// The table was removed and came back: its folder is another one, which the process may not read.
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	want("7", part(7), "7")
}
