package identity

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// How a session was opened. That of a provider is MethodOIDC with its name.
const (
	MethodPassword  = "password"
	MethodMagicLink = "magic_link"
	MethodOIDC      = "oidc:"
	MethodDevice    = "device"
	MethodReset     = "reset"
	MethodSetup     = "setup"
	MethodBootstrap = "bootstrap"
)

// prepare makes a session's token and what is to be kept of it. It ends by itself after the session's
// time, and at the latest at most, where that is not zero.
func (s *Service) prepare(u state.User, from From, method string, most time.Time) (Session, state.Session, error) {
	now := s.now()
	id, expires := uuid.NewString(), now.Add(s.cfg.SessionTTL)
	if !most.IsZero() && expires.After(most) {
		expires = most
	}
	token, err := s.sign(u.ID, u.Email, u.Role, KindSession, id, now, expires)
	if err != nil {
		return Session{}, state.Session{}, err
	}
	return Session{Token: token, ID: id, ExpiresAt: expires, User: u}, state.Session{
		ID: id, UserID: u.ID, Hash: hashToken(token), CreatedAt: now, ExpiresAt: expires, IP: from.IP, UserAgent: clip(from.UserAgent, 300), Method: method,
	}, nil
}

// open makes a session and its token.
func (s *Service) open(ctx context.Context, u state.User, from From, method string) (Session, error) {
	session, kept, err := s.prepare(u, from, method, time.Time{})
	if err != nil {
		return Session{}, err
	}
	if err := s.store.Sessions.Create(ctx, kept); err != nil {
		return Session{}, err
	}
	s.familiar.note(state.EmailKey(u.Email), place(from.IP), s.now())
	return session, nil
}

// Refresh gives a new session for the caller's, which ends at once. That goes on until the longest time
// after the sign-in is over: fault.Unauthenticated from then on, and where the session has ended.
func (s *Service) Refresh(ctx context.Context, c Caller, from From) (Session, error) {
	if c.Credential != KindSession {
		return Session{}, fault.New(fault.Forbidden, "a personal access token is not refreshed: make a new one")
	}
	u, err := s.store.Users.Get(ctx, c.UserID)
	if err != nil {
		return Session{}, err
	}
	var next Session
	err = s.store.Sessions.Refresh(ctx, c.UserID, c.CredentialID, func(old state.Session, began time.Time) (state.Session, error) {
		end := began.Add(s.cfg.SessionMax)
		if !s.now().Before(end) {
			return state.Session{}, fault.New(fault.Unauthenticated, "it is long ago that you signed in: sign in again")
		}
		var kept state.Session
		next, kept, err = s.prepare(u, from, old.Method, end)
		return kept, err
	})
	if err != nil {
		return Session{}, err
	}
	return next, nil
}

// Sessions lists a user's sessions, newest first.
func (s *Service) Sessions(ctx context.Context, userID string) ([]state.Session, error) {
	return s.store.Sessions.List(ctx, userID)
}

// SearchSessions lists sessions with their owners' addresses, newest first, and tells how many match in all.
func (s *Service) SearchSessions(ctx context.Context, f state.SessionFilter) ([]state.Session, int, error) {
	return s.store.Sessions.Search(ctx, f)
}

// RevokeSession ends one session of a user, or anybody's where userID is empty; fault.NotFound where
// there is none.
func (s *Service) RevokeSession(ctx context.Context, userID, id string) error {
	return s.store.Sessions.Revoke(ctx, userID, id)
}

// RevokeSessions ends all sessions of a user but the one that is named. Tokens stay.
func (s *Service) RevokeSessions(ctx context.Context, userID, except string) error {
	return s.store.Sessions.RevokeAll(ctx, userID, except)
}

// LogoutEverywhere ends all sessions of the caller but the one they came with. Tokens stay.
func (s *Service) LogoutEverywhere(ctx context.Context, c Caller) error {
	return s.RevokeSessions(ctx, c.UserID, c.CredentialID)
}
