package keboola

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

func TestAnUnchangedTableIsNotExported(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	put := func() {
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id"}, Description: "What was ordered"}, keboolatest.Row("1"))
	}
	put()
	h.register("orders", "", nil, "")
	exports := func() int { return h.project.Calls()[keboolatest.RouteExport] }
	h.want(extract.OutcomeUpdated)
	if d := h.table("orders").Description; d != "What was ordered" {
		t.Errorf("the description is %q", d)
	}
	h.want(extract.OutcomeUnchanged)
	h.project.Touch(orders) // an import without any change
	h.want(extract.OutcomeUnchanged)
	if exports() != 1 {
		t.Errorf("%d exports, want 1", exports())
	}
	h.options["token"] = "another-token"
	h.project.AddToken(keboolatest.Token{Token: "another-token", Buckets: map[string]string{"in.c-crm": "read"}})
	h.connector = sources{client: impatient, configs: map[string]extract.SourceConfig{"crm": {Name: "crm", Options: h.options}}}.connector()
	seen := visible(extract.SourceConfig{Options: h.options}).Options
	h.options = seen
	h.run() // the token left the options: that is another configuration, once
	before := exports()
	h.want(extract.OutcomeUnchanged)
	put()
	h.want(extract.OutcomeUnchanged) // exported, with the same rows
	h.project.SetMetadata(orders, "id", keboolatest.BaseType("user", "INTEGER"))
	h.want(extract.OutcomeUpdated)
	if exports() != before+2 {
		t.Errorf("%d exports, want %d", exports(), before+2)
	}
	h.holds("orders", "SELECT * FROM t", `[{"id":1}]`)
}

// contacts are rows by id.
func contacts(from, to int, name string) (rows [][]*string) {
	for i := from; i < to; i++ {
		rows = append(rows, keboolatest.Row(fmt.Sprint(i), name))
	}
	return rows
}

func TestIncrementalMergesWhatChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{SliceRows: 1000})
	table := keboolatest.Table{ID: orders, Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}, Metadata: typed("id", "INTEGER")}
	h.project.Put(table, contacts(0, 3000, "old")...)
	h.register("orders", strategyIncremental, []string{"id"}, "")
	h.want(extract.OutcomeUpdated)

	h.project.Advance(time.Hour)
	h.project.Import(orders, append(contacts(2990, 3010, "new"), contacts(5, 6, "new")...)...)
	h.project.ResetCalls()
	h.want(extract.OutcomeUpdated)
	h.holds("orders", "SELECT count(*) AS n, count(*) FILTER (name = 'new') AS fresh, sum(id)::BIGINT AS sum FROM t", fmt.Sprintf(`[{"n":3010,"fresh":21,"sum":%d}]`, 3010*3009/2))
	if form := h.project.Requests(keboolatest.RouteExport)[0].Form; len(form["changedSince"]) != 1 {
		t.Errorf("it exported everything: %v", form)
	}
	h.want(extract.OutcomeUnchanged)

	// Rows that were deleted leave no trace but the count: the table is read whole.
	h.project.Advance(time.Hour)
	h.project.DeleteRows(orders, func(values []*string) bool { return len(*values[0]) == 1 })
	h.project.Import(orders, contacts(4000, 4001, "late")...)
	h.project.ResetCalls()
	h.want(extract.OutcomeUpdated)
	if n := h.project.Calls()[keboolatest.RouteExport]; n != 2 {
		t.Errorf("%d exports, want that of what changed and that of all", n)
	}
	h.holds("orders", "SELECT count(*) AS n, min(id) AS least FROM t", `[{"n":3001,"least":10}]`)

	// A new column makes it read whole, too.
	h.project.Advance(time.Hour)
	table.Columns, table.Metadata = []string{"id", "name", "more"}, typed("id", "INTEGER", "more", "INTEGER")
	var wider [][]*string
	for i := range 3001 {
		wider = append(wider, keboolatest.Row(fmt.Sprint(i), "wide", "1"))
	}
	h.project.Put(table, wider...)
	h.want(extract.OutcomeUpdated)
	h.holds("orders", "SELECT count(*) AS n, sum(more)::BIGINT AS more FROM t", `[{"n":3001,"more":3001}]`)

	// Values that are not of their type are counted in what changed, as in the whole.
	h.project.Advance(time.Hour)
	h.project.Import(orders, keboolatest.Row("7", "odd", "many"))
	if o := h.want(extract.OutcomeUpdated); o.GetRejectedRows() != 1 {
		t.Errorf("%v", o)
	}
	h.holds("orders", "SELECT * FROM t WHERE id = 7", `[{"id":7,"name":"odd","more":null}]`)
}

func TestADuplicateKeyInADeltaLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}}, contacts(0, 30, "old")...)
	h.register("orders", strategyIncremental, []string{"id"}, "")
	h.want(extract.OutcomeUpdated)
	h.project.Advance(time.Hour)
	h.project.AddRows(orders, keboolatest.Row("7", "one"), keboolatest.Row("7", "two"))
	o := h.want(extract.OutcomeFailed)
	if o.GetErrorKind() != string(fault.Conflict) || !strings.Contains(o.GetError(), "primary key (id)") {
		t.Errorf("%v", o)
	}
	h.holds("orders", "SELECT count(*) AS n, count(*) FILTER (name = 'old') AS old FROM t", `[{"n":30,"old":30}]`)
}

// TestWhatComesInPiecesIsWhatTheWholeIs changes a table at random, by imports and deletions, and compares
// what incremental runs make of it with a whole reading.
func TestWhatComesInPiecesIsWhatTheWholeIs(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // any rows will do
	h := newHouse(t, keboolatest.Config{SliceRows: 40})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"a", "b", "v"}, PrimaryKey: []string{"a", "b"}, Metadata: typed("b", "INTEGER")})
	h.register("orders", strategyIncremental, []string{"a", "b"}, "")
	h.register("whole", "", []string{"a", "b"}, "")
	h.registry[1].SourceTable = "orders"
	for round := range 12 {
		rows := [][]*string{}
		for _, n := range random.Perm(300)[:random.IntN(60)] {
			rows = append(rows, []*string{keboolatest.Text(fmt.Sprintf("k%d", n%7)), keboolatest.Text(fmt.Sprint(n / 7)), []*string{nil, keboolatest.Text(""), keboolatest.Text(fmt.Sprint(round))}[random.IntN(3)]})
		}
		h.project.Advance(time.Hour)
		h.project.Import(orders, rows...)
		if random.IntN(4) == 0 {
			h.project.DeleteRows(orders, func([]*string) bool { return random.IntN(20) == 0 })
		}
		h.run(func(c *extract.RunConfig) { c.Tables = []string{"orders"} })
		h.run(func(c *extract.RunConfig) { c.Tables, c.Force = []string{"whole"}, true })
		all := "SELECT * FROM t ORDER BY ALL"
		if got, want := h.rows("orders", all), h.rows("whole", all); got != want {
			t.Fatalf("round %d: it is\n%s\nthe whole is\n%s", round, got, want)
		}
	}
}

func TestPartitionsKeepTheirParts(t *testing.T) {
	t.Parallel()
	for _, key := range [][]string{nil, {"id"}} {
		h := newHouse(t, keboolatest.Config{SliceRows: 13})
		rows := [][]*string{}
		for i := range 300 {
			rows = append(rows, keboolatest.Row(fmt.Sprint(i), time.Date(2024, 1, 1+i, 12, 0, 0, 0, time.UTC).Format("2006-01-02 15:04:05"), "x"))
		}
		rows = append(rows, keboolatest.Row("1000", "", "undated"))
		table := keboolatest.Table{ID: orders, Columns: []string{"id", "at", "v"}, PrimaryKey: key, Metadata: typed("id", "INTEGER", "at", "TIMESTAMP")}
		h.project.Put(table, rows...)
		h.register("orders", strategyPartitioned, key, `{"partition_by": "at"}`)
		h.want(extract.OutcomeUpdated)
		if n := len(h.table("orders").Parts); n != 11 {
			t.Fatalf("%d parts, want ten months and what has no date", n)
		}
		rows[299][2] = keboolatest.Text("changed")
		rows[0], rows[150] = rows[150], rows[0] // the order means nothing
		h.project.Put(table, rows...)
		if o := h.want(extract.OutcomeUpdated); o.GetPartsWritten() != 1 || o.GetPartsReused() != 10 {
			t.Errorf("%v", o)
		}
		h.holds("orders", "SELECT count(*) AS n, count(*) FILTER (v = 'changed') AS c FROM t", `[{"n":301,"c":1}]`)
		h.registry[0].OptionsJson = `{"partition_by": "at", "partition": "year"}`
		h.want(extract.OutcomeUpdated)
		if n := len(h.table("orders").Parts); n != 2 {
			t.Errorf("%d parts, want a year and what has no date", n)
		}
		for options, want := range map[string]string{`{}`: "needs `partition_by`", `{"partition_by": "nothing"}`: "no column", `{"partition_by": "at", "partition": "hour"}`: "is day, week"} {
			h.registry[0].OptionsJson = options
			if o := h.want(extract.OutcomeFailed); !strings.Contains(o.GetError(), want) {
				t.Errorf("%s: %v", options, o)
			}
		}
	}
}

