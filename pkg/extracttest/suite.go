package extracttest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Run runs the suite. It starts the test binary again as a child that it kills, so call it from a
// test of its own, directly and without another test of that name:
//
//	func TestAcceptance(t *testing.T) { extracttest.Run(t, fixture) }
func Run(t *testing.T, f Fixture) {
	t.Helper()
	if plan := os.Getenv(childEnv); plan != "" {
		child(t, f, plan)
		return
	}
	tests := []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"FirstVersion", testFirstVersion},
		{"AtomicPublish", testAtomicPublish},
		{"TypesKept_E12", testTypesKept},
		{"PartialFailureKeepsLastGood", testPartialFailure},
		{"BrokenSourceKeepsEverything_S2", testBrokenSource},
		{"EmptyIsNotAnError_S2", testEmpty},
		{"CancelLeavesNothing_S6", testCancel},
		{"UnchangedPublishesNothing", testUnchanged},
		{"SubsetLeavesTheOthersAlone_S1", testSubset},
		{"MassDropIsHeldBack_S2", testMassDrop},
		{"RemovedFromTheRegistry_S5", testRemoved},
		{"OneRunAtATime_S3", testOneRun},
		{"OldPartsAreCollected", testCollect},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, f)
		})
	}
	t.Run("Killed_E10", func(t *testing.T) {
		t.Parallel()
		testKilled(t, f)
	})
}

func testFirstVersion(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "orders", "customers")
	b.up.Put("orders", Rows(50, "a"))
	b.up.Put("customers", Rows(3, "c"))
	ready := b.run()
	b.want(ready, "orders", extract.OutcomeUpdated)
	o := b.want(ready, "customers", extract.OutcomeUpdated)
	if !ready.GetChanged() || ready.GetSource() != sourceName || o.GetRows() != 3 || o.GetBytes() == 0 || o.GetHash() == "" || o.GetPartsWritten() == 0 {
		t.Fatalf("the announcement is incomplete: %v", ready)
	}
	b.holds("orders", Rows(50, "a"))
	b.holds("customers", Rows(3, "c"))
	b.scratchClean()
	b.contract()
}

// contract checks the tables of extract.duckdb with a plain DuckDB, as any program would read them.
func (b *bench) contract() {
	b.t.Helper()
	db, err := lake.Open(context.Background(), lake.Options{Path: extract.PointerPath(b.dataDir, sourceName), ReadOnly: true, Threads: 1})
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var meta string
	query := "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE _meta)"
	if err := db.QueryRow(query).Scan(&meta); err != nil {
		b.t.Fatal(err)
	}
	if want := "table_name VARCHAR, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR"; meta != want {
		b.t.Fatalf("_meta is (%s), want (%s)", meta, want)
	}
	for _, table := range b.tables {
		var inMeta, inView, inParts int64
		err := db.QueryRow("SELECT rows FROM _meta WHERE table_name = " + lake.QuoteLiteral(table)).Scan(&inMeta)
		err = errors.Join(err, db.QueryRow("SELECT count(*) FROM "+lake.QuoteIdent(table)).Scan(&inView))
		err = errors.Join(err, db.QueryRow("SELECT sum(rows)::BIGINT FROM _parts WHERE table_name = "+lake.QuoteLiteral(table)).Scan(&inParts))
		if err != nil || inMeta != inView || inView != inParts {
			b.t.Fatalf("%s: %d rows in _meta, %d in its view, %d in _parts: %v", table, inMeta, inView, inParts, err)
		}
	}
}

// testAtomicPublish reads all the time while both tables change together.
func testAtomicPublish(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "left", "right")
	put := func(seed string) {
		b.up.Put("left", Rows(40, seed))
		b.up.Put("right", Rows(40, seed))
	}
	put("v0")
	b.run()
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			v, err := extract.OpenVersion(context.Background(), b.dataDir, sourceName)
			if err != nil || len(v.Problems) > 0 || len(v.Tables) != 2 {
				t.Errorf("a reader saw half of a version: %v %+v", err, v)
				return
			}
			if l, r := content(t, v, "left"), content(t, v, "right"); l != r {
				t.Errorf("a reader saw two versions at once:\n%.200s\n%.200s", l, r)
				return
			}
		}
	})
	for _, seed := range []string{"v1", "v2", "v3", "v4"} {
		put(seed)
		b.run()
	}
	close(stop)
	reader.Wait()
}

