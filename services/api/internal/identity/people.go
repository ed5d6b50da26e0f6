package identity

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// NewUser is a user to add.
type NewUser struct {
	Email string
	Name  string
	Role  string // empty means analyst
	// Password may be empty: the user then cannot sign in with one.
	Password string
}

// maxName bounds names, in bytes.
const maxName = 200

// Users lists all, by e-mail address.
func (s *Service) Users(ctx context.Context) ([]state.User, error) { return s.store.Users.List(ctx) }

// User gives one; fault.NotFound where there is none.
func (s *Service) User(ctx context.Context, id string) (state.User, error) {
	return s.store.Users.Get(ctx, id)
}

// CreateUser adds a user; fault.Conflict where somebody has the address, in whatever letters.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (state.User, error) {
	email, err := checkEmail(n.Email)
	if err != nil {
		return state.User{}, err
	}
	if n.Role == "" {
		n.Role = state.RoleAnalyst
	}
	if err := state.ValidRole(n.Role); err != nil {
		return state.User{}, err
	}
	if err := checkName(n.Name); err != nil {
		return state.User{}, err
	}
	u := state.User{Email: email, Name: nameFor(n.Name, email), Role: n.Role}
	if n.Password != "" {
		if u.PasswordHash, err = s.hash(ctx, n.Password); err != nil {
			return state.User{}, err
		}
	}
	return s.store.Users.Create(ctx, u)
}

func checkName(name string) error {
	if len(name) > maxName || strings.ContainsFunc(name, misleads) {
		return fault.New(fault.Invalid, "that is not a name: use at most %d bytes, without control characters", maxName)
	}
	return nil
}

// misleads tells the characters that make a text look like another one: controls, and those that turn the
// direction of writing around.
func misleads(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || !utf8.ValidRune(r) || r == utf8.RuneError
}

// UpdateUser changes a user, and by is who does it. Deactivating ends the user's sessions and makes
// their tokens useless at once. fault.Conflict for deactivating or demoting the last active
// administrator, and for deactivating oneself.
func (s *Service) UpdateUser(ctx context.Context, by Caller, id string, c state.UserChange) (state.User, error) {
	if c.Active != nil && !*c.Active && id == by.UserID {
		return state.User{}, fault.New(fault.Conflict, "nobody can deactivate themselves: ask another administrator")
	}
	if c.Name != nil {
		if err := checkName(*c.Name); err != nil {
			return state.User{}, err
		}
	}
	c.By = by.UserID
	return s.store.Users.Update(ctx, id, c)
}

// DeleteUser removes a user with their credentials and grants; fault.Conflict for oneself and for the
// last active administrator.
func (s *Service) DeleteUser(ctx context.Context, by Caller, id string) error {
	if id == by.UserID {
		return fault.New(fault.Conflict, "nobody can remove themselves: ask another administrator")
	}
	return s.store.Users.Delete(ctx, id)
}

// SetPassword replaces a user's password without asking for the old one: for administrators. All
// sessions of the user end, but the caller's own where it is their own password. A token cannot set its
// owner's: it would become a session, which can make tokens.
func (s *Service) SetPassword(ctx context.Context, by Caller, id, password string) error {
	if err := notOfItsOwner(by, id); err != nil {
		return err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	keep := ""
	if id == by.UserID && by.Credential == KindSession {
		keep = by.CredentialID
	}
	return s.store.Users.SetPassword(ctx, id, hash, keep)
}

func notOfItsOwner(by Caller, id string) error {
	if by.Credential == KindToken && id == by.UserID {
		return fault.New(fault.Forbidden, "a personal access token cannot give its owner a password: sign in first")
	}
	return nil
}

// ChangePassword replaces the caller's own password. Their other sessions end.
func (s *Service) ChangePassword(ctx context.Context, c Caller, old, password string) error {
	if c.Credential != KindSession {
		return fault.New(fault.Forbidden, "a personal access token cannot change the password: sign in first")
	}
	if err := CheckPassword(password); err != nil {
		return err
	}
	if wait := s.changes.begin(c.UserID, s.now()); wait > 0 {
		return tooMany(wait)
	}
	u, err := s.store.Users.Get(ctx, c.UserID)
	if err != nil {
		s.changes.undo(c.UserID)
		return err
	}
	match, err := s.matches(ctx, old, u.PasswordHash)
	if err != nil {
		s.changes.undo(c.UserID)
		return err
	}
	if !match {
		return fault.New(fault.Forbidden, "the old password is wrong")
	}
	s.changes.clear(c.UserID)
	hash, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.store.Users.SetPassword(ctx, u.ID, hash, c.CredentialID)
}
