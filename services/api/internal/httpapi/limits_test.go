package httpapi_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// counter is a Limiter that refuses the classes it is told to, and writes down what it was asked.
type counter struct {
	mu      sync.Mutex
	refuses map[httpapi.Class]bool
	asked   []string
}

func (c *counter) Allow(_ context.Context, class httpapi.Class, account, ip string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, string(class)+" "+account+" "+ip)
	if c.refuses[class] {
		return fault.New(fault.Busy, "too many").After(90 * time.Second)
	}
	return nil
}

func (c *counter) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := ""
	if len(c.asked) > 0 {
		last = c.asked[len(c.asked)-1]
	}
	c.asked = nil
	return last
}

// entries is a Recorder that remembers.
type entries struct {
	mu   sync.Mutex
	list []httpapi.Entry
}

func (e *entries) Record(_ context.Context, one httpapi.Entry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, one)
	return nil
}

func TestDoorsCountWhoComes(t *testing.T) {
	t.Parallel()
	limiter := &counter{}
	h := newHouse(t, func(c *httpapi.Config) { c.Limiter = limiter })
	for _, c := range []struct{ method, path, token, body, want string }{
		{"POST", "/api/query", "ann", `{"sql":"SELECT 1"}`, "queries 2 127.0.0.1"},
		{"POST", "/auth/token", "", `{"email":"ann@example.com","password":"wrong"}`, "sign_in  127.0.0.1"},
		{"GET", "/api/catalog/tables", "ann", "", ""},
		{"GET", "/api/catalog/tables", "forged", "", "strangers  127.0.0.1"},
		{"GET", "/api/catalog/tables", "", "", "strangers  127.0.0.1"},
		{"GET", "/api/users", "ann", "", ""},
		{"GET", "/", "", "", "strangers  127.0.0.1"},
		{"POST", "/webhooks/jira", "", "{}", "none  127.0.0.1"},
		{"POST", "/webhooks/jira/desk", "", "{}", "none  127.0.0.1"},
		{"GET", "/livez", "", "", "none  127.0.0.1"}, // a monitor asks often
		{"GET", "/readyz", "", "", "none  127.0.0.1"},
	} {
		h.ask(c.method, c.path, c.token, c.body)
		if got := limiter.last(); got != c.want {
			t.Errorf("%s %s as %q is counted as %q, not %q", c.method, c.path, c.token, got, c.want)
		}
	}
}

func TestTooManyRequestsAreToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	record := &entries{}
	limiter := &counter{refuses: map[httpapi.Class]bool{httpapi.LimitStranger: true, httpapi.LimitSignIn: true}}
	h := newHouse(t, func(c *httpapi.Config) { c.Limiter, c.Recorder = limiter, record })
	for _, path := range []string{"/api/catalog/tables", "/auth/token", "/"} {
		method := "GET"
		if path == "/auth/token" {
			method = "POST"
		}
		got := h.ask(method, path, "", `{"email":"ann@example.com","password":"correct"}`)
		if p := got.problem(t); got.status != 429 || p.Kind != fault.Busy || got.header.Get("Retry-After") != "90" {
			t.Errorf("%s: %d, Retry-After %q", path, got.status, got.header.Get("Retry-After"))
		}
	}
	if got := h.ask("GET", "/api/catalog/tables", "ann", ""); got.status != 200 {
		t.Errorf("who is signed in is refused with strangers of their address: %d", got.status)
	}
	if len(record.list) != 1 || record.list[0].Action != "signin.password" || record.list[0].Result != httpapi.ResultRefused {
		t.Errorf("recorded: %+v", record.list)
	}
}

func TestEveryoneWhoIsTooManyIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for sql, want := range map[string]string{"full": "2", "crowded": "1"} {
		if got := h.ask("POST", "/api/query", "ann", `{"sql":"`+sql+`"}`); got.status != 429 || got.header.Get("Retry-After") != want {
			t.Errorf("%s: %d, Retry-After %q", sql, got.status, got.header.Get("Retry-After"))
		}
	}
}
