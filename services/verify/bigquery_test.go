//go:build verify

package verify_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// dataProject is the project of the emulator's data.
const dataProject = "data-project"

// emulator is bqemulator, which others wrote: BigQuery's REST and Storage Read API over DuckDB. It deviates
// from Google; where that matters the tests say "the emulator", and do not take it for a proof of Google:
//   - it bills nothing and knows no cost: dry runs say 0 bytes, whatever the statement, and name no tables;
//   - it runs a job to its end before it answers, so that there is nothing to wait for or to cancel;
//   - it keeps no results where read sessions look, so those of queries always come by REST;
//   - it puts the mark of an end behind the schema of a session, and its count of a table's rows stays 0;
//   - DML leaves the time of a table's last modification as it is;
//   - it makes no column of the type BIGNUMERIC, and one of GEOGRAPHY is told as BYTES;
//   - it knows no accounts: nothing is refused to anybody.
type emulator struct {
	t          *testing.T
	rest, grpc string // host:port
}

// newEmulator starts it, or skips the test. It wants DuckDB's extension for GEOGRAPHY from a folder of its own
// home, and would otherwise download it.
func newEmulator(t *testing.T) *emulator {
	t.Helper()
	path, python, home := tool(t, "python/bin/bqemulator"), tool(t, "python/bin/python"), "HOME="+t.TempDir()
	install := exec.CommandContext(t.Context(), python, "-c", `
import pathlib, duckdb, numpy, duckdb_extension_spatial as spatial
duckdb.sql("INSTALL '%s'" % next(pathlib.Path(spatial.__file__).parent.rglob("*.duckdb_extension")))`)
	install.Env = append(install.Environ(), home)
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED PEER: bqemulator lacks what it needs (duckdb-extension-spatial, numpy): %v\n%s", err, tail(string(out), 400))
	}
	e := &emulator{t: t, rest: freeAddr(t), grpc: freeAddr(t)}
	_, rest, _ := net.SplitHostPort(e.rest)
	_, grpc, _ := net.SplitHostPort(e.grpc)
	p := spawn(t, "bqemulator", []string{home, "BQEMU_REST_PORT=" + rest, "BQEMU_GRPC_PORT=" + grpc, "BQEMU_ENABLE_FORMAT_EXTENSIONS=false"}, path, "start")
	eventually(t, time.Minute, "bqemulator", func() error {
		if !p.alive() {
			return errors.New("the process ended")
		}
		c, err := net.Dial("tcp", e.grpc)
		if err != nil {
			return err
		}
		return errors.Join(c.Close(), get("http://"+e.rest+"/readyz"))
	})
	return e
}

// post asks the emulator as its own documentation says, without any client of ours.
func (e *emulator) post(path string, body any) {
	e.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		e.t.Fatal(err)
	}
	answer, err := http.Post("http://"+e.rest+"/bigquery/v2/projects/"+dataProject+"/"+path, "application/json", bytes.NewReader(raw))
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		e.t.Fatalf("%s: %s: %s (%v)", path, answer.Status, text, err)
	}
	var failed struct{ Errors []any }
	if err := json.Unmarshal(text, &failed); err != nil || len(failed.Errors) > 0 {
		e.t.Fatalf("%s: %s: %v", raw, text, err)
	}
}

func (e *emulator) sql(statement string) {
	e.t.Helper()
	e.post("queries", map[string]any{"query": statement, "useLegacySql": false})
}

// kind is a type: a column of it, a value as GoogleSQL writes it, and what it is in DuckDB.
type kind struct {
	field       string // of tables.insert
	value       string
	duck, shown string
}