func testTypesKept(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "typed")
	odd := "ünïcode, \"quoted\"\tand\nbroken"
	rows := []Row{
		{ID: 9_007_199_254_740_993, Name: &odd, Amount: 0.1, At: time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{ID: -1, Name: nil, Amount: -1e300, At: time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC)},
	}
	b.up.Put("typed", rows)
	b.run()
	b.holds("typed", []Row{rows[1], rows[0]})
	at, _ := b.version().Table("typed")
	if !reflect.DeepEqual(at.Columns, f.Columns) {
		t.Fatalf("columns are %v, want %v", at.Columns, f.Columns)
	}
	b.up.Put("typed", nil)
	b.run()
	if at, _ := b.version().Table("typed"); !reflect.DeepEqual(at.Columns, f.Columns) {
		t.Fatalf("columns of the empty table are %v, want %v", at.Columns, f.Columns)
	}
}

func testPartialFailure(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "good", "bad", "never")
	b.up.Put("good", Rows(5, "old"))
	b.up.Put("bad", Rows(6, "old"))
	b.up.Break("never")
	ready := b.run()
	b.want(ready, "never", extract.OutcomeFailed)
	b.holds("bad", Rows(6, "old"))
	before, _ := b.version().Table("bad")

	b.up.Put("good", Rows(7, "new"))
	b.up.Break("bad")
	ready = b.run()
	b.want(ready, "good", extract.OutcomeUpdated)
	o := b.want(ready, "bad", extract.OutcomeFailed)
	if !ready.GetChanged() || o.GetRows() != 6 || o.GetHash() != before.Fingerprint {
		t.Fatalf("the outcome does not tell of the version that stays: %v", o)
	}
	b.holds("good", Rows(7, "new"))
	b.holds("bad", Rows(6, "old"))
	after, _ := b.version().Table("bad")
	if !after.ExtractedAt.Equal(before.ExtractedAt) {
		t.Fatal("a failure moved extracted_at")
	}
	b.up.Put("bad", Rows(8, "new"))
	b.want(b.run(), "bad", extract.OutcomeUpdated)
	b.holds("bad", Rows(8, "new"))
}

func testBrokenSource(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one", "two")
	b.up.Put("one", Rows(5, "a"))
	b.up.Put("two", Rows(5, "b"))
	b.run()
	stamp := b.stamp()
	b.up.BreakAll()
	for _, forced := range []bool{false, true} {
		cfg := b.config()
		cfg.Force = forced
		ready, err := extract.Run(context.Background(), cfg)
		if err == nil {
			for _, o := range ready.GetTables() {
				if o.GetOutcome() != extract.OutcomeFailed {
					t.Fatalf("a source that cannot be read gave %v", o)
				}
			}
			if ready.GetChanged() {
				t.Fatal("a source that cannot be read published a version")
			}
		}
		if b.stamp() != stamp {
			t.Fatal("a source that cannot be read replaced what stood")
		}
	}
	b.holds("one", Rows(5, "a"))
	b.scratchClean()
	b.up.Mend()
	if b.run().GetChanged() {
		t.Fatal("a mended source with the same tables counts as changed")
	}
}

func testEmpty(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "small", "empty")
	b.up.Put("small", Rows(10, "a"))
	b.up.Put("empty", nil)
	ready := b.run()
	b.want(ready, "empty", extract.OutcomeUpdated)
	b.holds("empty", nil)
	b.up.Put("small", nil)
	b.want(b.run(), "small", extract.OutcomeUpdated)
	b.holds("small", nil)
	b.up.Break("small")
	b.want(b.run(), "small", extract.OutcomeFailed)
	b.holds("small", nil)
}

func testCancel(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one", "two")
	b.up.Put("one", Rows(30, "old"))
	b.up.Put("two", Rows(30, "old"))
	b.run()
	before, stamp := b.files(), b.stamp()
	b.up.Put("one", Rows(30, "new"))
	b.up.Put("two", Rows(30, "new"))
	for _, phase := range []string{"at once", "started"} {
		ctx, cancel := context.WithCancel(context.Background())
		cfg := b.config()
		cfg.Limits.Tables = 1
		cfg.Progress = func(p *agnesv1.ExtractProgress) {
			if p.GetPhase() == phase {
				cancel()
			}
		}
		if phase == "at once" {
			cancel()
		}
		_, err := extract.Run(ctx, cfg)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled %s: %v", phase, err)
		}
		if b.stamp() != stamp || b.files() != before {
			t.Fatalf("cancelled %s, it left\n%s\nwhere there was\n%s", phase, b.files(), before)
		}
	}
	b.run()
	b.holds("two", Rows(30, "new"))
}

func testUnchanged(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one", "two")
	b.up.Put("one", Rows(500, "a"))
	b.up.Put("two", Rows(4, "b"))
	b.run()
	stamp, files := b.stamp(), b.files()
	for _, change := range []func(*extract.RunConfig){func(*extract.RunConfig) {}, force, only("two")} {
		ready := b.run(change)
		b.want(ready, "two", extract.OutcomeUnchanged)
		if ready.GetChanged() || b.stamp() != stamp || b.files() != files {
			t.Fatalf("unchanged input was published: %v", ready)
		}
	}
	b.up.Put("one", Rows(500, "a")) // written anew, with the same rows
	ready := b.run()
	o := b.want(ready, "one", extract.OutcomeUnchanged)
	if ready.GetChanged() || o.GetPartsWritten() != 0 || o.GetPartsReused() == 0 {
		t.Fatalf("the same rows, written anew, were published: %v", ready)
	}
}

