package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestTrap_S4_OnlyASuccessMovesTheLastSync(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC) }
	record := func(id string, minute int, o state.TableOutcome) state.TableSync {
		t.Helper()
		o.Table = "orders"
		if err := s.Sync.Record(t.Context(), id, "shop", at(minute), []state.TableOutcome{o}); err != nil {
			t.Fatal(err)
		}
		list := must[[]state.TableSync](t)(s.Sync.List(t.Context()))
		if len(list) == 0 {
			return state.TableSync{}
		}
		return list[0]
	}
	if got := record("e1", 1, state.TableOutcome{Status: state.SyncError, Error: "no file"}); !got.LastSync.IsZero() || got.Status != state.SyncError || got.Error != "no file" {
		t.Errorf("a first failure: %+v", got)
	}
	if got := record("e2", 2, state.TableOutcome{Status: state.SyncOK, Rows: 10, SizeBytes: 100, Hash: "h"}); !got.LastSync.Equal(at(2)) || got.Error != "" || got.Rows != 10 {
		t.Errorf("a success leaves an error: %+v", got)
	}
	if got := record("e3", 3, state.TableOutcome{Status: state.SyncHeldBack, Error: "half the rows are gone"}); !got.LastSync.Equal(at(2)) || got.Status != state.SyncHeldBack || got.Rows != 10 || got.Hash != "h" {
		t.Errorf("a failure moved the last sync: %+v", got)
	}
	if got := record("e5", 5, state.TableOutcome{Status: state.SyncOK, Rows: 12}); !got.LastSync.Equal(at(5)) || got.Status != state.SyncOK {
		t.Errorf("a later success: %+v", got)
	}
	for _, late := range []state.TableOutcome{{Status: state.SyncOK, Rows: 1}, {Status: state.SyncError, Error: "old"}} {
		if got := record("e4"+late.Status, 4, late); !got.LastSync.Equal(at(5)) || got.Rows != 12 || got.Error != "" {
			t.Errorf("an older event undid a newer one: %+v", got)
		}
	}
	before := must[[]state.TableHistory](t)(s.Sync.History(t.Context(), "orders", 100))
	record("e5", 5, state.TableOutcome{Status: state.SyncOK, Rows: 12})
	after := must[[]state.TableHistory](t)(s.Sync.History(t.Context(), "orders", 100))
	if d := cmp.Diff(before, after); d != "" || len(after) != 6 || !after[0].SyncedAt.Equal(at(5)) {
		t.Errorf("the same event twice: %d entries, %s", len(after), d)
	}
	if got := record("e6", 6, state.TableOutcome{Status: state.SyncRemoved}); got.TableID != "" {
		t.Errorf("a removed table stays: %+v", got)
	}
}

func TestTablesOfOneNameInTwoSourcesHaveRowsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := open(t, predecessor(t, 7))
	at := time.Now()
	for _, source := range []string{"keboola", "shop", "keboola"} {
		if err := s.Sync.Record(t.Context(), "e-"+source, source, at, []state.TableOutcome{{Table: "orders", Status: state.SyncOK, Rows: int64(len(source))}}); err != nil {
			t.Fatal(err)
		}
	}
	list := must[[]state.TableSync](t)(s.Sync.List(t.Context()))
	if len(list) != 2 || list[0].TableID != "orders" || list[0].Source != "keboola" || list[0].Rows != 7 || list[1].TableID != "shop.orders" || list[1].Rows != 4 {
		t.Errorf("got %+v", list)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var all []state.TableOutcome
	for i := range 450 {
		all = append(all, state.TableOutcome{Table: fmt.Sprintf("t%d", i), Status: state.SyncOK})
	}
	for i := range 105 {
		outcomes := all[:1]
		if i%50 == 0 {
			outcomes = all
		}
		if err := s.Sync.Record(t.Context(), fmt.Sprint(i), "shop", at.Add(time.Duration(i)*time.Minute), outcomes); err != nil {
			t.Fatal(err)
		}
	}
	if h := must[[]state.TableHistory](t)(s.Sync.History(t.Context(), "t0", 1000)); len(h) != 100 || !h[0].SyncedAt.Equal(at.Add(104*time.Minute)) {
		t.Errorf("%d entries, newest of %v", len(h), h[0].SyncedAt)
	}
	if h := must[[]state.TableHistory](t)(s.Sync.History(t.Context(), "t449", 1000)); len(h) != 3 {
		t.Errorf("%d entries of a quiet table", len(h))
	}
}

func run(id string, at time.Time, status string, sources ...string) state.Run {
	r := state.Run{ID: id, Status: status, Reason: "manual", RequestedBy: "ann", RequestedAt: at, Force: true}
	if status == "succeeded" {
		r.FinishedAt = at.Add(time.Minute)
	}
	for _, s := range sources {
		r.Sources = append(r.Sources, state.RunSource{
			Source: s, Type: "csv", Status: status, Requested: []string{"a", "b"}, StartedAt: at, Generation: 7, EventID: "e", Error: "x", ErrorKind: "busy",
			Tables: []state.RunTable{{Table: "a", Outcome: "updated", Rows: 1, SizeBytes: 2, Hash: "h", Duration: 1500 * time.Millisecond, RejectedRows: 3, PartsWritten: 4, PartsReused: 5}, {Table: "b", Outcome: "failed", Error: "no", ErrorKind: "conflict", SchemaChanges: []state.SchemaChange{{Column: "x", Change: "added", ToType: "DATE"}}}},
		})
	}
	return r
}

func TestRunsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	want := run("r1", at, "succeeded", "crm", "shop")
	if err := s.Runs.Save(t.Context(), []state.Run{want}, "", state.Recorded{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, must[state.Run](t)(s.Runs.Get(t.Context(), "r1"))); d != "" {
		t.Error(d)
	}
	want.Sources[1].Status, want.Sources[1].Tables[0].Rows, want.Error = "partial", 99, "half"
	past, err := s.Runs.History(t.Context(), "shop", "b", 10)
	if err != nil || len(past) != 1 || past[0].RunID != want.ID || past[0].ErrorKind != "conflict" || len(past[0].SchemaChanges) != 1 || past[0].SchemaChanges[0].Column != "x" || past[0].At.IsZero() {
		t.Errorf("the past of a table: %+v, %v", past, err)
	}
	if err := s.Runs.Save(t.Context(), []state.Run{want}, "shop", state.Recorded{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, must[state.Run](t)(s.Runs.Get(t.Context(), "r1"))); d != "" {
		t.Error("after a change:", d)
	}
	if _, err := s.Runs.Get(t.Context(), "nothing"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestRunsAreListedAndPruned(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var all []state.Run
	for i := range 10 {
		all = append(all, run(fmt.Sprintf("shop%d", i), at.Add(time.Duration(i)*time.Hour), "succeeded", "shop"))
	}
	all = append(all, run("both", at, "succeeded", "shop", "rare"), run("open", at.Add(-time.Hour), "queued", "shop"), run("forgotten", at.Add(-30*24*time.Hour), "queued", "shop"))
	if err := s.Runs.Save(t.Context(), all, "", state.Recorded{}); err != nil {
		t.Fatal(err)
	}
	list := must[[]state.Run](t)(s.Runs.List(t.Context(), state.RunFilter{Source: "shop", Statuses: []string{"succeeded"}, Limit: 3}))
	if len(list) != 3 || list[0].ID != "shop9" || len(list[0].Sources[0].Tables) != 2 {
		t.Errorf("listed %+v", list)
	}
	if list := must[[]state.Run](t)(s.Runs.List(t.Context(), state.RunFilter{Source: "rare", NoTables: true})); len(list) != 1 || len(list[0].Sources) != 2 || list[0].Sources[0].Tables != nil {
		t.Errorf("of the rare source: %+v", list)
	}
	if n := must[int](t)(s.Runs.Prune(t.Context(), 4, at.Add(-7*24*time.Hour))); n != 7 {
		t.Errorf("%d runs were forgotten", n)
	}
	var left []string
	for _, r := range must[[]state.Run](t)(s.Runs.List(t.Context(), state.RunFilter{})) {
		left = append(left, r.ID)
	}
	// The four latest of the shop, the one that another source still needs, and the one under way.
	if d := cmp.Diff([]string{"shop9", "shop8", "shop7", "shop6", "both", "open"}, left); d != "" {
		t.Error(d)
	}
}

func TestDigestsAreKeptByContent(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put := map[string]lake.Digest{}
	for i := range 1500 {
		put[fmt.Sprintf("f%d", i)] = lake.Digest{MD5: "m", SHA256: "s", Size: int64(i)}
	}
	for range 2 {
		if err := s.Digests.Put(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	ask := []string{"unknown"}
	for f := range put {
		ask = append(ask, f)
	}
	if got := must[map[string]lake.Digest](t)(s.Digests.Get(t.Context(), ask)); len(got) != 1500 || got["f7"].Size != 7 {
		t.Errorf("%d digests", len(got))
	}
	if n := must[int](t)(s.Digests.Retain(t.Context(), []string{"f7", "unknown"})); n != 1499 {
		t.Errorf("%d forgotten", n)
	}
	if got := must[map[string]lake.Digest](t)(s.Digests.Get(t.Context(), ask)); len(got) != 1 {
		t.Errorf("%d digests", len(got))
	}
}

func TestSettingsAreKept(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, ok, err := s.Settings.Get(t.Context(), "k"); ok || err != nil {
		t.Errorf("a setting that is not there: %v, %v", ok, err)
	}
	for _, v := range []string{"one", "two"} {
		if err := s.Settings.Put(t.Context(), "k", v); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := s.Settings.Get(t.Context(), "k"); got != v || !ok || err != nil {
			t.Errorf("%q, %v, %v", got, ok, err)
		}
	}
	if err := s.Settings.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := s.Settings.Get(t.Context(), "k"); ok {
		t.Error("a deleted setting is there")
	}
}