var kinds = []kind{
	{`{"name":"id","type":"INTEGER","mode":"REQUIRED"}`, "1", "BIGINT", "1"},
	{`{"name":"f","type":"FLOAT"}`, "1.5", "DOUBLE", "1.5"},
	{`{"name":"b","type":"BOOLEAN"}`, "TRUE", "BOOLEAN", "true"},
	{`{"name":"s","type":"STRING"}`, `'ž "x"'`, "VARCHAR", `ž "x"`},
	{`{"name":"y","type":"BYTES"}`, "FROM_HEX('00ff41')", "BLOB", `\x00\xFFA`},
	{`{"name":"d","type":"DATE"}`, "DATE '2024-02-29'", "DATE", "2024-02-29"},
	{`{"name":"t","type":"TIME"}`, "TIME '23:59:59.123456'", "TIME", "23:59:59.123456"},
	{`{"name":"dt","type":"DATETIME"}`, "DATETIME '2024-02-29 10:00:00.5'", "TIMESTAMP", "2024-02-29 10:00:00.5"},
	{`{"name":"ts","type":"TIMESTAMP"}`, "TIMESTAMP '2024-02-29 10:00:00.5+02:00'", "TIMESTAMP WITH TIME ZONE", "2024-02-29 08:00:00.5+00"},
	{`{"name":"n","type":"NUMERIC"}`, "NUMERIC '12345678901234567890.123456789'", "DECIMAL(38,9)", "12345678901234567890.123456789"},
	{`{"name":"j","type":"JSON"}`, `JSON '{"a":[1,2]}'`, "JSON", `{"a":[1,2]}`},
	{`{"name":"iv","type":"INTERVAL"}`, "INTERVAL '1-2 3 4:5:6' YEAR TO SECOND", "INTERVAL", "1 year 2 months 3 days 04:05:06"},
	{`{"name":"r","type":"RANGE","rangeElementType":{"type":"DATE"}}`, "RANGE(DATE '2024-01-01', DATE '2024-02-01')", `STRUCT("start" DATE, "end" DATE)`, "{'start': 2024-01-01, 'end': 2024-02-01}"},
	{`{"name":"a","type":"INTEGER","mode":"REPEATED"}`, "[1, 2, 3]", "BIGINT[]", "[1, 2, 3]"},
	{`{"name":"st","type":"RECORD","fields":[{"name":"x","type":"INTEGER"},{"name":"y","type":"STRING"}]}`, "STRUCT(7 AS x, 'seven' AS y)", `STRUCT("x" BIGINT, "y" VARCHAR)`, "{'x': 7, 'y': seven}"},
	{`{"name":"sa","type":"RECORD","mode":"REPEATED","fields":[{"name":"k","type":"STRING"},{"name":"v","type":"FLOAT"}]}`,
		"[STRUCT('k1' AS k, 0.5 AS v), STRUCT('k2' AS k, NULL AS v)]", `STRUCT("k" VARCHAR, "v" DOUBLE)[]`, "[{'k': k1, 'v': 0.5}, {'k': k2, 'v': NULL}]"},
}

func (k kind) name() string {
	var f struct{ Name string }
	_ = json.Unmarshal([]byte(k.field), &f)
	return f.Name
}

// fill makes a dataset with a table of all types, one of many rows, and a view.
func (e *emulator) fill() {
	e.t.Helper()
	e.post("datasets", map[string]any{"datasetReference": map[string]string{"projectId": dataProject, "datasetId": "crm"}, "location": "US"})
	var fields []json.RawMessage
	for _, k := range kinds {
		fields = append(fields, json.RawMessage(k.field))
	}
	e.post("datasets/crm/tables", map[string]any{
		"tableReference": map[string]string{"projectId": dataProject, "datasetId": "crm", "tableId": "kinds"}, "description": "every type", "schema": map[string]any{"fields": fields},
	})
	e.sql("INSERT INTO crm.kinds (id) VALUES (1), (2)")
	e.sql("UPDATE crm.kinds SET a = [], sa = [] WHERE id = 2") // it keeps NULL, which Google stores as an empty array
	for _, k := range kinds[1:] {                              // in one INSERT with others the emulator would cut a NUMERIC to three digits
		e.sql("UPDATE crm.kinds SET " + k.name() + " = " + k.value + " WHERE id = 1")
	}
	e.sql("CREATE TABLE crm.orders AS " + ordersUpTo(10000))
	e.sql("CREATE VIEW crm.totals AS SELECT customer, COUNT(*) AS orders FROM crm.orders GROUP BY customer")
}

