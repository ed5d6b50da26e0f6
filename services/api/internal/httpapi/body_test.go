package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// TestABodyThatNeverComesHoldsNoConnection sends the head of requests and nothing more: whether the
// answer needs the body or not, the server does not wait for it for ever.
func TestABodyThatNeverComesHoldsNoConnection(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(upstream.Close)
	target, _ := url.Parse(upstream.URL)
	h := newHouse(t, func(c *httpapi.Config) { c.Upstream.Webhooks = httpapi.Proxy(target, "agnes-jira-webhook") })
	for head, want := range map[string]string{
		"POST /api/users":     "401",
		"POST /nothing":       "404",
		"GET /docs":           "200",
		"POST /auth/token":    "408",
		"POST /login/email":   "403", // not from a page of this server
		"POST /webhooks/jira": "408",
	} {
		t.Run(head, func(t *testing.T) {
			t.Parallel()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write([]byte(head + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"))
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			raw, err := io.ReadAll(conn)
			if status, _, _ := strings.Cut(string(raw), "\r\n"); err != nil || !strings.Contains(status, want) {
				t.Errorf("%q %v", status, err)
			}
		})
	}
}

func TestWhatIsPassedOnKeepsTheRulesOfThisServer(t *testing.T) {
	t.Parallel()
	heard := make(chan http.Header, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		for _, name := range []string{"Content-Security-Policy", "X-Request-Id", "Cache-Control", "Access-Control-Allow-Origin"} {
			w.Header().Set(name, "*")
		}
		heard <- r.Header
	}))
	defer upstream.Close()
	target, _ := url.Parse(upstream.URL)
	_, loopback, _ := net.ParseCIDR("127.0.0.0/8")
	h := newHouse(t, func(c *httpapi.Config) {
		c.Upstream.Webhooks, c.Proxies = httpapi.Proxy(target, "agnes-jira-webhook"), []*net.IPNet{loopback}
	})
	got := h.ask("POST", "/webhooks/jira", "", "{}", "X-Forwarded-For: 192.0.2.7")
	if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
	for _, name := range []string{"Content-Security-Policy", "X-Request-Id", "Cache-Control"} {
		if values := got.header.Values(name); len(values) != 1 || values[0] == "*" {
			t.Errorf("%s: %q", name, values)
		}
	}
	if from := (<-heard).Values("X-Forwarded-For"); len(from) != 1 || from[0] != "192.0.2.7" {
		t.Errorf("the service behind hears from %q", from)
	}
	// Longer than the limit, and of a length that is not announced.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/webhooks/jira", struct{ io.Reader }{bytes.NewReader(make([]byte, 3<<20))})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body is answered with %d", resp.StatusCode)
	}
}

func TestACompressedBodyIsRefusedByName(t *testing.T) {
	t.Parallel()
	h, dir := withUploads(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`{"sql":"SELECT 1"}`))
	_ = z.Close()
	for _, path := range []string{"/api/query", "/api/upload/sessions"} {
		got := h.ask("POST", path, "ann", packed.String(), "Content-Encoding: gzip")
		if p := got.problem(t); got.status != http.StatusUnsupportedMediaType || !strings.Contains(p.Detail, "Content-Encoding") {
			t.Errorf("%s: %d %s", path, got.status, p.Detail)
		}
	}
	if files := filesIn(t, dir); len(files) > 0 {
		t.Errorf("stored: %v", files)
	}
}
