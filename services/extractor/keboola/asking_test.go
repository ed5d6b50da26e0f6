package keboola

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

func askable(t *testing.T, options map[string]any) (*keboolatest.Project, *source, error) {
	t.Helper()
	p := keboolatest.New(keboolatest.Config{})
	t.Cleanup(p.Close)
	p.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "note"}, Metadata: typed("id", "INTEGER")},
		[]*string{keboolatest.Text("1"), keboolatest.Text("a \"quoted\",\nsecond line\r\n")},
		[]*string{keboolatest.Text("2"), nil}, []*string{keboolatest.Text(""), keboolatest.Text("")})
	all := map[string]any{"stack_url": p.URL, "token": keboolatest.DefaultToken}
	for k, v := range options {
		all[k] = v
	}
	s, err := sources{}.open(t.Context(), extract.SourceConfig{Name: "kbc", Type: Type, Options: all})
	if err != nil {
		return p, nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	return p, s.(*source), nil
}

func TestTestSaysWhoTheTokenIs(t *testing.T) {
	t.Parallel()
	_, s, err := askable(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := s.Test(t.Context())
	if all := strings.Join(findings, "\n"); err != nil || !strings.Contains(all, keboolatest.DefaultName) || strings.Contains(all, keboolatest.DefaultToken) || !strings.Contains(all, "1 buckets") {
		t.Errorf("%q %v", findings, err)
	}
	if _, s, err = askable(t, map[string]any{"buckets": []string{"in.c-other"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Test(t.Context()); !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Message(err), "in.c-other") {
		t.Errorf("a bucket that it may not see: %v", err)
	}
	if _, _, err := askable(t, map[string]any{"token": "1-wrong"}); !fault.Is(err, fault.Unauthenticated) || strings.Contains(fmt.Sprint(err), "1-wrong") {
		t.Errorf("a wrong token: %v", err)
	}
}

func TestTrap_K7_PreviewTellsEmptyFromMissing(t *testing.T) {
	t.Parallel()
	_, s, err := askable(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec := extract.TableSpec{Name: "anything", Bucket: "in.c-crm", SourceTable: "orders"}
	p, err := s.Preview(t.Context(), spec, 20)
	if err != nil || len(p.Rows) != 3 || fmt.Sprint(p.Columns) != fmt.Sprint([]catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "note", Type: "VARCHAR"}}) {
		t.Fatalf("%+v %v", p, err)
	}
	if text := p.Rows[0][1]; text == nil || *text != "a \"quoted\",\nsecond line\r\n" {
		t.Errorf("a text with quotes and line breaks: %v", text)
	}
	if p.Rows[1][1] != nil || p.Rows[2][1] == nil || *p.Rows[2][1] != "" {
		t.Errorf("missing and empty: %v %v", p.Rows[1][1], p.Rows[2][1])
	}
	if p, err = s.Preview(t.Context(), spec, 1); err != nil || len(p.Rows) != 1 {
		t.Errorf("one row: %d %v", len(p.Rows), err)
	}
	for _, damaged := range []string{`"a`, "a,b\nc\n", `"a"b`} {
		if r, err := previewRecords([]byte(damaged)); err == nil {
			t.Errorf("%q is read as %v", damaged, r)
		}
	}
	if r, err := previewRecords([]byte("a,b\n,\nx,\"\"")); err != nil || len(r) != 3 || r[1][0] != nil || r[1][1] != nil || *r[2][0] != "x" || *r[2][1] != "" {
		t.Errorf("%v %v", r, err)
	}
}

func TestMetadataIsPushedColumnByColumn(t *testing.T) {
	t.Parallel()
	project, s, err := askable(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec := extract.TableSpec{Name: "orders", Bucket: "in.c-crm", SourceTable: "orders"}
	notes := []extract.ColumnNote{{Name: "id", Type: "DECIMAL(12,2)", Description: "its number"}, {Name: "gone", Type: "VARCHAR"}, {Name: "note"}}
	dry, err := s.PushMetadata(t.Context(), spec, notes, true)
	if err != nil || len(project.Pushed()) != 0 || len(dry.Pushed) != 3 {
		t.Fatalf("a dry run: %+v %v, sent %v", dry, err, project.Pushed())
	}
	done, err := s.PushMetadata(t.Context(), spec, notes, false)
	if err != nil || done.Target != orders || len(done.Problems) != 1 || !strings.Contains(done.Problems[0], "gone") || fmt.Sprint(done.Pushed) != fmt.Sprint(dry.Pushed) {
		t.Fatalf("%+v %v", done, err)
	}
	at := func(key, value string) keboolatest.Pushed {
		return keboolatest.Pushed{Table: orders, Column: "id", Metadata: keboolatest.Metadata{Provider: pushProvider, Key: key, Value: value}}
	}
	want := fmt.Sprint([]keboolatest.Pushed{at(keyBaseType, "NUMERIC"), at(keyLength, "12,2"), at(keyDescription, "its number")})
	if got := fmt.Sprint(project.Pushed()); got != want {
		t.Errorf("sent %s instead of %s", got, want)
	}
}
