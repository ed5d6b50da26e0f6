package api

import (
	"context"
	"errors"
	"net/url"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// signingIn shows the ways to sign in to the routes.
type signingIn struct{ service *identity.Service }

var _ httpapi.SignIn = signingIn{}

// Ways tells which ways are open.
func (s signingIn) Ways(ctx context.Context) (httpapi.Ways, error) {
	open, err := s.service.BootstrapOpen(ctx)
	w := httpapi.Ways{Password: true, MagicLink: s.service.Mails(), Device: true, Bootstrap: open, Providers: []httpapi.Provider{}}
	for _, p := range s.service.Providers() {
		w.Providers = append(w.Providers, httpapi.Provider{Name: p.Name, Label: p.Label})
	}
	return w, err
}

// SendLink mails a link to sign in.
func (s signingIn) SendLink(ctx context.Context, email, next string, from httpapi.From) error {
	return s.service.SendLink(ctx, email, next, identity.From(from))
}

// VerifyLink signs in by a link.
func (s signingIn) VerifyLink(ctx context.Context, email, token string, from httpapi.From) (httpapi.Session, error) {
	session, err := s.service.VerifyLink(ctx, email, token, identity.From(from))
	return sessionOf(session), err
}

// RequestReset mails a link to choose a new password.
func (s signingIn) RequestReset(ctx context.Context, email string, from httpapi.From) error {
	return s.service.RequestReset(ctx, email, identity.From(from))
}

// ConfirmReset sets a new password.
func (s signingIn) ConfirmReset(ctx context.Context, email, token, password string, from httpapi.From) (httpapi.Session, error) {
	session, err := s.service.ConfirmReset(ctx, email, token, password, identity.From(from))
	return sessionOf(session), err
}

// RequestSetup mails a link to choose a first password.
func (s signingIn) RequestSetup(ctx context.Context, email string, from httpapi.From) error {
	return s.service.RequestSetup(ctx, email, identity.From(from))
}

// ConfirmSetup sets a first password.
func (s signingIn) ConfirmSetup(ctx context.Context, email, token, password, name string, from httpapi.From) (httpapi.Session, error) {
	session, err := s.service.ConfirmSetup(ctx, email, token, password, name, identity.From(from))
	return sessionOf(session), err
}

// Invite makes a link for a first password.
func (s signingIn) Invite(ctx context.Context, by httpapi.Caller, userID string) (httpapi.Link, error) {
	link, err := s.service.Invite(ctx, callerOf(by), userID)
	return httpapi.Link(link), err
}

// ResetFor makes a link for a new password.
func (s signingIn) ResetFor(ctx context.Context, by httpapi.Caller, userID string) (httpapi.Link, error) {
	link, err := s.service.ResetFor(ctx, callerOf(by), userID)
	return httpapi.Link(link), err
}

// ChangePassword replaces the caller's password.
func (s signingIn) ChangePassword(ctx context.Context, c httpapi.Caller, old, password string) error {
	return s.service.ChangePassword(ctx, callerOf(c), old, password)
}

// BeginOIDC sends a browser to a provider.
func (s signingIn) BeginOIDC(ctx context.Context, provider, next string) (redirect, sealed string, err error) {
	redirect, sealed, err = s.service.BeginOIDC(ctx, provider, next)
	return redirect, sealed, forRoutes(err)
}

// FinishOIDC takes a browser back from a provider.
func (s signingIn) FinishOIDC(ctx context.Context, provider, sealed string, query url.Values, from httpapi.From) (httpapi.Session, string, error) {
	session, next, err := s.service.FinishOIDC(ctx, provider, sealed, query, identity.From(from))
	return sessionOf(session), next, forRoutes(err)
}

// BeginDevice begins the sign-in of a program.
func (s signingIn) BeginDevice(ctx context.Context, clientName string, from httpapi.From) (httpapi.DeviceCode, error) {
	code, err := s.service.BeginDevice(ctx, clientName, identity.From(from))
	return httpapi.DeviceCode(code), err
}

// PollDevice gives the session of a program.
func (s signingIn) PollDevice(ctx context.Context, deviceCode string, from httpapi.From) (httpapi.Session, error) {
	session, err := s.service.PollDevice(ctx, deviceCode, identity.From(from))
	return sessionOf(session), forRoutes(err)
}

// Device shows a program that waits.
func (s signingIn) Device(ctx context.Context, c httpapi.Caller, userCode string) (httpapi.DeviceView, error) {
	d, err := s.service.Device(ctx, callerOf(c), userCode)
	return httpapi.DeviceView{UserCode: d.UserCode, ClientName: d.ClientName, IP: d.IP, CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt}, err
}

// DecideDevice lets a program in, or not.
func (s signingIn) DecideDevice(ctx context.Context, c httpapi.Caller, userCode string, approve bool) error {
	return s.service.DecideDevice(ctx, callerOf(c), userCode, approve)
}

// Sessions lists sessions.
func (s signingIn) Sessions(ctx context.Context, c httpapi.Caller, f httpapi.SessionFilter) ([]httpapi.SessionView, int, error) {
	list, total, err := s.service.SearchSessions(ctx, state.SessionFilter(f))
	views := make([]httpapi.SessionView, len(list))
	for i, v := range list {
		views[i] = httpapi.SessionView{
			ID: v.ID, UserID: v.UserID, UserEmail: v.UserEmail, Method: v.Method, CreatedAt: stamped(v.CreatedAt), LastSeen: stamped(v.LastSeen),
			ExpiresAt: stamped(v.ExpiresAt), RevokedAt: stamped(v.RevokedAt), IP: v.IP, UserAgent: v.UserAgent,
			Current: c.Credential == identity.KindSession && v.ID == c.TokenID,
		}
	}
	return views, total, err
}

// RevokeSession ends one session.
func (s signingIn) RevokeSession(ctx context.Context, userID, id string) error {
	return s.service.RevokeSession(ctx, userID, id)
}

// RevokeSessions ends a user's sessions but one.
func (s signingIn) RevokeSessions(ctx context.Context, userID, except string) error {
	return s.service.RevokeSessions(ctx, userID, except)
}

// Refresh exchanges the caller's session.
func (s signingIn) Refresh(ctx context.Context, c httpapi.Caller, from httpapi.From) (httpapi.Session, error) {
	session, err := s.service.Refresh(ctx, callerOf(c), identity.From(from))
	return sessionOf(session), err
}

// forRoutes gives errors with a code the type that the routes know.
func forRoutes(err error) error {
	var refused *identity.RefusedError
	if errors.As(err, &refused) {
		return &httpapi.RefusedError{Code: refused.Code, Fault: refused.Fault}
	}
	var device *identity.DeviceError
	if errors.As(err, &device) {
		return &httpapi.DeviceError{Code: device.Code, Fault: device.Fault}
	}
	return err
}
