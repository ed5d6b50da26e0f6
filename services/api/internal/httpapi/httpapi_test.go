package httpapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestTrap_P5_EveryRouteHasAGate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	server, ok := h.Config.Handler.(interface {
		ServeHTTP(http.ResponseWriter, *http.Request)
	})
	if !ok || server == nil {
		t.Fatal("no handler")
	}
	routes := httpapi.DoorsOf(t, h.dir)
	if len(routes) < 45 {
		t.Fatalf("only %d routes", len(routes))
	}
	for route, d := range routes {
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer(":table", "orders", ":id", "x", ":user_id", "x", ":seq", "1", "*", "x").Replace(path)
		got := h.ask(method, path, "", "")
		switch {
		case d.Gate == httpapi.Public:
			if got.status == http.StatusUnauthorized && !strings.HasPrefix(path, "/auth/") {
				t.Errorf("%s is public, yet answers 401", route)
			}
		case d.Page:
			if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/login") {
				t.Errorf("%s answers a stranger with %d to %s", route, got.status, got.header.Get("Location"))
			}
		case slices.Contains([]httpapi.Gate{httpapi.User, httpapi.Curator, httpapi.Admin}, d.Gate):
			if got.status != http.StatusUnauthorized {
				t.Errorf("%s answers a stranger with %d", route, got.status)
			}
		default:
			t.Errorf("%s has no gate", route)
		}
		if d.Gate == httpapi.Admin || d.Gate == httpapi.Curator {
			if got := h.ask(method, path, "ann", ""); got.status != http.StatusForbidden {
				t.Errorf("%s answers an analyst with %d", route, got.status)
			}
		}
	}
}

func TestTrap_O8_ProblemsHaveOneShapeAndNoSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		name, method, path, token, body string
		status                          int
		kind                            fault.Kind
		detail                          string
	}{
		{"unknown path", "GET", "/api/nothing", "", "", 404, fault.NotFound, "nothing at this path"},
		{"unknown method", "DELETE", "/api/query", "", "", 405, fault.Invalid, "does not take this method"},
		{"stranger", "GET", "/auth/me", "", "", 401, fault.Unauthenticated, "sign in first"},
		{"bad token", "GET", "/auth/me", "forged", "", 401, fault.Unauthenticated, "unknown, expired or revoked"},
		{"not an admin", "GET", "/api/users", "ann", "", 403, fault.Forbidden, "admin"},
		{"missing field", "POST", "/auth/token", "", `{"password":"hunter2"}`, 422, fault.Invalid, "email"},
		{"wrong password", "POST", "/auth/token", "", `{"email":"a@b.c","password":"hunter2"}`, 401, fault.Unauthenticated, "wrong"},
		{"no password", "POST", "/auth/token", "", `{"email":"a@b.c"}`, 401, fault.Unauthenticated, "wrong"},
		{"no JSON", "POST", "/auth/token", "", `{"email`, 400, fault.Invalid, ""},
		{"no body", "POST", "/auth/token", "", "", 400, fault.Invalid, "body is required"},
		{"unknown table", "GET", "/api/catalog/profile/none", "ann", "", 404, fault.NotFound, `there is no table "none", or it is not granted to you`},
		{"defect", "POST", "/api/query", "ann", `{"sql":"panic"}`, 500, fault.Internal, "the log of the server has the details"},
		{"unforeseen", "POST", "/api/query", "ann", `{"sql":"secret"}`, 500, fault.Internal, "the log of the server has the details"},
		{"long body", "POST", "/auth/token", "", `{"email":"a","password":"` + strings.Repeat("x", 1<<20) + `"}`, 413, fault.TooLarge, ""},
		{"limit", "POST", "/api/query", "ann", `{"sql":"SELECT 1","limit":0}`, 422, fault.Invalid, "limit"},
		{"high limit", "POST", "/api/query", "ann", `{"sql":"SELECT 1","limit":5001}`, 422, fault.Invalid, "5000"},
		{"blank name", "POST", "/api/admin/register-table", "admin", `{"name":"  "}`, 422, fault.Invalid, "name"},
		{"letter", "POST", "/api/admin/dead-letters/9/replay", "admin", "", 404, fault.NotFound, "9"},
		{"no extractor", "GET", "/api/admin/discover-tables?source=shop", "admin", "", 503, fault.Unavailable, "agnes-extractor-csv"},
		{"no source", "GET", "/api/admin/discover-tables?source=crm", "admin", "", 404, fault.NotFound, "shop"},
		{"sockets", "GET", "/ws", "", "", 503, fault.Unavailable, "agnes-ws-gateway"},
		{"webhooks", "POST", "/webhooks/jira", "", "{}", 503, fault.Unavailable, "agnes-jira-webhook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := h.ask(c.method, c.path, c.token, c.body)
			if got.err != nil {
				t.Fatal(got.err)
			}
			p := got.problem(t)
			if got.status != c.status || p.Kind != c.kind || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("got %d %s %q, want %d %s %q", got.status, p.Kind, p.Detail, c.status, c.kind, c.detail)
			}
			if p.RequestID == "" || p.RequestID != got.header.Get("X-Request-Id") {
				t.Errorf("request id %q, header %q", p.RequestID, got.header.Get("X-Request-Id"))
			}
			// O8: neither what was sent nor what the server knows comes back in an error.
			if strings.Contains(got.body, "hunter2") || strings.Contains(got.body, "/srv/") {
				t.Errorf("an error repeats a secret: %s", got.body)
			}
		})
	}
}

