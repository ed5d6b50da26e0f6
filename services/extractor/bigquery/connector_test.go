package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// house is a source over the fake, and the tables that the registry has of it.
type house struct {
	*project
	t        *testing.T
	dataDir  string
	more     map[string]any
	registry []*agnesv1.RegisteredTable
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return &house{project: newProject(t, t.TempDir()), t: t, dataDir: t.TempDir(), more: map[string]any{}}
}

func (h *house) config() extract.SourceConfig {
	options := h.Options()
	maps.Copy(options, h.more)
	return extract.SourceConfig{Name: "warehouse", Type: "bigquery", DataDir: h.dataDir, Options: options}
}

// register adds a table of the data set main, with options.
func (h *house) register(name, mode string, options map[string]any) {
	h.t.Helper()
	raw, err := json.Marshal(options)
	if err != nil {
		h.t.Fatal(err)
	}
	h.registry = append(h.registry, &agnesv1.RegisteredTable{Name: name, Source: "warehouse", Bucket: "main", SourceTable: name, QueryMode: mode, OptionsJson: string(raw)})
}

// run extracts, and gives the outcomes as they are read: the outcome and why.
func (h *house) run() map[string]string {
	h.t.Helper()
	ready, err := extract.Run(context.Background(), extract.RunConfig{
		Connector: sources{client: toFake}.connector(), Source: h.config(), Registry: h.registry, Limits: extract.Limits{Threads: 1, Grace: -1},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]string{}
	for _, t := range ready.GetTables() {
		out[t.GetTable()] = strings.TrimSpace(t.GetOutcome() + " " + t.GetErrorKind() + " " + t.GetError())
	}
	return out
}

func (h *house) version(table string) extract.VersionTable {
	h.t.Helper()
	v, err := extract.OpenVersion(context.Background(), h.dataDir, "warehouse")
	if err != nil {
		h.t.Fatal(err)
	}
	found, ok := v.Table(table)
	if !ok {
		h.t.Fatalf("no table %s: %+v", table, v)
	}
	return found
}

// read gives the values of a query over the parts of the table events, in order.
func (h *house) read(query string) (values []string) {
	h.t.Helper()
	var files []string
	for _, p := range h.version("events").Parts {
		files = append(files, filepath.Join(h.dataDir, filepath.FromSlash(p.Path)))
	}
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(context.Background(), fmt.Sprintf(query, "read_parquet("+lake.QuoteList(files)+")")+" ORDER BY 1")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			h.t.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return values
}

func (h *house) open() *source {
	h.t.Helper()
	s, err := sources{client: toFake}.open(context.Background(), h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close() })
	return s.(*source)
}

