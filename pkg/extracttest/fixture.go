// Package extracttest is the acceptance suite that every connector passes: it runs the connector
// against an upstream that the test changes and breaks, kills it at every step, and looks at what
// stands on the disk. A connector's test is one call of Run.
package extracttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Row is a row of the tables that the suite writes upstream.
type Row struct {
	ID     int64
	Name   *string // may hold anything, and may be missing
	Amount float64
	At     time.Time // in UTC, whole seconds
}

// Upstream is what a connector reads, as the suite changes it. Its methods fail the test by themselves.
type Upstream interface {
	// Options are those of the source in instance.yaml.
	Options() map[string]any
	// Put makes rows the whole content of the table, and mends what Break broke. No rows is an empty
	// table, not a missing one.
	Put(table string, rows []Row)
	// Break makes the table unreadable until the next Put.
	Break(table string)
	// BreakAll makes the whole source unreadable, as an expired token does, until Mend.
	BreakAll()
	Mend()
}

// Fixture is a connector under test.
type Fixture struct {
	Connector extract.Connector
	// Upstream gives the upstream whose state is in dir: empty at first, and with what an earlier
	// Upstream of this or another process put there later.
	Upstream func(tb testing.TB, dir string) Upstream
	// Register is how a table of the suite stands in the registry; name and source are filled in.
	Register func(table string) *agnesv1.RegisteredTable
	// Columns are id, name, amount and at as the connector delivers them.
	Columns []catalog.Column
}

const (
	sourceName = "acceptance"
	childEnv   = "AGNES_EXTRACTTEST_CHILD"
)

// bench is one data directory with one upstream.
type bench struct {
	t       testing.TB
	f       Fixture
	up      Upstream
	dataDir string
	tables  []string
}

func newBench(tb testing.TB, f Fixture, dir string, tables ...string) *bench {
	tb.Helper()
	upstream := filepath.Join(dir, "upstream")
	dataDir := filepath.Join(dir, "data")
	for _, d := range []string{upstream, dataDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return &bench{t: tb, f: f, up: f.Upstream(tb, upstream), dataDir: dataDir, tables: tables}
}

func (b *bench) registry() []*agnesv1.RegisteredTable {
	var out []*agnesv1.RegisteredTable
	for _, name := range b.tables {
		t := b.f.Register(name)
		t.Name, t.Source = name, sourceName
		out = append(out, t)
	}
	return out
}

func (b *bench) config() extract.RunConfig {
	return extract.RunConfig{
		Connector: b.f.Connector,
		Source: extract.SourceConfig{
			Name: sourceName, Type: b.f.Connector.Type, Options: b.up.Options(), DataDir: b.dataDir, ConfigDir: b.dataDir,
		},
		Registry: b.registry(),
		Limits:   extract.Limits{MemoryBytes: 256 << 20, Threads: 2, Tables: 2},
	}
}

// run runs once and must succeed as a whole.
func (b *bench) run(change ...func(*extract.RunConfig)) *agnesv1.ExtractReady {
	b.t.Helper()
	cfg := b.config()
	for _, c := range change {
		c(&cfg)
	}
	ready, err := extract.Run(context.Background(), cfg)
	if err != nil {
		b.t.Fatalf("run: %v", err)
	}
	b.whole()
	return ready
}

func only(tables ...string) func(*extract.RunConfig) {
	return func(c *extract.RunConfig) { c.Tables = tables }
}

func force(c *extract.RunConfig) { c.Force = true }

func outcome(tb testing.TB, ready *agnesv1.ExtractReady, table string) *agnesv1.TableOutcome {
	tb.Helper()
	for _, o := range ready.GetTables() {
		if o.GetTable() == table {
			return o
		}
	}
	tb.Fatalf("no outcome of %s in %v", table, ready.GetTables())
	return nil
}

func (b *bench) want(ready *agnesv1.ExtractReady, table, want string) *agnesv1.TableOutcome {
	b.t.Helper()
	o := outcome(b.t, ready, table)
	if o.GetOutcome() != want {
		b.t.Fatalf("outcome of %s: %s (%s), want %s", table, o.GetOutcome(), o.GetError(), want)
	}
	if failed := want == extract.OutcomeFailed || want == extract.OutcomeHeldBack; failed != (o.GetError() != "") || failed != (o.GetErrorKind() != "") {
		b.t.Fatalf("outcome of %s is %s with the error %q of kind %q", table, want, o.GetError(), o.GetErrorKind())
	}
	return o
}

func (b *bench) version() *extract.Version {
	b.t.Helper()
	v, err := extract.OpenVersion(context.Background(), b.dataDir, sourceName)
	if err != nil {
		b.t.Fatalf("open the version: %v", err)
	}
	return v
}

func (b *bench) stamp() string {
	b.t.Helper()
	stamp, err := extract.StampOf(b.dataDir, sourceName)
	if err != nil {
		b.t.Fatal(err)
	}
	return stamp
}

// content reads a table of the version, by its parts, as JSON ordered by id.
func content(tb testing.TB, v *extract.Version, table string) string {
	tb.Helper()
	at, found := v.Table(table)
	if !found {
		tb.Fatalf("the version has no table %s: %+v", table, v.Problems)
	}
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var text string
	query := "SELECT coalesce(CAST(to_json(list(r ORDER BY r.id)) AS VARCHAR), '[]') FROM (" +
		"SELECT id, name, amount, epoch(\"at\")::BIGINT AS \"at\" FROM read_parquet(" + lake.QuoteList(at.Files) + ")) r"
	if err := db.QueryRow(query).Scan(&text); err != nil {
		tb.Fatalf("read %s: %v", table, err)
	}
	return text
}

// expect is what content gives for rows.
func expect(tb testing.TB, rows []Row) string {
	tb.Helper()
	type row struct {
		ID     int64   `json:"id"`
		Name   *string `json:"name"`
		Amount float64 `json:"amount"`
		At     int64   `json:"at"`
	}
	out := make([]row, len(rows))
	for i, r := range rows {
		out[i] = row{r.ID, r.Name, r.Amount, r.At.Unix()}
	}
	text, err := json.Marshal(out)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func (b *bench) holds(table string, rows []Row) {
	b.t.Helper()
	if got, want := normal(b.t, content(b.t, b.version(), table)), normal(b.t, expect(b.t, rows)); got != want {
		b.t.Fatalf("%s holds\n%.400s\nwant\n%.400s", table, got, want)
	}
}

// normal writes JSON in one way, whoever wrote it.
func normal(tb testing.TB, text string) string {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var rows []struct {
		ID     json.Number
		Name   *string
		Amount float64
		At     int64
	}
	if err := d.Decode(&rows); err != nil {
		tb.Fatalf("%v in %.200s", err, text)
	}
	var b strings.Builder
	for _, r := range rows {
		name := "NULL"
		if r.Name != nil {
			name = fmt.Sprintf("%q", *r.Name)
		}
		fmt.Fprintf(&b, "%s %s %g %d\n", r.ID, name, r.Amount, r.At)
	}
	return b.String()
}

// Rows makes n rows that differ from those of another seed in every name.
func Rows(n int, seed string) []Row {
	rows := make([]Row, n)
	for i := range rows {
		name := fmt.Sprintf("%s %d", seed, i)
		rows[i] = Row{ID: int64(i + 1), Name: &name, Amount: float64(i) + 0.25, At: time.Date(2024, 2, 29, 12, 0, i%60, 0, time.UTC)}
	}
	return rows
}