func TestTrap_O8_TheLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	h := newHouse(t, func(c *httpapi.Config) { c.Log = zerolog.New(&log) })
	h.ask("GET", "/auth/me?token=hunter2", "hunter2", "", "Cookie: access_token=hunter2")
	h.ask("POST", "/auth/token", "", `{"email":"a@b.c","password":"hunter2"}`)
	h.ask("POST", "/api/query?sql=hunter2", "ann", `{"sql":"full"}`)
	if text := log.String(); strings.Contains(text, "hunter2") || strings.Count(text, `"message":"request"`) != 3 {
		t.Errorf("the log: %s", text)
	}
}

// safeBuffer is a log that several write to.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestTrap_P4_WhatIsNotGrantedDoesNotExist(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"/api/data/%s/download", "/api/catalog/profile/%s", "/api/data/%s/download?part=" + strings.Repeat("a", 64)} {
		hidden := h.ask("GET", strings.Replace(path, "%s", "salaries", 1), "ann", "")
		unknown := h.ask("GET", strings.Replace(path, "%s", "nowhere1", 1), "ann", "")
		if hidden.status != 404 || unknown.status != 404 {
			t.Errorf("%s: hidden %d, unknown %d", path, hidden.status, unknown.status)
		}
		one, two := hidden.problem(t), unknown.problem(t)
		if strings.ReplaceAll(one.Detail, "salaries", "nowhere1") != two.Detail {
			t.Errorf("%s: the words differ: %q and %q", path, one.Detail, two.Detail)
		}
		if got := h.ask("GET", strings.Replace(path, "%s", "SALARIES", 1), "ann", ""); got.status != 404 {
			t.Errorf("%s: other letters give %d", path, got.status)
		}
		if got := h.ask("GET", strings.Replace(path, "%s", "shop.salaries", 1), "ann", ""); got.status != 404 {
			t.Errorf("%s: the qualified name gives %d", path, got.status)
		}
	}
	var m httpapi.Manifest
	if err := json.Unmarshal([]byte(h.ask("GET", "/api/sync/manifest", "ann", "").body), &m); err != nil || len(m.Tables) != 1 {
		t.Errorf("manifest: %+v %v", m, err)
	}
	if got := h.ask("GET", "/api/catalog/tables", "ann", ""); strings.Contains(got.body, "salaries") || !strings.Contains(got.body, `"count":1`) {
		t.Errorf("catalog: %s", got.body)
	}
}

