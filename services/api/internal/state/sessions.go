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
}

// sessionAfterlife is how long an ended session is still listed.
const sessionAfterlife = 30 * 24 * time.Hour

// Sessions are the sign-ins.
type Sessions struct{ s *Store }

const sessionColumns = `s.id, s.user_id, s.token_hash, s.created_at, s.expires_at, s.last_seen, s.ip, s.user_agent, s.revoked_at`

func (v *Session) targets() []any {
	return []any{
		&v.ID, &v.UserID, &v.Hash, moment{&v.CreatedAt}, moment{&v.ExpiresAt}, moment{&v.LastSeen},
		text{&v.IP}, text{&v.UserAgent}, moment{&v.RevokedAt},
	}
}

func scanSession(r *sql.Rows) (Session, error) {
	var v Session
	return v, r.Scan(v.targets()...)
}

var errNoSession = fault.New(fault.NotFound, "there is no such session")

// Create adds a session, and forgets sessions that ended long ago. It fails with fault.Unauthenticated
// where the user was removed or deactivated meanwhile.
func (r *Sessions) Create(ctx context.Context, v Session) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		u, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", v.UserID)
		if fault.Is(err, fault.NotFound) || (err == nil && !u.Active) {
			return fault.New(fault.Unauthenticated, "this account cannot sign in")
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires_at < $1", r.s.now().Add(-sessionAfterlife)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at, last_seen, ip, user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			v.ID, v.UserID, v.Hash, timeOrNull(v.CreatedAt), timeOrNull(v.ExpiresAt), timeOrNull(v.CreatedAt), orNull(v.IP), orNull(v.UserAgent))
		return err
	})
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
	return r.s.write(ctx, touchesIdentity, func(ctx context.Context, tx *sql.Tx) error {
		v, err := one(ctx, tx, errNoSession, scanSession, "SELECT "+sessionColumns+" FROM sessions s WHERE s.id = $1 AND ($2 = '' OR s.user_id = $2)", id, userID)
		if err != nil || !v.RevokedAt.IsZero() {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE sessions SET revoked_at = $1 WHERE id = $2", r.s.now(), id)
		return err
	})
}

// RevokeAll ends a user's sessions but the one that is named; empty ends all.
func (r *Sessions) RevokeAll(ctx context.Context, userID, except string) error {
	return r.s.write(ctx, touchesIdentity, func(ctx context.Context, tx *sql.Tx) error {
		return revokeSessions(ctx, tx, userID, except, r.s.now())
	})
}

func revokeSessions(ctx context.Context, tx *sql.Tx, userID, except string, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND id <> $3 AND revoked_at IS NULL", now, userID, except)
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
