package orchestrator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// victimDir makes the test binary the process that TestKilledAtAnyStep kills: it publishes versions
// of the source "s" in that data directory as fast as it can.
const victimDir = "AGNES_TEST_VICTIM"

// heard is one announcement that reached the bus of the victim: a file that is only appended to.
type heard struct {
	ID         string
	Generation uint64
	Changes    string
}

func logAnnouncements(dir string) (func(context.Context, string, *agnesv1.AnalyticsPublished) error, error) {
	f, err := os.OpenFile(filepath.Join(dir, "heard"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, id string, m *agnesv1.AnalyticsPublished) error {
		raw, err := json.Marshal(heard{id, m.GetGeneration(), said(m)})
		if err == nil {
			_, err = f.Write(append(raw, '\n'))
		}
		return err
	}, nil
}

// runVictim rebuilds until it is killed: between two extracts of another program that differ, and
// server.duckdb after each.
func runVictim(dir string) error {
	ctx := context.Background()
	announce, err := logAnnouncements(dir)
	if err != nil {
		return err
	}
	o, err := New(Options{DataDir: dir, Announce: announce})
	if err != nil {
		return err
	}
	pointer := pointerOf(dir)
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("alive-", os.Getpid())), nil, 0o644); err != nil {
		return err
	}
	for i := 0; ; i++ {
		aside := filepath.Join(filepath.Dir(pointer), fmt.Sprintf("aside-%d-%d", os.Getpid(), i))
		if err := os.Link(filepath.Join(dir, fmt.Sprint("version", i%3)), aside); err != nil {
			return err
		}
		if err := os.Rename(aside, pointer); err != nil {
			return err
		}
		if _, err := o.RebuildSource(ctx, "s"); err != nil {
			return err
		}
		if err := o.WriteServerDB(ctx); err != nil {
			return err
		}
	}
}

// A process that is killed at any step leaves whole files, loses no announcement, and the next one
// goes on without a repair.
func TestTrap_E10_KilledAtAnyStep(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills processes for seconds")
	}
	h := newHouse(t, nil)
	for i := range 3 {
		h.sql("s", metaTable, fmt.Sprintf("CREATE TABLE t%d AS SELECT i AS v FROM range(%d) r(i)", i, 100*(i+1)), "CREATE TABLE same AS SELECT 1 AS v",
			metaRow(fmt.Sprint("t", i), "local"), metaRow("same", "local"))
		if err := os.Rename(pointerOf(h.dir), filepath.Join(h.dir, fmt.Sprint("version", i))); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 12 {
		victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		victim.Env = append(os.Environ(), victimDir+"="+h.dir)
		stderr := &strings.Builder{}
		victim.Stderr = stderr
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(h.dir, fmt.Sprint("alive-", victim.Process.Pid)))
			return err == nil || stderr.Len() > 0
		})
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		_ = victim.Process.Kill()
		_ = victim.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("round %d: the victim failed by itself: %s", round, stderr)
		}
		h.afterKill(round)
	}
}

func (h *house) afterKill(round int) {
	t := h.t
	t.Helper()
	if _, broken, err := catalog.LoadSources(h.dir); err != nil || len(broken) != 0 {
		t.Fatalf("round %d: the catalog is not whole: %v, %v", round, broken, err)
	}
	announce, err := logAnnouncements(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	next, err := New(Options{DataDir: h.dir, Announce: announce})
	if err != nil {
		t.Fatal(err)
	}
	if err := lake.SweepScratch(next.tmpDir()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(next.tmpDir(), "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("round %d: scratch of the dead process is left: %v, %v", round, left, err)
	}
	if extractStands(h.dir) {
		if _, err := next.RebuildSource(t.Context(), "s"); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		s := h.doc("s")
		if missing := next.missingPart(s.Tables[0].Parts); missing != nil || len(s.Tables) != 2 || len(s.Problems) != 0 {
			t.Errorf("round %d: %v, tables %v, problems %v", round, missing, s.Tables, s.Problems)
		}
	}
	h.checkHeard(round)
	t.Logf("round %d: generation %d", round, h.doc("s").Generation)
}

func extractStands(dir string) bool {
	_, err := os.Stat(pointerOf(dir))
	return err == nil
}

// checkHeard demands that every generation was announced, always with the same words.
func (h *house) checkHeard(round int) {
	h.t.Helper()
	f, err := os.Open(filepath.Join(h.dir, "heard"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	byGeneration := map[uint64]heard{}
	var last uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e heard
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			h.t.Fatal(err)
		}
		if was, twice := byGeneration[e.Generation]; twice && was != e {
			h.t.Errorf("round %d: generation %d was announced as %v and as %v", round, e.Generation, was, e)
		}
		byGeneration[e.Generation] = e
		last = max(last, e.Generation)
	}
	for g := uint64(1); g <= last; g++ {
		if _, ok := byGeneration[g]; !ok {
			h.t.Errorf("round %d: generation %d of %d was never announced", round, g, last)
		}
	}
	if extractStands(h.dir) && h.doc("s").Generation != last {
		h.t.Errorf("round %d: generation %d stands, %d was announced last", round, h.doc("s").Generation, last)
	}
}

func pointerOf(dir string) string { return filepath.Join(dir, "extracts", "s", "extract.duckdb") }
