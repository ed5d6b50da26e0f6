package state

import (
	"context"
	"database/sql"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Session is one sign-in. The token itself is not kept.
type Session struct {
	ID     string
	UserID string
	// Hash is the SHA-256 (hex) of the token.
	Hash      string
	CreatedAt time.Time
	ExpiresAt time.Time
	LastSeen  time.Time
	IP        string
	UserAgent string
	RevokedAt time.Time
	// Method is how it was opened, such as password; empty for one of an earlier version.
	Method string
	// RefreshedFrom is the first session of the sign-in that this one continues; empty for that one.
	RefreshedFrom string
	// UserEmail is the owner's address, where it was asked for.
	UserEmail string
}

// sessionAfterlife is how long an ended session is still listed.
const sessionAfterlife = 30 * 24 * time.Hour

// Sessions are the sign-ins.
type Sessions struct{ s *Store }

const sessionColumns = `s.id, s.user_id, s.token_hash, s.created_at, s.expires_at, s.last_seen, s.ip, s.user_agent, s.revoked_at, s.method, s.refreshed_from`

func (v *Session) targets() []any {
	return []any{
		&v.ID, &v.UserID, &v.Hash, moment{&v.CreatedAt}, moment{&v.ExpiresAt}, moment{&v.LastSeen},
		text{&v.IP}, text{&v.UserAgent}, moment{&v.RevokedAt}, text{&v.Method}, text{&v.RefreshedFrom},
	}
}

func scanSession(r *sql.Rows) (Session, error) {
	var v Session
	return v, r.Scan(v.targets()...)
}

var errNoSession = fault.New(fault.NotFound, "there is no such session")

// errCannotSignIn is of somebody who was removed or deactivated meanwhile.
var errCannotSignIn = fault.New(fault.Unauthenticated, "this account cannot sign in")

// Create adds a session, closes the bootstrap, and forgets sessions that ended long ago. It fails with fault.Unauthenticated
// where the user was removed or deactivated meanwhile.
func (r *Sessions) Create(ctx context.Context, v Session) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		return createSession(ctx, tx, v, r.s.now())
	})
}

func createSession(ctx context.Context, tx *sql.Tx, v Session, now time.Time) error {
	u, err := one(ctx, tx, errCannotSignIn, scanUser, selectUsers+" WHERE u.id = $1", v.UserID)
	if err != nil {
		return err
	}
	if !u.Active {
		return errCannotSignIn
	}
	if err := closeBootstrap(ctx, tx, now); err != nil {
		return err
	}
	// The first session of a sign-in that goes on says when it began.
	old := now.Add(-sessionAfterlife)
	_, err = tx.ExecContext(ctx, `DELETE FROM sessions WHERE expires_at < $1
		AND id NOT IN (SELECT refreshed_from FROM sessions WHERE refreshed_from IS NOT NULL AND expires_at >= $2)`, old, old)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, last_seen, ip, user_agent, method, refreshed_from)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		v.ID, v.UserID, v.Hash, timeOrNull(v.CreatedAt), timeOrNull(v.ExpiresAt), timeOrNull(v.CreatedAt), orNull(v.IP), orNull(v.UserAgent), orNull(v.Method), orNull(v.RefreshedFrom))
	return err
}

// Refresh ends a live session of a user and opens the one that replace gives for it, in one transaction:
// of two who refresh at once, one gets it. began is when the user signed in. fault.Unauthenticated where
// the session has ended.
func (r *Sessions) Refresh(ctx context.Context, userID, id string, replace func(old Session, began time.Time) (Session, error)) error {
	return r.s.writeOwned(ctx, &userID, func(ctx context.Context, tx *sql.Tx) error {
		now := r.s.now()
		old, err := one(ctx, tx, errSessionEnded, scanSession, "SELECT "+sessionColumns+" FROM sessions s WHERE s.id = $1 AND s.user_id = $2", id, userID)
		if err != nil {
			return err
		}
		if !old.RevokedAt.IsZero() || !now.Before(old.ExpiresAt) {
			return errSessionEnded
		}
		first := old
		if old.RefreshedFrom != "" {
			if first, err = one(ctx, tx, errSessionEnded, scanSession, "SELECT "+sessionColumns+" FROM sessions s WHERE s.id = $1", old.RefreshedFrom); err != nil {
				return err
			}
		}
		next, err := replace(old, first.CreatedAt)
		if err != nil {
			return err
		}
		next.RefreshedFrom = first.ID
		if _, err := tx.ExecContext(ctx, "UPDATE sessions SET revoked_at = $1 WHERE id = $2", now, old.ID); err != nil {
			return err
		}
		return createSession(ctx, tx, next, now)
	})
}

