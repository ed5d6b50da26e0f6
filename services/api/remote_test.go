package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
)

// publishRemote publishes tables of BigQuery's project acme that stay there.
func (s *server) publishRemote(source string, tables ...string) {
	s.t.Helper()
	var list []catalog.Table
	for _, name := range tables {
		t := catalog.Table{
			Name: name, QueryMode: catalog.ModeRemote, ExtractedAt: time.Now().UTC().Truncate(time.Second),
			Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}}, RemoteSQL: `SELECT * FROM bq.web."` + name + `"`,
		}
		t.Fingerprint = catalog.Fingerprint(t)
		list = append(list, t)
	}
	s.generation[source]++
	err := catalog.SaveSource(s.dir, catalog.Source{
		Name: source, Generation: s.generation[source], Version: catalog.VersionOf(list), PublishedAt: time.Now(), Tables: list,
		Remotes: []catalog.Remote{{Alias: "bq", Extension: "bigquery", URL: "project=acme"}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := event.Publish(s.t.Context(), s.bus, event.AnalyticsPublished, source, &agnesv1.AnalyticsPublished{Source: source, Generation: s.generation[source]}); err != nil {
		s.t.Fatal(err)
	}
}

// remoteServer is a server with a local table and remote ones, under a configuration of what may be attached.
func remoteServer(t *testing.T, configured string) (*server, *bigquerytest.Server) {
	t.Helper()
	fake := bigquerytest.New(t)
	for _, name := range []string{"events", "secrets"} {
		fake.Put(remoteIDs(name, 10))
	}
	t.Setenv(bigquery.EnvEmulator, fake.Endpoint)
	t.Setenv(bigquery.EnvStorageEmulator, fake.StorageEndpoint)
	s := newServer(t, func(c *api.Config) {
		text := instanceYAML + "  - {name: web, type: bigquery, project: acme}\n" + configured
		if err := os.WriteFile(filepath.Join(c.ConfigDir, service.InstanceFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	s.publish("shop", content{"orders", []string{"SELECT 3 AS id UNION ALL SELECT 4 UNION ALL SELECT 99"}})
	s.publishRemote("web", "events", "secrets", "gone")
	for name, source := range map[string]string{"orders": "shop", "events": "web", "gone": "web"} {
		kind := map[string]string{"shop": "csv", "web": "bigquery"}[source]
		s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": name, "source": source, "source_type": kind, "is_public": true, "bucket": "web", "source_table": name}).into(t, &struct{}{})
	}
	s.eventually("the remote tables", func() error {
		if got := s.ask("GET", "/api/sync/manifest", s.admin, nil); !strings.Contains(got.body, `"secrets"`) || !strings.Contains(got.body, `"orders"`) {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
	return s, fake
}

const allowAcme = "remote_attach: {extensions: [bigquery], hosts: ['project=acme']}\n"

func TestRemoteTablesOfBigQuery(t *testing.T) {
	s, fake := remoteServer(t, allowAcme+"remote_query: {max_bytes_per_user_day: 50000000}\n")
	ann, _ := s.analyst("ann@example.com")
	const join = "SELECT o.id FROM orders o JOIN web.events e USING (id) ORDER BY 1"
	if got := s.query(ann, join); fmt.Sprint(got.Rows) != "[[3] [4]]" {
		t.Errorf("joined: %+v", got)
	}
	sessions := fake.Sessions()
	if got := s.query(ann, join); fmt.Sprint(got.Rows) != "[[3] [4]]" || fake.Sessions() != sessions {
		t.Errorf("once more: %+v, read %d times", got, fake.Sessions())
	}
	if got := s.query(s.admin, "SELECT count(*) FROM secrets"); fmt.Sprint(got.Rows) != "[[10]]" {
		t.Errorf("an administrator: %+v", got)
	}
	for _, sql := range []string{"SELECT * FROM secrets", "SELECT * FROM web.secrets", "SELECT * FROM bq.web.secrets", "SELECT * FROM query_table('web.secrets')"} {
		if got := s.ask("POST", "/api/query", ann, map[string]any{"sql": sql}); got.status != 404 && got.status != 400 {
			t.Errorf("%s: %d %s", sql, got.status, got.body)
		}
	}
	// What is not there any more is an error of that table.
	if got := s.ask("POST", "/api/query", ann, map[string]any{"sql": "SELECT * FROM gone"}); got.status != 503 || !strings.Contains(got.body, "web.gone") || strings.Contains(got.body, "acme") {
		t.Errorf("a table that is gone: %d %s", got.status, got.body)
	}
	// Only names are asked: nothing is read and nothing paid.
	sessions = fake.Sessions()
	for _, sql := range []string{"DESCRIBE events", "SHOW TABLES", "EXPLAIN SELECT * FROM events", "SELECT 1 FROM orders"} {
		if got := s.ask("POST", "/api/query", ann, map[string]any{"sql": sql}); got.status != 200 || fake.Sessions() != sessions {
			t.Errorf("%s: %d %s, read %d times", sql, got.status, got.body, fake.Sessions()-sessions)
		}
	}
	// Rows that changed are read again, as far as the budget reaches: each time takes 20 MiB of it.
	changed := remoteIDs("events", 100)
	changed.Modified = time.Now()
	fake.Put(changed)
	if got := s.query(ann, "SELECT count(*) FROM events"); fmt.Sprint(got.Rows) != "[[100]]" {
		t.Errorf("after a change: %+v", got)
	}
	var budget struct {
		User int64 `json:"user_bytes"`
	}
	s.ask("GET", "/api/query/budget", ann, nil).into(t, &budget)
	if budget.User != 40<<20 {
		t.Errorf("the budget: %d", budget.User)
	}
	changed.Modified = changed.Modified.Add(time.Second)
	fake.Put(changed)
	if got := s.ask("POST", "/api/query", ann, map[string]any{"sql": "SELECT count(*) FROM events"}); got.status != 429 || !strings.Contains(got.body, "budget") {
		t.Errorf("above the budget of the day: %d %s", got.status, got.body)
	}
	if got := s.ask("GET", "/metrics", s.admin, nil); !strings.Contains(got.body, "agnes_remote_fetches_total{result=\"kept\"} 1") {
		t.Errorf("the metrics: %d %s", got.status, got.body)
	}
}

// TestWhatIsNoLongerAllowedIsNotAttached: the lists are asked when a table is read, not only when it is published.
func TestWhatIsNoLongerAllowedIsNotAttached(t *testing.T) {
	s, fake := remoteServer(t, "")
	got := s.ask("POST", "/api/query", s.admin, map[string]any{"sql": "SELECT * FROM events"})
	if got.status != 503 || !strings.Contains(got.body, "remote_attach") || fake.Sessions() != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.query(s.admin, "SELECT count(*) FROM orders"); fmt.Sprint(got.Rows) != "[[3]]" {
		t.Errorf("a local table beside it: %+v", got)
	}
}

// TestARemoteTableIsNoDownload: there is nothing to copy, and the answer says what to do.
func TestARemoteTableIsNoDownload(t *testing.T) {
	s, _ := remoteServer(t, allowAcme)
	if got := s.ask("GET", "/api/data/events/download", s.admin, nil); got.status != 409 && got.status != 404 || !strings.Contains(got.body, "query") {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, path := range []string{"/api/catalog/profile/events", "/api/data/events/check-access"} {
		if got := s.ask("GET", path, s.admin, nil); got.status >= 500 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
