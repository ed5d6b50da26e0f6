package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/download"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is an Identity with an admin, an analyst and nobody else: the rules of signing in are tested
// where they are, here it is what the routes make of them.
type people struct {
	httpapi.Identity
}

func (people) Authenticate(_ context.Context, token, ip string) (httpapi.Caller, error) {
	switch token {
	case "where":
		return httpapi.Caller{}, fault.New(fault.Unauthenticated, "you are at %s", ip)
	case "admin":
		return httpapi.Caller{UserID: "1", Email: "admin@example.com", Role: httpapi.RoleAdmin, Credential: "session", TokenID: "s1"}, nil
	case "ann":
		return httpapi.Caller{UserID: "2", Email: "ann@example.com", Role: httpapi.RoleAnalyst, Credential: "session", TokenID: "s2"}, nil
	case "ann-pat":
		return httpapi.Caller{UserID: "2", Email: "ann@example.com", Role: httpapi.RoleAnalyst, Credential: "pat", TokenID: "t1", Scopes: []httpapi.Scope{httpapi.ScopeRead}}, nil
	case "admin-pat":
		return httpapi.Caller{UserID: "1", Email: "admin@example.com", Role: httpapi.RoleAdmin, Credential: "pat", TokenID: "t2"}, nil
	}
	return httpapi.Caller{}, fault.New(fault.Unauthenticated, "the session or token is unknown, expired or revoked")
}

func (people) Login(_ context.Context, email, password string, from httpapi.From) (httpapi.Session, error) {
	if password == "where" {
		return httpapi.Session{}, fault.New(fault.Unauthenticated, "%s with %s", from.IP, from.UserAgent)
	}
	if password != "correct" {
		return httpapi.Session{}, fault.New(fault.Unauthenticated, "wrong e-mail address or password")
	}
	s := annsSession()
	s.Email = email
	return s, nil
}

func (people) Users(context.Context) ([]httpapi.UserView, error) {
	return []httpapi.UserView{
		{ID: "1", Email: "admin@example.com", Name: "Root", Role: httpapi.RoleAdmin, Active: true},
		{ID: "2", Email: "ann@example.com", Name: "Ann", Role: httpapi.RoleAnalyst, Active: true},
		{ID: "3", Email: "bob@example.com", Name: "Bob Hanna", Role: httpapi.RoleAnalyst},
	}, nil
}

func (p people) User(ctx context.Context, id string) (httpapi.UserView, error) {
	list, err := p.Users(ctx)
	for _, u := range list {
		if u.ID == id {
			return u, err
		}
	}
	return httpapi.UserView{}, fault.New(fault.NotFound, "there is no such user")
}

func (people) CreateToken(_ context.Context, _ httpapi.Caller, name string, days *int, scopes []httpapi.Scope) (httpapi.NewToken, error) {
	text := "never"
	if days != nil {
		text = fmt.Sprint(*days)
	}
	return httpapi.NewToken{ID: "t2", Name: name, Token: text, Scopes: scopes}, nil
}

func (people) Tokens(_ context.Context, userID string) ([]httpapi.Token, error) {
	now := time.Now()
	return []httpapi.Token{
		{ID: "t1", Name: "laptop", Prefix: "7a1f6a52", UserID: userID, LastUsedIP: "192.0.2.10", LastUsedAt: &now, Scopes: []httpapi.Scope{httpapi.ScopeRead}},
		{ID: "t0", Name: "lost", Prefix: "00000000", UserID: userID, RevokedAt: &now},
	}, nil
}

func (people) RevokeToken(_ context.Context, _ httpapi.Caller, _, id string) error {
	if id != "t1" {
		return fault.New(fault.NotFound, "there is no token with this id")
	}
	return nil
}

func (people) Logout(context.Context, httpapi.Caller) error { return nil }

func (people) CreateUser(_ context.Context, _ httpapi.Caller, u httpapi.NewUser) (httpapi.UserView, error) {
	return httpapi.UserView{ID: "4", Email: u.Email, Role: u.Role, Active: true}, nil
}

func (people) UpdateUser(_ context.Context, _ httpapi.Caller, id string, c httpapi.UserChange) (httpapi.UserView, error) {
	u := httpapi.UserView{ID: id}
	if c.Active != nil {
		u.Active = *c.Active
	}
	return u, nil
}

func (people) SetPassword(context.Context, httpapi.Caller, string, string) error { return nil }

func (people) DeleteUser(context.Context, httpapi.Caller, string) error { return nil }

// rules grant the analyst what is listed, and admins everything.
type rules struct {
	httpapi.Access
	granted map[string]bool
	failure error
}

type grantSet struct {
	all  bool
	some map[string]bool
}