func ordersUpTo(last int) string {
	return fmt.Sprintf("SELECT id, MOD(id, 7) AS customer, CONCAT('note ', CAST(id AS STRING)) AS note FROM UNNEST(GENERATE_ARRAY(1, %d)) AS id", last)
}

// client is ours, unchanged, as the environment of emulators configures it.
func (e *emulator) client(change func(*bigquery.Config)) *bigquery.Client {
	e.t.Helper()
	config, _, err := bigquery.ConfigOf(map[string]any{"project": dataProject})
	if err != nil {
		e.t.Fatal(err)
	}
	if config.Endpoint != e.rest || config.StorageEndpoint != e.grpc {
		e.t.Fatalf("the environment configures %+v", config)
	}
	if change != nil {
		change(&config)
	}
	c, err := bigquery.Open(e.t.Context(), config)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

// texts reads a result as connectors do, through DuckDB, each value as a text; NULL is "∅". Rows are sorted.
func texts(ctx context.Context, r *bigquery.Result, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	db, err := lake.Open(ctx, lake.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	view, err := lake.NewArrowView(ctx, conn, "result", r.Reader(), r.Columns())
	if err != nil {
		return nil, err
	}
	defer func() { _ = view.Close() }()
	list := make([]string, len(r.Columns()))
	for i, c := range r.Columns() {
		list[i] = "coalesce(CAST(" + lake.QuoteIdent(c.Name) + " AS VARCHAR), '∅')"
	}
	rows, err := conn.QueryContext(ctx, "SELECT concat_ws('|', "+strings.Join(list, ", ")+") FROM ("+view.Select()+") ORDER BY 1")
	if err != nil {
		return nil, errors.Join(err, view.Err())
	}
	return collect(rows)
}

func collect(rows *sql.Rows) (out []string, err error) {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

func wantTexts(t *testing.T, what string, got []string, err error, want ...string) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q\n%v", what, got, want, err)
	}
}

// TestBigQueryEmulator runs our client and the real processes against a BigQuery that others wrote.
func TestBigQueryEmulator(t *testing.T) {
	e := newEmulator(t)
	t.Setenv(bigquery.EnvEmulator, e.rest)
	t.Setenv(bigquery.EnvStorageEmulator, e.grpc)
	e.fill()
	t.Run("discovery", func(t *testing.T) { e.at(t).discovery() })
	t.Run("dry run", func(t *testing.T) { e.at(t).dryRun() })
	byREST := func(c *bigquery.Config) { c.StorageEndpoint = "" }
	for name, change := range map[string]func(*bigquery.Config){"streams": nil, "REST": byREST} {
		t.Run("types by "+name, func(t *testing.T) { e.at(t).types(change) })
		t.Run("rows by "+name, func(t *testing.T) { e.at(t).rows(change) })
		t.Run("queries by "+name, func(t *testing.T) { e.at(t).queries(change) })
	}
	t.Run("published", func(t *testing.T) { e.at(t).published() })
}

// at is the emulator in a test of its own.
func (e *emulator) at(t *testing.T) *emulator {
	t.Helper()
	return &emulator{t, e.rest, e.grpc}
}

func ref(table string) bigquery.TableRef {
	return bigquery.TableRef{Project: dataProject, Dataset: "crm", Table: table}
}

func (e *emulator) discovery() {
	t, c := e.t, e.client(nil)
	datasets, err := c.Datasets(t.Context(), dataProject)
	wantTexts(t, "datasets", datasets, err, "crm")
	tables, err := c.Tables(t.Context(), dataProject, "crm")
	var names []string
	for _, r := range tables {
		names = append(names, r.Table)
	}
	slices.Sort(names)
	wantTexts(t, "tables", names, err, "kinds", "orders", "totals")
	table, err := c.Table(t.Context(), ref("kinds"))
	if err != nil || table.Kind != bigquery.KindTable || table.Description != "every type" || time.Since(table.Modified) > time.Hour || len(table.Columns) != len(kinds) {
		t.Fatalf("%+v: %v", table, err)
	}
	for i, k := range kinds {
		if got := table.Columns[i]; got.Name != k.name() || got.Type != k.duck {
			t.Errorf("the column %s is %s %s, want %s", k.name(), got.Name, got.Type, k.duck)
		}
	}
	if view, err := c.Table(t.Context(), ref("totals")); err != nil || view.Kind != bigquery.KindView || view.Readable() {
		t.Errorf("%+v: %v", view, err)
	}
	if _, err := c.Table(t.Context(), ref("nothing")); !fault.Is(err, fault.NotFound) {
		t.Errorf("a table that is none: %v", err)
	}
}

// dryRun: the emulator knows no cost, so only the statement's kind, its columns and its errors are proofs.
func (e *emulator) dryRun() {
	t, c := e.t, e.client(nil)
	got, err := c.DryRun(t.Context(), bigquery.Query{SQL: "SELECT id, note FROM crm.orders WHERE customer = @c", Params: []bigquery.Param{{Name: "c", Value: 3}}})
	if err != nil || got.StatementType != "SELECT" || fmt.Sprint(got.Columns) == "[]" || len(got.Columns) != 2 || got.Columns[1].Type != "VARCHAR" {
		t.Errorf("%+v: %v", got, err)
	}
	if got, err := c.DryRun(t.Context(), bigquery.Query{SQL: "DELETE FROM crm.orders WHERE TRUE"}); err != nil || got.StatementType != "DELETE" {
		t.Errorf("%+v: %v", got, err)
	}
	r, err := c.Run(t.Context(), bigquery.Query{SQL: "SELECT COUNT(*) AS n FROM crm.orders"})
	rows, err := texts(t.Context(), r, err)
	wantTexts(t, "after the dry run of a DELETE", rows, err, "10000")
	for _, broken := range []string{"SELEC 1", "SELECT nothing FROM crm.orders", "SELECT * FROM crm.nothing"} {
		if got, err := c.DryRun(t.Context(), bigquery.Query{SQL: broken}); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %+v: %v", broken, got, err)
		}
	}
}

