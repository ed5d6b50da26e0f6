package client

import (
	"context"
	"net/http"
	"time"
)

// Session is what signing in gives.
type Session struct {
	AccessToken string `json:"access_token"`
	UserID      string `json:"user_id"`
	Email       string `json:"email"`
	Role        string `json:"role"`
	// ExpiresAt is when it ends by itself; zero where the server does not say.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

func (s *Session) whole() bool { return s.AccessToken != "" }

// Login signs in with a password.
func (c *Client) Login(ctx context.Context, email, password string) (Session, error) {
	var s Session
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/auth/token",
		body:    map[string]string{"email": email, "password": password},
		secrets: []string{password},
	}, &s)
	return s, err
}

// Logout ends the session that the client's token belongs to, on the server.
func (c *Client) Logout(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/auth/logout", repeatable: true}, nil)
}

// Me is who the client's token belongs to.
type Me struct {
	UserID string `json:"user_id"`
	Email  string `json:"email"`
	Name   string `json:"name"`
	Role   string `json:"role"`
	// Credential is what the request was signed with.
	Credential Credential `json:"credential"`
}

func (m *Me) whole() bool { return m.UserID != "" }

// Credential is a session or a personal access token, without its secret.
type Credential struct {
	// Kind is "session" or "pat".
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// ExpiresAt is when it ends by itself; nil for never.
	ExpiresAt *time.Time `json:"expires_at"`
	// Scopes are what a token may be used for; a session may be used for everything and has none.
	Scopes []string `json:"scopes,omitempty"`
}

// Me asks the server who the client is.
func (c *Client) Me(ctx context.Context) (Me, error) {
	var m Me
	err := c.call(ctx, request{method: http.MethodGet, path: "/auth/me"}, &m)
	return m, err
}

// Token is a personal access token, without its secret.
type Token struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Prefix     string     `json:"prefix"`
	CreatedAt  *time.Time `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	RevokedAt  *time.Time `json:"revoked_at"`
	Scopes     []string   `json:"scopes"`
	LastUsedIP string     `json:"last_used_ip,omitempty"`
	// UserID and UserEmail are whose it is, in the listing of everybody's tokens.
	UserID    string `json:"user_id,omitempty"`
	UserEmail string `json:"user_email,omitempty"`
}

// Scopes that a token can be given.
const (
	ScopeRead  = "read"  // look at catalogs and at what is one's own
	ScopeQuery = "query" // ask with SQL
	ScopeSync  = "sync"  // manifest, downloads, uploads
	ScopeAdmin = "admin" // administrate, where the role allows it
)

// NewToken is a token just made. Token, the secret, is shown this once.
type NewToken struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Token     string     `json:"token"`
	CreatedAt *time.Time `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	Scopes    []string   `json:"scopes"`
}

// CreateToken makes a personal access token; expiresInDays nil means that it never ends by itself, and no
// scopes those that the server gives by default: all but admin. It needs a session: a token cannot make
// tokens.
func (c *Client) CreateToken(ctx context.Context, name string, expiresInDays *int, scopes ...string) (NewToken, error) {
	body := map[string]any{"name": name, "expires_in_days": expiresInDays}
	if len(scopes) > 0 {
		body["scopes"] = scopes
	}
	var t NewToken
	err := c.call(ctx, request{method: http.MethodPost, path: "/auth/tokens", body: body}, &t)
	return t, err
}

// Tokens lists the caller's tokens, newest first.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	var list []Token
	err := c.call(ctx, request{method: http.MethodGet, path: "/auth/tokens"}, &list)
	return list, err
}

// RevokeToken ends a token of the caller.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("auth", "tokens", id)}, nil)
}

// AllTokens lists everybody's tokens, newest first.
func (c *Client) AllTokens(ctx context.Context) ([]Token, error) {
	var list []Token
	err := c.call(ctx, request{method: http.MethodGet, path: "/auth/admin/tokens"}, &list)
	return list, err
}

// RevokeAnyToken ends anybody's token.
func (c *Client) RevokeAnyToken(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("auth", "admin", "tokens", id)}, nil)
}
