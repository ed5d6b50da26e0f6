package state

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

var (
	// ErrBootstrapClosed is for whoever comes too late.
	ErrBootstrapClosed = fault.New(fault.Forbidden, "the first administrator was made already: sign in, or ask an administrator for an account")
	errOtherFirstAdmin = fault.New(fault.Forbidden, "this server has an administrator, who chooses a password first: use their e-mail address")
)

func closeBootstrap(ctx context.Context, tx *sql.Tx, now time.Time) error {
	closed, err := hasSetting(ctx, tx, settingBootstrapClosed)
	if err != nil || closed {
		return err
	}
	return putSetting(ctx, tx, settingBootstrapClosed, now.Format(time.RFC3339), now)
}

// bootstrapOpen: nobody has a password, a session or a token, and nobody ever had one here. A way in
// without a password closes it like one with it: else whoever comes later takes the server over.
func bootstrapOpen(ctx context.Context, q querier) (bool, error) {
	closed, err := hasSetting(ctx, q, settingBootstrapClosed)
	if err != nil || closed {
		return false, err
	}
	n, err := one(ctx, q, nil, scanInt, `SELECT (SELECT count(*) FROM users WHERE password_hash <> '')
		+ (SELECT count(*) FROM sessions) + (SELECT count(*) FROM personal_access_tokens)`)
	return err == nil && n == 0, err
}

// BootstrapOpen tells whether the first administrator can still be made by whoever comes first.
func (r *Users) BootstrapOpen(ctx context.Context) (open bool, err error) {
	err = r.s.read(ctx, func(ctx context.Context, q querier) error {
		open, err = bootstrapOpen(ctx, q)
		return err
	})
	return open && err == nil, err
}

// Bootstrap makes the first administrator, with a password, and closes this way in for good: all in
// one transaction, so that of two who come at once one gets in. A user who has the address already
// becomes the administrator. fault.Forbidden where it is closed, and where there is an administrator with
// another address: a stranger must not become one beside them.
func (r *Users) Bootstrap(ctx context.Context, email, name, hash string) (User, error) {
	var u User
	err := r.s.write(ctx, touchesIdentity, func(ctx context.Context, tx *sql.Tx) error {
		open, err := bootstrapOpen(ctx, tx)
		if err != nil {
			return err
		}
		if !open {
			return ErrBootstrapClosed
		}
		if hash == "" {
			return fault.New(fault.Invalid, "the first administrator needs a password")
		}
		admins, err := collect(ctx, tx, scanUser, selectAdmins)
		if err != nil {
			return err
		}
		if len(admins) > 0 && !slices.ContainsFunc(admins, func(a User) bool { return EmailKey(a.Email) == EmailKey(email) }) {
			return errOtherFirstAdmin
		}
		u, _, err = promote(ctx, tx, email, name, hash, r.s.now())
		return err
	})
	return u, err
}

// HasAdmin tells whether there is an active administrator.
func (r *Users) HasAdmin(ctx context.Context) (bool, error) {
	admins, err := readAll(ctx, r.s, scanUser, selectAdmins)
	return len(admins) > 0, err
}

const selectAdmins = selectUsers + " WHERE u.role = '" + RoleAdmin + "' AND coalesce(u.active, TRUE)"

// SeedAdmin sees to it that the user with the address exists and is an administrator. A password that
// stands is never replaced; hash is used only where there is none, and may be empty. It tells whether
// hash was set.
func (r *Users) SeedAdmin(ctx context.Context, email, name, hash string) (u User, passwordSet bool, err error) {
	standing, err := r.ByEmail(ctx, email)
	if err == nil && standing.Admin() && (standing.HasPassword() || hash == "") {
		return standing, false, nil
	}
	err = r.s.write(ctx, touchesIdentity, func(ctx context.Context, tx *sql.Tx) error {
		u, passwordSet, err = promote(ctx, tx, email, name, hash, r.s.now())
		return err
	})
	return u, passwordSet, err
}

// promote makes the user with the address an administrator, creating them where there is none, and
// sets the password hash where they have none.
func promote(ctx context.Context, tx *sql.Tx, email, name, hash string, now time.Time) (User, bool, error) {
	found, err := collect(ctx, tx, scanUser, selectUsers+" JOIN user_logins l ON l.user_id = u.id WHERE l.email_key = $1", EmailKey(email))
	if err != nil {
		return User{}, false, err
	}
	if len(found) == 0 {
		u, err := createUser(ctx, tx, User{Email: email, Name: name, Role: RoleAdmin, PasswordHash: hash}, now)
		return u, err == nil && hash != "", err
	}
	u := found[0]
	if !u.Admin() {
		u.Role, u.UpdatedAt = RoleAdmin, now
		if _, err := tx.ExecContext(ctx, "UPDATE users SET role = $1, updated_at = $2 WHERE id = $3", RoleAdmin, now, u.ID); err != nil {
			return User{}, false, err
		}
	}
	if hash == "" || u.HasPassword() {
		return u, false, nil
	}
	u.PasswordHash, u.UpdatedAt = hash, now
	return u, true, setPassword(ctx, tx, u.ID, hash, "", now)
}
