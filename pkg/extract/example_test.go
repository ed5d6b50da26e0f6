package extract_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Lines is a whole connector: every <table>.ndjson of a folder is a table.
var Lines = extract.Connector{Type: "lines", Open: openLines}

type lines struct {
	Path string `json:"path"`
}

func openLines(_ context.Context, cfg extract.SourceConfig) (extract.Source, error) {
	var l lines
	if err := cfg.Decode(&l); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(l.Path) {
		l.Path = filepath.Join(cfg.ConfigDir, l.Path)
	}
	if _, err := os.ReadDir(l.Path); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of the source %s cannot be read", cfg.Name)
	}
	return l, nil
}

func (l lines) Discover(context.Context) ([]extract.DiscoveredTable, error) {
	entries, err := os.ReadDir(l.Path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder cannot be read")
	}
	var found []extract.DiscoveredTable
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".ndjson"); ok && e.Type() == fs.FileMode(0) {
			found = append(found, extract.DiscoveredTable{Name: name, SourceTable: e.Name(), Rows: -1, SizeBytes: -1})
		}
	}
	return found, nil
}

func (l lines) Extract(ctx context.Context, t extract.TableSpec, w *extract.TableWriter) error {
	var options struct {
		Columns string `json:"columns"` // a DuckDB struct of types, such as {id: 'BIGINT'}
	}
	if err := t.Decode(&options); err != nil {
		return err
	}
	file := filepath.Join(l.Path, filepath.Base(t.SourceTable))
	digest, err := lake.HashFile(file)
	if err != nil {
		return fault.Wrap(err, fault.NotFound, "the file %s cannot be read", t.SourceTable)
	}
	if digest.SHA256 == t.Token {
		return extract.ErrUnchanged
	}
	w.SetToken(digest.SHA256)
	from := lake.QuoteLiteral(file) + ", format = 'newline_delimited'"
	if options.Columns != "" {
		from += ", columns = " + options.Columns
	}
	return w.Query(ctx, "SELECT * FROM read_json("+from+")", 0)
}

func (lines) Close() error { return nil }

// A connector is tried without a bus by Run, which does what Serve does for a request.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "orders.ndjson"), []byte("{\"id\": 1}\n{\"id\": 2}\n"), 0o600); err != nil {
		panic(err)
	}
	ready, err := extract.Run(context.Background(), extract.RunConfig{
		Connector: Lines,
		Source:    extract.SourceConfig{Name: "shop", Type: "lines", DataDir: filepath.Join(dir, "data"), Options: map[string]any{"path": dir}},
		Registry:  []*agnesv1.RegisteredTable{{Name: "orders", Source: "shop", SourceTable: "orders.ndjson"}},
	})
	if err != nil {
		panic(err)
	}
	for _, t := range ready.GetTables() {
		fmt.Println(t.GetTable(), t.GetOutcome(), t.GetRows())
	}
	// Output: orders updated 2
}
