package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/api"
)

func TestOnePortServesEverything(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "echo" {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, stream, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			line, _ := stream.ReadString('\n')
			_, _ = io.WriteString(conn, "heard "+line)
			return
		}
		raw, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %q cookies %d for %s", r.Method, r.URL.Path, raw, len(r.Cookies()), r.Header.Get("X-Forwarded-For"))
	}))
	defer behind.Close()
	s := newServer(t, func(c *api.Config) { c.JiraWebhookURL, c.WSGatewayURL = behind.URL, behind.URL })
	got := s.ask("POST", "/webhooks/jira", "", `{"issue":1}`, "Cookie: access_token=x; other=y")
	if want := `POST /webhooks/jira "{\"issue\":1}" cookies 1 for 127.0.0.1`; got.body != want {
		t.Errorf("%d %s, want %s", got.status, got.body, want)
	}
	got = s.ask("POST", "/webhooks/jira/desk", "", "{}")
	if want := `POST /webhooks/jira/desk "{}" cookies 0 for 127.0.0.1`; got.body != want {
		t.Errorf("%d %s, want %s", got.status, got.body, want)
	}
	conn := dial(t, s.url)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /ws/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	stream := bufio.NewReader(conn)
	switched, err := http.ReadResponse(stream, nil)
	if err != nil || switched.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v %v", switched, err)
	}
	defer func() { _ = switched.Body.Close() }()
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := stream.ReadString('\n'); err != nil || line != "heard hello\n" {
		t.Errorf("%q %v", line, err)
	}
	_ = conn.Close()
	behind.Close()
	if got := s.ask("POST", "/webhooks/jira", "", `{}`); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "agnes-jira-webhook") {
		t.Errorf("nobody there: %d %s", got.status, got.body)
	}
}

func TestWebhooksMayBeAnsweredInTheProcess(t *testing.T) {
	t.Parallel()
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %q cookies %d id %d", r.Method, r.URL.Path, raw, len(r.Cookies()), len(r.Header.Get("X-Request-Id")))
	})
	s := newServer(t, func(c *api.Config) { c.Webhooks = own })
	got := s.ask("POST", "/webhooks/jira/desk", "", `{"issue":1}`, "Cookie: access_token=x; other=y")
	if want := `POST /webhooks/jira/desk "{\"issue\":1}" cookies 1 id 26`; got.body != want {
		t.Errorf("%d %s, want %s", got.status, got.body, want)
	}
	if got := s.ask("POST", "/webhooks/jira", "", strings.Repeat("x", 4<<20+1)); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.ask("PUT", "/webhooks/jira/desk", "", "{}"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestConfigurationThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*api.Config){
		"AGNES_PUBLIC_URL":       func(c *api.Config) { c.PublicURL = "agnes.example.com" },
		"AGNES_WS_GATEWAY_URL":   func(c *api.Config) { c.WSGatewayURL = "ws://x" },
		"AGNES_JIRA_WEBHOOK_URL": func(c *api.Config) { c.JiraWebhookURL = ":" },
		"AGNES_TRUSTED_PROXIES":  func(c *api.Config) { c.Proxies = []string{"10.0.0.0/99"} },
		"AGNES_API_ADDR":         func(c *api.Config) { c.Addr = "nowhere:nothing" },
	} {
		if err := runOnce(t, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