func (g grantSet) Allows(t *published.Table) bool { return g.all || g.some[t.Qualified()] }
func (g grantSet) Fingerprint() string            { return fmt.Sprint(g.all, g.some) }

func (r *rules) Grants(_ context.Context, c httpapi.Caller, _ *published.Snapshot) (httpapi.Grants, error) {
	return grantSet{all: c.Admin(), some: r.granted}, r.failure
}

// parts serves tables of one part from disk.
type parts struct {
	dir string
}

func (p parts) Digests(_ context.Context, tables []catalog.Table) ([]lake.Digest, error) {
	out := make([]lake.Digest, len(tables))
	for i, t := range tables {
		out[i] = lake.Digest{SHA256: t.Parts[0].SHA256, MD5: t.Parts[0].MD5, Size: t.Parts[0].SizeBytes}
	}
	return out, nil
}

func (p parts) Content(ctx context.Context, t catalog.Table) (download.Content, error) {
	return p.Part(ctx, t.Parts[0])
}

func (p parts) Part(_ context.Context, part catalog.Part) (download.Content, error) {
	return download.Content{SHA256: part.SHA256, MD5: part.MD5, Size: part.SizeBytes, Open: func() (io.ReadSeekCloser, error) {
		return os.Open(filepath.Join(p.dir, filepath.FromSlash(part.Path)))
	}}, nil
}

