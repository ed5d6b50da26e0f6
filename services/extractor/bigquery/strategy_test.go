package bigquery

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// events is a table whose rows have times, in a house that reads it; asked are the row restrictions of its
// read sessions, "" for a whole reading.
type events struct {
	*house
	rows  []extracttest.Row
	asked []string
}

var since = regexp.MustCompile("\\(?.*`at` >= TIMESTAMP '([^']+)'")

func newEvents(t *testing.T, strategy string, options map[string]any, key ...string) *events {
	t.Helper()
	e := &events{house: newHouse(t)}
	e.register("events", "", options)
	e.registry[0].SyncStrategy, e.registry[0].PrimaryKey = strategy, key
	return e
}

// row makes or changes a row, at a minute of the day.
func (e *events) row(id int64, name string, minute int) {
	e.rows = slices.DeleteFunc(e.rows, func(r extracttest.Row) bool { return r.ID == id })
	e.rows = append(e.rows, extracttest.Row{ID: id, Name: &name, At: time.Date(2026, 2, 3, 0, minute, 0, 0, time.UTC)})
}

// upstream publishes the rows in BigQuery.
func (e *events) upstream() {
	e.t.Helper()
	rows := slices.Clone(e.rows)
	e.at = e.at.Add(time.Second)
	e.server.Put(bigquerytest.Table{
		Project: "data-project", Dataset: "main", Name: "events", Modified: e.at, Batches: batches(rows),
		Fields: bigquerytest.Fields("id", "INTEGER", "name", "STRING", "amount", "FLOAT", "at", "TIMESTAMP"),
		Restricted: func(restriction string) []arrow.RecordBatch {
			e.asked = append(e.asked, restriction)
			m := since.FindStringSubmatch(restriction)
			if m == nil {
				return batches(rows)
			}
			from, err := time.Parse("2006-01-02 15:04:05-07", m[1])
			if err != nil {
				e.t.Error(err)
			}
			return batches(slices.DeleteFunc(slices.Clone(rows), func(r extracttest.Row) bool { return r.At.Before(from) }))
		},
	})
}

func (e *events) synced(want string) {
	e.t.Helper()
	e.upstream()
	if got := e.run()["events"]; got != want {
		e.t.Fatalf("%s, want %s", got, want)
	}
}

// holds compares all rows with those upstream.
func (e *events) holds() {
	e.t.Helper()
	var want []string
	for _, r := range e.rows {
		want = append(want, fmt.Sprintf("%d %s", r.ID, *r.Name))
	}
	slices.Sort(want)
	if got := e.read("SELECT id || ' ' || name FROM %s"); !slices.Equal(got, want) {
		e.t.Errorf("%v, want %v", got, want)
	}
}

func TestIncrementalAsksForWhatChanged(t *testing.T) {
	t.Parallel()
	e := newEvents(t, strategyIncremental, map[string]any{"incremental_by": "at"}, "id")
	for id := range int64(30) {
		e.row(id, "first", int(id))
	}
	e.synced("updated")
	e.holds()
	if len(e.asked) != 0 {
		t.Fatalf("the first reading asked for %v", e.asked)
	}
	e.synced("unchanged") // it was touched, and what changed is asked for: nothing
	e.asked = nil

	e.row(3, "changed", 40)
	e.row(99, "new", 29) // as late as the latest one that is known
	e.synced("updated")
	e.holds()
	if want := "`at` >= TIMESTAMP '2026-02-03 00:29:00+00'"; len(e.asked) != 1 || e.asked[0] != want {
		t.Errorf("asked for %v, want %s", e.asked, want)
	}
	sessions := e.server.Sessions()

	// A row that goes, and one that comes late with an earlier time, are seen by the number of rows.
	e.rows = e.rows[1:]
	e.synced("updated")
	e.holds()
	e.row(100, "late", 1)
	e.synced("updated")
	e.holds()
	if n := e.server.Sessions() - sessions; n != 4 {
		t.Errorf("%d sessions for two changes that were asked for first, and then read whole", n)
	}
	// What stands is what a full refresh would give.
	e.row(4, "changed", 50)
	e.synced("updated")
	e.registry[0].SyncStrategy = strategyFull
	e.synced("unchanged")
	e.holds()
}