func TestTrap_P3_FailingToResolveGrantsReturnsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.rules.failure = fault.New(fault.Unavailable, "the state is away")
	for _, path := range []string{"/api/sync/manifest", "/api/catalog/tables", "/api/data/orders/download", "/api/catalog/profile/orders"} {
		if got := h.ask("GET", path, "admin", ""); got.status != 503 || strings.Contains(got.body, "columns") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := h.ask("POST", "/api/query", "admin", `{"sql":"SELECT 1"}`); got.status != 503 {
		t.Errorf("query: %d", got.status)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		name, method, path string
		headers            []string
		want               int
	}{
		{"any case of the scheme", "GET", "/auth/me", []string{"Authorization: bEaReR ann"}, 200},
		{"cookie", "GET", "/auth/me", []string{"Cookie: access_token=ann"}, 200},
		{"cookie from this origin", "POST", "/api/query", []string{"Cookie: access_token=ann", "Origin: " + h.URL}, 200},
		{"cookie from the browser's word", "POST", "/api/query", []string{"Cookie: access_token=ann", "Sec-Fetch-Site: same-origin"}, 200},
		{"cookie from elsewhere", "POST", "/api/query", []string{"Cookie: access_token=ann", "Origin: https://evil.example"}, 403},
		{"cookie from a sister site", "POST", "/api/query", []string{"Cookie: access_token=ann", "Sec-Fetch-Site: same-site", "Origin: " + h.URL}, 403},
		{"cookie without origin", "POST", "/api/query", []string{"Cookie: access_token=ann"}, 403},
		{"bearer from elsewhere", "POST", "/api/query", []string{"Authorization: Bearer ann", "Origin: https://evil.example"}, 200},
		{"basic", "GET", "/auth/me", []string{"Authorization: Basic YW5uOmFubg=="}, 401},
		{"in the URL", "GET", "/auth/me?access_token=ann&token=ann", nil, 401},
	} {
		body := ""
		if c.method == "POST" {
			body = `{"sql":"SELECT 1"}`
		}
		if got := h.ask(c.method, c.path, "", body, c.headers...); got.status != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, got.status, c.want, got.body)
		}
	}
	if got := h.ask("POST", "/auth/tokens", "ann-pat", `{"name":"x"}`); got.status != 403 {
		t.Errorf("a token made a token: %d", got.status)
	}
	for body, want := range map[string]string{`{"name":"x"}`: "90", `{"name":"x","expires_in_days":null}`: "never", `{"name":"x","expires_in_days":7}`: "7", `{"name":"x","expires_in_days":30.0}`: "30"} {
		if got := h.ask("POST", "/auth/tokens", "ann", body); got.status != 201 || !strings.Contains(got.body, `"token":"`+want+`"`) {
			t.Errorf("%s: %d %s, want %s", body, got.status, got.body, want)
		}
	}
	if got := h.ask("POST", "/auth/tokens", "ann", `{"name":"x","expires_in_days":3651}`); got.status != 422 {
		t.Errorf("3651 days: %d", got.status)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"/", "/docs", "/api/version", "/api/nothing", "/api/data/orders/download"} {
		got := h.ask("GET", path, "", "", "X-Request-Id: abc-12345678")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-Request-Id": "abc-12345678"} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got.header.Get(name), want)
			}
		}
		if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: CSP %q", path, csp)
		}
	}
	if got := h.ask("GET", "/api/version", "", "", "X-Request-Id: <script>"); strings.Contains(got.header.Get("X-Request-Id"), "<") {
		t.Error("any request id is taken over")
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for path, want := range map[string]string{"/openapi.json": "gzip", "/docs": "", "/api/data/orders/download": ""} {
		got := h.ask("GET", path, "ann", "", "Accept-Encoding: gzip")
		if encoding := got.header.Get("Content-Encoding"); encoding != want && path != "/docs" {
			t.Errorf("%s is encoded %q, want %q", path, encoding, want)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for accept, want := range map[string]string{
		"": "application/json 1000", "*/*": "application/json 1000", "text/csv": "text/csv 5000", "text/html, */*;q=0.1": "application/json 1000",
		"application/x-ndjson;q=0.9, text/html": "application/x-ndjson 5000", "application/vnd.apache.arrow.stream": "application/vnd.apache.arrow.stream 5000",
	} {
		got := h.ask("POST", "/api/query", "ann", `{"sql":"SELECT many"}`, "Accept: "+accept)
		if got.status != 200 || got.body != want {
			t.Errorf("Accept %q: %d %q, want %q", accept, got.status, got.body, want)
		}
		if got.trailer.Get("X-Agnes-Truncated") != "true" {
			t.Errorf("Accept %q: trailer %v", accept, got.trailer)
		}
	}
	if got := h.ask("POST", "/api/query", "ann", `{"sql":"SELECT 1"}`, "Accept: image/png"); got.status != 406 {
		t.Errorf("a picture: %d", got.status)
	}
	if got := h.ask("POST", "/api/query", "ann", `{"sql":"SELECT 1","limit":null}`); got.body != "application/json 1000" {
		t.Errorf("limit null: %s", got.body)
	}
	got := h.ask("POST", "/api/query", "ann", `{"sql":"full"}`)
	if got.status != 429 || got.header.Get("Retry-After") != "2" {
		t.Errorf("full: %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	if got := h.ask("POST", "/api/query", "ann", `{"sql":"break"}`); got.err == nil {
		t.Errorf("half an answer looks whole: %d %q", got.status, got.body)
	}
	ctx, leave := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/api/query", strings.NewReader(`{"sql":"wait"}`))
	r.Header.Set("Authorization", "Bearer ann")
	time.AfterFunc(50*time.Millisecond, leave)
	if resp, err := http.DefaultClient.Do(r); err == nil {
		_ = resp.Body.Close()
		t.Error("an answer came")
	}
	select {
	case <-h.answers.cancelled:
	case <-time.After(5 * time.Second):
		t.Error("the query goes on after its caller left")
	}
}

func TestALongQueryOutlivesTheDeadlineOfItsBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if got := h.ask("POST", "/api/query", "ann", `{"sql":"long"}`); got.status != 200 || got.body != "application/json 1000" {
		t.Errorf("%d %q %v", got.status, got.body, got.err)
	}
	// A client that never sends its body does not hold a place for ever.
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if raw, err := io.ReadAll(conn); err != nil || !strings.Contains(string(raw), "408") {
		t.Errorf("%q %v", raw, err)
	}
}

func TestTriggerBodies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for body, want := range map[string]string{
		"": `"tables":null`, "null": `"tables":null`, `["orders"]`: `"tables":["orders"]`, `{"tables":["a"],"sources":["shop"]}`: `"sources":["shop"]`, `{}`: `"tables":null`,
	} {
		if got := h.ask("POST", "/api/sync/trigger", "admin", body); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%q: %d %s, want %s", body, got.status, got.body, want)
		}
	}
	for _, body := range []string{`"orders"`, `[1]`, `{"tables":"orders"}`} {
		if got := h.ask("POST", "/api/sync/trigger", "admin", body); got.status != 422 {
			t.Errorf("%q: %d %s", body, got.status, got.body)
		}
	}
}

