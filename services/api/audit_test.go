package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

type recordPage struct {
	Records []struct {
		Seq                                                  int64
		Action, Resource, Result, Actor, Credential, Service string
		ActorEmail                                           string `json:"actor_email"`
		RequestID                                            string `json:"request_id"`
		Params                                               map[string]any
	}
	More bool
}

// recorded waits until exactly one record matches.
func (s *server) recorded(filter string) recordPage {
	s.t.Helper()
	var p recordPage
	s.eventually("records of "+filter, func() error {
		s.ask("GET", "/api/admin/audit?"+filter, s.admin, nil).into(s.t, &p)
		if len(p.Records) != 1 {
			return fmt.Errorf("%d records", len(p.Records))
		}
		return nil
	})
	return p
}

func TestWhatIsAskedAndFetchedIsRecorded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", content{"orders", []string{"SELECT range AS id FROM range(1000)"}})
	s.published("orders", 1000)
	const secret = "hunter2hunter2"
	got := s.ask("POST", "/api/query", s.admin, map[string]string{"sql": "SELECT count(*), 'password=" + secret + "' FROM orders"}, "X-Request-Id: asked-0001")
	if got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	q := s.recorded("request_id=asked-0001").Records[0]
	if q.Action != "data.query" || q.Result != "ok" || q.ActorEmail != adminEmail || q.Params["rows"] != 1.0 || q.Params["sql_sha256"] == nil ||
		fmt.Sprint(q.Params["tables"]) != "[shop.orders]" || q.Params["bytes"] != float64(len(got.body)) || strings.Contains(fmt.Sprint(q.Params), secret) {
		t.Errorf("%+v", q)
	}
	s.ask("POST", "/api/query", s.admin, map[string]string{"sql": "SELECT * FROM nowhere"}, "X-Request-Id: asked-0002")
	if q := s.recorded("request_id=asked-0002").Records[0]; q.Result == "ok" || q.Params["error"] == nil || q.Params["sql"] != "SELECT * FROM nowhere" {
		t.Errorf("%+v", q)
	}
	file := s.ask("GET", "/api/data/orders/download", s.admin, nil, "X-Request-Id: fetched-0001")
	if d := s.recorded("request_id=fetched-0001").Records[0]; d.Action != "data.download" || d.Params["bytes"] != float64(len(file.body)) || d.Params["status"] != 200.0 {
		t.Errorf("%d bytes: %+v", len(file.body), d)
	}
	s.ask("GET", "/api/data/orders/download", s.admin, nil, "X-Request-Id: fetched-0002", "Range: bytes=10-19")
	if d := s.recorded("request_id=fetched-0002").Records[0]; d.Params["bytes"] != 10.0 || d.Params["range"] != "bytes=10-19" || d.Params["status"] != 206.0 {
		t.Errorf("%+v", d)
	}
	s.ask("GET", "/api/data/orders/download", "wrong", nil, "X-Request-Id: fetched-0003")
	if d := s.recorded("request_id=fetched-0003").Records[0]; d.Result != "refused" || d.Action != "data.download" {
		t.Errorf("%+v", d)
	}
	_, err := event.Call(t.Context(), s.bus, event.RegisterTables, &agnesv1.RegisterTablesRequest{Source: "shop", Tables: []*agnesv1.RegisteredTable{{Name: "fresh"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.recorded("action=registry.register&resource=source:shop").Records[0]; r.Service != "connector" || r.Credential != "service" {
		t.Errorf("%+v", r)
	}
	if r := s.recorded("action=user.create").Records[0]; r.Params["email"] != adminEmail || r.Params["role"] != "admin" || r.Params["because"] != "SEED_ADMIN_EMAIL" || r.Service != "api" {
		t.Errorf("the administrator of the environment is recorded as %+v", r)
	}
	s.recorded("action=server.start")
}

func TestTheRecordIsHandedOutAndProven(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.recorded("action=server.start")
	csv := s.ask("GET", "/api/admin/audit?action=server.*", s.admin, nil, "Accept: text/csv", "X-Request-Id: export-0001")
	if csv.status != 200 || strings.Count(csv.body, "\n") != 2 || !strings.HasPrefix(csv.body, "seq,id,time,action,") {
		t.Errorf("%d %s", csv.status, csv.body)
	}
	if r := s.recorded("request_id=export-0001").Records[0]; r.Action != "audit.export" || r.Params["action"] != "server.*" {
		t.Errorf("%+v", r)
	}
	token, _ := s.analyst("ann@example.com")
	for _, path := range []string{"/api/admin/audit", "/api/admin/audit/chain"} {
		if got := s.ask("GET", path, token, nil); got.status != http.StatusForbidden {
			t.Errorf("%s for an analyst: %d", path, got.status)
		}
	}
	if got := s.ask("GET", "/api/admin/audit", s.admin, nil, "Accept: image/png"); got.status != http.StatusNotAcceptable {
		t.Errorf("image/png: %d", got.status)
	}
	chain := s.ask("GET", "/api/admin/audit/chain", s.admin, nil)
	report, err := audit.VerifyArchive(t.Context(), bytes.NewReader([]byte(chain.body)), t.TempDir(), audit.Options{})
	if err != nil || !report.OK || report.Records < 4 {
		t.Fatalf("%v %+v", err, report)
	}
	head := report.Signed
	s.halt()
	s.start()
	s.recorded("action=server.stop")
	s.halt()
	report, err = audit.VerifyDir(t.Context(), filepath.Join(s.dir, "state", "audit"), audit.Options{Expect: &head, Closed: true})
	if err != nil || !report.OK {
		t.Errorf("%v %+v", err, report)
	}
}

// TestThePredecessorsLogIsTakenIn has rows as the predecessor wrote them, and such as nobody should.
func TestThePredecessorsLogIsTakenIn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.recorded("action=server.start")
	s.halt()
	db, err := lake.Open(t.Context(), lake.Options{Path: filepath.Join(s.dir, "state", "system.duckdb"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DELETE FROM settings WHERE key = 'audit_log_imported'`,
		`INSERT INTO audit_log (id, timestamp, user_id, action, resource, params, result, duration_ms) VALUES
			('a1', '2025-01-02 03:04:05.678901', 'u1', 'old.create', 'user:u7', '{"role": "analyst", "password": "hunter2hunter2"}', 'ok', 12)`,
		`INSERT INTO audit_log (id, timestamp, action) VALUES ('a2"\', '2025-01-02 03:04:06', 'old.bare')`,
		`INSERT INTO audit_log (id, timestamp, action, params) VALUES ('a3', '2025-01-02 03:04:07', 'old.list', '[1, "x"]')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once is enough
		s.start()
		s.admin = s.login(adminEmail, adminPassword)
		r := s.recorded("action=old.create&from=2025-01-02T03:04:05Z&until=2025-01-02T03:04:06Z").Records[0]
		if r.Actor != "u1" || r.Resource != "user:u7" || r.Result != "ok" || r.Params["role"] != "analyst" || r.Params["imported"] != true || strings.Contains(fmt.Sprint(r), "hunter2") {
			t.Errorf("%+v", r)
		}
		s.recorded("action=old.bare")
		if r := s.recorded("action=old.list").Records[0]; fmt.Sprint(r.Params["params"]) != "[1 x]" {
			t.Errorf("%+v", r)
		}
		s.halt()
	}
	if r, err := audit.VerifyDir(t.Context(), filepath.Join(s.dir, "state", "audit"), audit.Options{Closed: true}); err != nil || !r.OK {
		t.Errorf("%v %+v", err, r)
	}
}

// BenchmarkLightQueries asks small questions from several clients at once; compare it with a build
// without the Recorder to see what recording costs.
func BenchmarkLightQueries(b *testing.B) {
	s := newServer(b)
	s.publish("shop", content{"orders", []string{"SELECT range AS id FROM range(1000)"}})
	s.published("orders", 1000)
	body, err := json.Marshal(map[string]string{"sql": "SELECT count(*) FROM orders WHERE id > 5"})
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.url+"/api/query", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+s.admin)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
}
