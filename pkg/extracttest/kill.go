package extracttest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// plan tells a child process where it works and at which step it is killed.
type plan struct {
	Dir    string
	Tables []string
	// Step and Count name the step; without a step the parent kills the child when it likes.
	Step  string
	Count int
}

// child is the process that is killed: it runs the connector once.
func child(t *testing.T, f Fixture, raw string) {
	t.Helper()
	var p plan
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, f, p.Dir, p.Tables...)
	cfg := b.config()
	cfg.Limits.Tables = 1
	cfg.Grace = -1
	count := 0
	cfg.Step = func(step string) {
		if step != p.Step {
			return
		}
		if count++; count == p.Count {
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Kill()
			}
			if err != nil {
				t.Error(err)
			}
			select {} // until the signal comes
		}
	}
	_, _ = os.Stdout.WriteString("running\n")
	if _, err := extract.Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
}

// spawn starts the child of a plan.
func spawn(t *testing.T, p plan) *exec.Cmd {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	levels := strings.Split(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+regexp.QuoteMeta(levels[0])+"$", "-test.count=1") //nolint:gosec // this binary
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	return cmd
}

// testKilled kills the connector at every step, and at random times, and looks at what it left: the
// version that stood or the new one, whole; and the next run completes and cleans up.
func testKilled(t *testing.T, f Fixture) {
	t.Helper()
	type point struct {
		step  string
		count int
	}
	points := []point{{"part", 1}, {"part", 2}, {"build", 1}, {"swap", 1}, {"swapped", 1}, {"collect", 1}}
	for _, p := range points {
		t.Run(fmt.Sprintf("%s-%d", p.step, p.count), func(t *testing.T) {
			t.Parallel()
			k := newKill(t, f)
			cmd := spawn(t, plan{Dir: k.dir, Tables: k.b.tables, Step: p.step, Count: p.count})
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("the child was not killed at %s: %v\n%s", p.step, err, out)
			}
			k.check(p.step == "swapped" || p.step == "collect")
		})
	}
	t.Run("random", func(t *testing.T) {
		t.Parallel()
		for range 4 {
			k := newKill(t, f)
			cmd := spawn(t, plan{Dir: k.dir, Tables: k.b.tables})
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = stdout.Read(make([]byte, 1))                                  // it runs now, or is over
			time.Sleep(time.Duration(rand.Int64N(int64(80 * time.Millisecond)))) //nolint:gosec // any moment will do
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			k.check(false)
		}
	})
}

// kill is a source with one published version and a changed upstream.
type kill struct {
	b   *bench
	dir string
}

func newKill(t *testing.T, f Fixture) kill {
	t.Helper()
	dir := t.TempDir()
	b := newBench(t, f, dir, "left", "right")
	for _, seed := range []string{"older", "old"} { // the parts of the older one wait to be collected
		b.up.Put("left", Rows(60, seed))
		b.up.Put("right", Rows(60, seed))
		b.run()
	}
	b.up.Put("left", Rows(70, "new"))
	b.up.Put("right", Rows(70, "new"))
	return kill{b, dir}
}

// check looks at what a killed process left, and runs again.
func (k kill) check(published bool) {
	k.b.t.Helper()
	v := k.b.whole()
	old, fresh := normal(k.b.t, expect(k.b.t, Rows(60, "old"))), normal(k.b.t, expect(k.b.t, Rows(70, "new")))
	left, right := normal(k.b.t, content(k.b.t, v, "left")), normal(k.b.t, content(k.b.t, v, "right"))
	if left != right || (left != old && left != fresh) || (published && left != fresh) {
		k.b.t.Fatalf("a killed process left half of a version:\n%.200s\n%.200s", left, right)
	}
	if err := lake.SweepScratch(k.b.dataDir + "/tmp"); err != nil {
		k.b.t.Fatal(err)
	}
	k.b.scratchClean()
	k.b.run(func(c *extract.RunConfig) { c.Grace = -1 })
	k.b.holds("left", Rows(70, "new"))
	k.b.holds("right", Rows(70, "new"))
	if n := k.b.partFiles(); n != 2 {
		k.b.t.Fatalf("%d parts are left where two are referred to:\n%s", n, k.b.files())
	}
	k.b.scratchClean()
}
