package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Ways are the ways to sign in that are open on a server.
type Ways struct {
	Password  bool `json:"password"`
	MagicLink bool `json:"magic_link"`
	Device    bool `json:"device"`
	// Bootstrap: the first administrator is still to be made.
	Bootstrap bool       `json:"bootstrap"`
	Providers []Provider `json:"providers"`
}

// Provider is an OpenID provider that a server signs people in with.
type Provider struct {
	Name  string `json:"name"`
	Label string `json:"label"`
}

// Ways asks how one can sign in. A server that is older than the question gives fault.NotFound.
func (c *Client) Ways(ctx context.Context) (Ways, error) {
	var w Ways
	err := c.call(ctx, request{method: http.MethodGet, path: "/auth/ways"}, &w)
	return w, err
}

// SendLink has a link to sign in mailed, and gives the server's sentence, which is the same whether the
// address is known or not. next is the path to go to after it; it may be empty.
func (c *Client) SendLink(ctx context.Context, email, next string) (string, error) {
	body := map[string]string{"email": email}
	if next != "" {
		body["next"] = next
	}
	var answer struct {
		Message string `json:"message"`
	}
	err := c.call(ctx, request{method: http.MethodPost, path: "/auth/email/send-link", body: body}, &answer)
	return answer.Message, err
}

// VerifyLink signs in with the token of a mailed link, which it uses up. email may be empty.
func (c *Client) VerifyLink(ctx context.Context, email, token string) (Session, error) {
	body := map[string]string{"token": token}
	if email != "" {
		body["email"] = email
	}
	var s Session
	err := c.call(ctx, request{method: http.MethodPost, path: "/auth/email/verify", body: body, secrets: []string{token}}, &s)
	return s, err
}

// SetupPassword chooses a first password with the token of an invitation, and signs in. name may be
// empty.
func (c *Client) SetupPassword(ctx context.Context, email, token, password, name string) (Session, error) {
	body := map[string]string{"email": email, "token": token, "password": password}
	if name != "" {
		body["name"] = name
	}
	var s Session
	err := c.call(ctx, request{method: http.MethodPost, path: "/auth/password/setup", body: body, secrets: []string{token, password}}, &s)
	return s, err
}

// ChangePassword replaces the caller's password and ends their other sessions. It needs a session.
func (c *Client) ChangePassword(ctx context.Context, old, password string) error {
	return c.call(ctx, request{
		method: http.MethodPost, path: "/auth/password/change",
		body: map[string]string{"old_password": old, "new_password": password}, secrets: []string{old, password},
	}, nil)
}

// Refresh gives a new session for the client's, which ends. It is sent once: after an answer that was
// lost, the session may have ended or not.
func (c *Client) Refresh(ctx context.Context) (Session, error) {
	var s Session
	err := c.call(ctx, request{method: http.MethodPost, path: "/auth/refresh"}, &s)
	return s, err
}

// SessionView is a session without its secret.
type SessionView struct {
	ID        string `json:"id"`
	UserID    string `json:"user_id"`
	UserEmail string `json:"user_email,omitempty"`
	// Method is how it was opened: password, magic_link, oidc:<provider>, device, reset, setup, bootstrap.
	Method    string     `json:"method"`
	CreatedAt *time.Time `json:"created_at"`
	LastSeen  *time.Time `json:"last_seen"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	IP        string     `json:"ip"`
	UserAgent string     `json:"user_agent"`
	// Current is the session that asked.
	Current bool `json:"current"`
}

// Sessions lists the caller's sessions.
func (c *Client) Sessions(ctx context.Context) ([]SessionView, error) {
	var answer struct {
		Sessions []SessionView `json:"sessions"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/auth/sessions"}, &answer)
	return answer.Sessions, err
}

// EndSession ends one of the caller's sessions.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("auth", "sessions", id)}, nil)
}

// LogoutAll ends all sessions of the caller; with keepCurrent all but the one that asks.
func (c *Client) LogoutAll(ctx context.Context, keepCurrent bool) error {
	return c.call(ctx, request{
		method: http.MethodPost, path: "/auth/logout/all", body: map[string]bool{"keep_current": keepCurrent}, repeatable: keepCurrent,
	}, nil)
}

// SessionFilter says which of everybody's sessions to list.
type SessionFilter struct {
	// UserID is empty for all users.
	UserID string
	// Active: only those that still work.
	Active        bool
	Limit, Offset int
}

// AllSessions lists the sessions of all users, and tells how many there are beyond the page.
func (c *Client) AllSessions(ctx context.Context, f SessionFilter) (list []SessionView, total int, err error) {
	q := page(f.Limit, f.Offset)
	set(q, "user_id", f.UserID)
	if f.Active {
		q.Set("active", "true")
	}
	var answer struct {
		Sessions []SessionView `json:"sessions"`
		Total    int           `json:"total"`
	}
	err = c.call(ctx, request{method: http.MethodGet, path: "/api/admin/sessions", query: q}, &answer)
	return answer.Sessions, answer.Total, err
}

// EndAnySession ends anybody's session.
func (c *Client) EndAnySession(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("api", "admin", "sessions", id)}, nil)
}

// page makes the query of a listing; what is 0 is left to the server.
func page(limit, offset int) url.Values {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if offset > 0 {
		q.Set("offset", strconv.Itoa(offset))
	}
	return q
}

// set adds a parameter that is not empty.
func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Claims are what a token says of itself. Nobody but the server can tell whether it is true.
type Claims struct {
	Subject string
	Email   string
	Role    string
	// Type is "session" or "pat".
	Type string
	ID   string
	// IssuedAt and ExpiresAt are zero where the token does not say.
	IssuedAt, ExpiresAt time.Time
}

// ReadClaims decodes the payload of a JSON Web Token (RFC 7519) without checking its signature; false
// where it is none.
func ReadClaims(token string) (Claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Claims{}, false
	}
	var c struct {
		Sub   string  `json:"sub"`
		Email string  `json:"email"`
		Role  string  `json:"role"`
		Typ   string  `json:"typ"`
		Jti   string  `json:"jti"`
		Iat   float64 `json:"iat"`
		Exp   float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return Claims{}, false
	}
	moment := func(seconds float64) time.Time {
		if seconds <= 0 || seconds > 1<<40 {
			return time.Time{}
		}
		return time.Unix(int64(seconds), 0)
	}
	return Claims{Subject: c.Sub, Email: c.Email, Role: c.Role, Type: c.Typ, ID: c.Jti, IssuedAt: moment(c.Iat), ExpiresAt: moment(c.Exp)}, true
}
