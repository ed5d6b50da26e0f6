package csv

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is an upstream of CSV files.
type folder struct {
	t   testing.TB
	dir string
}

func (f *folder) files() string { return filepath.Join(f.dir, "files") }

// Options declare the types of the one table that starts without a row to tell them.
func (f *folder) Options() map[string]any {
	types := map[string]any{"id": "BIGINT", "amount": "DOUBLE", "at": "TIMESTAMPTZ"}
	return map[string]any{"path": f.files(), "tables": map[string]any{"empty": map[string]any{"columns": types}}}
}

func (f *folder) path(table string) string { return filepath.Join(f.files(), table+".csv") }

func (f *folder) Put(table string, rows []extracttest.Row) {
	f.t.Helper()
	var b strings.Builder
	b.WriteString("id,name,amount,at\n")
	for _, r := range rows {
		name := ""
		if r.Name != nil {
			name = `"` + strings.ReplaceAll(*r.Name, `"`, `""`) + `"`
		}
		fmt.Fprintf(&b, "%d,%s,%s,%s\n", r.ID, name, strconv.FormatFloat(r.Amount, 'e', -1, 64), r.At.Format(time.RFC3339))
	}
	if err := os.RemoveAll(f.path(table)); err != nil {
		f.t.Fatal(err)
	}
	write(f.t, f.path(table), b.String())
}

func (f *folder) Break(table string) { write(f.t, f.path(table), "id,name,amount,at\n1,2\n") }

func (f *folder) BreakAll() {
	if err := os.Rename(f.files(), f.files()+".away"); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) Mend() {
	if err := os.Rename(f.files()+".away", f.files()); err != nil {
		f.t.Fatal(err)
	}
}

// write puts a file in place in one go.
func write(tb testing.TB, path, content string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		tb.Fatal(err)
	}
}

func TestAcceptance(t *testing.T) {
	extracttest.Run(t, extracttest.Fixture{
		Connector: Connector,
		Upstream: func(tb testing.TB, dir string) extracttest.Upstream {
			tb.Helper()
			f := &folder{t: tb, dir: dir}
			if err := os.MkdirAll(f.files(), 0o755); err != nil {
				tb.Fatal(err)
			}
			return f
		},
		Register: func(table string) *agnesv1.RegisteredTable {
			return &agnesv1.RegisteredTable{SourceTable: table + ".csv"}
		},
		Columns: []catalog.Column{
			{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}, {Name: "at", Type: "TIMESTAMP WITH TIME ZONE"},
		},
	})
}
