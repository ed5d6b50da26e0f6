package standalone_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// shown writes rows of a preview as one line.
func shown(p client.Preview) string {
	var rows []string
	for _, r := range p.Rows {
		values := make([]string, len(r))
		for i, v := range r {
			if values[i] = "NULL"; v != nil {
				values[i] = fmt.Sprintf("%q", *v)
			}
		}
		rows = append(rows, strings.Join(values, ","))
	}
	return strings.Join(rows, " ")
}

// TestSourcesAreTestedPreviewedAndTold asks sources through the api as administrators do: a Keboola project and
// a folder of files, whose extractors answer over the bus.
func TestSourcesAreTestedPreviewedAndTold(t *testing.T) {
	project := keboolatest.New(keboolatest.Config{})
	defer project.Close()
	project.Put(keboolatest.Table{ID: "in.c-crm.orders", Columns: []string{"id", "note"}, PrimaryKey: []string{"id"}},
		[]*string{keboolatest.Text("1"), keboolatest.Text("a,\n\"b\"")}, []*string{keboolatest.Text("2"), nil}, []*string{keboolatest.Text("3"), keboolatest.Text("")})
	h := build(t, "")
	h.file("visits.csv", "day,n\n2026-01-01,5\n")
	text := fmt.Sprintf("sources:\n  - {name: shop, type: csv, path: ../files}\n  - {name: crm, type: keboola, stack_url: %q, token: %q}\n", project.URL, keboolatest.DefaultToken)
	if err := os.WriteFile(filepath.Join(h.dir, "config", service.InstanceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	ctx := t.Context()

	var findings []string
	var err error
	for began := time.Now(); time.Since(began) < soon; time.Sleep(20 * time.Millisecond) { // the extractor comes up by itself
		if findings, err = h.admin.TestSource(ctx, "crm"); err == nil {
			break
		}
	}
	if all := strings.Join(findings, "\n"); err != nil || !strings.Contains(all, keboolatest.DefaultName) || strings.Contains(all, keboolatest.DefaultToken) {
		t.Fatalf("%v: %s", err, all)
	}
	if findings, err = h.admin.TestSource(ctx, "shop"); err != nil || !strings.Contains(strings.Join(findings, "\n"), "1 tables in 1 files") {
		t.Errorf("%v: %v", err, findings)
	}

	// Tables that nobody registered.
	p, err := h.admin.PreviewTable(ctx, "crm", "crm_orders", 20)
	if want := `"1","a,\n\"b\"" "2",NULL "3",""`; err != nil || shown(p) != want {
		t.Errorf("%v: %s, want %s", err, shown(p), want)
	}
	if p, err = h.admin.PreviewTable(ctx, "crm", "crm_orders", 1); err != nil || len(p.Rows) != 1 {
		t.Errorf("one row: %v: %s", err, shown(p))
	}
	if p, err = h.admin.PreviewTable(ctx, "shop", "visits", 20); err != nil || shown(p) != `"2026-01-01","5"` || p.Columns[0].Type != "DATE" {
		t.Errorf("%v: %v %s", err, p.Columns, shown(p))
	}
	if _, err = h.admin.PreviewTable(ctx, "crm", "nothing", 20); client.StatusCode(err) != 404 {
		t.Errorf("a table that is not there: %v", err)
	}

	// What is said of columns.
	if _, err := h.admin.DiscoverAndRegister(ctx, "crm"); err != nil {
		t.Fatal(err)
	}
	notes := []client.ColumnNote{{Name: "note", Description: "What was said"}, {Name: "gone", Description: "x"}}
	dry, err := h.admin.PushMetadata(ctx, "crm_orders", notes, true)
	if err != nil || !dry.DryRun || len(dry.Pushed) != 1 || len(project.Pushed()) != 0 {
		t.Fatalf("a dry run: %+v, %v; sent %v", dry, err, project.Pushed())
	}
	done, err := h.admin.PushMetadata(ctx, "crm_orders", notes, false)
	if err != nil || done.Target != "in.c-crm.orders" || len(done.Problems) != 1 || !strings.Contains(done.Problems[0], "gone") {
		t.Errorf("%+v, %v", done, err)
	}
	if sent := project.Pushed(); len(sent) != 1 || sent[0].Column != "note" || sent[0].Value != "What was said" {
		t.Errorf("sent %+v", sent)
	}
	// The files have no place for it.
	if _, err := h.admin.DiscoverAndRegister(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.admin.PushMetadata(ctx, "visits", []client.ColumnNote{{Name: "n", Description: "x"}}, false); client.StatusCode(err) != 400 || !strings.Contains(fmt.Sprint(err), "cannot write descriptions") {
		t.Errorf("metadata of a file: %v", err)
	}
	// A token that is revoked is told, and signs nobody out.
	project.Revoke(keboolatest.DefaultToken)
	if _, err := h.admin.TestSource(ctx, "crm"); client.StatusCode(err) != 400 {
		t.Errorf("a revoked token: %v", err)
	}
}