var errSessionEnded = fault.New(fault.Unauthenticated, "the session has ended: sign in again")

// SessionFilter narrows a search of sessions.
type SessionFilter struct {
	UserID        string // empty for everybody's
	Active        bool   // only those that still work
	Limit, Offset int    // a Limit of 0 or less gives all
}

// Search gives sessions with their owners' addresses, newest first, and how many match in all.
func (r *Sessions) Search(ctx context.Context, f SessionFilter) (list []Session, total int, err error) {
	where := ` FROM sessions s JOIN users u ON u.id = s.user_id WHERE ($1 = '' OR s.user_id = $1)
		AND ($2 = FALSE OR (s.revoked_at IS NULL AND s.expires_at > $3 AND coalesce(u.active, TRUE)))`
	args := []any{f.UserID, f.Active, r.s.now()}
	err = r.s.read(ctx, func(ctx context.Context, q querier) error {
		n, err := one(ctx, q, nil, scanInt, "SELECT count(*)"+where, args...)
		if err != nil {
			return err
		}
		total = int(n)
		page := "SELECT " + sessionColumns + ", u.email" + where + " ORDER BY s.created_at DESC, s.id"
		if f.Limit > 0 {
			page += " LIMIT $4 OFFSET $5"
			args = append(args, f.Limit, max(f.Offset, 0))
		}
		list, err = collect(ctx, q, func(row *sql.Rows) (Session, error) {
			var v Session
			return v, row.Scan(append(v.targets(), text{&v.UserEmail})...)
		}, page, args...)
		return err
	})
	return list, total, err
}

// List gives a user's sessions, newest first.
func (r *Sessions) List(ctx context.Context, userID string) ([]Session, error) {
	return readAll(ctx, r.s, scanSession, "SELECT "+sessionColumns+" FROM sessions s WHERE s.user_id = $1 ORDER BY s.created_at DESC, s.id", userID)
}

// WithOwner gives a session and its owner, in one query; fault.NotFound where either is missing.
func (r *Sessions) WithOwner(ctx context.Context, id string) (Session, User, error) {
	type both struct {
		s Session
		u User
	}
	b, err := readOne(ctx, r.s, errNoSession, func(row *sql.Rows) (both, error) {
		var b both
		return b, row.Scan(append(b.s.targets(), b.u.targets()...)...)
	}, "SELECT "+sessionColumns+", "+userColumns+" FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1", id)
	return b.s, b.u, err
}

// Revoke ends a session: one of the user's, or anybody's where userID is empty.
func (r *Sessions) Revoke(ctx context.Context, userID, id string) error {
	var owner string
	return r.s.writeOwned(ctx, &owner, func(ctx context.Context, tx *sql.Tx) error {
		v, err := one(ctx, tx, errNoSession, scanSession, "SELECT "+sessionColumns+" FROM sessions s WHERE s.id = $1 AND ($2 = '' OR s.user_id = $2)", id, userID)
		if err != nil || !v.RevokedAt.IsZero() {
			return err
		}
		owner = v.UserID
		_, err = tx.ExecContext(ctx, "UPDATE sessions SET revoked_at = $1 WHERE id = $2", r.s.now(), id)
		return err
	})
}

// RevokeAll ends a user's sessions but the one that is named; empty ends all. So do sign-ins of programs
// that were approved and did not fetch their session yet.
func (r *Sessions) RevokeAll(ctx context.Context, userID, except string) error {
	return r.s.writeOwned(ctx, &userID, func(ctx context.Context, tx *sql.Tx) error {
		return revokeSessions(ctx, tx, userID, except, r.s.now())
	})
}

func revokeSessions(ctx context.Context, tx *sql.Tx, userID, except string, now time.Time) error {
	if _, err := tx.ExecContext(ctx, "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND id <> $3 AND revoked_at IS NULL", now, userID, except); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE device_grants SET status = $1 WHERE user_id = $2 AND status = $3", DeviceDenied, userID, DeviceApproved)
	return err
}

// MarkSeen remembers when and from where sessions were used last, all in one write.
func (r *Sessions) MarkSeen(ctx context.Context, uses []Use) error {
	if len(uses) == 0 {
		return nil
	}
	return r.s.write(ctx, touchesNothing|touchesTrifle, func(ctx context.Context, tx *sql.Tx) error {
		for _, u := range uses {
			if _, err := tx.ExecContext(ctx, "UPDATE sessions SET last_seen = $1, ip = $2 WHERE id = $3", timeOrNull(u.At), orNull(u.IP), u.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