func (e *emulator) types(change func(*bigquery.Config)) {
	t, c := e.t, e.client(change)
	for _, k := range kinds[1:] {
		r, err := c.Read(t.Context(), ref("kinds"), bigquery.ReadOptions{Columns: []string{"id", k.name()}})
		rows, err := texts(t.Context(), r, err)
		null := "2|∅"
		if strings.Contains(k.field, "REPEATED") {
			null = "2|[]"
		}
		wantTexts(t, k.duck, rows, err, "1|"+k.shown, null)
	}
}

func (e *emulator) rows(change func(*bigquery.Config)) {
	t, c := e.t, e.client(change)
	r, err := c.Read(t.Context(), ref("orders"), bigquery.ReadOptions{})
	rows, err := texts(t.Context(), r, err)
	if err != nil || len(rows) != 10000 || len(slices.Compact(rows)) != 10000 {
		t.Errorf("%d rows: %v", len(rows), err)
	}
	r, err = c.Read(t.Context(), ref("orders"), bigquery.ReadOptions{Limit: 15})
	if rows, err = texts(t.Context(), r, err); err != nil || len(rows) != 15 {
		t.Errorf("%d rows of 15: %v", len(rows), err)
	}
	r, err = c.Read(t.Context(), ref("orders"), bigquery.ReadOptions{Columns: []string{"id", "note"}, Filter: "customer = 3 AND id < 20"})
	rows, err = texts(t.Context(), r, err)
	wantTexts(t, "columns and filter", rows, err, "10|note 10", "17|note 17", "3|note 3")
	r, err = c.Read(t.Context(), ref("totals"), bigquery.ReadOptions{Filter: "customer < 2"})
	rows, err = texts(t.Context(), r, err)
	wantTexts(t, "a view", rows, err, "0|1428", "1|1429")
}