func TestIncrementalOfAPartOfTheRows(t *testing.T) {
	t.Parallel()
	e := newEvents(t, strategyIncremental, map[string]any{"incremental_by": "at", "where": "id < 1000"}, "id")
	e.row(1, "one", 1)
	e.row(2, "two", 2)
	e.synced("updated")
	e.row(2, "changed", 3)
	gone := e.rows[0].ID
	e.rows = e.rows[1:]
	e.synced("updated")
	if want := "(id < 1000) AND `at` >= TIMESTAMP '2026-02-03 00:02:00+00'"; e.asked[len(e.asked)-1] != want {
		t.Errorf("asked for %v, want %s", e.asked, want)
	}
	// How many rows a condition has nobody tells: one that went stays until a full refresh.
	if got := e.read("SELECT id || ' ' || name FROM %s"); !slices.Equal(got, []string{fmt.Sprintf("%d one", gone), "2 changed"}) {
		t.Errorf("%v", got)
	}
}

func TestAKeyThatIsTwiceInWhatChangedLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEvents(t, strategyIncremental, map[string]any{"incremental_by": "at"}, "id")
	e.row(1, "one", 1)
	e.synced("updated")
	e.row(2, "two", 2)
	e.rows = append(e.rows, e.rows[1])
	other := "another"
	e.rows[2].Name = &other
	e.upstream()
	if got := e.run()["events"]; !strings.HasPrefix(got, "failed conflict") {
		t.Errorf("%s", got)
	}
	if got := e.read("SELECT id || ' ' || name FROM %s"); !slices.Equal(got, []string{"1 one"}) {
		t.Errorf("%v", got)
	}
}

func TestPartitionedKeepsWhatIsOver(t *testing.T) {
	t.Parallel()
	e := newEvents(t, strategyPartitioned, map[string]any{"partition_by": "at", "partition": "day"}, "id")
	for id := range int64(6) {
		e.row(id, "first", int(id)*12*60) // two a day
	}
	e.synced("updated")
	before := e.version("events").Parts
	if len(before) != 3 {
		t.Fatalf("%d parts for three days", len(before))
	}
	e.row(5, "changed", 5*12*60)
	e.row(6, "new", 6*12*60)
	e.synced("updated")
	e.holds()
	after := e.version("events").Parts
	if len(after) != 4 || after[0] != before[0] || after[1] != before[1] || after[2] == before[2] {
		t.Errorf("%v became %v", before, after)
	}
}

func TestStrategiesThatCannotBe(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*agnesv1.RegisteredTable){
		"needs the primary key":   func(r *agnesv1.RegisteredTable) { r.PrimaryKey = nil },
		"needs `incremental_by`":  func(r *agnesv1.RegisteredTable) { r.OptionsJson = "{}" },
		"has no column \"other\"": func(r *agnesv1.RegisteredTable) { r.OptionsJson = `{"incremental_by": "other"}` },
		"it is not selected":      func(r *agnesv1.RegisteredTable) { r.OptionsJson = `{"incremental_by": "at", "columns": ["id"]}` },
		"is a text":               func(r *agnesv1.RegisteredTable) { r.OptionsJson = `{"incremental_by": "name"}` },
		"needs `partition_by`":    func(r *agnesv1.RegisteredTable) { r.SyncStrategy = strategyPartitioned },
		"is day, week, month, quarter or year": func(r *agnesv1.RegisteredTable) {
			r.SyncStrategy, r.OptionsJson = strategyPartitioned, `{"partition_by": "at", "partition": "decade"}`
		},
		"partition_by: the table events has no column": func(r *agnesv1.RegisteredTable) {
			r.SyncStrategy, r.OptionsJson = strategyPartitioned, `{"partition_by": "other"}`
		},
		"is one of tables that are copied":                  func(r *agnesv1.RegisteredTable) { r.QueryMode = catalog.ModeRemote },
		"none of full_refresh, incremental and partitioned": func(r *agnesv1.RegisteredTable) { r.SyncStrategy = "sometimes" },
	} {
		e := newEvents(t, strategyIncremental, map[string]any{"incremental_by": "at"}, "id")
		e.row(1, "one", 1)
		e.upstream()
		change(e.registry[0])
		if got := e.run()["events"]; !strings.HasPrefix(got, "failed invalid") || !strings.Contains(got, want) {
			t.Errorf("%s: %s", want, got)
		}
	}
}
