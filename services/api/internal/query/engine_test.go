package query

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// duck is a DuckDB that nothing holds back.
func duck(tb testing.TB) *lake.DB {
	tb.Helper()
	db, err := lake.Open(context.Background(), lake.Options{MemoryBytes: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// tableOf writes the answer of a query as a table of the source crm, and gives its view.
func tableOf(tb testing.TB, dir, name, query string) lake.View {
	tb.Helper()
	db := duck(tb)
	part := filepath.Join(dir, name+".parquet")
	if _, err := db.ExecContext(context.Background(), "COPY ("+query+") TO "+lake.QuoteLiteral(part)); err != nil {
		tb.Fatal(err)
	}
	columns, err := lake.ParquetColumns(context.Background(), db, []string{part})
	if err != nil {
		tb.Fatal(err)
	}
	return lake.View{Schema: "crm", Name: name, Aliases: []string{name}, Columns: columns, Files: []string{part}}
}

func engine(tb testing.TB, cfg Config) *Engine {
	tb.Helper()
	if cfg.TempRoot == "" {
		cfg.TempRoot = filepath.Join(tb.TempDir(), "tmp")
	}
	e, err := New(context.Background(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// smallScope is a scope of two tables.
func smallScope(tb testing.TB) *Scope {
	tb.Helper()
	dir := tb.TempDir()
	return NewScope("small", []lake.View{
		tableOf(tb, dir, "orders", "SELECT i::BIGINT AS id, 'row ' || i AS name FROM range(3000) r(i)"),
		tableOf(tb, dir, "people", "SELECT 1 AS id, 'Ann' AS name"),
		{Schema: "crm", Name: "nothing", Aliases: []string{"nothing"}, Columns: []catalog.Column{{Name: "a", Type: "INTEGER"}}},
	})
}

func ask(tb testing.TB, e *Engine, scope *Scope, media, sql string, limit int) (string, Summary, error) {
	tb.Helper()
	var out bytes.Buffer
	heads := 0
	s, err := e.Run(context.Background(), Request{User: "ann", Scope: scope, SQL: sql, MediaType: media, Limit: limit}, func() io.Writer {
		heads++
		return &out
	})
	if heads > 1 || s.Started != (heads == 1) || int64(out.Len()) != s.Bytes {
		tb.Errorf("%s: %d heads, started %v, %d of %d bytes", sql, heads, s.Started, out.Len(), s.Bytes)
	}
	return out.String(), s, err
}

func TestAnswersInEveryFormat(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	for _, c := range []struct{ media, sql, want string }{
		{TypeJSON, "SELECT id, name, id AS name FROM orders ORDER BY id LIMIT 2", `{"columns":["id","name","name"],"types":["BIGINT","VARCHAR","BIGINT"],"rows":[[0,"row 0",0],[1,"row 1",1]],"row_count":2,"truncated":false}` + "\n"},
		{TypeJSON, "SELECT id FROM orders ORDER BY id", `{"columns":["id"],"types":["BIGINT"],"rows":[[0],[1],[2]],"row_count":3,"truncated":true}` + "\n"},
		{TypeJSON, "FROM nothing", `{"columns":["a"],"types":["INTEGER"],"rows":[],"row_count":0,"truncated":false}` + "\n"},
		{TypeNDJSON, "SELECT id, name, id AS name FROM orders ORDER BY id LIMIT 2", `{"id":0,"name":"row 0","name_1":0}` + "\n" + `{"id":1,"name":"row 1","name_1":1}` + "\n"},
		{TypeNDJSON, "FROM nothing", ""},
		{TypeCSV, `SELECT 1 AS "a,b", NULL AS n, '' AS e, 'say "hi"' AS q`, "\"a,b\",n,e,q\r\n1,,\"\",\"say \"\"hi\"\"\"\r\n"},
		{TypeCSV, "FROM nothing", "a\r\n"},
	} {
		got, s, err := ask(t, e, scope, c.media, c.sql, 3)
		if err != nil || got != c.want {
			t.Errorf("%s as %s\n gave %q, %v\n want %q", c.sql, c.media, got, err, c.want)
		}
		if strings.Contains(c.sql, "orders") && !cmp.Equal(s.Tables, []string{"crm.orders"}) {
			t.Errorf("it mentions %v", s.Tables)
		}
	}
	got, _, err := ask(t, e, scope, TypeArrow, "FROM orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ipc.NewReader(strings.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rows += r.RecordBatch().NumRows()
	}
	if rows != 3000 || r.Err() != nil {
		t.Errorf("Arrow has %d rows, %v", rows, r.Err())
	}
}

func TestErrorsBeforeTheFirstByteAreFaults(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{Timeout: 500 * time.Millisecond, MemoryBytes: 6 * 64 << 20, PerUser: 2}), smallScope(t)
	for _, c := range []struct {
		sql, want string
		kind      fault.Kind
	}{
		{"SELECT nme FROM orders", `Candidate bindings: "name"`, fault.Invalid},
		{"SELECT * FROM salaries", "Table with name salaries does not exist", fault.NotFound},
		{"SELECT * FROM hr.salaries", "does not exist", fault.NotFound},
		{"SELECT * FROM ordrs", `Did you mean "orders`, fault.NotFound},
		{"DROP VIEW orders", "only queries are answered here", fault.Invalid},
		{"SELECT 1; SELECT 2", "one statement at a time", fault.Invalid},
		{"SELECT * FROM '/etc/passwd'", "files and addresses are not read here", fault.Invalid},
		{"SELECT * FROM read_text('/etc/passwd')", "files and addresses are not read here", fault.Invalid},
		{"SELECT 'x'::INTEGER", "Could not convert string", fault.Invalid},
		{"SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = -1", "longer than 500ms", fault.TooLarge},
	} {
		out, s, err := ask(t, e, scope, TypeJSON, c.sql, 0)
		if !fault.Is(err, c.kind) || !strings.Contains(fault.Message(err), c.want) || out != "" || s.Started {
			t.Errorf("%s gave %q, kind %s: %q", c.sql, out, fault.KindOf(err), fault.Message(err))
		}
	}
}

func TestAnErrorInMidStreamIsSeen(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	const late = "SELECT CASE WHEN i = 2000000 THEN error('late') ELSE i END AS x FROM range(3000000) r(i)"
	for _, media := range MediaTypes() {
		out, s, err := ask(t, e, scope, media, late, 0)
		if err == nil || !s.Started && media != TypeParquet || len(out) == 0 && media != TypeParquet {
			t.Errorf("%s: %d bytes, started %v, %v", media, len(out), s.Started, err)
		}
		if media == TypeJSON && json.Valid([]byte(out)) {
			t.Error("half an answer looks whole")
		}
	}
}

type brokenWriter struct{ after int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, errors.New("the client is gone")
	}
	return len(p), nil
}

func TestAClientThatLeavesEndsItsQuery(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{Running: 1, PerUser: 1}), smallScope(t)
	for _, media := range MediaTypes() {
		_, err := e.Run(t.Context(), Request{User: "ann", Scope: scope, SQL: "SELECT i, i AS j FROM range(100000000000) r(i)", MediaType: media},
			func() io.Writer { return &brokenWriter{after: 1 << 20} })
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", media, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err := e.Run(ctx, Request{User: "ann", Scope: scope, SQL: "SELECT count(*) FROM range(100000000000) r(i)", MediaType: TypeCSV}, func() io.Writer { return io.Discard })
	if !fault.Is(err, fault.Unavailable) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	if got, _, err := ask(t, e, scope, TypeCSV, "SELECT 1 AS x", 0); err != nil || got != "x\r\n1\r\n" {
		t.Errorf("the place was not given back: %q, %v", got, err)
	}
}

func TestLimitsOfRowsAndBytes(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{MaxBytes: 1 << 20}), smallScope(t)
	for limit, truncated := range map[int]bool{2999: true, 3000: false, 3001: false, 0: false, 2048: true} {
		out, s, err := ask(t, e, scope, TypeCSV, "FROM orders", limit)
		records, cerr := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || cerr != nil || s.Truncated != truncated || int64(len(records)-1) != s.Rows || truncated && s.Rows != int64(limit) {
			t.Errorf("limit %d: %d rows, %d records, truncated %v, %v, %v", limit, s.Rows, len(records), s.Truncated, err, cerr)
		}
	}
	_, s, err := ask(t, e, scope, TypeNDJSON, "SELECT repeat('x', 1000) AS x FROM range(1000000)", 0)
	if err != nil || !s.Truncated || s.Bytes < 1<<20 || s.Bytes > 8<<20 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNamesThatAStatementPutsTogetherAreFound(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	for _, sql := range []string{
		"SELECT count(*) AS n FROM query('FROM ord' || 'ers')", "SELECT count(*) AS n FROM CRM.ORDERS", `SELECT count(*) AS n FROM "crm"."orders"`, "SELECT count(*) AS n FROM 'orders'",
		`SELECT count(*) AS n FROM query(E'FROM \x6frders')`, "SELECT count(*) AS n FROM query_table('ord' || ('ers'))", "SELECT count(*) AS n FROM query('FROM ord'\n'ers')",
	} {
		// The record tells the tables too.
		if got, s, err := ask(t, e, scope, TypeCSV, sql, 0); err != nil || got != "n\r\n3000\r\n" || !slices.Equal(s.Tables, []string{"crm.orders"}) {
			t.Errorf("%s gave %q of %q, %v", sql, got, s.Tables, err)
		}
	}
	got, _, err := ask(t, e, scope, TypeCSV, "SELECT name FROM (SHOW ALL TABLES) WHERE schema = 'crm' ORDER BY name", 0)
	if err != nil || got != "name\r\nnothing\r\norders\r\npeople\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTrap_E8_AllQueriesShareOneBudget(t *testing.T) {
	t.Parallel()
	const share = 64 << 20
	e, err := New(context.Background(), Config{PerUser: 1, Running: 2, Threads: 1, MemoryBytes: 3 * share})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	scope := smallScope(t)
	const heavy = "SELECT count(*) AS n FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 40) FROM range(3000000) r(i))"
	if _, _, err := ask(t, e, scope, TypeCSV, heavy, 0); !fault.Is(err, fault.TooLarge) || !strings.Contains(fault.Message(err), "64 MB") {
		t.Errorf("beyond the share: %v", err)
	}
	if got, _, err := ask(t, e, scope, TypeCSV, "SELECT count(*) AS n FROM orders", 0); err != nil || got != "n\r\n3000\r\n" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
	spilling := engine(t, Config{PerUser: 1, Running: 2, Threads: 1, MemoryBytes: 3 * share})
	if got, _, err := ask(t, spilling, scope, TypeCSV, heavy, 0); err != nil || got != "n\r\n3000000\r\n" {
		t.Errorf("with a folder to spill: %q, %v", got, err)
	}
}

func TestTrap_P3_AnEmptyScopeReachesNothing(t *testing.T) {
	t.Parallel()
	e := engine(t, Config{})
	for _, sql := range []string{"FROM orders", "FROM crm.orders"} {
		if _, _, err := ask(t, e, NewScope("none", nil), TypeJSON, sql, 0); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s gave %v", sql, err)
		}
	}
	if got, _, err := ask(t, e, NewScope("none", nil), TypeCSV, "SELECT count(*) AS n FROM (SHOW ALL TABLES)", 0); err != nil || got != "n\r\n0\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}