func TestATokenThatIsRevokedInMidRunKeepsWhatStands(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{SliceRows: 5})
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, n := range names {
		h.project.Put(keboolatest.Table{ID: "in.c-crm." + n, Columns: []string{"id", "name"}}, contacts(0, 40, "old")...)
		h.register(n, "", nil, "")
	}
	h.run()
	for _, n := range names {
		h.project.Put(keboolatest.Table{ID: "in.c-crm." + n, Columns: []string{"id", "name"}}, contacts(0, 40, "new")...)
	}
	var once sync.Once
	h.project.Watch(func(r keboolatest.Request) {
		if r.Route == keboolatest.RouteObject {
			once.Do(func() { h.project.Revoke(keboolatest.DefaultToken) })
		}
	})
	failed := 0
	for name, o := range h.run(func(c *extract.RunConfig) { c.Limits.Tables = 1 }) {
		want := "new"
		if o.GetOutcome() == extract.OutcomeFailed {
			failed++
			want = "old"
			if o.GetErrorKind() != string(fault.Unauthenticated) || strings.Contains(o.GetError(), keboolatest.DefaultToken) {
				t.Errorf("%s: %v", name, o)
			}
		}
		h.holds(name, "SELECT count(*) AS n FROM t WHERE name = '"+want+"'", `[{"n":40}]`)
	}
	if failed != 5 {
		t.Errorf("%d tables failed, want all but the first", failed)
	}
	if _, err := extract.Run(t.Context(), h.config()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the next run: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(h.dir, "tmp", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in scratch: %v", left)
	}
}

func TestAPermanentErrorDoesNotKeepTheRestRed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: "in.c-crm.good", Columns: []string{"id"}}, keboolatest.Row("1"))
	h.project.Put(keboolatest.Table{ID: "in.c-secret.t", Columns: []string{"id"}}, keboolatest.Row("1"))
	h.project.AddToken(keboolatest.Token{Token: "narrow", Buckets: map[string]string{"in.c-crm": "read"}})
	h.options["token"] = "narrow"
	h.register("good", "", nil, "")
	h.register("gone", "", nil, "")
	h.register("t", "", nil, "")
	h.registry[2].Bucket = "in.c-secret"
	outcomes := h.run()
	if outcomes["good"].GetOutcome() != extract.OutcomeUpdated || outcomes["gone"].GetErrorKind() != string(fault.NotFound) || outcomes["t"].GetErrorKind() != string(fault.Forbidden) {
		t.Errorf("%v", outcomes)
	}
	if n := h.project.Calls()[keboolatest.RouteTable]; n != 3 {
		t.Errorf("%d calls for three tables", n)
	}
}

