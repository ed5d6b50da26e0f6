package query

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// elsewhere is where remote tables live in these tests: a DuckDB of its own, of which the engine knows files only.
type elsewhere struct {
	store  *federation.Store
	db     *lake.DB
	tables map[string]federation.Table

	mu    sync.Mutex
	scans []federation.Scan
}

// remoteScope has the local table orders, and events and empty, which live elsewhere.
func remoteScope(tb testing.TB, dataDir string, local *Scope) (*elsewhere, *Scope) {
	tb.Helper()
	store, err := federation.NewStore(federation.StoreOptions{Dir: filepath.Join(FetchedDir(dataDir), "remote")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	e := &elsewhere{store: store, db: duck(tb), tables: map[string]federation.Table{}}
	views := slices.Clone(local.Views())
	for name, made := range map[string]struct {
		sql     string
		columns []catalog.Column
	}{
		"events": {"SELECT i::BIGINT AS id, 'kind ' || i % 3 AS kind, i * 1.5::DOUBLE AS amount FROM range(1000) r(i)", []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "kind", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}}},
		"empty":  {"SELECT 1::INTEGER AS a WHERE false", []catalog.Column{{Name: "a", Type: "INTEGER"}}},
	} {
		if _, err := e.db.ExecContext(context.Background(), "CREATE TABLE "+name+" AS "+made.sql); err != nil {
			tb.Fatal(err)
		}
		id := catalog.TableID("web", name)
		e.tables[id] = federation.Table{ID: id, Remote: catalog.Remote{Alias: "memory"}, Path: []string{"main", name}, Columns: made.columns}
		views = append(views, ViewOf("", "web", catalog.Table{Name: name, QueryMode: catalog.ModeRemote, Columns: made.columns}, []string{name}))
	}
	slices.SortFunc(views, func(a, b lake.View) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return e, NewScope("remote", views)
}

// Fetch fetches the scans.
func (e *elsewhere) Fetch(ctx context.Context, scans []federation.Scan) (files []string, release func(), err error) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	for _, s := range scans {
		path, done, err := e.store.Get(ctx, "everybody", s, e.tables[s.Table], e.fetcher())
		if err != nil {
			release()
			return nil, nil, err
		}
		files, releases = append(files, path), append(releases, done)
	}
	return files, release, nil
}

// fetcher is the elsewhere as one that fetches a single scan.
func (e *elsewhere) fetcher() federation.Fetcher { return oneScan{e} }

type oneScan struct{ *elsewhere }

func (f oneScan) Fetch(ctx context.Context, s federation.Scan, t federation.Table, _ federation.Limits, path string) (federation.Amount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scans = append(f.scans, s)
	var rows int64
	err := f.db.QueryRowContext(ctx, "COPY ("+federation.SelectDuckDB(s, t)+") TO "+lake.QuoteLiteral(path)+" (FORMAT parquet)").Scan(&rows)
	return federation.Amount{Rows: rows, Bytes: 1}, err
}

// taken gives the scans since the last call.
func (e *elsewhere) taken() []federation.Scan {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.scans
	e.scans = nil
	return taken
}

func askRemote(e *Engine, remote Remote, scope *Scope, sql string, limit int) (string, error) {
	var out bytes.Buffer
	_, err := e.Run(context.Background(), Request{User: "ann", Scope: scope, SQL: sql, MediaType: TypeCSV, Limit: limit, Remote: remote}, func() io.Writer { return &out })
	return out.String(), err
}

