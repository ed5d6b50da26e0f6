package state

import (
	"context"
	"database/sql"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Values of a grant's access.
const (
	AccessRead = "read"
	// AccessNone is a grant of nothing: as if the row were not there.
	AccessNone = "none"
)

// Permission is one grant: what a user may read.
type Permission struct {
	UserID string
	// Dataset is a table's registry id, its qualified name "source.table", every table of a bucket
	// ("bucket.*") or of a source ("source.*").
	Dataset string
	Access  string
}

// Permissions are the grants.
type Permissions struct{ s *Store }

func scanPermission(r *sql.Rows) (Permission, error) {
	var p Permission
	return p, r.Scan(text{&p.UserID}, text{&p.Dataset}, text{&p.Access})
}

// List gives grants ordered by user and dataset: of one user, or of all where userID is empty.
func (r *Permissions) List(ctx context.Context, userID string) ([]Permission, error) {
	if userID == "" {
		return readAll(ctx, r.s, scanPermission, "SELECT user_id, dataset, access FROM dataset_permissions ORDER BY user_id, dataset")
	}
	return readAll(ctx, r.s, scanPermission, "SELECT user_id, dataset, access FROM dataset_permissions WHERE user_id = $1 ORDER BY dataset", userID)
}

// Grant sets a user's access to a dataset; an empty access means read.
func (r *Permissions) Grant(ctx context.Context, p Permission) (Permission, error) {
	p.Dataset = strings.TrimSpace(p.Dataset)
	if p.Access == "" {
		p.Access = AccessRead
	}
	if p.Access != AccessRead && p.Access != AccessNone {
		return p, fault.New(fault.Invalid, "unknown access %.40q: use read or none", p.Access)
	}
	if p.Dataset == "" || p.Dataset == ".*" || p.Dataset == "*" {
		return p, fault.New(fault.Invalid, "name the dataset: a table's id, source.table, bucket.* or source.*")
	}
	if len(p.Dataset) > maxField || strings.ContainsFunc(p.Dataset, func(c rune) bool { return c < 0x20 }) {
		return p, fault.New(fault.Invalid, "the dataset is not a name")
	}
	return p, r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", p.UserID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO dataset_permissions (user_id, dataset, access) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, dataset) DO UPDATE SET access = excluded.access`, p.UserID, p.Dataset, p.Access)
		return err
	})
}

// Revoke takes a grant away; one that is not there is none already.
func (r *Permissions) Revoke(ctx context.Context, userID, dataset string) error {
	return r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM dataset_permissions WHERE user_id = $1 AND dataset = $2", userID, strings.TrimSpace(dataset))
		return err
	})
}
