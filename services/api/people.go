package api

import (
	"context"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
	"github.com/agnes-platform/agnes/services/api/internal/uploads"
)

// people shows the identity service to the routes.
type people struct {
	*identity.Service
	uploads *uploads.Store
}

// callerOf gives back who passed the gate, as identity knows them.
func callerOf(c httpapi.Caller) identity.Caller {
	caller := identity.Caller{
		UserID: c.UserID, Email: c.Email, Name: c.Name, Role: c.Role, Credential: c.Credential, CredentialID: c.TokenID,
	}
	for _, scope := range c.Scopes {
		caller.Scopes = append(caller.Scopes, string(scope))
	}
	if c.ExpiresAt != nil {
		caller.ExpiresAt = *c.ExpiresAt
	}
	return caller
}

// Authenticate tells who a credential belongs to.
func (p people) Authenticate(ctx context.Context, token, ip string) (httpapi.Caller, error) {
	c, err := p.Verify(ctx, token, ip)
	if err != nil {
		return httpapi.Caller{}, err
	}
	return callerView(c), nil
}

// callerView is a caller as the routes know them.
func callerView(c identity.Caller) httpapi.Caller {
	return httpapi.Caller{
		UserID: c.UserID, Email: c.Email, Name: c.Name, Role: c.Role, Credential: c.Credential, TokenID: c.CredentialID,
		ExpiresAt: stamped(c.ExpiresAt), Scopes: scopesOf(c.Scopes),
	}
}

// scopesOf gives scopes by their names.
func scopesOf(names []string) []httpapi.Scope {
	scopes := make([]httpapi.Scope, len(names))
	for i, n := range names {
		scopes[i] = httpapi.Scope(n)
	}
	return scopes
}

func sessionOf(s identity.Session) httpapi.Session {
	return httpapi.Session{
		AccessToken: s.Token, TokenType: "bearer", UserID: s.User.ID, Email: s.User.Email, Role: s.User.Role, ExpiresAt: s.ExpiresAt.UTC(),
	}
}

// Login opens a session.
func (p people) Login(ctx context.Context, email, password string, from httpapi.From) (httpapi.Session, error) {
	s, err := p.Service.Login(ctx, email, password, identity.From(from))
	return sessionOf(s), err
}

// Bootstrap makes the first administrator.
func (p people) Bootstrap(ctx context.Context, email, name, password string, from httpapi.From) (httpapi.Session, error) {
	s, err := p.Service.Bootstrap(ctx, email, name, password, identity.From(from))
	return sessionOf(s), err
}

// Logout ends the caller's session.
func (p people) Logout(ctx context.Context, c httpapi.Caller) error {
	return p.Service.Logout(ctx, callerOf(c))
}

// CreateToken makes a personal access token.
func (p people) CreateToken(ctx context.Context, c httpapi.Caller, name string, days *int, scopes []httpapi.Scope) (httpapi.NewToken, error) {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	t, err := p.Service.CreateToken(ctx, callerOf(c), name, days, names)
	return httpapi.NewToken{
		ID: t.ID, Name: t.Name, Prefix: t.Prefix, Token: t.Secret, ExpiresAt: stamped(t.ExpiresAt), CreatedAt: stamped(t.CreatedAt),
		Scopes: scopesOf(t.Scopes),
	}, err
}

// Tokens lists tokens.
func (p people) Tokens(ctx context.Context, userID string) ([]httpapi.Token, error) {
	list, err := p.Service.Tokens(ctx, userID)
	views := make([]httpapi.Token, len(list))
	for i, t := range list {
		views[i] = httpapi.Token{
			ID: t.ID, Name: t.Name, Prefix: t.Prefix, CreatedAt: stamped(t.CreatedAt), ExpiresAt: stamped(t.ExpiresAt),
			LastUsedAt: stamped(t.LastUsedAt), RevokedAt: stamped(t.RevokedAt), UserID: t.UserID, UserEmail: t.UserEmail, LastUsedIP: t.LastUsedIP,
			Scopes: scopesOf(t.Scopes),
		}
	}
	return views, err
}

// RevokeToken ends a token.
func (p people) RevokeToken(ctx context.Context, _ httpapi.Caller, userID, id string) error {
	return p.Service.RevokeToken(ctx, userID, id)
}

func userView(u state.User) httpapi.UserView {
	return httpapi.UserView{
		ID: u.ID, Email: u.Email, Name: u.Name, Role: u.Role, Active: u.Active,
		CreatedAt: stamped(u.CreatedAt), DeactivatedAt: stamped(u.DeactivatedAt),
	}
}

// Users lists all.
func (p people) Users(ctx context.Context) ([]httpapi.UserView, error) {
	list, err := p.Service.Users(ctx)
	views := make([]httpapi.UserView, len(list))
	for i, u := range list {
		views[i] = userView(u)
	}
	return views, err
}

// User gives one.
func (p people) User(ctx context.Context, id string) (httpapi.UserView, error) {
	u, err := p.Service.User(ctx, id)
	return userView(u), err
}

// CreateUser adds one.
func (p people) CreateUser(ctx context.Context, _ httpapi.Caller, n httpapi.NewUser) (httpapi.UserView, error) {
	u, err := p.Service.CreateUser(ctx, identity.NewUser{Email: n.Email, Name: n.Name, Role: n.Role, Password: n.Password})
	return userView(u), err
}

// UpdateUser changes what is given.
func (p people) UpdateUser(ctx context.Context, by httpapi.Caller, id string, c httpapi.UserChange) (httpapi.UserView, error) {
	u, err := p.Service.UpdateUser(ctx, callerOf(by), id, state.UserChange{Name: c.Name, Role: c.Role, Active: c.Active, By: by.UserID})
	return userView(u), err
}

// SetPassword replaces a password.
func (p people) SetPassword(ctx context.Context, by httpapi.Caller, id, password string) error {
	return p.Service.SetPassword(ctx, callerOf(by), id, password)
}

// DeleteUser removes a user, and the notes that are kept under their address.
func (p people) DeleteUser(ctx context.Context, by httpapi.Caller, id string) error {
	u, err := p.Service.User(ctx, id)
	if err != nil {
		return err
	}
	if err := p.Service.DeleteUser(ctx, callerOf(by), id); err != nil {
		return err
	}
	if err := p.uploads.RemoveNotes(u.Email); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the user is removed, but their notes are not: remove their file in user_local_md")
	}
	return nil
}

// stamped is a time for JSON: null where there is none.
func stamped(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
