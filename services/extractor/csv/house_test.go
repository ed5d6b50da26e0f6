package csv

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// house is a folder of files and a data directory.
type house struct {
	t       testing.TB
	dir     string
	options map[string]any
	// keys are the primary keys that the registry has.
	keys map[string][]string
	// registered are tables that the registry has beyond those that were discovered.
	registered []*agnesv1.RegisteredTable
	// directFloor is that of the source.
	directFloor int64

	version *extract.Version // that table reads, until the next run
	db      *lake.DB
}

// newHouse makes a source over the folder files, with options in YAML's JSON.
func newHouse(tb testing.TB, options string) *house {
	tb.Helper()
	h := &house{t: tb, dir: tb.TempDir(), keys: map[string][]string{}, directFloor: directFloor}
	unmarshal(tb, options, &h.options)
	if h.options["path"] == nil {
		h.options["path"] = "../files"
	}
	write(tb, h.file(".keep"), "")
	return h
}

func (h *house) file(name string) string { return filepath.Join(h.dir, "files", name) }

func (h *house) put(name, content string) {
	h.t.Helper()
	write(h.t, h.file(name), content)
}

func (h *house) source() extract.SourceConfig {
	return extract.SourceConfig{
		Name: "shop", Type: Type, Options: h.options, ConfigDir: filepath.Join(h.dir, "config"), DataDir: filepath.Join(h.dir, "data"),
	}
}

func (h *house) open() extract.Source {
	h.t.Helper()
	s, err := Connector.Open(context.Background(), h.source())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *house) discover() []extract.DiscoveredTable {
	h.t.Helper()
	found, err := h.open().Discover(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// describe writes a proposal as one line.
func describe(d extract.DiscoveredTable) string {
	var columns []string
	for _, c := range d.Columns {
		columns = append(columns, c.Name+" "+c.Type)
	}
	out := fmt.Sprintf("%s(%s)", d.Name, strings.Join(columns, ", "))
	if len(d.PrimaryKey) > 0 {
		out += " key " + strings.Join(d.PrimaryKey, ",")
	}
	if d.Problem != "" {
		out += " problem: " + d.Problem
	}
	return out
}

// run extracts what discovery finds, problems and all.
func (h *house) run(change ...func(*extract.RunConfig)) map[string]*agnesv1.TableOutcome {
	h.t.Helper()
	var registry []*agnesv1.RegisteredTable
	for _, d := range h.discover() {
		if slices.ContainsFunc(registry, func(t *agnesv1.RegisteredTable) bool { return t.GetName() == d.Name }) {
			continue
		}
		registry = append(registry, &agnesv1.RegisteredTable{
			Name: d.Name, Source: "shop", SourceTable: d.SourceTable, PrimaryKey: h.keys[d.Name], Description: d.Description,
		})
	}
	connector := extract.Connector{Type: Type, Open: func(ctx context.Context, cfg extract.SourceConfig) (extract.Source, error) {
		src, err := Connector.Open(ctx, cfg)
		if err == nil {
			src.(*source).directFloor = h.directFloor
		}
		return src, err
	}}
	cfg := extract.RunConfig{Connector: connector, Source: h.source(), Registry: append(registry, h.registered...), Limits: extract.Limits{Threads: 2}}
	for _, c := range change {
		c(&cfg)
	}
	h.version = nil
	ready, err := extract.Run(context.Background(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]*agnesv1.TableOutcome{}
	for _, o := range ready.GetTables() {
		out[o.GetTable()] = o
	}
	return out
}

// table gives columns with their types, and rows as JSON, in the order of the table.
func (h *house) table(name string) (columns string, rows []string) {
	h.t.Helper()
	if h.version == nil {
		v, err := extract.OpenVersion(context.Background(), filepath.Join(h.dir, "data"), "shop")
		if err != nil {
			h.t.Fatal(err)
		}
		h.version = v
	}
	for _, t := range h.version.Tables {
		if t.Name == name {
			var list []string
			for _, c := range t.Columns {
				list = append(list, c.Name+" "+c.Type)
			}
			return strings.Join(list, ", "), h.query("SELECT CAST(to_json(r) AS VARCHAR) FROM read_parquet(" + lake.QuoteList(t.Files) + ") r")
		}
	}
	return "", nil
}

// query gives the texts of a query in DuckDB.
func (h *house) query(query string) (out []string) {
	h.t.Helper()
	if h.db == nil {
		db, err := lake.Open(context.Background(), lake.Options{Threads: 1})
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = db.Close() })
		h.db = db
	}
	rows, err := h.db.Query(query)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

// outcome writes what became of a table.
func outcome(o *agnesv1.TableOutcome) string {
	if o == nil {
		return "nothing"
	}
	out := o.GetOutcome()
	if o.GetError() != "" {
		out += " " + o.GetErrorKind() + ": " + o.GetError()
	}
	if n := o.GetRejectedRows(); n > 0 {
		out += fmt.Sprintf(" rejected %d", n)
	}
	return out
}

// walk lists the files below a folder.
func walk(tb testing.TB, dir string) (out []string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func unmarshal(tb testing.TB, text string, into any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		tb.Fatal(err)
	}
}
