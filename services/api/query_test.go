package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
)

type rows struct {
	Columns, Types []string
	Rows           [][]any
	RowCount       int64 `json:"row_count"`
	Truncated      bool
}

func (s *server) query(token, sql string) rows {
	s.t.Helper()
	var out rows
	s.ask("POST", "/api/query", token, map[string]any{"sql": sql}).into(s.t, &out)
	return out
}

func TestQueryFormats(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(5000), split(5))
	s.published("orders", 5000)
	got := s.query(s.admin, "SELECT id, customer FROM orders ORDER BY id")
	if got.RowCount != 1000 || !got.Truncated || fmt.Sprint(got.Columns, got.Types) != "[id customer] [BIGINT VARCHAR]" || len(got.Rows) != 1000 {
		t.Errorf("JSON: %d rows, truncated %t, %v %v", got.RowCount, got.Truncated, got.Columns, got.Types)
	}
	if got := s.query(s.admin, "SELECT count(*) FROM shop.visits"); fmt.Sprint(got.Rows) != "[[10]]" || got.Truncated {
		t.Errorf("visits: %v", got.Rows)
	}
	for accept, check := range map[string]func(body string) error{
		"application/x-ndjson": func(body string) error {
			lines := strings.Split(strings.TrimSpace(body), "\n")
			var row struct{ ID int64 }
			if err := json.Unmarshal([]byte(lines[7]), &row); err != nil || row.ID != 7 || len(lines) != 5000 {
				return fmt.Errorf("%d lines, %s: %w", len(lines), lines[7], err)
			}
			return nil
		},
		"text/csv": func(body string) error {
			if lines := strings.Split(strings.TrimSpace(body), "\n"); len(lines) != 5001 || !strings.HasPrefix(body, "id,customer") {
				return fmt.Errorf("%d lines", len(lines))
			}
			return nil
		},
		"application/vnd.apache.arrow.stream": func(body string) error {
			r, err := ipc.NewReader(strings.NewReader(body))
			if err != nil {
				return err
			}
			defer r.Release()
			n := int64(0)
			for r.Next() {
				n += r.RecordBatch().NumRows()
			}
			if n != 5000 || r.Err() != nil {
				return fmt.Errorf("%d rows: %w", n, r.Err())
			}
			return nil
		},
		"application/vnd.apache.parquet": func(body string) error {
			s.readable("the answer", body, 5000)
			return nil
		},
	} {
		a := s.ask("POST", "/api/query", s.admin, map[string]any{"sql": "SELECT id, customer FROM orders ORDER BY id"}, "Accept: "+accept)
		if a.status != http.StatusOK || a.err != nil || !strings.HasPrefix(a.header.Get("Content-Type"), accept) {
			t.Errorf("%s: %d %v %s", accept, a.status, a.err, a.header.Get("Content-Type"))
			continue
		}
		if err := check(a.body); err != nil {
			t.Errorf("%s: %v", accept, err)
		}
		if a.trailer.Get("X-Agnes-Truncated") != "false" {
			t.Errorf("%s: trailer %v", accept, a.trailer)
		}
	}
}

func TestTrap_E13_ValuesKeepTheirMeaningInJSON(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	got := s.ask("POST", "/api/query", s.admin, map[string]any{"sql": `SELECT 'NaN'::DOUBLE AS nan, 9223372036854775807 AS big, 1.10::DECIMAL(9,2) AS price,
		TIMESTAMPTZ '2026-01-02 03:04:05+00' AS at, [1, 2] AS list, {'a': 1} AS nested, NULL AS nothing`})
	if got.status != http.StatusOK || !json.Valid([]byte(got.body)) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, want := range []string{"9223372036854775807", "1.10", "2026-01-02", "null"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("%s is lost: %s", want, got.body)
		}
	}
}

