package keboola

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extracttest"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// account is an upstream of a Keboola project whose tables outlive the process, in a folder.
type account struct {
	tb      testing.TB
	dir     string
	project *keboolatest.Project
}

func newAccount(tb testing.TB, dir string) *account {
	tb.Helper()
	p := keboolatest.New(keboolatest.Config{SliceRows: 25, Polls: 1})
	tb.Cleanup(p.Close)
	a := &account{tb, dir, p}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		tb.Fatal(err)
	}
	sort.Strings(paths)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		var rows [][]*string
		if err == nil {
			err = json.Unmarshal(raw, &rows)
		}
		if err != nil {
			tb.Fatal(err)
		}
		a.put(strings.TrimSuffix(filepath.Base(path), ".json"), rows)
	}
	return a
}

func (a *account) Options() map[string]any {
	return map[string]any{"stack_url": a.project.URL, "token": keboolatest.DefaultToken}
}

func (a *account) put(table string, rows [][]*string) {
	a.project.Put(keboolatest.Table{
		ID: "in.c-main." + table, Columns: []string{"id", "name", "amount", "at"},
		Metadata: map[string][]keboolatest.Metadata{
			"id": {keboolatest.BaseType("user", "INTEGER")}, "amount": {keboolatest.BaseType("user", "FLOAT")},
			"at": {keboolatest.BaseType("user", "TIMESTAMP"), {Provider: "user", Key: "KBC.datatype.type", Value: "TIMESTAMP_TZ"}},
		},
	}, rows...)
}

func (a *account) Put(table string, rows []extracttest.Row) {
	a.tb.Helper()
	texts := [][]*string{}
	for _, r := range rows {
		row := keboolatest.Row(strconv.FormatInt(r.ID, 10), "", strconv.FormatFloat(r.Amount, 'e', -1, 64), r.At.Format(time.RFC3339))
		row[1] = r.Name
		texts = append(texts, row)
	}
	raw, err := json.Marshal(texts)
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, table+".json"), raw, 0o600)
	}
	if err != nil {
		a.tb.Fatal(err)
	}
	a.put(table, texts)
}

// Break takes the table away, as a revoked permission does.
func (a *account) Break(table string) {
	a.tb.Helper()
	a.project.Drop("in.c-main." + table)
	if err := os.Remove(filepath.Join(a.dir, table+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.tb.Fatal(err)
	}
}

func (a *account) BreakAll() { a.project.Revoke(keboolatest.DefaultToken) }

func (a *account) Mend() {
	a.project.AddToken(keboolatest.Token{Token: keboolatest.DefaultToken, Master: true})
}

func TestAcceptance(t *testing.T) {
	extracttest.Run(t, extracttest.Fixture{
		Connector: sources{client: impatient}.connector(),
		Upstream:  func(tb testing.TB, dir string) extracttest.Upstream { tb.Helper(); return newAccount(tb, dir) },
		Register: func(table string) *agnesv1.RegisteredTable {
			return &agnesv1.RegisteredTable{Bucket: "in.c-main", SourceTable: table}
		},
		Columns: []catalog.Column{
			{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}, {Name: "at", Type: "TIMESTAMP WITH TIME ZONE"},
		},
	})
}