func TestRegisterBodies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for body, want := range map[string]string{
		`{"name":"Orders"}`: `"name":"shop/Orders/"`,
		`{"name":"Orders","primary_key":"a, b","bucket":null}`:         `"name":"shop/Orders/a+b"`,
		`{"name":"Orders","primary_key":["a","b"],"later_field":true}`: `"name":"shop/Orders/a+b"`,
	} {
		if got := h.ask("POST", "/api/admin/register-table", "admin", body); got.status != 201 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s, want %s", body, got.status, got.body, want)
		}
	}
	if got := h.ask("POST", "/api/admin/register-table", "admin", `{"name":"x","source":"nowhere"}`); got.status != 400 || !strings.Contains(got.body, "shop") {
		t.Errorf("unknown source: %d %s", got.status, got.body)
	}
}

func TestManifestETag(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first := h.ask("GET", "/api/sync/manifest", "ann", "")
	tag := first.header.Get("ETag")
	if first.status != 200 || tag == "" {
		t.Fatal(first.status, tag)
	}
	if got := h.ask("GET", "/api/sync/manifest", "ann", "", "If-None-Match: "+tag); got.status != 304 || got.body != "" {
		t.Errorf("unchanged: %d %q", got.status, got.body)
	}
	if got := h.ask("GET", "/api/sync/manifest", "admin", "", "If-None-Match: "+tag); got.status != 200 {
		t.Errorf("somebody else's manifest: %d", got.status)
	}
	h.rules.granted = map[string]bool{"shop.orders": true, "shop.salaries": true}
	if got := h.ask("GET", "/api/sync/manifest", "ann", "", "If-None-Match: "+tag); got.status != 200 {
		t.Errorf("after a grant: %d", got.status)
	}
	tag = h.ask("GET", "/api/sync/manifest", "ann", "").header.Get("ETag")
	h.publish("shop", 2, "orders")
	if _, err := h.store.Refresh(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if got := h.ask("GET", "/api/sync/manifest", "ann", "", "If-None-Match: "+tag); got.status != 200 {
		t.Errorf("after a publication: %d", got.status)
	}
}

func TestTrap_D6_D8_DownloadResumesAndNamesItsPart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	whole := h.ask("GET", "/api/data/orders/download", "ann", "")
	tag := whole.header.Get("ETag")
	if whole.status != 200 || tag != `"`+digest(whole.body)+`"` || whole.header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%d %s %v", whole.status, tag, whole.header)
	}
	if d := whole.header.Get("Content-Disposition"); d != `attachment; filename=orders.parquet` {
		t.Errorf("disposition %q", d)
	}
	head := h.ask("HEAD", "/api/data/orders/download", "ann", "")
	if head.status != 200 || head.header.Get("ETag") != tag || head.header.Get("Content-Length") != whole.header.Get("Content-Length") || head.body != "" {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	part := strings.Trim(tag, `"`)
	for _, c := range []struct {
		name    string
		query   string
		headers []string
		status  int
		body    string
	}{
		{"range", "", []string{"Range: bytes=6-", "If-Range: " + tag}, 206, whole.body[6:]},
		{"range of another version", "", []string{"Range: bytes=6-", `If-Range: "x"`}, 200, whole.body},
		{"last bytes", "", []string{"Range: bytes=-5"}, 206, whole.body[len(whole.body)-5:]},
		{"behind the end", "", []string{"Range: bytes=99999999-"}, 416, ""},
		{"unchanged", "", []string{"If-None-Match: " + tag}, 304, ""},
		{"another version", "", []string{`If-Match: "` + strings.Repeat("0", 64) + `"`}, 412, ""},
		{"this version", "", []string{"If-Match: " + tag}, 200, whole.body},
		{"part", "?part=" + part, nil, 200, whole.body},
		{"range of a part", "?part=" + part, []string{"Range: bytes=0-3"}, 206, whole.body[:4]},
		{"unknown part", "?part=" + strings.Repeat("0", 64), nil, 404, ""},
		{"a path for a part", "?part=../../state/system.duckdb", nil, 404, ""},
	} {
		got := h.ask("GET", "/api/data/orders/download"+c.query, "ann", "", c.headers...)
		if got.status != c.status || c.body != "" && got.body != c.body {
			t.Errorf("%s: %d, %d bytes; want %d, %d bytes", c.name, got.status, len(got.body), c.status, len(c.body))
		}
	}
	multi := h.ask("GET", "/api/data/orders/download", "ann", "", "Range: bytes=0-1,4-5")
	if multi.status != 206 || !strings.HasPrefix(multi.header.Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges: %d %s", multi.status, multi.header.Get("Content-Type"))
	}
	// The part of another table is not the table's, even for somebody who may read both.
	salaries := strings.Trim(h.ask("HEAD", "/api/data/salaries/download", "admin", "").header.Get("ETag"), `"`)
	if got := h.ask("GET", "/api/data/orders/download?part="+salaries, "admin", ""); got.status != 404 {
		t.Errorf("the part of another table: %d", got.status)
	}
	// An older version goes on while its files stand.
	h.publish("shop", 2, "orders", "salaries")
	if _, err := h.store.Refresh(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	for _, headers := range [][]string{{"If-Match: " + tag}, {"If-Match: " + tag, "Range: bytes=0-"}} {
		if got := h.ask("GET", "/api/data/orders/download", "ann", "", headers...); got.body != whole.body {
			t.Errorf("the older version: %d, %d bytes", got.status, len(got.body))
		}
	}
	if got := h.ask("GET", "/api/data/orders/download?part="+part, "ann", ""); got.body != whole.body {
		t.Errorf("the older part: %d", got.status)
	}
	if got := h.ask("GET", "/api/data/orders/download", "ann", ""); got.status != 200 || got.body == whole.body {
		t.Errorf("the newer version: %d", got.status)
	}
}

// kernel is a connection that can copy a file by itself.
type kernel struct {
	*httptest.ResponseRecorder
	copied int64
}

func (k *kernel) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(struct{ io.Writer }{k.ResponseRecorder}, src)
	k.copied += n
	return n, err
}

