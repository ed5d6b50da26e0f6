package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// entry is a SignIn that knows Ann and the token "good", and notes what it was asked. The rules of
// signing in are tested where they are, here it is what the routes make of them.
type entry struct {
	mu    sync.Mutex
	calls []string
	poll  error // what a device gets until it is let in
	oidc  error
}

func (e *entry) note(parts ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, strings.Join(parts, " "))
}

// asked gives what was asked so far, and forgets it.
func (e *entry) asked() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := strings.Join(e.calls, "; ")
	e.calls = nil
	return all
}

func annsSession() httpapi.Session {
	return httpapi.Session{AccessToken: "ann", TokenType: "bearer", UserID: "2", Email: "ann@example.com", Role: httpapi.RoleAnalyst, ExpiresAt: time.Now().Add(time.Hour)}
}

func (e *entry) use(token string) (httpapi.Session, error) {
	if token != "good" {
		return httpapi.Session{}, fault.New(fault.Unauthenticated, "the link is used up, too old or not complete: ask for another one")
	}
	return annsSession(), nil
}

func (e *entry) Ways(context.Context) (httpapi.Ways, error) {
	return httpapi.Ways{Password: true, MagicLink: true, Device: true, Providers: []httpapi.Provider{{Name: "google", Label: "Google"}}}, nil
}

func (e *entry) SendLink(_ context.Context, email, next string, _ httpapi.From) error {
	e.note("send", email, next)
	return nil
}

func (e *entry) VerifyLink(_ context.Context, email, token string, _ httpapi.From) (httpapi.Session, error) {
	e.note("verify", email, token)
	return e.use(token)
}

func (e *entry) RequestReset(_ context.Context, email string, _ httpapi.From) error {
	e.note("reset", email)
	return nil
}

func (e *entry) ConfirmReset(_ context.Context, email, token, password string, _ httpapi.From) (httpapi.Session, error) {
	e.note("reset", email, token, password)
	return e.use(token)
}

func (e *entry) RequestSetup(_ context.Context, email string, _ httpapi.From) error {
	e.note("setup", email)
	return nil
}

func (e *entry) ConfirmSetup(_ context.Context, email, token, password, name string, _ httpapi.From) (httpapi.Session, error) {
	e.note("setup", email, token, password, name)
	return e.use(token)
}

func (e *entry) Invite(_ context.Context, _ httpapi.Caller, userID string) (httpapi.Link, error) {
	e.note("invite", userID)
	return httpapi.Link{Token: "good", ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (e *entry) ResetFor(_ context.Context, _ httpapi.Caller, userID string) (httpapi.Link, error) {
	e.note("reset for", userID)
	return httpapi.Link{Token: "good", URL: "https://agnes.example.com/auth/password/reset?token=good", EmailSent: true, ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (e *entry) ChangePassword(_ context.Context, c httpapi.Caller, old, password string) error {
	e.note("change", c.UserID, old, password)
	if old != "correct" {
		return fault.New(fault.Forbidden, "the password as it is was not right")
	}
	return nil
}

func (e *entry) BeginOIDC(_ context.Context, provider, next string) (redirect, sealed string, err error) {
	e.note("begin", provider, next)
	if provider != "google" {
		return "", "", fault.New(fault.NotFound, "there is no provider of this name")
	}
	return "https://idp.example.com/authorize?state=x", "sealed", nil
}

func (e *entry) FinishOIDC(_ context.Context, provider, sealed string, query url.Values, _ httpapi.From) (httpapi.Session, string, error) {
	e.note("finish", provider, sealed, query.Get("code"))
	if e.oidc != nil {
		return httpapi.Session{}, "/account", e.oidc
	}
	if sealed != "sealed" {
		return httpapi.Session{}, "", fault.New(fault.Unauthenticated, "this sign-in was not begun here")
	}
	return annsSession(), "//evil.example", nil
}

func (e *entry) BeginDevice(_ context.Context, clientName string, _ httpapi.From) (httpapi.DeviceCode, error) {
	e.note("device", clientName)
	return httpapi.DeviceCode{DeviceCode: "secret", UserCode: "WDJB-MJHT", ExpiresIn: 10 * time.Minute, Interval: 5 * time.Second}, nil
}

func (e *entry) PollDevice(context.Context, string, httpapi.From) (httpapi.Session, error) {
	if e.poll != nil {
		return httpapi.Session{}, e.poll
	}
	return annsSession(), nil
}

func (e *entry) Device(_ context.Context, _ httpapi.Caller, userCode string) (httpapi.DeviceView, error) {
	if userCode != "WDJB-MJHT" {
		return httpapi.DeviceView{}, fault.New(fault.NotFound, "there is no sign-in with this code: look whether it is typed as the program shows it")
	}
	return httpapi.DeviceView{UserCode: userCode, ClientName: "da on <laptop>", IP: "192.0.2.10", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (e *entry) DecideDevice(_ context.Context, c httpapi.Caller, userCode string, approve bool) error {
	e.note("decide", c.UserID, userCode, map[bool]string{true: "yes", false: "no"}[approve])
	return nil
}

func (e *entry) Sessions(_ context.Context, c httpapi.Caller, f httpapi.SessionFilter) ([]httpapi.SessionView, int, error) {
	now := time.Now()
	e.note(fmt.Sprint("sessions ", f.UserID, " ", f.Active, " ", f.Limit, " ", f.Offset))
	return []httpapi.SessionView{
		{ID: "s2", UserID: f.UserID, UserEmail: "ann@example.com", Method: "password", IP: "192.0.2.10", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", CreatedAt: &now, LastSeen: &now, Current: c.TokenID == "s2"},
		{ID: "s3", UserID: f.UserID, UserEmail: "ann@example.com", Method: "device", IP: "192.0.2.11", UserAgent: "da/1.0", CreatedAt: &now},
	}, 7, nil
}

func (e *entry) RevokeSession(_ context.Context, userID, id string) error {
	e.note("end", userID, id)
	if id != "s2" && id != "s3" {
		return fault.New(fault.NotFound, "there is no session with this id")
	}
	return nil
}

func (e *entry) RevokeSessions(_ context.Context, userID, except string) error {
	e.note("end all", userID, except)
	return nil
}

func (e *entry) Refresh(_ context.Context, c httpapi.Caller, _ httpapi.From) (httpapi.Session, error) {
	e.note("refresh", c.TokenID)
	return annsSession(), nil
}

// record keeps entries.
type record struct {
	mu      sync.Mutex
	entries []httpapi.Entry
	broken  error
}

func (r *record) Record(_ context.Context, e httpapi.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return r.broken
}

// last gives the newest entry.
func (r *record) last(tb testing.TB) httpapi.Entry {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		tb.Fatal("nothing is recorded")
	}
	return r.entries[len(r.entries)-1]
}

func (r *record) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

// submit sends a form as a browser does from a page of this server.
func (h *house) submit(path, cookie string, fields url.Values, headers ...string) answer {
	h.t.Helper()
	headers = append([]string{"Content-Type: application/x-www-form-urlencoded", "Origin: " + h.URL}, headers...)
	if cookie != "" {
		headers = append(headers, "Cookie: access_token="+cookie)
	}
	return h.ask(http.MethodPost, path, "", fields.Encode()+"&", headers...)
}
