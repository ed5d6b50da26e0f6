package csv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestRejects(t *testing.T) {
	t.Parallel()
	row := func(file string, line int, column, reason, raw string) string {
		name := "null"
		if column != "" {
			name = `"` + column + `"`
		}
		return fmt.Sprintf(`{"file":"%s","line":%d,"column_name":%s,"reason":"%s","raw":"%s"}`, file, line, name, reason, raw)
	}
	check(t, []one{
		{name: "all kinds", file: "t.csv", options: `{"on_error":"reject","tables":{"t":{"columns":{"v":"INTEGER"}}}}`,
			content: "id,v\n1,2\n2\n3,x\n4,\"a\nb\"c\n5,6\n6,\x00\n7,\"open\n8,9\n",
			columns: "id BIGINT, v INTEGER", rows: []string{`{"id":1,"v":2}`, `{"id":5,"v":6}`, `{"id":8,"v":9}`}, outcome: "updated rejected 5",
			rejects: []string{
				row("t.csv", 3, "", "1 value, but there are 2 columns", "2"),
				row("t.csv", 4, "v", `\"x\" is not an INTEGER`, "3,x"),
				row("t.csv", 5, "", "value 2 goes on after its closing quote", `4,\"a\nb\"c`),
				row("t.csv", 8, "", "there is a NUL byte: the file is damaged, or not text", "6,␀"),
				row("t.csv", 9, "", "value 2 opens a quote that is never closed", `7,\"open`),
			}},
		{name: "known to DuckDB only", file: "t.csv", options: `{"on_error":"reject","tables":{"t":{"columns":{"v":"DECIMAL(4,2)","w":"UUID"}}}}`,
			content: "id,v,w\n1,2.5,\n2\n3,x,\n4,999,\n5,,nope\n6,7,\n",
			columns: "id BIGINT, v DECIMAL(4,2), w UUID", rows: []string{`{"id":1,"v":2.5,"w":null}`, `{"id":6,"v":7.0,"w":null}`}, outcome: "updated rejected 4",
			rejects: []string{
				row("t.csv", 3, "", "1 value, but there are 3 columns", "2"),
				row("t.csv", 4, "v", `\"x\" is not a DECIMAL(4,2)`, "3,x,"),
				row("t.csv", 5, "v", `\"999\" is not a DECIMAL(4,2)`, "4,999,"),
				row("t.csv", 6, "w", `\"nope\" is not a UUID`, "5,,nope"),
			}},
		{name: "invalid utf-8", file: "t.csv", options: `{"on_error":"reject","encoding":"utf-8"}`, content: "id,v\n1,\xe9\n2,ž\n",
			columns: "id BIGINT, v VARCHAR", rows: []string{`{"id":2,"v":"ž"}`}, outcome: "updated rejected 1",
			rejects: []string{row("t.csv", 2, "", "the text is not valid UTF-8: the file is damaged, or `encoding` must be set", "1,\uFFFD")}},
		{name: "json", file: "t.ndjson", options: `{"on_error":"reject","tables":{"t":{"columns":{"v":"INTEGER","d":"DECIMAL(4,2)"}}}}`,
			content: "{\"v\":1,\"d\":1}\n{\"v\":\n{\"v\":\"x\"}\n5\n{\"v\":2,\"d\":\"y\"}\n",
			columns: "v INTEGER, d DECIMAL(4,2)", rows: []string{`{"v":1,"d":1.0}`}, outcome: "updated rejected 4",
			rejects: []string{
				row("t.ndjson", 2, "", `a comma or } must follow the value, not '5'`, `{\"v\":`),
				row("t.ndjson", 3, "v", `\"x\" is not an INTEGER`, `{\"v\":\"x\"}`),
				row("t.ndjson", 4, "", "the record is not an object", "5"),
				row("t.ndjson", 5, "d", `\"y\" is not a DECIMAL(4,2)`, `{\"v\":2,\"d\":\"y\"}`),
			}},
		{name: "a damaged file is not a bad row", file: "t.csv.gz", options: `{"on_error":"reject"}`, content: gzipped("a,b\n1,2\n3,4\n")[:20],
			outcome: "failed invalid: t.csv.gz: the gzip data is damaged or cut off (unexpected EOF)"},
	})
}