func TestDiscoveryProposesTables(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "n"}, PrimaryKey: []string{"id"}, Description: "What was ordered", Metadata: typed("n", "INTEGER")}, keboolatest.Row("1", "2"))
	h.project.Put(keboolatest.Table{ID: "out.c-crm.orders", Columns: []string{"id", "n"}, AliasOf: orders})
	h.project.Put(keboolatest.Table{ID: "in.c-a.b_c", Columns: []string{"id"}})
	h.project.Put(keboolatest.Table{ID: "in.c-a_b.c", Columns: []string{"id"}})
	h.project.Put(keboolatest.Table{ID: "in.c-odd.t", Columns: []string{"Id", "ID"}})
	open := func() extract.Source {
		s, err := h.connector.Open(t.Context(), h.config().Source)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	found, err := open().Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range found {
		lines = append(lines, fmt.Sprintf("%s %s %s %v %d %v %t", d.Name, d.Bucket, d.SourceTable, d.PrimaryKey, d.Rows, d.Columns, d.Problem != ""))
	}
	want := `a_b_c in.c-a b_c [] 0 [{id VARCHAR}] false
a_b_c in.c-a_b c [] 0 [{id VARCHAR}] true
crm_orders in.c-crm orders [id] 1 [{id VARCHAR} {n BIGINT}] false
odd_t in.c-odd t [] 0 [] true
out_crm_orders out.c-crm orders [id] 1 [{id VARCHAR} {n BIGINT}] false`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
	h.options["names"], h.options["buckets"] = "table", []any{"in.c-crm"}
	if found, err := open().Discover(t.Context()); err != nil || len(found) != 1 || found[0].Name != "orders" || found[0].Description != "What was ordered" {
		t.Errorf("%+v: %v", found, err)
	}
	h.project.Fail(keboolatest.Fault{Route: keboolatest.RouteTables, Status: 500})
	if _, err := open().Discover(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a listing that could not be completed: %v", err)
	}
}

func TestEightTablesAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{SliceRows: 10})
	for i := range 20 {
		n := fmt.Sprintf("t%d", i)
		h.project.Put(keboolatest.Table{ID: "in.c-crm." + n, Columns: []string{"id", "name"}}, contacts(0, 60, n)...)
		h.register(n, "", nil, "")
	}
	h.project.Fail(keboolatest.Fault{Route: keboolatest.RouteJob, Delay: 30 * time.Millisecond})
	for name, o := range h.run(func(c *extract.RunConfig) { c.Limits.Tables, c.MemoryBytes = 8, 2<<30 }) {
		if o.GetOutcome() != extract.OutcomeUpdated || o.GetRows() != 60 {
			t.Errorf("%s: %v", name, o)
		}
	}
	if n := h.project.Busiest(keboolatest.RouteJob); n < 4 || n > 8 {
		t.Errorf("%d jobs were followed at once", n)
	}
}

func TestRemoteTablesStayInKeboola(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id"}, Metadata: typed("id", "INTEGER")}, keboolatest.Row("1"))
	h.register("orders", "", nil, "")
	h.registry[0].QueryMode = "remote"
	if o := h.want(extract.OutcomeFailed); !strings.Contains(o.GetError(), "remote_attach") {
		t.Errorf("%v", o)
	}
	h.options["remote_attach"] = true
	h.want(extract.OutcomeUpdated)
	v, err := extract.OpenVersion(t.Context(), h.dir, "crm")
	if err != nil || len(v.Remotes) != 1 || v.Remotes[0].URL != h.project.URL || v.Remotes[0].TokenEnv != "KEBOOLA_STORAGE_TOKEN" || h.project.Calls()[keboolatest.RouteExport] != 0 {
		t.Errorf("%+v: %v", v, err)
	}
}

// TestParquetExportsKeepTheirTypes lets the project answer with files of parquet, whose columns stand in
// another order and have types, of which one is not the metadata's.
func TestParquetExportsKeepTheirTypes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{Parquet: true})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name", "n"}, Metadata: typed("id", "INTEGER", "n", "INTEGER")}, keboolatest.Row("1", "a", "1"))
	db, err := lake.Open(t.Context(), lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	paths := []string{filepath.Join(h.dir, "a.parquet"), filepath.Join(h.dir, "b.parquet")}
	for i, rows := range []string{"(''::VARCHAR, 1::BIGINT, '7'), (NULL, 2, 'many')", "('b'::VARCHAR, 3::BIGINT, '')"} {
		if _, err := db.Exec("COPY (SELECT * FROM (VALUES " + rows + ") v(name, id, n)) TO " + lake.QuoteLiteral(paths[i]) + " (FORMAT parquet)"); err != nil {
			t.Fatal(err)
		}
	}
	h.project.Answer(func(e keboolatest.Export) []string {
		if !e.Parquet {
			t.Error("it did not ask for parquet")
		}
		return paths
	})
	h.register("orders", "", nil, `{"format": "parquet"}`)
	if o := h.want(extract.OutcomeUpdated); o.GetRejectedRows() != 1 {
		t.Errorf("%v", o)
	}
	h.holds("orders", "SELECT * FROM t ORDER BY id", `[{"id":1,"name":"","n":7},{"id":2,"name":null,"n":null},{"id":3,"name":"b","n":null}]`)
}