func TestTrap_P2_QueriesReachOnlyWhatIsGranted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(10), content{"salaries", []string{"SELECT 1::BIGINT AS id, 'secret' AS name"}})
	s.published("orders", 10)
	ann, annID := s.analyst("ann@example.com")
	s.ask("POST", "/api/admin/permissions", s.admin, map[string]string{"user_id": annID, "dataset": "shop.orders"}).into(t, &struct{}{})
	if got := s.query(ann, "SELECT count(*) FROM orders"); fmt.Sprint(got.Rows) != "[[10]]" {
		t.Fatalf("the granted table: %v", got.Rows)
	}
	part := s.manifest(s.admin).Tables["salaries"].Parts[0].SHA256
	file := s.dir + "/extracts/shop/data/salaries/" + part + ".parquet"
	for _, sql := range []string{
		"SELECT * FROM salaries", "SELECT * FROM shop.salaries", `SELECT * FROM "shop"."salaries"`, "SELECT * FROM query('SELECT * FROM sal' || 'aries')",
		"SELECT * FROM '" + file + "'", "SELECT * FROM read_parquet('" + file + "')", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/*')",
		"SELECT content FROM read_text($$" + s.dir + "/state/.jwt_secret$$)", "COPY orders TO '/tmp/x'", "ATTACH '" + s.dir + "/state/system.duckdb'",
		"SELECT 1; SELECT * FROM orders", "SET memory_limit = '1TB'", "INSTALL httpfs", "CREATE TABLE x AS SELECT 1", "SELECT * FROM orders JOIN salaries USING (id)",
	} {
		got := s.ask("POST", "/api/query", ann, map[string]any{"sql": sql})
		if got.status < 400 || got.status >= 500 || strings.Contains(got.body, "secret\"") || strings.Contains(got.body, s.dir) && !strings.Contains(sql, s.dir) {
			t.Errorf("%s: %d %s", sql, got.status, got.body)
		}
	}
	// What is not granted has the words of what never was.
	hidden := s.ask("POST", "/api/query", ann, map[string]any{"sql": "SELECT * FROM salaries"})
	unknown := s.ask("POST", "/api/query", ann, map[string]any{"sql": "SELECT * FROM salariez"})
	var one, two struct{ Detail string }
	_ = json.Unmarshal([]byte(hidden.body), &one)
	_ = json.Unmarshal([]byte(unknown.body), &two)
	first := func(detail string) string { // the rest guesses among names of the engine's own
		line, _, _ := strings.Cut(strings.ReplaceAll(detail, "salaries", "salariez"), "\n")
		return line
	}
	if hidden.status != unknown.status || first(one.Detail) != first(two.Detail) {
		t.Errorf("%d %q and %d %q", hidden.status, one.Detail, unknown.status, two.Detail)
	}
}

func TestARevokedGrantEndsWarmSessions(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(10))
	s.published("orders", 10)
	ann, annID := s.analyst("ann@example.com")
	grant := map[string]string{"user_id": annID, "dataset": "shop.orders"}
	s.ask("POST", "/api/admin/permissions", s.admin, grant).into(t, &struct{}{})
	s.query(ann, "SELECT count(*) FROM orders")
	s.publish("shop", orders(20))
	s.published("orders", 20)
	if got := s.query(ann, "SELECT count(*) FROM orders"); fmt.Sprint(got.Rows) != "[[20]]" {
		t.Errorf("E9: after a publication: %v", got.Rows)
	}
	s.ask("DELETE", "/api/admin/permissions", s.admin, grant).into(t, &struct{}{})
	if got := s.ask("POST", "/api/query", ann, map[string]any{"sql": "SELECT count(*) FROM orders"}); got.status/100 != 4 {
		t.Errorf("after revoking: %d %s", got.status, got.body)
	}
}

func TestQueriesWhileCatalogChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(1))
	s.published("orders", 1)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			last := 0.0
			for {
				select {
				case <-done:
					return
				default:
				}
				got := s.query(s.admin, "SELECT count(*) FROM orders")
				if len(got.Rows) != 1 || got.Rows[0][0].(float64) < last {
					t.Errorf("after %v: %v", last, got.Rows)
					return
				}
				last = got.Rows[0][0].(float64)
			}
		})
	}
	for i := range 8 {
		s.publish("shop", orders(i+2))
	}
	s.eventually("the last publication", func() error {
		if got := s.query(s.admin, "SELECT count(*) FROM orders"); fmt.Sprint(got.Rows) != "[[9]]" {
			return fmt.Errorf("%v", got.Rows)
		}
		return nil
	})
	close(done)
	readers.Wait()
}

func TestRunIsFollowedToItsPublication(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	asked := make(chan *agnesv1.ExtractRequested, 4)
	sub, err := event.Consume(t.Context(), s.bus, event.ExtractRequested, event.Consumer{Name: "extractor-csv", Key: "csv", Source: "shop"},
		func(_ context.Context, e event.Event[*agnesv1.ExtractRequested]) error {
			asked <- e.Payload
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Stop(t.Context()) }()
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": "orders", "source": "shop"}).into(t, &struct{}{})
	var triggered struct {
		Status  string
		RunID   string `json:"run_id"`
		Tables  []string
		Sources []string
	}
	s.ask("POST", "/api/sync/trigger", s.admin, `["orders"]`).into(t, &triggered)
	if triggered.Status != "triggered" || fmt.Sprint(triggered.Tables, triggered.Sources) != "[orders] [shop]" {
		t.Fatalf("%+v", triggered)
	}
	request := <-asked
	if request.GetRunId() != triggered.RunID || fmt.Sprint(request.GetTables()) != "[orders]" {
		t.Fatalf("asked for %v", request)
	}
	ids := []string{triggered.RunID}
	err = event.Publish(t.Context(), s.bus, event.ExtractReady, "shop", &agnesv1.ExtractReady{
		RunIds: ids, Source: "shop", Changed: true, StartedAt: timestamppb.Now(), FinishedAt: timestamppb.Now(),
		Tables: []*agnesv1.TableOutcome{{Table: "orders", Outcome: "updated", Rows: 42, Bytes: 100}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The event comes to the runs before the catalog heard of it.
	err = event.Publish(t.Context(), s.bus, event.AnalyticsPublished, "shop", &agnesv1.AnalyticsPublished{Source: "shop", Generation: 1, RunIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	var run struct {
		ID, Status, Source string
		FinishedAt         *time.Time `json:"finished_at"`
		Tables             []struct {
			TableID string `json:"table_id"`
			Outcome string
			Rows    int64
		}
	}
	s.eventually("run", func() error {
		s.ask("GET", "/api/sync/runs/"+triggered.RunID, s.admin, nil).into(t, &run)
		if run.Status != "succeeded" {
			return fmt.Errorf("%+v", run)
		}
		return nil
	})
	// What a run reports as published can be asked for at once.
	s.publishQuietly("shop", orders(42))
	s.ask("GET", "/api/sync/runs/"+triggered.RunID, s.admin, nil).into(t, &run)
	if got := s.query(s.admin, "SELECT count(*) FROM orders"); fmt.Sprint(got.Rows) != "[[42]]" {
		t.Errorf("after the run: %v", got.Rows)
	}
	if run.Source != "shop" || run.FinishedAt == nil || len(run.Tables) != 1 || run.Tables[0].TableID != "orders" || run.Tables[0].Rows != 42 {
		t.Errorf("%+v", run)
	}
	var list struct {
		Count int
		Runs  []struct{ ID string }
	}
	s.ask("GET", "/api/sync/runs?source=shop&status=succeeded&limit=5", s.admin, nil).into(t, &list)
	if list.Count != 1 || list.Runs[0].ID != triggered.RunID {
		t.Errorf("%+v", list)
	}
	for path, want := range map[string]int{"/api/sync/runs/none": 404, "/api/sync/runs?limit=0": 422, "/api/sync/runs?status=odd": 422} {
		if got := s.ask("GET", path, s.admin, nil); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := s.ask("POST", "/api/sync/trigger", s.admin, `["no_such_table"]`); got.status != http.StatusNotFound || !strings.Contains(got.body, "no_such_table") {
		t.Errorf("unknown table: %d %s", got.status, got.body)
	}
}

func TestRequestsEndWhenTheServiceIsStopped(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *api.Config) { c.StopBudget = 25 * time.Second })
	answered := make(chan answer, 1)
	began := time.Now()
	go func() {
		answered <- s.ask("POST", "/api/query", s.admin, map[string]any{"sql": "SELECT sum(hash(a.range + b.range)) FROM range(6000) a, range(6000) b"})
	}()
	s.eventually("start of the query", func() error {
		if time.Since(began) < 300*time.Millisecond {
			return errors.New("not yet")
		}
		return nil
	})
	s.stop()
	if got := <-answered; got.status != http.StatusOK || got.err != nil {
		t.Errorf("a query under way was answered with %d %v %s", got.status, got.err, got.body)
	}
}