func TestRejectsGoAwayWhenTheFileIsMended(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"on_error":"reject"}`)
	h.put("t.csv", "a,b\n1,2\n3\n")
	if got := outcome(h.run()["t"]); got != "updated rejected 1" {
		t.Fatal(got)
	}
	h.put("t.csv", "a,b\n1,2\n3,4\n")
	if got := outcome(h.run()["t"]); got != "updated" {
		t.Fatal(got)
	}
	if columns, _ := h.table("t__rejects"); columns != "" {
		t.Error("the rejects are still there")
	}
}

func TestLikeFilesMakeOneTable(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"path":["../files/orders-2026-*.csv*","../files"]}`)
	h.put("orders-2026-01.csv", "id,Amount,day\n1,2,2026-01-01\n")
	h.put("orders-2026-02.csv", "ID;extra;amount\n2;x;2.5\n")
	h.put("orders-2026-03.csv.gz", gzipped("id,day\nthree,\n"))
	h.put("orders-2026-04.csv", "id,amount,day\n")
	h.put("customers.csv", "id\n1\n")
	out := h.run()
	if got := outcome(out["orders"]); got != "updated" {
		t.Fatal(got)
	}
	columns, rows := h.table("orders")
	if want := "id VARCHAR, Amount DOUBLE, day DATE, extra VARCHAR"; columns != want {
		t.Errorf("%s, want %s", columns, want)
	}
	want := []string{`{"id":"1","Amount":2.0,"day":"2026-01-01","extra":null}`, `{"id":"2","Amount":2.5,"day":null,"extra":"x"}`, `{"id":"three","Amount":null,"day":null,"extra":null}`}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if len(out) != 2 || outcome(out["customers"]) != "updated" {
		t.Errorf("%v", out)
	}
	h.options["union_by_name"] = false
	if got := outcome(h.run()["orders"]); got != "failed invalid: orders-2026-02.csv: the column day of orders-2026-01.csv is missing, and union_by_name is off" {
		t.Error(got)
	}
}

