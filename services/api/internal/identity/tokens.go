package identity

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// MaxTokenDays is the longest that a token with an end may last.
const MaxTokenDays = 3650

// prefixLength is how much of a token's id is shown to tell tokens apart.
const prefixLength = 8

// NewToken is a token just made. Secret is shown this once.
type NewToken struct {
	state.Token
	Secret string
}

// CreateToken makes a personal access token for the caller, who must have signed in: a token cannot
// make tokens. It ends after days, or never by itself where days is nil. Without scopes it may read,
// query and sync.
func (s *Service) CreateToken(ctx context.Context, c Caller, name string, days *int, scopes []string) (NewToken, error) {
	if c.Credential != KindSession {
		return NewToken{}, fault.New(fault.Forbidden, "a personal access token cannot make tokens: sign in first")
	}
	if name = strings.TrimSpace(name); name == "" {
		return NewToken{}, fault.New(fault.Invalid, "the token needs a name")
	}
	if err := checkName(name); err != nil {
		return NewToken{}, err
	}
	scopes, err := checkScopes(scopes, c.Role)
	if err != nil {
		return NewToken{}, err
	}
	now := s.now()
	t := state.Token{ID: uuid.NewString(), UserID: c.UserID, UserEmail: c.Email, Name: name, CreatedAt: now, Scopes: scopes}
	t.Prefix = t.ID[:prefixLength]
	if days != nil {
		if *days < 1 || *days > MaxTokenDays {
			return NewToken{}, fault.New(fault.Invalid, "a token lasts 1 to %d days, or for ever", MaxTokenDays)
		}
		t.ExpiresAt = now.Add(time.Duration(*days) * 24 * time.Hour)
	}
	secret, err := s.sign(c.UserID, c.Email, c.Role, KindToken, t.ID, now, t.ExpiresAt)
	if err != nil {
		return NewToken{}, err
	}
	t.Hash = hashToken(secret)
	if err := s.store.Tokens.Create(ctx, t); err != nil {
		return NewToken{}, err
	}
	return NewToken{Token: t, Secret: secret}, nil
}

// Tokens lists tokens with their owners' addresses, newest first and revoked ones too: of one user, or
// of all where userID is empty.
func (s *Service) Tokens(ctx context.Context, userID string) ([]state.Token, error) {
	list, err := s.store.Tokens.List(ctx, userID)
	for i := range list {
		list[i].Scopes = scopesOf(list[i])
	}
	return list, err
}

// RevokeToken ends a token at once: one of the user's, or anybody's where userID is empty.
// fault.NotFound where there is none.
func (s *Service) RevokeToken(ctx context.Context, userID, id string) error {
	return s.store.Tokens.Revoke(ctx, userID, id)
}