func testSubset(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one", "two", "three")
	for _, table := range b.tables {
		b.up.Put(table, Rows(5, "old"))
	}
	b.run()
	for _, table := range b.tables {
		b.up.Put(table, Rows(6, "new"))
	}
	ready := b.run(only("two", "unknown"))
	b.want(ready, "two", extract.OutcomeUpdated)
	if o := b.want(ready, "unknown", extract.OutcomeFailed); o.GetErrorKind() != string(fault.NotFound) {
		t.Fatalf("an unknown table: %v", o)
	}
	if len(ready.GetTables()) != 2 {
		t.Fatalf("outcomes of tables that nobody asked for: %v", ready.GetTables())
	}
	b.holds("one", Rows(5, "old"))
	b.holds("two", Rows(6, "new"))
	b.holds("three", Rows(5, "old"))
	// Not even one that left the registry goes away in a subset run.
	b.tables = []string{"one", "two"}
	b.run(only("one"))
	b.holds("three", Rows(5, "old"))
}

func testMassDrop(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "big", "other")
	b.up.Put("big", Rows(100, "a"))
	b.up.Put("other", Rows(5, "a"))
	b.run()
	b.up.Put("other", Rows(6, "b"))
	for _, rows := range []int{49, 0} {
		b.up.Put("big", Rows(rows, "a"))
		ready := b.run()
		if o := b.want(ready, "big", extract.OutcomeHeldBack); o.GetRows() != 100 {
			t.Fatalf("held back with %d rows", o.GetRows())
		}
		b.holds("big", Rows(100, "a"))
		b.holds("other", Rows(6, "b"))
	}
	b.want(b.run(), "big", extract.OutcomeHeldBack) // until somebody confirms, and no sooner
	b.want(b.run(only("big"), force), "big", extract.OutcomeUpdated)
	b.holds("big", nil)
	b.up.Put("big", Rows(100, "b"))
	b.run()
	b.up.Put("big", Rows(50, "b")) // half of it is not more than half
	b.want(b.run(), "big", extract.OutcomeUpdated)
}

func testRemoved(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "keep", "gone")
	b.up.Put("keep", Rows(5, "a"))
	b.up.Put("gone", Rows(5, "a"))
	b.run()
	b.up.Break("gone")
	b.tables = []string{"keep"}
	ready := b.run()
	b.want(ready, "gone", extract.OutcomeRemoved)
	if _, found := b.version().Table("gone"); found || !ready.GetChanged() {
		t.Fatal("a table that left the registry is still published")
	}
	b.want(b.run(), "keep", extract.OutcomeUnchanged)
}

func testOneRun(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one")
	b.up.Put("one", Rows(5, "a"))
	var second error
	b.run(func(c *extract.RunConfig) {
		c.Step = func(step string) {
			if step == "swap" {
				_, second = extract.Run(context.Background(), b.config())
			}
		}
	})
	if !fault.Is(second, fault.Busy) {
		t.Fatalf("a second run while one is under way: %v", second)
	}
}

func testCollect(t *testing.T, f Fixture) {
	t.Helper()
	b := newBench(t, f, t.TempDir(), "one")
	b.up.Put("one", Rows(30, "a"))
	b.run()
	old, _ := b.version().Table("one")
	b.publish(old)
	now := func(c *extract.RunConfig) { c.Grace = -1 }
	b.up.Put("one", Rows(30, "b"))
	b.run()
	if b.partFiles() != len(old.Parts)+1 {
		t.Fatalf("a part was collected within the grace period: %s", b.files())
	}
	b.run(now)
	if b.partFiles() != len(old.Parts)+1 {
		t.Fatal("a part that the published catalog refers to was collected")
	}
	current, _ := b.version().Table("one")
	b.publish(current)
	b.run(now)
	if b.partFiles() != len(current.Parts) {
		t.Fatalf("old parts were not collected: %s", b.files())
	}
	b.holds("one", Rows(30, "b"))
}

// publish writes the catalog document of the source, as the orchestrator does.
func (b *bench) publish(table extract.VersionTable) {
	b.t.Helper()
	raw, err := json.Marshal(catalog.Source{Name: sourceName, Generation: 1, Tables: []catalog.Table{table.Table}})
	if err == nil {
		err = os.MkdirAll(catalog.SourcesDir(b.dataDir), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(catalog.SourcesDir(b.dataDir), sourceName+".json"), raw, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