func TestLikeFilesOfParquetAndJSON(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"path":"../files","tables":{"j":{"path":"j*.ndjson","primary_key":"a","description":"all of them"},"both":{"path":["j1.ndjson","x.csv"]}}}`)
	h.put("j1.ndjson", `{"a":1}`)
	h.put("j2.ndjson", `{"a":"x","b":true}`)
	h.put("x.csv", "a\n1\n")
	out := h.run()
	if columns, _ := h.table("j"); columns != "a VARCHAR, b BOOLEAN" || outcome(out["j"]) != "updated" {
		t.Errorf("%s, %s", columns, outcome(out["j"]))
	}
	if got := outcome(out["both"]); got != "failed invalid: j1.ndjson is json and x.csv is csv: a table is made of one kind of file" {
		t.Error(got)
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"tables":{"named":{"path":"weird file.dat","format":"csv","columns":{"v":"DECIMAL(4,2)"},"primary_key":["k"],"description":"by hand"},"gone":{"description":"x"},"away":{"path":"no-*.csv"}}}`)
	h.put("orders.csv", "order_id,v\n1,x\n2,y\n")
	h.put("twice.csv", "id,v\n1,x\n1,y\n")
	h.put("order.csv", "a\n1\n")
	h.put("My Table.v2.csv", "a\n1\n")
	h.put("žluť.tsv", "a\tb\n1\t\n")
	h.put("same.csv", "a\n1\n")
	h.put("Same.json", `[{"a":1}]`)
	h.put("weird file.dat", "k,v\n1,2\n")
	h.put("empty.csv", "")
	h.put("bad.csv", "id,b\n1,2\n2\n")
	h.put("notes.xlsx", "PK")
	h.put(".hidden.csv", "a\n1\n")
	h.put("~$lock.csv", "a\n1\n")
	h.put("big.csv", "id,v\n"+strings.Repeat("1,x\n", 3<<20))
	if err := os.Mkdir(h.file("folder.csv"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.file("subfolder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"dangling.csv": "nowhere", "outside.csv": filepath.Join(h.dir, "secret.csv"), "inside.csv": "order.csv"} {
		if err := os.Symlink(to, h.file(link)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(h.dir, "secret.csv"), "a\n1\n")
	var got []string
	for _, d := range h.discover() {
		got = append(got, describe(d))
		switch d.Name {
		case "orders":
			if d.Rows != 2 || d.SizeBytes != 19 || d.ChangedAt.IsZero() || d.SourceTable != "orders.csv" {
				t.Errorf("%+v", d)
			}
		case "big":
			if d.Rows != -1 {
				t.Errorf("%+v", d)
			}
		case "named":
			if d.Description != "by hand" {
				t.Errorf("%+v", d)
			}
		}
	}
	want := []string{
		"away() problem: no file matches no-*.csv",
		"bad(id BIGINT, b BIGINT)",
		"big(id BIGINT, v VARCHAR)",
		"dangling() problem: dangling.csv: it is a link to a file that is not there",
		"empty() problem: empty.csv: the file is empty: there is not even a header",
		"folder() problem: folder.csv: it is a folder, not a file",
		"gone() problem: no file makes a table of this name: give it a `path`",
		"inside(a BIGINT)",
		"my_table_v2(a BIGINT)",
		"named(k BIGINT, v DECIMAL(4,2)) key k",
		"order(a BIGINT)",
		"orders(order_id BIGINT, v VARCHAR) key order_id",
		"outside() problem: outside.csv: it is a link that leads out of its folder",
		"same() problem: Same.json, same.csv would all be the table same: name them under `tables`",
		"same() problem: Same.json, same.csv would all be the table same: name them under `tables`",
		"twice(id BIGINT, v VARCHAR)",
		"žluť(a BIGINT, b VARCHAR)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	out := h.run()
	if got := outcome(out["folder"]); got != "failed invalid: folder.csv: it is a folder, not a file" {
		t.Error(got)
	}
	if got := outcome(out["order"]); got != "updated" {
		t.Error(got)
	}
}

func TestTrap_D13_TheRegistryReachesNoFileOutside(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	h.put("in.csv", "a\n1\n")
	h.put("in2.csv", "a\n2\n")
	secret := filepath.Join(h.dir, "secret.csv")
	write(t, secret, "a\n1\n")
	for name, sourceTable := range map[string]string{"up": "../secret.csv", "absolute": secret, "star": "../*.csv", "pattern": "in*.csv", "renamed": "in.csv"} {
		h.registered = append(h.registered, &agnesv1.RegisteredTable{Name: name, Source: "shop", SourceTable: sourceTable})
	}
	h.registered = append(h.registered,
		&agnesv1.RegisteredTable{Name: "option", Source: "shop", SourceTable: "in.csv", OptionsJson: `{"path":"` + secret + `"}`},
		&agnesv1.RegisteredTable{Name: "typed", Source: "shop", SourceTable: "in.csv", OptionsJson: `{"columns":{"a":"VARCHAR"}}`},
		&agnesv1.RegisteredTable{Name: "misspelt", Source: "shop", SourceTable: "in.csv", OptionsJson: `{"delimter":";"}`},
	)
	out := h.run()
	for name, want := range map[string]string{
		"up": "failed not_found:", "absolute": "failed not_found:", "star": "failed not_found:", "pattern": "updated", "renamed": "updated",
		"option": "failed invalid: the table option: which files are read is set in instance.yaml only", "typed": "updated",
		"misspelt": `failed invalid: an option of the table misspelt cannot be used: json: unknown field "delimter"`,
	} {
		if got := outcome(out[name]); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if columns, _ := h.table("typed"); columns != "a VARCHAR" {
		t.Error(columns)
	}
	if _, rows := h.table("pattern"); len(rows) != 2 {
		t.Error(rows)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		`{}`:                                                    "needs a `path`",
		`{"path":5}`:                                            "a text or a list of texts",
		`{"path":"x","delimter":";"}`:                           `unknown field "delimter"`,
		`{"path":"x","delimiter":";;"}`:                         "delimiter: one ASCII character is wanted",
		`{"path":"x","delimiter":""}`:                           "delimiter: it is empty",
		`{"path":"x","delimiter":"\""}`:                         "also the quote",
		`{"path":"x","format":"xlsx"}`:                          "format: \"xlsx\" is not one of",
		`{"path":"x","on_error":"skip"}`:                        "on_error: \"skip\" is neither",
		`{"path":"x","encoding":"x"}`:                           "encoding: the encoding \"x\" is not known",
		`{"path":"x","skip":-1}`:                                "skip: -1",
		`{"path":"x","date_format":"dd"}`:                       "date_format: ",
		`{"path":"x","columns":{"a":"INTEGER); DROP TABLE x"}}`: "is not the name of a type",
		`{"path":"x","tables":{"t":{"quot":"x"}}}`:              "tables.t: unknown field \"quot\"",
		`{"path":"x","tables":{"t":{"header":"yes"}}}`:          "tables.t: header: a bool is wanted, not a string",
		`{"path":"x","tables":{"../t":{}}}`:                     "tables.../t: table name",
		`{"path":"x","primary_key":"id"}`:                       `unknown field "primary_key"`,
		`{"path":"x","watch":true,"auto_register":true}`:        "",
		`{"path":"x","delimiter":"\\t","quote":"","header":false,"columns":{"a":"DECIMAL(18, 2)","b":"INTEGER[]","c":"TIMESTAMP WITH TIME ZONE"}}`: "",
	} {
		h := &house{t: t, dir: t.TempDir()}
		cfg := h.source()
		cfg.Options = map[string]any{}
		unmarshal(t, options, &cfg.Options)
		_, err := Connector.Open(context.Background(), cfg)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", options, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid)):
			t.Errorf("%s: %v, want %s", options, err, want)
		}
	}
}

func TestTheExamplesAreValid(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/connector-csv.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../../config/instance.yaml.example")
	if err != nil {
		t.Fatal(err)
	}
	blocks := []string{string(example)}
	for _, after := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		blocks = append(blocks, block)
	}
	if len(blocks) < 3 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "instance.yaml"), block)
		instance, err := service.LoadInstance(dir, dir)
		if err != nil {
			t.Fatal(err)
		}
		sources := instance.OfType(Type)
		if len(sources) == 0 {
			t.Errorf("no source in %s", block)
		}
		for _, s := range sources {
			if _, err := Connector.Open(context.Background(), extract.SourceConfig{Name: s.Name, Type: s.Type, Options: s.Options}); err != nil {
				t.Errorf("%v in %s", err, block)
			}
		}
	}
}