func TestDownloadsAreCopiedByTheKernel(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, rangeHeader := range []string{"", "bytes=5-"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/data/orders/download", nil)
		r.Header.Set("Authorization", "Bearer ann")
		r.Header.Set("Accept-Encoding", "gzip")
		r.Header.Set("Range", rangeHeader)
		k := &kernel{ResponseRecorder: httptest.NewRecorder()}
		h.Config.Handler.ServeHTTP(k, r)
		if k.copied == 0 || k.copied != int64(k.Body.Len()) {
			t.Errorf("range %q: %d of %d bytes were copied by the connection", rangeHeader, k.copied, k.Body.Len())
		}
	}
}

// Trap P4: a file belongs to its table, for whoever may read that.
func TestTrap_P4_FilesOfATableAreUnderItsGrants(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.ask("GET", "/api/data/orders/files/7", "ann", "")
	if got.status != 200 || got.body != "the receipt" || got.header.Get("Content-Disposition") != `attachment; filename=receipt.txt` || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %q %v", got.status, got.body, got.header)
	}
	if got := h.ask("GET", "/api/data/orders/files/8", "ann", ""); got.status != 404 {
		t.Errorf("a file that is not there: %d", got.status)
	}
	hidden, none := h.ask("GET", "/api/data/salaries/files/7", "ann", ""), h.ask("GET", "/api/data/nowhere/files/7", "ann", "")
	if hidden.status != 404 || none.status != 404 {
		t.Errorf("a file of a table that is not granted: %d %s", hidden.status, hidden.body)
	}
	if got := h.ask("GET", "/api/data/orders/files/7", "", ""); got.status != 401 {
		t.Errorf("a stranger: %d", got.status)
	}
}