func TestRemoteTables(t *testing.T) {
	t.Parallel()
	for _, inProcess := range []bool{true, false} {
		t.Run(fmt.Sprintf("inProcess=%v", inProcess), func(t *testing.T) {
			t.Parallel()
			var e *Engine
			var local *Scope
			dataDir := t.TempDir()
			if inProcess {
				e, local = engine(t, Config{}), smallScope(t)
			} else {
				e, local = children(t, Config{})
				dataDir = e.DataDir()
			}
			remote, scope := remoteScope(t, dataDir, local)
			for _, c := range []struct {
				sql, want string
				limit     int
				scans     string // table, columns, alternatives, limit of each
			}{
				{"SELECT sum(amount) AS s FROM events WHERE id >= 10 AND id < 13", "s\r\n49.5\r\n", 0, "[web.events [id amount] 1 0]"},
				{"SELECT count(*) AS n FROM web.events", "n\r\n1000\r\n", 0, "[web.events [id] 0 0]"},
				{"SELECT id FROM events", "id\r\n0\r\n1\r\n", 2, "[web.events [id] 0 3]"},
				{"SELECT o.name, e.kind FROM orders o JOIN events e USING (id) WHERE e.id = 7", "name,kind\r\nrow 7,kind 1\r\n", 0, "[web.events [id kind] 1 0]"},
				{"SELECT (SELECT count(*) FROM empty) AS a, (SELECT max(id) FROM events WHERE kind = 'kind 0') AS b", "a,b\r\n0,999\r\n", 0, "[web.empty [a] 0 0] [web.events [id kind] 1 0]"},
				{"SELECT column_name FROM (DESCRIBE events)", "column_name\r\nid\r\nkind\r\namount\r\n", 0, ""},
				{"SELECT 1 AS a FROM orders LIMIT 1", "a\r\n1\r\n", 0, ""},
				{"SELECT max(kind) AS k FROM query_table('ev' || 'ents') WHERE 'events' <> ''", "k\r\nkind 2\r\n", 0, "[web.events [kind] 0 0]"},
				{"PIVOT events ON kind USING count(*) GROUP BY id ORDER BY id LIMIT 1", "id,kind 0,kind 1,kind 2\r\n0,1,0,0\r\n", 0, "[web.events [id kind amount] 0 0]"},
			} {
				got, err := askRemote(e, remote, scope, c.sql, c.limit)
				scans := remote.taken()
				if err != nil || got != c.want {
					t.Errorf("%s\n gave %q, %v\n want %q", c.sql, got, err, c.want)
				}
				told := ""
				for i, s := range scans {
					if i > 0 {
						told += " "
					}
					told += fmt.Sprint([]any{s.Table, s.Columns, len(s.Any), s.Limit})
				}
				if told != c.scans {
					t.Errorf("%s\n fetched %s\n want %s", c.sql, told, c.scans)
				}
			}
			// What was fetched is kept, for statements that need the same.
			if got, err := askRemote(e, remote, scope, "SELECT sum(amount) AS s FROM events WHERE id >= 10 AND id < 13", 0); err != nil || got != "s\r\n49.5\r\n" || len(remote.taken()) != 0 {
				t.Errorf("once more: %q, %v", got, err)
			}
			if got, err := askRemote(e, remote, scope, "EXPLAIN SELECT * FROM events WHERE id = 3", 0); err != nil || got == "" || len(remote.taken()) != 0 {
				t.Errorf("a plan: %q, %v", got, err)
			}
		})
	}
}

func TestTrap_P1_ARemoteTableThatIsNotGrantedIsNotThere(t *testing.T) {
	t.Parallel()
	e, local := children(t, Config{})
	remote, _ := remoteScope(t, e.DataDir(), local)
	for _, sql := range []string{
		"SELECT * FROM events", "SELECT * FROM web.events", "SELECT * FROM memory.main.events", "SELECT * FROM query_table('web.events')",
		"SELECT * FROM orders, events", "ATTACH 'x' AS y", "SELECT * FROM postgres_scan('host=db', 'public', 'x')", "SELECT * FROM sqlite_scan('/srv/x.db', 't')",
		`SELECT * FROM "stand-ins of remote tables".t0`,
	} {
		if got, err := askRemote(e, remote, local, sql, 0); err == nil || !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) || len(remote.taken()) != 0 {
			t.Errorf("%s: %q, %v", sql, got, err)
		}
	}
}

func TestARemoteTableThatFailsIsAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	e, local := children(t, Config{})
	remote, scope := remoteScope(t, e.DataDir(), local)
	broken := failing{fault.New(fault.Unavailable, "web.events needs an extension")}
	if _, err := askRemote(e, broken, scope, "SELECT * FROM events", 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if got, err := askRemote(e, broken, scope, "SELECT count(*) AS n FROM orders", 0); err != nil || got != "n\r\n3000\r\n" {
		t.Errorf("another table: %q, %v", got, err)
	}
	if _, err := askRemote(e, remote, scope, "SELECT nope FROM events", 0); !fault.Is(err, fault.Invalid) || len(remote.taken()) != 0 {
		t.Errorf("a column that is not there: %v", err)
	}
}

type failing struct{ error }

func (f failing) Fetch(context.Context, []federation.Scan) ([]string, func(), error) {
	return nil, nil, f.error
}
