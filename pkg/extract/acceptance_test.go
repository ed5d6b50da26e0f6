package extract_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is the upstream of Lines.
type folder struct {
	t   testing.TB
	dir string
}

func newFolder(tb testing.TB, dir string) extracttest.Upstream {
	tb.Helper()
	return folder{tb, dir}
}

func (f folder) Options() map[string]any { return map[string]any{"path": f.dir} }

func (f folder) file(table string) string { return filepath.Join(f.dir, table+".ndjson") }

func (f folder) Put(table string, rows []extracttest.Row) {
	f.t.Helper()
	var b strings.Builder
	for _, r := range rows {
		line, err := json.Marshal(map[string]any{"id": r.ID, "name": r.Name, "amount": r.Amount, "at": r.At})
		if err != nil {
			f.t.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	tmp := f.file(table) + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(tmp, f.file(table)); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) Break(table string) {
	f.t.Helper()
	if err := os.WriteFile(f.file(table), []byte("{\"id\": 1}\n{broken\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) BreakAll() { f.move(f.dir, f.dir+".away") }

func (f folder) Mend() { f.move(f.dir+".away", f.dir) }

func (f folder) move(from, to string) {
	f.t.Helper()
	if err := os.Rename(from, to); err != nil {
		f.t.Fatal(err)
	}
}

var types = []catalog.Column{
	{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}, {Name: "at", Type: "TIMESTAMP WITH TIME ZONE"},
}

func fixture(key ...string) extracttest.Fixture {
	return extracttest.Fixture{
		Connector: Lines,
		Upstream:  newFolder,
		Columns:   types,
		Register: func(table string) *agnesv1.RegisteredTable {
			return &agnesv1.RegisteredTable{
				SourceTable: table + ".ndjson", PrimaryKey: key,
				OptionsJson: `{"columns": "{id: 'BIGINT', name: 'VARCHAR', amount: 'DOUBLE', \"at\": 'TIMESTAMPTZ'}"}`,
			}
		},
	}
}

func TestAcceptance(t *testing.T) { extracttest.Run(t, fixture()) }

func TestAcceptanceWithKey(t *testing.T) { extracttest.Run(t, fixture("id")) }
