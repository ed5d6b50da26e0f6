package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// OIDCAccount is an account at an OpenID provider, as its verified id_token describes it.
type OIDCAccount struct {
	Issuer, Subject string
	// Email is an address that the provider says it has verified.
	Email string
	Name  string
}

// OIDCPolicy says what may happen to an account that is not known yet.
type OIDCPolicy struct {
	// Link: it may become another way in for the user with its address.
	Link bool
	// SignUp: a user with Role may be made for it.
	SignUp bool
	Role   string
}

// OIDCAccounts tell which account of an OpenID provider belongs to which user.
type OIDCAccounts struct{ s *Store }

// Errors of sign-ins by a provider.
var (
	ErrNotLinked   = fault.New(fault.Forbidden, "this account may not sign in here with this e-mail address: ask an administrator")
	ErrNoSignUp    = fault.New(fault.Forbidden, "nobody can sign up here with this e-mail address: ask an administrator for an account")
	ErrDeactivated = fault.New(fault.Forbidden, "this account is deactivated: ask an administrator")
)

// Resolve gives the user of an account: the one it is linked to, else the one with its address, else a
// new one, the latter two only where the policy allows, and links them. It tells whether the user is
// new. Errors are ErrNotLinked, ErrNoSignUp and ErrDeactivated. One transaction: two sign-ins at once
// make one user.
func (r *OIDCAccounts) Resolve(ctx context.Context, a OIDCAccount, p OIDCPolicy) (u User, made bool, err error) {
	if a.Issuer == "" || a.Subject == "" {
		return User{}, false, fault.New(fault.Invalid, "the account has no issuer or no subject")
	}
	err = r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		now := r.s.now()
		var err error
		if u, made, err = r.userOf(ctx, tx, a, p, now); err != nil {
			return err
		}
		if !u.Active {
			return ErrDeactivated
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO oidc_accounts (issuer, subject, user_id, email, linked_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (issuer, subject) DO UPDATE SET user_id = excluded.user_id, email = excluded.email, last_used_at = excluded.last_used_at`,
			a.Issuer, a.Subject, u.ID, orNull(a.Email), now, now)
		return err
	})
	return u, made, err
}

func (r *OIDCAccounts) userOf(ctx context.Context, tx *sql.Tx, a OIDCAccount, p OIDCPolicy, now time.Time) (User, bool, error) {
	linked, err := collect(ctx, tx, scanUser, selectUsers+" JOIN oidc_accounts a ON a.user_id = u.id WHERE a.issuer = $1 AND a.subject = $2", a.Issuer, a.Subject)
	if err != nil {
		return User{}, false, err
	}
	if len(linked) > 0 {
		return linked[0], false, nil
	}
	known, err := collect(ctx, tx, scanUser, selectUsers+" JOIN user_logins l ON l.user_id = u.id WHERE l.email_key = $1", EmailKey(a.Email))
	switch {
	case err != nil:
		return User{}, false, err
	case len(known) > 0 && !p.Link:
		return User{}, false, ErrNotLinked
	case len(known) > 0:
		return known[0], false, nil
	case !p.SignUp:
		return User{}, false, ErrNoSignUp
	}
	u, err := createUser(ctx, tx, User{Email: EmailKey(a.Email), Name: strings.TrimSpace(a.Name), Role: p.Role}, now)
	return u, true, err
}
