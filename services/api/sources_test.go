package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestSourcesAreTestedPreviewedAndTold(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if got := s.ask("POST", "/api/admin/sources/shop/test", s.admin, map[string]any{}); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "agnes-extractor-csv") {
		t.Fatalf("nobody answers: %d %s", got.status, got.body)
	}
	var asked *agnesv1.PreviewTableRequest
	test, err := event.Serve(t.Context(), s.bus, event.TestSource("shop"), func(context.Context, *agnesv1.TestSourceRequest) (*agnesv1.TestSourceResponse, error) {
		return nil, fault.New(fault.Unauthenticated, "the token has expired")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = test.Stop(t.Context()) }()
	discover, err := event.Serve(t.Context(), s.bus, event.Discover("shop"), func(context.Context, *agnesv1.DiscoverRequest) (*agnesv1.DiscoverResponse, error) {
		return &agnesv1.DiscoverResponse{Tables: []*agnesv1.DiscoveredTable{{Name: "visits", Bucket: "in.c-web", SourceTable: "visits.csv"}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = discover.Stop(t.Context()) }()
	empty := ""
	preview, err := event.Serve(t.Context(), s.bus, event.PreviewTable("shop"), func(_ context.Context, q *agnesv1.PreviewTableRequest) (*agnesv1.PreviewTableResponse, error) {
		asked = q
		return &agnesv1.PreviewTableResponse{
			Columns: []*agnesv1.DiscoveredColumn{{Name: "a", Type: "VARCHAR"}, {Name: "b", Type: "BIGINT"}},
			Rows:    []*agnesv1.PreviewRow{{Values: []*agnesv1.PreviewValue{{Text: &empty}, {}}}},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = preview.Stop(t.Context()) }()

	// A token that the source refuses is not the caller's credential: no 401, which signs people out.
	if got := s.ask("POST", "/api/admin/sources/shop/test", s.admin, map[string]any{}); got.status != http.StatusBadRequest || !strings.Contains(got.body, "expired") {
		t.Errorf("a refused token: %d %s", got.status, got.body)
	}
	got := s.ask("POST", "/api/admin/sources/shop/preview", s.admin, map[string]any{"table": "visits", "rows": 3})
	if got.status != http.StatusOK || !strings.Contains(got.body, `"rows":[["",null]]`) || asked.GetRows() != 3 || asked.GetTable().GetBucket() != "in.c-web" {
		t.Errorf("a table that is only found: %d %s, asked for %v", got.status, got.body, asked)
	}
	if got := s.ask("POST", "/api/admin/sources/shop/preview", s.admin, map[string]any{"table": "nothing"}); got.status != http.StatusNotFound {
		t.Errorf("no such table: %d %s", got.status, got.body)
	}
	if got := s.ask("POST", "/api/admin/sources/other/preview", s.admin, map[string]any{"table": "x"}); got.status != http.StatusNotFound {
		t.Errorf("no such source: %d %s", got.status, got.body)
	}
	if got := s.ask("POST", "/api/admin/registry/nothing/push-metadata", s.admin, map[string]any{"columns": []map[string]string{{"name": "a"}}}); got.status != http.StatusNotFound {
		t.Errorf("metadata of nothing: %d %s", got.status, got.body)
	}
}
