package identity

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// From is where a sign-in comes from, for the user to recognize it and against guessing.
type From struct {
	IP        string // of the client, as the server saw it; never what a header of the client claims
	UserAgent string
}

// Session is an opened session with its secret, which is shown this once.
type Session struct {
	Token     string
	ID        string
	ExpiresAt time.Time
	User      state.User
}

// errLogin is the one answer to everybody who does not get in: it tells nobody which addresses are known.
var errLogin = fault.New(fault.Unauthenticated, "wrong e-mail address or password")

// Login checks a password and opens a session: fault.Unauthenticated in the same words for an unknown
// address, a wrong password, an account without one and a deactivated one, and fault.Busy with a pause
// after too many of those.
func (s *Service) Login(ctx context.Context, email, password string, from From) (Session, error) {
	account := state.EmailKey(email)
	try, err := s.attempt(ctx, account, from.IP)
	if err != nil {
		return Session{}, err
	}
	u, err := s.store.Users.ByEmail(ctx, email)
	if err != nil && !fault.Is(err, fault.NotFound) {
		try.undecided()
		return Session{}, err
	}
	match, err := s.matches(ctx, password, u.PasswordHash)
	if err != nil {
		try.undecided()
		return Session{}, err
	}
	if !match || !u.Active {
		return Session{}, errLogin
	}
	try.succeeded()
	session, err := s.open(ctx, u, from, MethodPassword)
	if fault.Is(err, fault.Unauthenticated) {
		return Session{}, errLogin // deactivated this moment
	}
	return session, err
}

// clip bounds a text that a client chose.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// Logout ends the credential that the caller came with: the session, or the token.
func (s *Service) Logout(ctx context.Context, c Caller) error {
	var err error
	if c.Credential == KindToken {
		err = s.store.Tokens.Revoke(ctx, c.UserID, c.CredentialID)
	} else {
		err = s.store.Sessions.Revoke(ctx, c.UserID, c.CredentialID)
	}
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// BootstrapOpen tells whether the first administrator can still be made by whoever comes first: nobody
// ever signed in, and there is no administrator who could do so without a password.
func (s *Service) BootstrapOpen(ctx context.Context) (bool, error) {
	open, err := s.store.Users.BootstrapOpen(ctx)
	if err != nil || !open || (!s.Mails() && (len(s.providers) == 0 || s.cfg.PublicURL == "")) {
		return open, err
	}
	admin, err := s.store.Users.HasAdmin(ctx)
	return !admin, err
}

// Bootstrap makes the first administrator and opens a session; fault.Forbidden once anybody could sign
// in. It works once.
func (s *Service) Bootstrap(ctx context.Context, email, name, password string, from From) (Session, error) {
	email, err := checkEmail(email)
	if err != nil {
		return Session{}, err
	}
	if err := CheckPassword(password); err != nil {
		return Session{}, err
	}
	open, err := s.BootstrapOpen(ctx)
	if err != nil {
		return Session{}, err
	}
	if !open { // hashing for a door that is closed would be work for strangers to order
		return Session{}, state.ErrBootstrapClosed
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	u, err := s.store.Users.Bootstrap(ctx, email, nameFor(name, email), hash)
	if err != nil {
		return Session{}, err
	}
	return s.open(ctx, u, from, MethodBootstrap)
}

// SeedAdmin sees to it that the administrator of the environment exists (SEED_ADMIN_EMAIL and
// SEED_ADMIN_PASSWORD). The password is used only where they have none. An empty address does nothing.
func (s *Service) SeedAdmin(ctx context.Context, email, password string) error {
	if email == "" {
		return nil
	}
	address, err := checkEmail(email)
	if err != nil {
		return fault.New(fault.Invalid, "SEED_ADMIN_EMAIL is not an e-mail address")
	}
	hash := ""
	standing, err := s.store.Users.ByEmail(ctx, address)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if password != "" && !standing.HasPassword() {
		if hash, err = s.hash(ctx, password); err != nil {
			return fault.Wrap(err, fault.KindOf(err), "SEED_ADMIN_PASSWORD: %s", fault.Message(err))
		}
	}
	u, passwordSet, err := s.store.Users.SeedAdmin(ctx, address, nameFor("", address), hash)
	if err != nil || s.cfg.OnSeeded == nil {
		return err
	}
	seeded := Seeded{UserID: u.ID, Email: u.Email, Made: standing.ID == "", Promoted: standing.ID != "" && !standing.Admin(), PasswordSet: passwordSet}
	if seeded.Made || seeded.Promoted || seeded.PasswordSet {
		return s.cfg.OnSeeded(ctx, seeded)
	}
	return nil
}

// Seeded is what SeedAdmin changed.
type Seeded struct {
	UserID, Email               string
	Made, Promoted, PasswordSet bool
}