func TestTrap_D13_AnIDNeverReachesTheFileSystem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.write("secret.parquet", "secret")
	for _, id := range []string{"..%2f..%2fsecret", "%2e%2e%2fsecret", "*", "secret.parquet", "%2fetc%2fpasswd", "orders%00", "..\\secret", "shop%2f*"} {
		if got := h.ask("GET", "/api/data/"+id+"/download", "admin", ""); got.status != 404 && got.status != 400 {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
	}
	if got := h.ask("GET", "/api/data/%6Frders/download", "admin", ""); got.status != 200 {
		t.Errorf("a name that is escaped more than it must be: %d", got.status)
	}
	got := h.ask("GET", "/api/data/wei%20rd%23%3F/download", "admin", "")
	if got.status != 200 || got.header.Get("Content-Disposition") != `attachment; filename="wei rd#_.parquet"` {
		t.Errorf("a name that needs escaping: %d %q", got.status, got.header.Get("Content-Disposition"))
	}
}

func TestTrap_D1_AFileChangedInPlaceIsNotSent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sum := strings.Trim(h.ask("HEAD", "/api/data/orders/download", "ann", "").header.Get("ETag"), `"`)
	h.write("extracts/shop/"+sum+".parquet", "rewritten")
	got := h.ask("GET", "/api/data/orders/download", "ann", "")
	if got.status != 503 || got.header.Get("ETag") != "" {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestTrap_O9_HealthAndReadiness(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if got := h.ask("GET", "/readyz", "", ""); got.status != 200 {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	stranger := h.ask("GET", "/api/health", "", "")
	for _, word := range []string{"orders", "salaries", "total_rows", "stale_tables", "count"} {
		if strings.Contains(stranger.body, word) {
			t.Errorf("a stranger reads %q: %s", word, stranger.body)
		}
	}
	if !strings.Contains(stranger.body, `"status":"healthy"`) {
		t.Error(stranger.body)
	}
	if got := h.ask("GET", "/api/health", "ann", ""); !strings.Contains(got.body, `"tables":1,`) {
		t.Errorf("ann: %s", got.body)
	}
	if got := h.ask("GET", "/api/health", "admin", ""); !strings.Contains(got.body, `"users":{"count":3`) || !strings.Contains(got.body, `"duckdb_state":{"status":"ok"}`) {
		t.Errorf("admin: %s", got.body)
	}
	h.broken = errors.New("write /srv/state: disk full")
	got := h.ask("GET", "/readyz", "", "")
	if got.status != 503 || !strings.Contains(got.body, "state") || strings.Contains(got.body, "/srv") {
		t.Errorf("readyz: %d %s", got.status, got.body)
	}
	if got := h.ask("GET", "/api/health", "", ""); got.status != 200 || !strings.Contains(got.body, `"status":"unhealthy"`) {
		t.Errorf("health: %d %s", got.status, got.body)
	}
	if got := h.ask("GET", "/livez", "", ""); got.status != 200 {
		t.Errorf("livez: %d", got.status)
	}
}

func TestTrap_O4_LinksComeFromTheConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *httpapi.Config) { c.PublicURL = "https://agnes.example.com/" })
	for _, path := range []string{"/", "/openapi.json"} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+path, nil)
		r.Host = "evil.example"
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		body := h.ask("GET", path, "", "").body
		if strings.Contains(body, "evil.example") || !strings.Contains(body, "https://agnes.example.com") {
			t.Errorf("%s does not name the configured address", path)
		}
	}
}

