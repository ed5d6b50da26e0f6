package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
)

// TestMain is also what a process for queries runs, where AGNES_TEST_WORKERS asks for processes.
func TestMain(m *testing.M) {
	for _, p := range api.Processes() {
		if len(os.Args) == 2 && os.Args[1] == p.Name {
			os.Exit(p.Run()) //nolint:forbidigo // here the test binary is the process
		}
	}
	goleak.VerifyTestMain(m)
}

const (
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery"
)

// server is a running api with a data directory, a bus and an administrator.
type server struct {
	t           testing.TB
	dir, config string
	nats        *embedded.Server
	bus         *event.Bus
	url, admin  string
	stop        context.CancelFunc
	ended       chan error
	change      []func(*api.Config)
	generation  map[string]uint64
}

const instanceYAML = `
instance: {name: "Test house"}
sources:
  - {name: shop, type: csv, path: ./files}
  - {name: crm, type: csv, path: ./crm}
`

func newServer(tb testing.TB, change ...func(*api.Config)) *server {
	tb.Helper()
	s := &server{t: tb, dir: tb.TempDir(), config: tb.TempDir(), nats: eventtest.Server(tb), change: change, generation: map[string]uint64{}}
	s.bus = eventtest.Connect(tb, s.nats, "test")
	if err := os.WriteFile(filepath.Join(s.config, service.InstanceFile), []byte(instanceYAML), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.start()
	tb.Cleanup(func() { s.halt() })
	s.admin = s.login(adminEmail, adminPassword)
	return s
}

// start runs the api until halt.
func (s *server) start() {
	s.t.Helper()
	cfg := api.Config{
		Addr: "127.0.0.1:0", SeedEmail: adminEmail, SeedPassword: adminPassword, SessionTTL: time.Hour, QueryRows: 1000, QueryMaxRows: 1_000_000,
		QueryTimeout: 20 * time.Second, CatalogPoll: time.Hour, StopBudget: 5 * time.Second,
	}
	cfg.DataDir, cfg.ConfigDir = s.dir, s.config
	if os.Getenv("AGNES_TEST_WORKERS") != "" {
		cfg.Own = api.Own()
	}
	cfg.Bus = eventtest.Connect(s.t, s.nats, "api")
	for _, f := range s.change {
		f(&cfg)
	}
	listening := make(chan string, 1)
	cfg.OnListen = func(addr string) { listening <- addr }
	log := zerolog.Nop()
	if testing.Verbose() {
		log = zerolog.New(zerolog.NewConsoleWriter(zerolog.ConsoleTestWriter(s.t))).Level(zerolog.WarnLevel)
	}
	ctx, stop := context.WithCancel(log.WithContext(context.Background()))
	s.stop, s.ended = stop, make(chan error, 1)
	ended := s.ended
	go func() { ended <- api.Run(ctx, cfg) }()
	select {
	case addr := <-listening:
		s.url = "http://" + addr
	case err := <-ended:
		stop()
		s.t.Fatalf("the api does not start: %v", err)
	case <-time.After(30 * time.Second):
		s.t.Fatal("the api does not listen")
	}
}

// halt stops the api and waits for its end.
func (s *server) halt() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	http.DefaultClient.CloseIdleConnections()
	s.stop()
	s.stop = nil
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("the api ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		s.t.Error("the api does not stop")
	}
}

type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error
}

func (a answer) into(tb testing.TB, v any) {
	tb.Helper()
	if a.status/100 != 2 {
		tb.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		tb.Fatalf("%v in %s", err, a.body)
	}
}

// ask sends a request; body is text, or something to write as JSON; headers are "Name: value".
func (s *server) ask(method, path, token string, body any, headers ...string) answer {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer, body: string(raw), err: err}
}

func (s *server) login(email, password string) string {
	s.t.Helper()
	var session struct {
		Token string `json:"access_token"`
	}
	s.ask("POST", "/auth/token", "", map[string]string{"email": email, "password": password}).into(s.t, &session)
	return session.Token
}

// analyst makes a user and gives a session and the id.
func (s *server) analyst(email string) (token, id string) {
	s.t.Helper()
	var u struct {
		ID string `json:"id"`
	}
	s.ask("POST", "/api/users", s.admin, map[string]string{"email": email, "password": "another password"}).into(s.t, &u)
	return s.login(email, "another password"), u.ID
}

// content is what a table holds: one SELECT per part.
type content struct {
	name    string
	selects []string
}