func (e *emulator) queries(change func(*bigquery.Config)) {
	t, c := e.t, e.client(change)
	run := func(q bigquery.Query) ([]string, error) {
		r, err := c.Run(t.Context(), q)
		return texts(t.Context(), r, err)
	}
	rows, err := run(bigquery.Query{
		SQL:    "SELECT id, note FROM crm.orders WHERE id IN UNNEST(@ids) AND note != @note AND id < @most ORDER BY id",
		Params: []bigquery.Param{{Name: "ids", Value: []int64{5, 6, 7, 9999}}, {Name: "note", Value: "note 6"}, {Name: "most", Value: 100}},
		Labels: map[string]string{"table": "orders"}, MaxBytesBilled: 1 << 30,
	})
	wantTexts(t, "parameters", rows, err, "5|note 5", "7|note 7")
	rows, err = run(bigquery.Query{SQL: "SELECT id FROM crm.orders WHERE note IN UNNEST(@notes)", Params: []bigquery.Param{{Name: "notes", Value: []string{"note 8", "it's"}}}})
	wantTexts(t, "an array of texts", rows, err, "8")
	rows, err = run(bigquery.Query{SQL: "SELECT id FROM crm.orders WHERE id < 0"})
	wantTexts(t, "no rows", rows, err)
	if _, err := run(bigquery.Query{SQL: "SELECT nothing FROM crm.orders"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a column that is none: %v", err)
	}
	if _, err := run(bigquery.Query{SQL: "SELECT * FROM crm.nothing"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a table that is none: %v", err)
	}
}

const ordersOfBigQuery = "SELECT count(*), CAST(sum(id) AS VARCHAR), count(DISTINCT customer), max(note) FROM dwh."

// published runs the processes: tables, a view and a statement are copied, published and asked by REST, and what
// changed is read again.
func (e *emulator) published() {
	t, h := e.t, newHouse(e.t)
	h.write("config/instance.yaml", "instance: {name: Verify}\nsources:\n  - {name: dwh, type: bigquery, project: "+dataProject+", datasets: [crm]}\n"+
		"remote_attach: {extensions: [bigquery], hosts: ['project="+dataProject+"']}\n")
	h.start("agnes-api", "agnes-orchestrator", "agnes-extractor-bigquery")
	h.login()
	register := func(name, table, mode string, options map[string]any) {
		h.post("/api/admin/register-table", map[string]any{"name": name, "source": "dwh", "bucket": "crm", "source_table": table, "query_mode": mode, "options": options}, nil)
	}
	register("kinds", "kinds", "local", nil)
	register("orders", "orders", "local", nil)
	register("some", "orders", "local", map[string]any{"columns": []string{"id"}, "where": "customer = 3"})
	register("totals", "totals", "local", nil)
	h.post("/api/admin/register-table", map[string]any{
		"name": "grown", "source": "dwh", "bucket": "crm", "source_table": "orders", "primary_key": []string{"id"},
		"sync_strategy": "incremental", "options": map[string]any{"incremental_by": "id"},
	}, nil)
	register("best", "", "materialized", map[string]any{"query": "SELECT customer, orders FROM crm.totals WHERE orders > 1428"})
	register("live", "orders", "remote", nil) // these stay where they live
	register("live_totals", "totals", "remote", nil)
	register("live_kinds", "kinds", "remote", nil)
	register("few", "", "materialized", map[string]any{
		"query": "SELECT id, customer, note, DATE_ADD(DATE '2026-01-01', INTERVAL id DAY) AS day, MOD(id, 2) = 1 AS odd, CAST(NULL AS INT64) AS nothing FROM crm.orders WHERE MOD(id, 1000) = 7",
	})
	register("wrong", "", "materialized", map[string]any{"query": "DELETE FROM crm.orders WHERE TRUE"})
	want := map[string]string{
		ordersOfBigQuery + "orders":                                 "[[10000 50005000 7 note 9999]]",
		"SELECT count(*), min(id), max(id) FROM dwh.some":           "[[1429 3 9999]]",
		"SELECT count(*), sum(orders) FROM dwh.totals":              "[[7 10000]]",
		"SELECT customer, orders FROM dwh.best ORDER BY customer":   "[[1 1429] [2 1429] [3 1429] [4 1429]]",
		"SELECT count(*) FROM dwh.kinds WHERE id = 2 AND s IS NULL": "[[1]]",
	}
	for _, k := range kinds {
		want["SELECT CAST("+k.name()+" AS VARCHAR) FROM dwh.kinds WHERE id = 1"] = "[[" + k.shown + "]]"
		want["SELECT CAST("+k.name()+" AS VARCHAR) FROM dwh.live_kinds WHERE id = 1"] = "[[" + k.shown + "]]"
	}
	want[ordersOfBigQuery+"live"] = "[[10000 50005000 7 note 9999]]"
	want["SELECT id, note FROM dwh.live WHERE customer = 3 AND id < 20 AND note IN ('note 3', 'note 17', 'it''s') ORDER BY id"] = "[[3 note 3] [17 note 17]]"
	want["SELECT t.customer, t.orders, count(o.id) FROM dwh.live_totals t JOIN dwh.orders o USING (customer) WHERE t.customer < 2 GROUP BY ALL ORDER BY 1"] = "[[0 1428 1428] [1 1429 1429]]"
	first := h.runOf("dwh")
	for sql, rows := range want {
		if err := h.expect(sql, rows); err != nil {
			t.Error(err)
		}
	}
	if !strings.HasPrefix(first["wrong"], "failed: ") || !strings.Contains(first["wrong"], "only a SELECT is run") {
		t.Errorf("a statement that is no SELECT: %q", first["wrong"])
	}
	e.semiJoined(h)
	// The emulator's time of the last modification follows no INSERT, as Google's does: the table is replaced.
	e.sql("CREATE OR REPLACE TABLE crm.orders AS " + ordersUpTo(10001))
	second := h.runOf("dwh")
	// The new row is none of the customer 3's: what was read of it again is the same.
	for table, outcome := range map[string]string{"kinds": "unchanged", "grown": "updated", "orders": "updated", "some": "unchanged", "totals": "updated"} {
		if second[table] != outcome {
			t.Errorf("%s is %q in the second run, want %s", table, second[table], outcome)
		}
	}
	for _, table := range []string{"orders", "grown"} {
		if err := h.expect(ordersOfBigQuery+table, "[[10001 50015001 7 note 9999]]"); err != nil {
			t.Error(err)
		}
	}
	for _, sql := range []string{"SELECT sum(orders) FROM dwh.totals", "SELECT count(*) FROM dwh.live", "SELECT max(id) FROM dwh.live"} {
		if err := h.expect(sql, "[[10001]]"); err != nil {
			t.Error(err)
		}
	}
}

// semiJoined asks a join that one row in a thousand matches: how many rows travel is told, with keys and without.
func (e *emulator) semiJoined(h *house) {
	t := e.t
	const join = "SELECT count(*), min(o.note), max(e.note) FROM dwh.few o JOIN e ON e.id = o.id"
	ask := func(sql string, more map[string]any) (rows string, travelled, keys int64) {
		body := map[string]any{"sql": sql, "register_bq": map[string]string{"e": "SELECT * FROM crm.orders"}}
		for name, value := range more {
			body[name] = value
		}
		var got struct {
			Rows  [][]any
			Stats struct {
				Parts []struct {
					Rows     int64
					SemiJoin struct{ Keys int64 } `json:"semi_join"`
				}
			} `json:"bq_stats"`
		}
		h.post("/api/query/hybrid", body, &got)
		if len(got.Stats.Parts) != 1 {
			t.Fatalf("%+v", got)
		}
		return fmt.Sprint(got.Rows), got.Stats.Parts[0].Rows, got.Stats.Parts[0].SemiJoin.Keys
	}
	rows, travelled, keys := ask(join, nil)
	whole, all, none := ask(join, map[string]any{"semi_join": false})
	if rows != whole || keys != 10 || none != 0 || all < 10000 || travelled*50 > all {
		t.Errorf("%s with %d keys (%d rows travelled), %s without (%d rows, %d keys); want at most 2 %%", rows, keys, travelled, whole, all, none)
	}
	t.Logf("%d of %d rows travelled (%.2f %%)", travelled, all, 100*float64(travelled)/float64(all))
	// A registered query that is called as a table of the catalog is what main.few means: its keys are not that table's.
	var counts [2][][]any
	for i, keys := range []bool{true, false} {
		var got struct{ Rows [][]any }
		h.post("/api/query/hybrid", map[string]any{
			"sql": "SELECT count(*) FROM main.few o JOIN e ON e.id = o.id", "semi_join": keys,
			"register_bq": map[string]string{"e": "SELECT * FROM crm.orders", "few": "SELECT id FROM crm.orders WHERE id < 50"},
		}, &got)
		counts[i] = got.Rows
	}
	if with, without := fmt.Sprint(counts[0]), fmt.Sprint(counts[1]); with != without || with == "[[0]]" {
		t.Errorf("main.few: %s with keys, %s without", with, without)
	}
	// Keys of every type that is sent, and those that are not, give the same answer either way.
	for _, on := range []string{"o.note = e.note", "o.id = e.id AND o.note = e.note", "o.customer = e.customer AND o.id = e.id", "o.id::DOUBLE = e.id", "o.day = e.day", "o.odd = e.odd", "o.nothing = e.id"} {
		sql := "SELECT count(*), sum(e.id) FROM dwh.few o JOIN e ON " + on
		body := map[string]any{"register_bq": map[string]string{"e": "SELECT *, DATE_ADD(DATE '2026-01-01', INTERVAL id DAY) AS day, MOD(id, 2) = 1 AS odd FROM crm.orders WHERE id < 3000"}}
		with, _, _ := ask(sql, body)
		body["semi_join"] = false
		without, _, _ := ask(sql, body)
		if with != without {
			t.Errorf("%s: %s with keys, %s without", on, with, without)
		}
	}
}

// runOf reads a source, and tells what became of each table.
func (h *house) runOf(source string) map[string]string {
	h.t.Helper()
	var triggered struct {
		RunID string `json:"run_id"`
	}
	h.post("/api/sync/trigger", map[string]any{"source": source}, &triggered)
	var run struct {
		Status, Error string
		Tables        []struct{ Table, Outcome, Error string }
	}
	eventually(h.t, 2*time.Minute, "the run", func() error {
		if err := h.call(http.MethodGet, "/api/sync/runs/"+triggered.RunID, nil, &run); err != nil {
			return err
		}
		if run.Status != "succeeded" && run.Status != "partial" && run.Status != "failed" {
			return fmt.Errorf("it is %s", run.Status)
		}
		return nil
	})
	out := map[string]string{"": run.Status + " " + run.Error}
	for _, t := range run.Tables {
		if out[t.Table] = t.Outcome; t.Error != "" {
			out[t.Table] += ": " + t.Error
		}
	}
	return out
}