func TestUnchangedInputIsSkipped(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	h.put("t.csv", "a\n1\n")
	h.put("u.ndjson", `{"a":1}`)
	h.run()
	if _, skipped := runWatched(h); !skipped["t"] || !skipped["u"] {
		t.Error("the same file was read again")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(h.file("t.csv"), later, later); err != nil {
		t.Fatal(err)
	}
	if _, skipped := runWatched(h); !skipped["t"] {
		t.Error("the same content was read again")
	}
	h.put("t.csv", "a\n2\n") // of the same size
	if err := os.Chtimes(h.file("t.csv"), later, later); err != nil {
		t.Fatal(err)
	}
	if out, skipped := runWatched(h); skipped["t"] || !skipped["u"] || outcome(out["t"]) != "updated" {
		t.Error("another content of the same size was taken for the same")
	}
	if _, rows := h.table("t"); len(rows) != 1 || rows[0] != `{"a":2}` {
		t.Error(rows)
	}
}

// runWatched runs, and tells which tables the connector found unchanged.
func runWatched(h *house) (map[string]*agnesv1.TableOutcome, map[string]bool) {
	s := &skips{skipped: map[string]bool{}}
	out := h.run(func(c *extract.RunConfig) {
		c.Connector.Open = func(ctx context.Context, cfg extract.SourceConfig) (extract.Source, error) {
			var err error
			s.Source, err = Connector.Open(ctx, cfg)
			return s, err
		}
	})
	return out, s.skipped
}

// skips notes the tables that were found unchanged.
type skips struct {
	extract.Source
	mu      sync.Mutex
	skipped map[string]bool
}

func (s *skips) Extract(ctx context.Context, t extract.TableSpec, w *extract.TableWriter) error {
	err := s.Source.Extract(ctx, t, w)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped[t.Name] = errors.Is(err, extract.ErrUnchanged)
	return err
}

func TestAColumnWithoutValuesKeepsItsType(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	h.put("t.csv", "a,b\n1,2026-01-01\n")
	h.put("j.json", `[{"a":1}]`)
	h.run()
	h.put("t.csv", "a,b\n")
	h.put("j.json", `[]`)
	out := h.run()
	if columns, rows := h.table("t"); columns != "a BIGINT, b DATE" || len(rows) != 0 {
		t.Errorf("%s %v %s", columns, rows, outcome(out["t"]))
	}
	if columns, rows := h.table("j"); columns != "a BIGINT" || len(rows) != 0 {
		t.Errorf("%s %v %s", columns, rows, outcome(out["j"]))
	}
}

func TestTrap_S2_WhatCannotBeReadStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	h.put("t.csv", "a\n1\n")
	h.put("u.csv", "a\n1\n")
	h.run()
	h.registered = []*agnesv1.RegisteredTable{{Name: "t", Source: "shop", SourceTable: "t.csv"}}
	// The file is gone: not found. A folder in its place: no file.
	if err := os.Remove(h.file("t.csv")); err != nil {
		t.Fatal(err)
	}
	if got := outcome(h.run()["t"]); !strings.HasPrefix(got, "failed not_found") {
		t.Error(got)
	}
	if err := os.MkdirAll(h.file("t.csv"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.registered = nil
	if got := outcome(h.run()["t"]); got != "failed invalid: t.csv: it is a folder, not a file" {
		t.Error(got)
	}
	if _, rows := h.table("t"); len(rows) != 1 {
		t.Error("the last good version is gone")
	}
	// The folder is away: the whole run fails for now.
	if err := os.Rename(h.file(""), h.dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.open().Discover(context.Background()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a folder that is away: %v", err)
	}
}
