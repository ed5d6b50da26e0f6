package api_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
)

// many publishes tables of one part each that no download asks for, and registers them as public.
func (s *server) many(tables int) {
	s.t.Helper()
	list := make([]catalog.Table, tables)
	rows := make([]*agnesv1.RegisteredTable, tables)
	for i := range list {
		sum := fmt.Sprintf("%064x", i)
		list[i] = catalog.Table{
			Name: fmt.Sprintf("table_%04d", i), QueryMode: catalog.ModeLocal, Rows: int64(i), SizeBytes: 1000,
			Parts: []catalog.Part{{Path: "extracts/shop/data/" + sum + ".parquet", SHA256: sum, MD5: sum[:32], SizeBytes: 1000, Rows: int64(i)}},
		}
		for c := range 8 {
			list[i].Columns = append(list[i].Columns, catalog.Column{Name: fmt.Sprintf("column_%d", c), Type: "VARCHAR"})
		}
		list[i].Fingerprint = catalog.Fingerprint(list[i])
		rows[i] = &agnesv1.RegisteredTable{Name: list[i].Name}
	}
	if err := catalog.SaveSource(s.dir, catalog.Source{Name: "shop", Generation: 1, Version: catalog.VersionOf(list), Tables: list}); err != nil {
		s.t.Fatal(err)
	}
	made, err := event.Call(s.t.Context(), s.bus, event.RegisterTables, &agnesv1.RegisterTablesRequest{Source: "shop", Tables: rows})
	if err != nil || len(made.GetRegistered()) != tables {
		s.t.Fatalf("registered %d: %v", len(made.GetRegistered()), err)
	}
	last := list[tables-1]
	s.published(last.Name, last.Rows)
}

// quick sees what was published without an event.
func quick(c *api.Config) { c.CatalogPoll = 50 * time.Millisecond }

func drain(b *testing.B, r *http.Request) int64 {
	b.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	return n
}

func (s *server) request(b *testing.B, method, path, token, body string) *http.Request {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func BenchmarkManifestOf1000Tables(b *testing.B) {
	s := newServer(b, quick)
	s.many(1000)
	ann, _ := s.analyst("ann@example.com")
	for b.Loop() {
		drain(b, s.request(b, http.MethodGet, "/api/sync/manifest", ann, ""))
	}
}

func BenchmarkWarmQueryOverHTTP(b *testing.B) {
	s := newServer(b)
	s.publish("shop", orders(1000))
	s.published("orders", 1000)
	for b.Loop() {
		drain(b, s.request(b, http.MethodPost, "/api/query", s.admin, `{"sql":"SELECT count(*) FROM orders"}`))
	}
}

// big publishes one part of about 50 MB and gives its table's id.
func (s *server) big() string {
	s.t.Helper()
	content := make([]byte, 50<<20)
	for i := range content {
		content[i] = byte(i * 7)
	}
	path := filepath.Join(s.dir, "extracts", "shop", "data", "big.parquet")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	d, err := lake.HashFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	t := catalog.Table{Name: "big", QueryMode: catalog.ModeLocal, Rows: 1, Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}}, Parts: []catalog.Part{
		{Path: "extracts/shop/data/big.parquet", SHA256: d.SHA256, MD5: d.MD5, SizeBytes: d.Size, Rows: 1},
	}}
	t.Fingerprint = catalog.Fingerprint(t)
	if err := catalog.SaveSource(s.dir, catalog.Source{Name: "shop", Generation: 1, Version: catalog.VersionOf([]catalog.Table{t}), Tables: []catalog.Table{t}}); err != nil {
		s.t.Fatal(err)
	}
	s.published("big", 1)
	return "big"
}

// BenchmarkDownload50MB compares a download with the same bytes from the standard library's file
// server without anything around it.
func BenchmarkDownload50MB(b *testing.B) {
	s := newServer(b, quick)
	id := s.big()
	b.Run("api", func(b *testing.B) {
		for b.Loop() {
			b.SetBytes(drain(b, s.request(b, http.MethodGet, "/api/data/"+id+"/download", s.admin, "")))
		}
	})
	plain := &http.Server{Addr: "127.0.0.1:0", Handler: http.FileServer(http.Dir(filepath.Join(s.dir, "extracts", "shop", "data")))} //nolint:gosec // serves a test
	b.Run("beside", func(b *testing.B) {
		listener := listen(b)
		go func() { _ = plain.Serve(listener) }()
		defer func() { _ = plain.Close() }()
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/big.parquet", nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(drain(b, r))
		}
	})
}
