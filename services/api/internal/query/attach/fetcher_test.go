package attach

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
)

func TestAttachments(t *testing.T) {
	t.Parallel()
	a, files, ports, err := attachmentOf(catalog.Remote{Alias: "pg", Extension: "postgres", URL: "postgres://o'neil%5C@db.example.com:6543/sh%20op?sslmode=verify-full"}, "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if want := `host='db.example.com' port='6543' dbname='sh op' user='o\'neil\\' sslmode='verify-full'`; !strings.HasPrefix(a.Address, want) || !strings.Contains(a.Address, "sslrootcert='"+authorities+"'") {
		t.Errorf("the address is %s, want %s", a.Address, want)
	}
	if a.Secret["PASSWORD"] != "hunter2" || strings.Contains(a.Address+a.Cancel, "hunter2") || !slices.Equal(ports, []uint16{6543}) || len(files) != 0 {
		t.Errorf("%+v %v %v", a, files, ports)
	}
	other, _, _, err := attachmentOf(catalog.Remote{Alias: "pg", Extension: "postgres", URL: "postgres://a@b/c"}, "")
	if err != nil || other.Cancel == a.Cancel || len(other.Secret) != 0 || !strings.Contains(other.Address, "sslmode='require'") {
		t.Errorf("%+v, %v", other, err)
	}
	a, files, ports, err = attachmentOf(catalog.Remote{Alias: "l", Extension: "sqlite", URL: "/srv/a.db"}, "")
	if err != nil || a.Address != "/srv/a.db" || !slices.Contains(files, "/srv/a.db") || len(ports) != 0 {
		t.Errorf("%+v %v %v, %v", a, files, ports, err)
	}
	a, _, ports, err = attachmentOf(catalog.Remote{Alias: "k", Extension: "keboola", URL: "https://connection.example.com"}, "hunter2")
	if err != nil || a.Options["TOKEN"] != "hunter2" || !slices.Equal(ports, []uint16{443}) {
		t.Errorf("%+v %v, %v", a, ports, err)
	}
	if _, _, ports, err = attachmentOf(catalog.Remote{Alias: "k", Extension: "keboola", URL: "https://connection.example.com:8443"}, ""); err != nil || !slices.Equal(ports, []uint16{8443}) {
		t.Errorf("%v, %v", ports, err)
	}
}

// TestFetchFailures: each is an error of the table, in words that name nothing else.
func TestFetchFailures(t *testing.T) {
	t.Parallel()
	table := federation.Table{
		ID: "till.sales", Remote: catalog.Remote{Alias: "l", Extension: "sqlite", URL: "/srv/secret-place.db", TokenEnv: "TILL"}, Path: []string{"main", "sales"},
		Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}},
	}
	scan := federation.All(table.ID, table.Columns)
	for name, c := range map[string]struct {
		command []string
		token   string
		want    string
	}{
		"no variable":           {nil, "", "needs the variable TILL"},
		"no extension":          {nil, "x", "needs DuckDB's extension \"sqlite\" (v"},
		"no process":            {[]string{"/nowhere/agnes"}, "x", "no process can be started"},
		"a process that dies":   {[]string{"/bin/false"}, "x", "could not be read where it lives"},
		"one that says nothing": {[]string{"/bin/true"}, "x", "could not be read where it lives"},
	} {
		f := New(Config{Command: c.command, Token: func(string) string { return c.token }})
		_, err := f.Fetch(t.Context(), scan, table, federation.Limits{}, filepath.Join(t.TempDir(), "x.parquet"))
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), c.want) || strings.Contains(fault.Message(err), "secret-place") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFetchEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	f := New(Config{Command: []string{"/bin/sleep", "60"}, Token: func(string) string { return "" }})
	begun := time.Now()
	_, err := f.Fetch(ctx, federation.Scan{}, federation.Table{Remote: catalog.Remote{Extension: "sqlite"}}, federation.Limits{}, filepath.Join(t.TempDir(), "x"))
	if err == nil || time.Since(begun) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
}

func TestTheProcessTellsWhoItIsFor(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	if code := Main(strings.NewReader("what?"), &out, &said); code != 2 || out.Len() > 0 || !strings.Contains(said.String(), "is started by the api") {
		t.Errorf("%d %q %q", code, out.String(), said.String())
	}
}
