package extract

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// scripted is a source whose tables are functions of the test.
type scripted struct {
	mu       sync.Mutex
	tables   map[string]func(ctx context.Context, t TableSpec, w *TableWriter) error
	remotes  []catalog.Remote
	found    []DiscoveredTable
	openErr  error
	watching chan func(tables ...string)
}

func (s *scripted) connector() Connector {
	return Connector{Type: "scripted", Open: func(context.Context, SourceConfig) (Source, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.openErr != nil {
			return nil, s.openErr
		}
		return s, nil
	}}
}

func (s *scripted) Discover(context.Context) ([]DiscoveredTable, error) { return s.found, nil }

func (s *scripted) Close() error { return nil }

func (s *scripted) Remotes(context.Context) ([]catalog.Remote, error) { return s.remotes, nil }

func (s *scripted) Watch(ctx context.Context, notify func(tables ...string)) error {
	select {
	case s.watching <- notify:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *scripted) Extract(ctx context.Context, t TableSpec, w *TableWriter) error {
	s.mu.Lock()
	extract := s.tables[t.Name]
	s.mu.Unlock()
	if extract == nil {
		return fault.New(fault.NotFound, "there is no %s upstream", t.Name)
	}
	return extract(ctx, t, w)
}

func (s *scripted) set(table string, extract func(ctx context.Context, t TableSpec, w *TableWriter) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables == nil {
		s.tables = map[string]func(context.Context, TableSpec, *TableWriter) error{}
	}
	s.tables[table] = extract
}

// query makes a table the result of a query.
func (s *scripted) query(table, query string) {
	s.set(table, func(ctx context.Context, _ TableSpec, w *TableWriter) error { return w.Query(ctx, query, 0) })
}

func register(names ...string) []*agnesv1.RegisteredTable {
	var out []*agnesv1.RegisteredTable
	for _, n := range names {
		out = append(out, &agnesv1.RegisteredTable{Name: n, Source: "src"})
	}
	return out
}

func runConfig(dataDir string, s *scripted, registry ...*agnesv1.RegisteredTable) RunConfig {
	return RunConfig{
		Connector: s.connector(), Source: SourceConfig{Name: "src", Type: "scripted", DataDir: dataDir},
		Registry: registry, Limits: Limits{MemoryBytes: 512 << 20, Threads: 2, Tables: 2},
	}
}

func mustRun(tb testing.TB, cfg RunConfig) *agnesv1.ExtractReady {
	tb.Helper()
	ready, err := Run(context.Background(), cfg)
	if err != nil {
		tb.Fatalf("run: %v", err)
	}
	return ready
}

func mustOutcome(tb testing.TB, ready *agnesv1.ExtractReady, table, want string) *agnesv1.TableOutcome {
	tb.Helper()
	for _, o := range ready.GetTables() {
		if o.GetTable() == table {
			if o.GetOutcome() != want {
				tb.Fatalf("outcome of %s: %v, want %s", table, o, want)
			}
			return o
		}
	}
	tb.Fatalf("no outcome of %s in %v", table, ready)
	return nil
}

func mustVersion(tb testing.TB, dataDir string) *Version {
	tb.Helper()
	v, err := OpenVersion(context.Background(), dataDir, "src")
	if err != nil {
		tb.Fatalf("open the version: %v", err)
	}
	sameByReader(tb, dataDir, v)
	return v
}

func mustTable(tb testing.TB, v *Version, name string) VersionTable {
	tb.Helper()
	table, found := v.Table(name)
	if !found {
		tb.Fatalf("the version has no table %q: %+v", name, v.Problems)
	}
	return table
}

// ask runs a query that gives one value in a DuckDB of its own.
func ask(tb testing.TB, query string) string {
	tb.Helper()
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1, MemoryBytes: 512 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var text string
	if err := db.QueryRow("SELECT CAST((" + query + ") AS VARCHAR)").Scan(&text); err != nil {
		tb.Fatalf("%v in %s", err, query)
	}
	return text
}

// writeDB makes a DuckDB file as another program would.
func writeDB(tb testing.TB, path string, statements ...string) {
	tb.Helper()
	if err := mkdir(filepath.Dir(path)); err != nil {
		tb.Fatal(err)
	}
	db, err := lake.Open(context.Background(), lake.Options{Path: path, Threads: 1})
	if err != nil {
		tb.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			tb.Fatalf("%v in %s", err, s)
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
}
