package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Roles, each with the rights of those before it.
const (
	RoleViewer  = "viewer"
	RoleAnalyst = "analyst"
	RoleCurator = "km_admin"
	RoleAdmin   = "admin"
)

// ValidRole tells why a role cannot be given.
func ValidRole(role string) error {
	switch role {
	case RoleViewer, RoleAnalyst, RoleCurator, RoleAdmin:
		return nil
	}
	return fault.New(fault.Invalid, "unknown role %.40q: use viewer, analyst, km_admin or admin", role)
}

// User is one person, or one program that was given an account.
type User struct {
	ID    string
	Email string // as it was written; compare EmailKey
	Name  string
	Role  string
	// PasswordHash is an argon2id hash; empty where the user cannot sign in with a password.
	PasswordHash  string
	Active        bool
	CreatedAt     time.Time
	UpdatedAt     time.Time
	DeactivatedAt time.Time
	DeactivatedBy string
}

// HasPassword tells whether the user can sign in with a password.
func (u User) HasPassword() bool { return u.PasswordHash != "" }

// Admin tells whether the user may administrate.
func (u User) Admin() bool { return u.Role == RoleAdmin }

// UserChange is what to change of a user; nil leaves a field as it is.
type UserChange struct {
	Name   *string
	Role   *string
	Active *bool
	// By is who changes it, a user id.
	By string
}

// Users are the people of the instance. Addresses are unique whatever the case of their letters.
type Users struct{ s *Store }

const userColumns = `u.id, u.email, u.name, u.role, u.password_hash, u.active, u.created_at, u.updated_at, u.deactivated_at, u.deactivated_by`

const selectUsers = `SELECT ` + userColumns + ` FROM users u`

// targets gives what Scan writes the userColumns into.
func (u *User) targets() []any {
	u.Active = true // NULL in a file of an early version
	return []any{
		&u.ID, &u.Email, text{&u.Name}, text{&u.Role}, text{&u.PasswordHash}, flag{&u.Active},
		moment{&u.CreatedAt}, moment{&u.UpdatedAt}, moment{&u.DeactivatedAt}, text{&u.DeactivatedBy},
	}
}

func scanUser(r *sql.Rows) (User, error) {
	var u User
	return u, r.Scan(u.targets()...)
}

var (
	errNoUser    = fault.New(fault.NotFound, "there is no such user")
	errLastAdmin = fault.New(fault.Conflict, "this is the last active administrator: make somebody else one first")
)

// List gives all users, ordered by address.
func (r *Users) List(ctx context.Context) ([]User, error) {
	return readAll(ctx, r.s, scanUser, selectUsers+" ORDER BY u.email, u.id")
}

// Get gives a user; fault.NotFound where there is none.
func (r *Users) Get(ctx context.Context, id string) (User, error) {
	return readOne(ctx, r.s, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", id)
}

// ByEmail gives the user who signs in with an address; fault.NotFound where nobody does.
func (r *Users) ByEmail(ctx context.Context, email string) (User, error) {
	return readOne(ctx, r.s, errNoUser, scanUser, selectUsers+" JOIN user_logins l ON l.user_id = u.id WHERE l.email_key = $1", EmailKey(email))
}

// Count tells how many users there are.
func (r *Users) Count(ctx context.Context) (int, error) {
	n, err := readOne(ctx, r.s, nil, scanInt, "SELECT count(*) FROM users")
	return int(n), err
}

// Create adds a user and gives them an id. fault.Conflict where the address is somebody's, in whatever
// letters. A user with a password closes the bootstrap.
func (r *Users) Create(ctx context.Context, u User) (User, error) {
	err := r.s.write(ctx, touchesIdentity, func(ctx context.Context, tx *sql.Tx) (err error) {
		u, err = createUser(ctx, tx, u, r.s.now())
		return err
	})
	return u, err
}

func createUser(ctx context.Context, tx *sql.Tx, u User, now time.Time) (User, error) {
	if err := ValidRole(u.Role); err != nil {
		return User{}, err
	}
	u.ID, u.Email, u.Active, u.CreatedAt, u.UpdatedAt = uuid.NewString(), strings.TrimSpace(u.Email), true, now, now
	taken, err := one(ctx, tx, nil, scanInt, `SELECT (SELECT count(*) FROM user_logins WHERE email_key = $1) + (SELECT count(*) FROM users WHERE email = $2)`, EmailKey(u.Email), u.Email)
	if err != nil {
		return User{}, err
	}
	if taken > 0 {
		return User{}, fault.New(fault.Conflict, "there is a user with this e-mail address already")
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO users (id, email, name, role, password_hash, active, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, TRUE, $6, $7)`,
		u.ID, u.Email, orNull(u.Name), u.Role, orNull(u.PasswordHash), now, now)
	if err != nil {
		return User{}, err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO user_logins (email_key, user_id) VALUES ($1, $2)", EmailKey(u.Email), u.ID); err != nil {
		return User{}, err
	}
	if u.HasPassword() {
		return u, closeBootstrap(ctx, tx, now)
	}
	return u, nil
}

// Update changes a user. Deactivating ends their sessions and spoils their links. fault.Conflict where no active
// administrator would be left.
func (r *Users) Update(ctx context.Context, id string, c UserChange) (User, error) {
	if c.Role != nil {
		if err := ValidRole(*c.Role); err != nil {
			return User{}, err
		}
	}
	var u User
	err := r.s.writeOwned(ctx, &id, func(ctx context.Context, tx *sql.Tx) (err error) {
		if u, err = one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", id); err != nil {
			return err
		}
		before := u
		u = u.changed(c, r.s.now())
		if before.Admin() && before.Active && (!u.Admin() || !u.Active) {
			if err := notLastAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE users SET name = $1, role = $2, active = $3, deactivated_at = $4, deactivated_by = $5, updated_at = $6 WHERE id = $7`,
			orNull(u.Name), u.Role, u.Active, timeOrNull(u.DeactivatedAt), orNull(u.DeactivatedBy), u.UpdatedAt, id)
		if err != nil || u.Active {
			return err
		}
		if err := spoilLinks(ctx, tx, id, "", r.s.now()); err != nil {
			return err
		}
		return revokeSessions(ctx, tx, id, "", r.s.now())
	})
	return u, err
}