func (p parts) File(_ context.Context, source, table, id string) (download.Content, error) {
	if source != "shop" || table != "orders" || id != "7" {
		return download.Content{}, fault.New(fault.NotFound, "there is no file %q of this table", id)
	}
	text := "the receipt"
	return download.Content{Name: "receipt.txt", SHA256: strings.Repeat("a", 64), Size: int64(len(text)), Open: func() (io.ReadSeekCloser, error) {
		return readSeekNopCloser{strings.NewReader(text)}, nil
	}}, nil
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

// answers is a Queries that plays what the SQL asks for.
type answers struct {
	cancelled chan struct{}
}

func (a answers) Query(ctx context.Context, q httpapi.Question, head func() io.Writer) (httpapi.QuerySummary, error) {
	switch q.SQL {
	case "panic":
		panic("a defect")
	case "full":
		return httpapi.QuerySummary{}, fault.New(fault.Busy, "too many queries at once").After(1500 * time.Millisecond)
	case "crowded":
		return httpapi.QuerySummary{}, fault.New(fault.Busy, "too many at once")
	case "secret":
		return httpapi.QuerySummary{}, errors.New("open /srv/secret/path: token=hunter2")
	case "break":
		_, _ = io.WriteString(head(), "half of")
		return httpapi.QuerySummary{}, errors.New("broke off")
	case "long":
		select {
		case <-ctx.Done():
			return httpapi.QuerySummary{}, ctx.Err()
		case <-time.After(700 * time.Millisecond):
		}
	case "wait":
		<-ctx.Done()
		close(a.cancelled)
		return httpapi.QuerySummary{}, ctx.Err()
	}
	_, _ = fmt.Fprintf(head(), "%s %d", q.MediaType, q.Limit)
	return httpapi.QuerySummary{Rows: 1, Truncated: strings.Contains(q.SQL, "many")}, nil
}

type noRuns struct{ httpapi.Runs }

func (noRuns) Trigger(_ context.Context, by httpapi.Caller, t httpapi.TriggerBody) (httpapi.TriggerAnswer, error) {
	return httpapi.TriggerAnswer{Status: "triggered", RunID: "r1", Tables: t.Tables, Sources: t.Sources, Message: by.UserID}, nil
}

type rows struct{ httpapi.Registry }

func (rows) List(context.Context, string) ([]httpapi.RegisteredTable, error) { return nil, nil }

func (rows) Register(_ context.Context, _ httpapi.Caller, t httpapi.NewTable) (httpapi.RegisteredTable, error) {
	return httpapi.RegisteredTable{ID: strings.ToLower(t.Name), Name: t.Source + "/" + t.Name + "/" + strings.Join(t.PrimaryKey, "+")}, nil
}

type wires struct{ rebuilt []string }

func (*wires) Discover(context.Context, string) ([]httpapi.DiscoveredTable, error) {
	return nil, fault.Wrap(event.ErrNobody, fault.Unavailable, "no answer to discover")
}

func (*wires) TestSource(context.Context, string) ([]string, error) {
	return nil, fault.New(fault.Unauthenticated, "the source refuses the token")
}

func (*wires) Preview(_ context.Context, t httpapi.RegisteredTable, _ int) (httpapi.TablePreview, error) {
	text := t.Bucket + "/" + t.SourceTable
	return httpapi.TablePreview{Rows: [][]*string{{&text, nil}}}, nil
}

func (*wires) PushMetadata(context.Context, httpapi.RegisteredTable, []httpapi.ColumnNote, bool) (httpapi.MetadataPushed, error) {
	return httpapi.MetadataPushed{}, nil
}

func (w *wires) Rebuild(_ context.Context, source string) error {
	w.rebuilt = append(w.rebuilt, source)
	return nil
}

func (*wires) DeadLetters(context.Context, event.LetterFilter) ([]event.DeadLetter, error) {
	return []event.DeadLetter{{Number: 7, Payload: []byte("{}")}, {Number: 8, Payload: []byte("{not")}}, nil
}

func (*wires) ReplayDeadLetter(_ context.Context, n uint64) error {
	return fault.New(fault.NotFound, "there is no dead letter %d", n)
}

func (*wires) DropDeadLetter(context.Context, uint64) error { return nil }

type profiles struct{}

func (profiles) Profile(_ context.Context, t *published.Table) (json.RawMessage, error) {
	return json.RawMessage(`{"table_id":"` + t.ID + `"}`), nil
}

// house is a server on a real port with some tables published.
type house struct {
	*httptest.Server
	t       testing.TB
	dir     string
	rules   *rules
	wires   *wires
	answers answers
	store   *published.Store
	entry   *entry
	record  *record
	broken  error
}

func newHouse(tb testing.TB, change ...func(*httpapi.Config)) *house {
	tb.Helper()
	h := &house{t: tb, dir: tb.TempDir(), rules: &rules{granted: map[string]bool{"shop.orders": true}}, wires: &wires{}, answers: answers{cancelled: make(chan struct{})}, entry: &entry{}, record: &record{}}
	h.publish("shop", 1, "orders", "salaries", "wei rd#?")
	store, err := published.Open(tb.Context(), h.dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	h.store = store
	c := httpapi.Config{
		Log: zerolog.Nop(), Limits: httpapi.Limits{MaxBody: 1 << 20, BodyTimeout: 300 * time.Millisecond, DefaultRows: 1000, MaxRows: 5000, ManifestWait: time.Second, DiscoverWait: time.Second},
		Build: service.Build{Version: "1.2.3"}, Instance: &service.Instance{Name: "Test", Sources: []service.Source{{Name: "shop", Type: "csv"}}},
		Metrics: prometheus.NewRegistry(), Published: store, Identity: people{}, Access: h.rules, Registry: rows{}, Runs: noRuns{},
		Queries: h.answers, Profiles: profiles{}, Wholes: parts{h.dir}, Bus: h.wires, SignIn: h.entry, Recorder: h.record,
		Checks: []httpapi.Check{{Name: "state", Do: func(context.Context) error { return h.broken }}},
	}
	for _, f := range change {
		f(&c)
	}
	s, err := httpapi.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	h.Server = httptest.NewServer(s.Handler())
	tb.Cleanup(h.Close)
	tb.Cleanup(http.DefaultClient.CloseIdleConnections)
	return h
}

func (h *house) publish(source string, generation uint64, tables ...string) {
	h.t.Helper()
	var list []catalog.Table
	for _, name := range tables {
		content := strings.Repeat(name+fmt.Sprint(generation), 1000)
		sum := digest(content)
		path := "extracts/" + source + "/" + sum + ".parquet"
		h.write(path, content)
		table := catalog.Table{
			Name: name, QueryMode: catalog.ModeLocal, Rows: 10, ExtractedAt: time.Now(), Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}},
			Parts: []catalog.Part{{Path: path, SHA256: sum, MD5: "m" + sum[:8], SizeBytes: int64(len(content)), Rows: 10}},
		}
		table.Fingerprint = catalog.Fingerprint(table)
		list = append(list, table)
	}
	if err := catalog.SaveSource(h.dir, catalog.Source{Name: source, Generation: generation, Version: catalog.VersionOf(list), Tables: list}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) write(path, content string) {
	h.t.Helper()
	full := filepath.Join(h.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error
}

func (a answer) problem(tb testing.TB) httpapi.Problem {
	tb.Helper()
	var p httpapi.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
		tb.Fatalf("not a problem: %s %q %v", a.header.Get("Content-Type"), a.body, err)
	}
	if p.Status != a.status || p.Kind == "" || p.Detail == "" || p.Title == "" || p.Type == "" {
		tb.Fatalf("incomplete problem for status %d: %s", a.status, a.body)
	}
	return p
}

// asBrowser shows redirects instead of following them.
var asBrowser = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// ask sends a request: headers are "Name: value".
func (h *house) ask(method, path, token, body string, headers ...string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := asBrowser.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer, body: string(raw), err: err}
}
