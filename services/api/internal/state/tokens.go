package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Token is a personal access token. The secret itself is not kept.
type Token struct {
	ID     string
	UserID string
	// UserEmail is the owner's address, where it was asked for.
	UserEmail string
	Name      string
	// Hash is the SHA-256 (hex) of the secret.
	Hash string
	// Prefix is shown to tell tokens apart.
	Prefix     string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero for never
	LastUsedAt time.Time
	LastUsedIP string
	RevokedAt  time.Time
	// Scopes are what it may be used for; none means that none were stored: the token may all.
	Scopes []string
}

// Use is one use of a credential that is to be remembered.
type Use struct {
	ID string
	At time.Time
	IP string
}

// Tokens are the personal access tokens.
type Tokens struct{ s *Store }

const tokenColumns = `t.id, t.user_id, t.name, t.token_hash, t.prefix, t.created_at, t.expires_at, t.last_used_at, t.last_used_ip, t.revoked_at, t.scopes`

func (t *Token) targets() []any {
	return []any{
		&t.ID, &t.UserID, &t.Name, &t.Hash, &t.Prefix, moment{&t.CreatedAt}, moment{&t.ExpiresAt},
		moment{&t.LastUsedAt}, text{&t.LastUsedIP}, moment{&t.RevokedAt}, words{&t.Scopes},
	}
}

// words reads a column of words with spaces between them; NULL is none.
type words struct{ to *[]string }

// Scan implements sql.Scanner.
func (w words) Scan(v any) error {
	var n sql.NullString
	err := n.Scan(v)
	*w.to = strings.Fields(n.String)
	return err
}

func scanTokenWithEmail(r *sql.Rows) (Token, error) {
	var t Token
	return t, r.Scan(append(t.targets(), text{&t.UserEmail})...)
}

const selectTokens = `SELECT ` + tokenColumns + `, u.email FROM personal_access_tokens t LEFT JOIN users u ON u.id = t.user_id`

var errNoToken = fault.New(fault.NotFound, "there is no such token")

// Create adds a token. Its id, hash and times are the caller's.
func (r *Tokens) Create(ctx context.Context, t Token) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", t.UserID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO personal_access_tokens (id, user_id, name, token_hash, prefix, created_at, expires_at, scopes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			t.ID, t.UserID, t.Name, t.Hash, t.Prefix, timeOrNull(t.CreatedAt), timeOrNull(t.ExpiresAt), orNull(strings.Join(t.Scopes, " ")))
		return err
	})
}

// List gives tokens with their owners' addresses, newest first: of one user, or of all where userID is
// empty. Revoked ones are among them.
func (r *Tokens) List(ctx context.Context, userID string) ([]Token, error) {
	if userID == "" {
		return readAll(ctx, r.s, scanTokenWithEmail, selectTokens+" ORDER BY t.created_at DESC, t.id")
	}
	return readAll(ctx, r.s, scanTokenWithEmail, selectTokens+" WHERE t.user_id = $1 ORDER BY t.created_at DESC, t.id", userID)
}

// Get gives a token: one of the user's, or anybody's where userID is empty.
func (r *Tokens) Get(ctx context.Context, userID, id string) (Token, error) {
	return readOne(ctx, r.s, errNoToken, scanTokenWithEmail, selectTokens+" WHERE t.id = $1 AND ($2 = '' OR t.user_id = $2)", id, userID)
}

// WithOwner gives a token and its owner, in one query; fault.NotFound where either is missing.
func (r *Tokens) WithOwner(ctx context.Context, id string) (Token, User, error) {
	type both struct {
		t Token
		u User
	}
	b, err := readOne(ctx, r.s, errNoToken, func(row *sql.Rows) (both, error) {
		var b both
		return b, row.Scan(append(b.t.targets(), b.u.targets()...)...)
	}, "SELECT "+tokenColumns+", "+userColumns+" FROM personal_access_tokens t JOIN users u ON u.id = t.user_id WHERE t.id = $1", id)
	return b.t, b.u, err
}

// Revoke ends a token: one of the user's, or anybody's where userID is empty. One that is revoked
// stays so, with the time of the first revocation.
func (r *Tokens) Revoke(ctx context.Context, userID, id string) error {
	var owner string
	return r.s.writeOwned(ctx, &owner, func(ctx context.Context, tx *sql.Tx) error {
		t, err := one(ctx, tx, errNoToken, scanTokenWithEmail, selectTokens+" WHERE t.id = $1 AND ($2 = '' OR t.user_id = $2)", id, userID)
		if err != nil || !t.RevokedAt.IsZero() {
			return err
		}
		owner = t.UserID
		_, err = tx.ExecContext(ctx, "UPDATE personal_access_tokens SET revoked_at = $1 WHERE id = $2", r.s.now(), id)
		return err
	})
}

// MarkUsed remembers the last uses of tokens, all in one write.
func (r *Tokens) MarkUsed(ctx context.Context, uses []Use) error {
	if len(uses) == 0 {
		return nil
	}
	return r.s.write(ctx, touchesNothing|touchesTrifle, func(ctx context.Context, tx *sql.Tx) error {
		for _, u := range uses {
			if _, err := tx.ExecContext(ctx, "UPDATE personal_access_tokens SET last_used_at = $1, last_used_ip = $2 WHERE id = $3", timeOrNull(u.At), orNull(u.IP), u.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