// publish writes parts and the catalog of a source, as the orchestrator does, and announces them.
func (s *server) publish(source string, tables ...content) {
	s.t.Helper()
	s.publishQuietly(source, tables...)
	err := event.Publish(s.t.Context(), s.bus, event.AnalyticsPublished, source, &agnesv1.AnalyticsPublished{Source: source, Generation: s.generation[source]})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) publishQuietly(source string, tables ...content) {
	s.t.Helper()
	db, err := lake.Open(s.t.Context(), lake.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var list []catalog.Table
	for _, c := range tables {
		list = append(list, s.table(db, source, c))
	}
	s.generation[source]++
	err = catalog.SaveSource(s.dir, catalog.Source{
		Name: source, Generation: s.generation[source], Version: catalog.VersionOf(list), PublishedAt: time.Now(), Tables: list,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) table(db *lake.DB, source string, c content) catalog.Table {
	s.t.Helper()
	folder := filepath.Join(s.dir, "extracts", source, "data", c.name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		s.t.Fatal(err)
	}
	t := catalog.Table{Name: c.name, QueryMode: catalog.ModeLocal, ExtractedAt: time.Now().UTC().Truncate(time.Second)}
	var files []string
	for i, query := range c.selects {
		file := filepath.Join(folder, fmt.Sprintf("writing%d", i))
		if _, err := db.ExecContext(s.t.Context(), "COPY ("+query+") TO "+lake.QuoteLiteral(file)+" (FORMAT parquet)"); err != nil {
			s.t.Fatal(err)
		}
		d, err := lake.HashFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		final := filepath.Join(folder, d.SHA256+".parquet")
		if err := os.Rename(file, final); err != nil {
			s.t.Fatal(err)
		}
		var rows int64
		if err := db.QueryRowContext(s.t.Context(), "SELECT count(*) FROM read_parquet("+lake.QuoteLiteral(final)+")").Scan(&rows); err != nil {
			s.t.Fatal(err)
		}
		relative, _ := filepath.Rel(s.dir, final)
		t.Parts = append(t.Parts, catalog.Part{Path: filepath.ToSlash(relative), SHA256: d.SHA256, MD5: d.MD5, SizeBytes: d.Size, Rows: rows})
		t.Rows, t.SizeBytes = t.Rows+rows, t.SizeBytes+d.Size
		files = append(files, final)
	}
	t.Columns = []catalog.Column{{Name: "id", Type: "BIGINT"}}
	if len(files) > 0 {
		columns, err := lake.ParquetColumns(s.t.Context(), db, files)
		if err != nil {
			s.t.Fatal(err)
		}
		t.Columns = columns
	}
	t.Fingerprint = catalog.Fingerprint(t)
	return t
}

// eventually asks until check is content.
func (s *server) eventually(what string, check func() error) {
	s.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

type manifest struct {
	Tables map[string]struct {
		Hash, SHA256, Name, Source, Fingerprint string
		SizeBytes                               int64 `json:"size_bytes"`
		Alias                                   bool
		Rows                                    int64
		Parts                                   []struct {
			SHA256, MD5 string
			SizeBytes   int64 `json:"size_bytes"`
		}
	}
}

func (s *server) manifest(token string) manifest {
	s.t.Helper()
	var m manifest
	s.ask("GET", "/api/sync/manifest", token, nil).into(s.t, &m)
	return m
}

// published waits until the manifest of the administrator has a table with a number of rows.
func (s *server) published(id string, rows int64) {
	s.t.Helper()
	s.eventually("publication of "+id, func() error {
		if got, ok := s.manifest(s.admin).Tables[id]; !ok || got.Rows != rows {
			return fmt.Errorf("the manifest has %+v", got)
		}
		return nil
	})
}

// profile announces what the orchestrator found out about a table.
func (s *server) profile(source, table, hash string) {
	s.t.Helper()
	found, err := structpb.NewStruct(map[string]any{"row_count": 10, "columns": []any{map[string]any{"name": "id"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	err = event.Publish(s.t.Context(), s.bus, event.TableProfiled, source, &agnesv1.TableProfiled{
		Source: source, Table: table, Hash: hash, Profile: found, ProfiledAt: timestamppb.Now(),
	}, event.Key(table))
	if err != nil {
		s.t.Fatal(err)
	}
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func dial(tb testing.TB, url string) net.Conn {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// runOnce runs an api that is expected to refuse its configuration.
func runOnce(t *testing.T, change func(*api.Config)) error {
	t.Helper()
	cfg := api.Config{Addr: "127.0.0.1:0", StopBudget: time.Second}
	cfg.DataDir, cfg.ConfigDir, cfg.Bus = t.TempDir(), t.TempDir(), eventtest.Bus(t)
	change(&cfg)
	ctx, cancel := context.WithTimeout(zerolog.Nop().WithContext(t.Context()), 20*time.Second)
	defer cancel()
	return api.Run(ctx, cfg)
}