// changed applies a change.
func (u User) changed(c UserChange, now time.Time) User {
	if c.Name != nil {
		u.Name = *c.Name
	}
	if c.Role != nil {
		u.Role = *c.Role
	}
	if c.Active != nil && *c.Active != u.Active {
		u.Active, u.DeactivatedAt, u.DeactivatedBy = *c.Active, time.Time{}, ""
		if !u.Active {
			u.DeactivatedAt, u.DeactivatedBy = now, c.By
		}
	}
	u.UpdatedAt = now
	return u
}

func notLastAdmin(ctx context.Context, tx *sql.Tx, id string) error {
	others, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM users WHERE role = $1 AND coalesce(active, TRUE) AND id <> $2", RoleAdmin, id)
	if err != nil {
		return err
	}
	if others == 0 {
		return errLastAdmin
	}
	return nil
}

// SetPassword replaces a password hash, ends the user's sessions but the one that is named (empty:
// all), spoils all their links, and closes the bootstrap.
func (r *Users) SetPassword(ctx context.Context, id, hash, keepSession string) error {
	return r.s.writeOwned(ctx, &id, func(ctx context.Context, tx *sql.Tx) error {
		return setPassword(ctx, tx, id, hash, keepSession, r.s.now())
	})
}

func setPassword(ctx context.Context, tx *sql.Tx, id, hash, keepSession string, now time.Time) error {
	done, err := tx.ExecContext(ctx, "UPDATE users SET password_hash = $1, updated_at = $2 WHERE id = $3", hash, now, id)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return noneOr(err, errNoUser)
	}
	if err := spoilLinks(ctx, tx, id, "", now); err != nil {
		return err
	}
	if err := revokeSessions(ctx, tx, id, keepSession, now); err != nil {
		return err
	}
	return closeBootstrap(ctx, tx, now)
}

// noneOr is err, or missing where there is none.
func noneOr(err, missing error) error {
	if err != nil {
		return err
	}
	return missing
}

// Delete removes a user with their credentials, grants, memberships, requests and links. fault.Conflict for the
// last active administrator. Where another user was shadowed by this one's address, it becomes theirs.
func (r *Users) Delete(ctx context.Context, id string) error {
	return r.s.write(ctx, touchesIdentity|touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		u, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", id)
		if err != nil {
			return err
		}
		if u.Admin() && u.Active {
			if err := notLastAdmin(ctx, tx, id); err != nil {
				return err
			}
		}
		for _, table := range []string{"sessions", "personal_access_tokens", "dataset_permissions", "access_requests", "user_sync_settings", "telegram_links", "knowledge_votes", "group_members", "one_time_tokens", "device_grants", "oidc_accounts"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE user_id = $1", id); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM users WHERE id = $1", id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE key = $1", shadowed+id); err != nil {
			return err
		}
		return passOnLogin(ctx, tx, u, r.s.now())
	})
}
