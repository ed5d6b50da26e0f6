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
}

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

// Credential is a session or a personal access token, without its secret.
type Credential struct {
	// Kind is "session" or "pat".
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// ExpiresAt is when it ends by itself; nil for never.
	ExpiresAt *time.Time `json:"expires_at"`
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
}

// NewToken is a token just made. Token, the secret, is shown this once.
type NewToken struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Token     string     `json:"token"`
	CreatedAt *time.Time `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// CreateToken makes a personal access token; expiresInDays nil means that it never ends by itself. It
// needs a session: a token cannot make tokens.
func (c *Client) CreateToken(ctx context.Context, name string, expiresInDays *int) (NewToken, error) {
	var t NewToken
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/auth/tokens",
		body: map[string]any{"name": name, "expires_in_days": expiresInDays},
	}, &t)
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
