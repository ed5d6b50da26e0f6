package da_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// analyst runs da as a process against a server of their own.
type analyst struct {
	t   *testing.T
	api *clienttest.Server
	lab *lake.DB // makes parts
	dir string
	env []string
}

func newAnalyst(t *testing.T) *analyst {
	t.Helper()
	api := clienttest.New()
	t.Cleanup(api.Close)
	lab, err := lake.Open(context.Background(), lake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Close() })
	dir := t.TempDir()
	return &analyst{t: t, api: api, lab: lab, dir: dir, env: append(os.Environ(),
		"DA_SERVER="+api.URL, "DA_TOKEN="+api.Token("u-1", "pat"), "DA_LOCAL_DIR="+dir, "DA_CONFIG_DIR="+filepath.Join(dir, "config"))}
}

// start starts a command; out collects what it prints on both streams.
func (a *analyst) start(args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	a.t.Helper()
	cmd = exec.Command("da", args...)
	cmd.Env = a.env
	out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	return cmd, out
}

// must runs a command that succeeds.
func (a *analyst) must(args ...string) string {
	a.t.Helper()
	cmd, out := a.start(args...)
	if err := cmd.Wait(); err != nil {
		a.t.Fatalf("da %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out.String()
}

// versioned gives a table in a version: all its rows say which.
func (a *analyst) versioned(name string, version, parts int) clienttest.Table {
	a.t.Helper()
	table := clienttest.Table{Name: name, Source: "shop", Alias: true}
	path := filepath.Join(a.t.TempDir(), "part")
	for i := range parts {
		query := fmt.Sprintf("SELECT %d AS version, %d AS part, hash(range + %d) AS noise FROM range(20000)", version, i, version*100+i)
		if i == 0 {
			query = fmt.Sprintf("SELECT 0 AS version, 0 AS part, hash(range) AS noise FROM range(%d)", 20000+version%2) // mostly unchanged
		}
		if _, err := a.lab.Exec("COPY (" + query + ") TO " + lake.QuoteLiteral(path) + " (FORMAT parquet)"); err != nil {
			a.t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			a.t.Fatal(err)
		}
		table.Parts = append(table.Parts, raw)
	}
	return table
}

func TestKilledAtAnyTimeTheNextSyncCompletes(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	const parts = 5
	versions := func() string {
		return a.must("query", "--format", "csv", "SELECT coalesce(string_agg(DISTINCT version, ',') FILTER (version > 0), '') || '/' || count(DISTINCT part) AS v FROM orders")
	}
	a.api.Publish(a.versioned("orders", 1, parts), a.versioned("customers", 1, parts))
	began := time.Now()
	a.must("sync", "--quiet")
	whole := time.Since(began)
	for version := 2; version < 14; version++ {
		a.api.Publish(a.versioned("orders", version, parts), a.versioned("customers", version, parts))
		cmd, _ := a.start("sync", "--quiet", "--parallel", "2")
		time.Sleep(rand.N(whole)) //nolint:gosec // any moment is as good as another
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		got := strings.TrimSpace(strings.TrimPrefix(versions(), "v\n"))
		if seen, _, _ := strings.Cut(got, "/"); strings.Contains(seen, ",") || !strings.HasSuffix(got, fmt.Sprintf("/%d", parts)) {
			t.Fatalf("after a kill during version %d the table shows versions/parts %s", version, got)
		}
		if version%3 == 0 {
			a.must("sync", "--quiet")
			if got := versions(); got != fmt.Sprintf("v\n%d/%d\n", version, parts) {
				t.Fatalf("version %d: %s", version, got)
			}
		}
	}
	a.must("sync", "--quiet")
	a.must("sync", "--verify", "--quiet")
	left, err := filepath.Glob(filepath.Join(a.dir, "data", "parquet", "*", "*"))
	if err != nil || len(left) != 2*parts {
		t.Errorf("%d files on disk, want %d: %v", len(left), 2*parts, left)
	}
	if out := a.must("diagnose"); !strings.Contains(out, "Overall: healthy") {
		t.Error(out)
	}
}

func TestInterruptedByASignal(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	a.api.Publish(a.versioned("orders", 1, 2))
	reached := make(chan struct{}, 8)
	a.api.Inject(clienttest.Fault{Path: "/download", Stall: true, Do: func() { reached <- struct{}{} }})
	cmd, out := a.start("sync")
	<-reached
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "interrupted: what was fetched is kept") {
		t.Errorf("%v\n%s", err, out)
	}
	a.api.Heal()
	a.must("sync")
}

func TestTwoSyncsAtOnce(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	a.api.Publish(a.versioned("orders", 1, 2))
	reached, release := make(chan struct{}), make(chan struct{})
	a.api.Inject(clienttest.Fault{Path: "/download", Times: 1, Do: func() { close(reached); <-release }})
	first, _ := a.start("sync")
	<-reached
	second, out := a.start("sync")
	_ = second.Wait()
	if second.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "another `da sync` is at work") {
		t.Errorf("exit %d: %s", second.ProcessState.ExitCode(), out)
	}
	close(release)
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
}