func TestTrap_O6_TheAddressIsNotWhatTheClientWrites(t *testing.T) {
	t.Parallel()
	_, loopback, _ := net.ParseCIDR("127.0.0.0/8")
	_, inner, _ := net.ParseCIDR("10.0.0.0/8")
	direct, behind := newHouse(t), newHouse(t, func(c *httpapi.Config) { c.Proxies = []*net.IPNet{loopback, inner} })
	for _, c := range []struct {
		house           *house
		forwarded, want string
	}{
		{direct, "9.9.9.9", "127.0.0.1"},
		{behind, "9.9.9.9", "9.9.9.9"},
		{behind, "6.6.6.6, 9.9.9.9, 10.1.2.3", "9.9.9.9"},
		{behind, "6.6.6.6, nonsense", "127.0.0.1"},
		{behind, "", "127.0.0.1"},
		{behind, "9.9.9.9:4711", "9.9.9.9"}, // as some load balancers write it
		{behind, "[2001:DB8::1]:4711", "2001:db8::1"},
		{behind, "2001:0db8:0:0::1", "2001:db8::1"},
		{behind, "::ffff:9.9.9.9, ::ffff:10.1.2.3", "9.9.9.9"},
	} {
		got := c.house.ask("GET", "/auth/me", "where", "", "X-Forwarded-For: "+c.forwarded)
		if want := "you are at " + c.want; got.problem(t).Detail != want {
			t.Errorf("%q: %s, want %s", c.forwarded, got.body, want)
		}
	}
}

func TestASignInTellsWhereItComesFrom(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.ask("POST", "/auth/token", "", `{"email":"a@b.c","password":"where"}`, "User-Agent: da/1")
	if got.problem(t).Detail != "127.0.0.1 with da/1" {
		t.Error(got.body)
	}
}

func TestDeadLettersAndRebuild(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.ask("GET", "/api/admin/dead-letters", "admin", "")
	if !strings.Contains(got.body, `"payload":{}`) || !strings.Contains(got.body, `"payload":"{not"`) {
		t.Error(got.body)
	}
	for _, body := range []string{"", `{"source":"crm"}`, `{}`} {
		if got := h.ask("POST", "/api/admin/rebuild", "admin", body); got.status != 200 {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if want := []string{"shop", "crm", "shop"}; !slices.Equal(h.wires.rebuilt, want) {
		t.Errorf("rebuilt %v, want %v", h.wires.rebuilt, want)
	}
}