func rowsOf(n int) (rows []extracttest.Row) {
	name := "a name"
	for i := range n {
		r := extracttest.Row{ID: int64(i), Amount: float64(i) / 2, At: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
		if i%2 == 0 {
			r.Name = &name
		}
		rows = append(rows, r)
	}
	return rows
}

// statement puts a text of SQL that processes so many bytes, with the rows of a table.
func (h *house) statement(sql, word string, bytes int64) {
	h.t.Helper()
	h.server.PutQuery(sql, bigquerytest.Table{
		Fields: bigquerytest.Fields("id", "INTEGER", "name", "STRING", "amount", "FLOAT", "at", "TIMESTAMP"),
		Bytes:  bytes, Statement: word, Batches: batches(rowsOf(3)),
	})
}

func TestMaterializedTablesCostWhatTheyMay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.more["max_bytes_billed"] = 10 << 20
	h.statement("SELECT cheap", "", 1<<20)
	h.statement("SELECT dear", "", 11<<20)
	h.statement("SELECT middling", "", 5<<20)
	h.statement("DELETE everything", "DELETE", 0)
	h.register("cheap", catalog.ModeMaterialized, map[string]any{"query": "SELECT cheap"})
	h.register("dear", catalog.ModeMaterialized, map[string]any{"query": "SELECT dear"})
	h.register("frugal", catalog.ModeMaterialized, map[string]any{"query": "SELECT middling", "max_bytes_billed": 4 << 20})
	h.register("greedy", catalog.ModeMaterialized, map[string]any{"query": "SELECT middling", "max_bytes_billed": 20 << 20})
	h.register("dml", catalog.ModeMaterialized, map[string]any{"query": "DELETE everything"})
	h.register("wrong", catalog.ModeMaterialized, map[string]any{"query": "SELECT of what is not there"})
	h.register("silent", catalog.ModeMaterialized, nil)
	got := h.run()
	for table, want := range map[string]string{
		"cheap":  "updated",
		"dear":   "failed too_large the statement of dear would read 11534336 bytes; the limit is 10485760",
		"frugal": "failed too_large the statement of frugal would read 5242880 bytes; the limit is 4194304",
		"greedy": "failed invalid the table greedy: `max_bytes_billed` is above that of the source (10485760)",
		"dml":    "failed invalid the statement of dml is a DELETE: only a SELECT is run",
		"wrong":  "failed invalid",
		"silent": "failed invalid the table silent is materialized: give its statement",
	} {
		if !strings.HasPrefix(got[table], want) {
			t.Errorf("%s: %s, want %s", table, got[table], want)
		}
	}
	if n := h.server.Jobs(); n != 1 {
		t.Errorf("%d jobs ran: only the cheap one may", n)
	}
	if v := h.version("cheap"); v.Rows != 3 {
		t.Errorf("%d rows", v.Rows)
	}
}

func TestTrap_B4_EveryJobSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.statement("SELECT a", "", 1)
	h.register("made", catalog.ModeMaterialized, map[string]any{"query": "SELECT a"})
	if got := h.run()["made"]; got != "updated" {
		t.Fatal(got)
	}
	labels := h.server.Labels(<-h.server.Begun())
	for key, want := range map[string]string{"app": "agnes", "source": "warehouse", "table": "made"} {
		if labels[key] != want {
			t.Errorf("the label %s is %q, not %q", key, labels[key], want)
		}
	}
}

func TestRemoteTablesAreNotCopied(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Put("orders", rowsOf(5))
	h.register("orders", catalog.ModeRemote, nil)
	if got := h.run()["orders"]; got != "updated" {
		t.Fatal(got)
	}
	if h.server.Sessions() != 0 || h.server.Jobs() != 0 {
		t.Errorf("%d sessions and %d jobs read a table that stays", h.server.Sessions(), h.server.Jobs())
	}
	v := h.version("orders")
	if v.QueryMode != catalog.ModeRemote || len(v.Parts) != 0 || v.RemoteSQL != `SELECT * FROM "bq"."main"."orders"` || len(v.Columns) != 4 {
		t.Errorf("%+v", v)
	}
	h.more["remote_attach"] = false
	if got := h.run()["orders"]; !strings.Contains(got, "`remote_attach: false`") {
		t.Errorf("without remote_attach: %s", got)
	}
}

func TestUnchangedTablesAreNotReadAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Put("orders", rowsOf(5))
	h.register("orders", "", nil)
	for i, want := range []string{"updated", "unchanged", "unchanged"} {
		if got := h.run()["orders"]; got != want {
			t.Errorf("run %d: %s, want %s", i, got, want)
		}
	}
	if n := h.server.Sessions(); n != 1 {
		t.Errorf("%d sessions for one version", n)
	}
	h.Put("orders", rowsOf(6))
	if got := h.run()["orders"]; got != "updated" || h.version("orders").Rows != 6 {
		t.Errorf("a changed table: %s", got)
	}
	h.registry = nil
	h.register("orders", "", map[string]any{"columns": []any{"id"}})
	if got := h.run()["orders"]; got != "updated" || len(h.version("orders").Columns) != 1 {
		t.Errorf("another choice of columns: %s", got)
	}
}

func TestCredentialsThatEndInMidRunCostNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Put("orders", rowsOf(5))
	h.register("orders", "", nil)
	if got := h.run()["orders"]; got != "updated" {
		t.Fatal(got)
	}
	before := h.version("orders")
	h.Put("orders", rowsOf(9))
	h.server.Set(bigquerytest.Faults{RevokedStreams: true})
	got := h.run()["orders"]
	if !strings.HasPrefix(got, "failed unauthenticated") && !strings.HasPrefix(got, "failed forbidden") {
		t.Errorf("%s", got)
	}
	if now := h.version("orders"); now.Fingerprint != before.Fingerprint || now.Rows != 5 {
		t.Errorf("the last good version is %+v", now)
	}
	h.server.Set(bigquerytest.Faults{})
	if got := h.run()["orders"]; got != "updated" || h.version("orders").Rows != 9 {
		t.Errorf("with credentials again: %s", got)
	}
}

func TestPreviewOfTablesViewsAndStatements(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Put("orders", rowsOf(50))
	view := bigquerytest.Table{
		Project: "data-project", Dataset: "main", Name: "dear_view", Kind: "VIEW", Bytes: previewBytes + 1, Batches: batches(rowsOf(3)),
		Fields: bigquerytest.Fields("id", "INTEGER", "name", "STRING", "amount", "FLOAT", "at", "TIMESTAMP"),
	}
	h.server.Put(view)
	view.Name, view.Bytes = "view", 1<<20
	h.server.Put(view)
	h.statement("SELECT a", "", 1)
	s := h.open()
	spec := func(name, mode string, options map[string]any) extract.TableSpec {
		return extract.TableSpec{Name: name, Bucket: "main", SourceTable: name, QueryMode: mode, Options: options}
	}
	for name, c := range map[string]struct {
		spec extract.TableSpec
		rows int
	}{
		"a table":     {spec("orders", "", nil), 20},
		"a view":      {spec("view", "", nil), 3},
		"a statement": {spec("a", catalog.ModeMaterialized, map[string]any{"query": "SELECT a"}), 3},
	} {
		p, err := s.Preview(t.Context(), c.spec, 20)
		if err != nil || len(p.Rows) != c.rows {
			t.Errorf("%s: %d rows, %v", name, len(p.Rows), err)
			continue
		}
		if len(p.Columns) != 4 || p.Columns[3].Type != "TIMESTAMP WITH TIME ZONE" || *p.Rows[1][0] != "1" || p.Rows[1][1] != nil || *p.Rows[1][2] != "0.5" || *p.Rows[1][3] != "2026-02-03 04:05:06+00" {
			t.Errorf("%s: %v %v", name, p.Columns, p.Rows[1])
		}
	}
	if _, err := s.Preview(t.Context(), spec("dear_view", "", nil), 20); err == nil || !strings.Contains(fault.Message(err), "limit") {
		t.Errorf("a view that costs more than a preview may: %v", err)
	}
	if _, err := s.Preview(t.Context(), spec("missing", "", nil), 20); !fault.Is(err, fault.NotFound) {
		t.Errorf("a table that is missing: %v", err)
	}
}

func TestTestSaysWhatTheAccountMay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.Put("orders", rowsOf(1))
	s := h.open()
	found := func() string {
		findings, err := s.Test(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(findings, "\n")
	}
	if got := found(); !strings.Contains(got, "the project data-project shows 1 datasets") || !strings.Contains(got, "query jobs cannot be run") {
		t.Error(got)
	}
	h.statement("SELECT 1", "", 0)
	if got := found(); !strings.Contains(got, "query jobs can be run") {
		t.Error(got)
	}
	h.more["datasets"] = []any{"main", "other"}
	if _, err := h.open().Test(t.Context()); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.Message(err), "other") {
		t.Errorf("a dataset that is not there: %v", err)
	}
	h.server.Set(bigquerytest.Faults{Revoked: true})
	if _, err := s.Test(t.Context()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a key that was deleted: %v", err)
	}
}
