package extract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Old parts go when they have been unreferenced for the whole grace period, not when they are old, and
// never while it is not certain that nobody refers to them.
func TestCollectAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	src.query("t", "SELECT 1 AS id")
	mustRun(t, cfg)
	old := mustTable(t, mustVersion(t, dir), "t").Files[0]
	ancient := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(old, ancient, ancient); err != nil {
		t.Fatal(err)
	}
	src.query("t", "SELECT 2 AS id")
	mustRun(t, cfg) // sees it unreferenced for the first time
	current := mustTable(t, mustVersion(t, dir), "t").Files[0]
	stranger := filepath.Join(filepath.Dir(old), "theirs.parquet")
	if err := os.WriteFile(stranger, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) bool {
		t.Helper()
		c := collector{dataDir: dir, source: "src", grace: time.Hour, now: time.Now().Add(d), step: func(string) {}}
		if err := c.collect(context.Background(), t.TempDir()); err != nil {
			t.Logf("collect: %v", err)
		}
		for _, keep := range []string{current, stranger} {
			if _, err := os.Stat(keep); err != nil {
				t.Fatalf("%s: %v", d, err)
			}
		}
		_, err := os.Stat(old)
		return err == nil
	}
	doc := catalog.SourcePath(dir, "src")
	if err := mkdir(filepath.Dir(doc)); err != nil {
		t.Fatal(err)
	}
	if !at(30 * time.Minute) {
		t.Fatal("collected within the grace period")
	}
	if err := os.WriteFile(doc, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !at(3 * time.Hour) {
		t.Fatal("collected while the catalog cannot be read")
	}
	if err := os.Remove(doc); err != nil {
		t.Fatal(err)
	}
	if !at(-3 * time.Hour) {
		t.Fatal("collected by a clock that was set back")
	}
	if at(3 * time.Hour) {
		t.Fatal("not collected after the grace period")
	}
}

// A table without a key holds the same rows, whatever their order: its parts stay. One other row and
// they do not.
func TestSameRowsKeepTheirParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	cfg := runConfig(dir, src, register("t")...)
	cfg.Force = true
	query := "SELECT i AS id, CASE WHEN i %% 3 > 0 THEN 'n' || (i %% 100) END AS name FROM range(400000) r(i) WHERE i <> %d ORDER BY %s"
	src.query("t", fmt.Sprintf(query, 5, "i"))
	mustRun(t, cfg)
	first := mustTable(t, mustVersion(t, dir), "t").Fingerprint
	src.query("t", fmt.Sprintf(query, 5, "hash(i)"))
	if o := mustOutcome(t, mustRun(t, cfg), "t", OutcomeUnchanged); o.GetHash() != first || o.GetPartsWritten() != 0 {
		t.Fatalf("outcome %v", o)
	}
	src.query("t", fmt.Sprintf(query, 8, "i"))
	mustOutcome(t, mustRun(t, cfg), "t", OutcomeUpdated)
}

// A huge table without a key is cut by rows, in order.
func TestHugeTablesAreSplit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("t", fmt.Sprintf("SELECT i::INTEGER AS id FROM range(%d) r(i)", maxPartRows+1000))
	mustRun(t, runConfig(dir, src, register("t")...))
	table := mustTable(t, mustVersion(t, dir), "t")
	if len(table.Parts) != 2 || table.Parts[0].Rows != maxPartRows || table.Parts[1].Rows != 1000 || table.Rows != maxPartRows+1000 {
		t.Fatalf("parts %+v", table.Parts)
	}
	if got := ask(t, "SELECT min(id) FROM read_parquet('"+table.Files[1]+"')"); got != fmt.Sprint(maxPartRows) {
		t.Fatalf("the second part begins with %s", got)
	}
}

func TestProgressIsThrottled(t *testing.T) {
	t.Parallel()
	var reports []*agnesv1.ExtractProgress
	tracker := newTracker(func(p *agnesv1.ExtractProgress) { reports = append(reports, p) }, "src", []string{"1"}, 3)
	for i := range 10_000 {
		tracker.table("reading", "t", int64(i), 0, 0)
	}
	tracker.tableDone("t")
	tracker.phase("publishing", "")
	last := reports[len(reports)-1]
	if len(reports) > 4 || last.GetPhase() != "publishing" || last.GetTablesDone() != 1 || last.GetTablesTotal() != 3 {
		t.Fatalf("%d reports, the last %v", len(reports), last)
	}
}
