package state

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Purposes of one-time tokens. A token works for its own purpose alone.
const (
	PurposeMagic = "magic" // sign in
	PurposeReset = "reset" // choose a new password
	PurposeSetup = "setup" // choose the first password
)

// OneTime is the secret of a link in a mail. The secret itself is not kept.
type OneTime struct {
	ID      string
	Purpose string
	UserID  string
	// Hash is the SHA-256 (hex) of the secret.
	Hash      string
	CreatedAt time.Time
	ExpiresAt time.Time
	// UsedAt is when it was used, or spoilt by the use of another one, an administrator's, or a new password.
	UsedAt time.Time
	// CreatedBy is the user who asked for it; empty for a stranger.
	CreatedBy string
	IP        string
}

// OneTimes are the secrets of links in mails.
type OneTimes struct{ s *Store }

// oneTimeAfterlife is how long an expired token is remembered, to say that it has expired.
const oneTimeAfterlife = 24 * time.Hour

const selectOneTimes = `SELECT o.id, o.purpose, o.user_id, o.token_hash, o.created_at, o.expires_at, o.used_at, o.created_by, o.ip FROM one_time_tokens o`

func scanOneTime(r *sql.Rows) (OneTime, error) {
	var t OneTime
	return t, r.Scan(&t.ID, &t.Purpose, &t.UserID, &t.Hash, moment{&t.CreatedAt}, moment{&t.ExpiresAt}, moment{&t.UsedAt}, text{&t.CreatedBy}, text{&t.IP})
}

// Errors of one-time tokens. They tell nothing about the user to whoever does not have the token.
var (
	errBadLink     = fault.New(fault.Invalid, "this link is not valid, or it was used already: ask for a new one")
	errLinkExpired = fault.New(fault.Invalid, "this link has expired: ask for a new one")
	errHasPassword = fault.New(fault.Conflict, "this user has a password already: reset it instead")
	errEnoughLinks = fault.New(fault.Conflict, "this user has enough links of this kind, which still work")
	errNotActive   = fault.New(fault.Conflict, "this user is deactivated: activate them first")
)

// maxOneTimes is how many tokens of one purpose a user can have at once. Whoever has so many in their
// mailbox needs no more; without a bound a stranger could fill the state and the mailbox.
const maxOneTimes = 20

// Create keeps a token for an active user. One that an administrator made (CreatedBy) spoils the earlier
// ones of its purpose; what a stranger asks for spoils nothing: it would take away from its owner the
// link that they are about to open. fault.NotFound where there is no such user, and fault.Conflict for a
// deactivated one, for a setup token of a user who has a password, and where strangers asked for too many.
// Tokens that expired long ago are forgotten.
func (r *OneTimes) Create(ctx context.Context, t OneTime) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		u, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", t.UserID)
		if err != nil {
			return err
		}
		if err := mayHaveLink(u, t.Purpose); err != nil {
			return err
		}
		now := r.s.now()
		if _, err := tx.ExecContext(ctx, "DELETE FROM one_time_tokens WHERE expires_at < $1", now.Add(-oneTimeAfterlife)); err != nil {
			return err
		}
		if t.CreatedBy != "" {
			err = spoilLinks(ctx, tx, t.UserID, t.Purpose, now)
		} else {
			err = roomForLink(ctx, tx, t, now)
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO one_time_tokens (id, purpose, user_id, token_hash, created_at, expires_at, created_by, ip) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			uuid.NewString(), t.Purpose, t.UserID, t.Hash, now, timeOrNull(t.ExpiresAt), orNull(t.CreatedBy), orNull(t.IP))
		return err
	})
}

func roomForLink(ctx context.Context, tx *sql.Tx, t OneTime, now time.Time) error {
	n, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM one_time_tokens WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3", t.UserID, t.Purpose, now)
	if err == nil && n >= maxOneTimes {
		return errEnoughLinks
	}
	return err
}

func mayHaveLink(u User, purpose string) error {
	if !u.Active {
		return errNotActive
	}
	if purpose == PurposeSetup && u.HasPassword() {
		return errHasPassword
	}
	return nil
}

// Check tells whether Use would accept a token, without using it up.
func (r *OneTimes) Check(ctx context.Context, purpose, hash, email string) error {
	return r.s.read(ctx, func(ctx context.Context, q querier) error {
		_, err := r.find(ctx, q, purpose, hash, email)
		return err
	})
}

// find gives the owner of a token that can be used. email may be empty; where it is not, it must be
// the owner's.
func (r *OneTimes) find(ctx context.Context, q querier, purpose, hash, email string) (User, error) {
	t, err := one(ctx, q, errBadLink, scanOneTime, selectOneTimes+" WHERE o.purpose = $1 AND o.token_hash = $2", purpose, hash)
	if err != nil {
		return User{}, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1 || t.Purpose != purpose || !t.UsedAt.IsZero() {
		return User{}, errBadLink
	}
	u, err := one(ctx, q, errBadLink, scanUser, selectUsers+" WHERE u.id = $1", t.UserID)
	if err != nil {
		return User{}, err
	}
	if mayHaveLink(u, purpose) != nil || (email != "" && EmailKey(email) != EmailKey(u.Email)) {
		return User{}, errBadLink
	}
	if !r.s.now().Before(t.ExpiresAt) {
		return User{}, errLinkExpired
	}
	return u, nil
}

// Use uses a token up, with all others of its purpose, and gives its owner: of those who come with it at
// once, one. fault.Invalid where
// it is not good for the purpose, used, expired, of a deactivated user, or not of the user with the address.
func (r *OneTimes) Use(ctx context.Context, purpose, hash, email string) (User, error) {
	var u User
	err := r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		owner, err := r.find(ctx, tx, purpose, hash, email)
		if err != nil {
			return err
		}
		u = owner
		return spoilLinks(ctx, tx, u.ID, purpose, r.s.now())
	})
	return u, err
}

// UseForPassword uses a token up and sets its owner's password, all in one transaction: their sessions
// end and their other links are spoilt. A name that is not empty becomes theirs. Errors are those of Use.
func (r *OneTimes) UseForPassword(ctx context.Context, purpose, hash, email, passwordHash, name string) (User, error) {
	var u User
	err := r.s.writeOwned(ctx, &u.ID, func(ctx context.Context, tx *sql.Tx) error {
		owner, err := r.find(ctx, tx, purpose, hash, email)
		if err != nil {
			return err
		}
		u = owner
		u.PasswordHash = passwordHash
		if name != "" {
			u.Name = name
			if _, err := tx.ExecContext(ctx, "UPDATE users SET name = $1 WHERE id = $2", name, u.ID); err != nil {
				return err
			}
		}
		return setPassword(ctx, tx, u.ID, passwordHash, "", r.s.now()) // spoils this one, too
	})
	return u, err
}

// spoilLinks makes a user's links useless: those of one purpose, or all where it is empty.
func spoilLinks(ctx context.Context, tx *sql.Tx, userID, purpose string, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE one_time_tokens SET used_at = $1 WHERE user_id = $2 AND ($3 = '' OR purpose = $3) AND used_at IS NULL", now, userID, purpose)
	return err
}
