package state

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Values of a grant's access.
const (
	AccessRead = "read"
	// AccessNone is a grant of nothing: as if the row were not there.
	AccessNone = "none"
)

// Permission is one grant: what a user or a group may read.
type Permission struct {
	// UserID or GroupID is whose it is; the other one is empty.
	UserID, GroupID string
	// Dataset is a table's registry id, its qualified name "source.table", every table of a bucket
	// ("bucket.*") or of a source ("source.*").
	Dataset string
	Access  string
	// GrantedAt is zero, and GrantedBy (a user id) empty, in rows of a predecessor.
	GrantedAt time.Time
	GrantedBy string
	// While is the id of a registered table that the dataset stands for: where it is gone, nothing is
	// granted. Empty for what is granted ahead, and for what is not registered. It is not kept.
	While string
	// UserEmail, GroupName and GrantedByEmail are read with it, where they are known.
	UserEmail, GroupName, GrantedByEmail string
}

// PermissionFilter narrows a listing of grants; empty fields match all.
type PermissionFilter struct {
	UserID, GroupID, Dataset string
	Page
}

// Page is a piece of a listing.
type Page struct {
	// Limit is how many at most; zero for all.
	Limit int
	// Offset is how many are left out at the beginning.
	Offset int
}

func (p Page) clause() string {
	if p.Limit <= 0 {
		return fmt.Sprintf(" OFFSET %d", max(p.Offset, 0))
	}
	return fmt.Sprintf(" LIMIT %d OFFSET %d", p.Limit, max(p.Offset, 0))
}

// Permissions are the grants.
type Permissions struct{ s *Store }

const everyPermission = `SELECT p.user_id, '' AS group_id, p.dataset, p.access, p.granted_at, p.granted_by FROM dataset_permissions p
	UNION ALL SELECT '' AS user_id, p.group_id, p.dataset, p.access, p.granted_at, p.granted_by FROM group_permissions p`

const permissionsMatching = ` FROM (` + everyPermission + `) p LEFT JOIN users u ON u.id = p.user_id LEFT JOIN user_groups g ON g.id = p.group_id
	LEFT JOIN users b ON b.id = p.granted_by WHERE ($1 = '' OR p.user_id = $1) AND ($2 = '' OR p.group_id = $2) AND ($3 = '' OR p.dataset = $3)`

func scanPermission(r *sql.Rows) (Permission, error) {
	var p Permission
	return p, r.Scan(text{&p.UserID}, text{&p.GroupID}, text{&p.Dataset}, text{&p.Access}, moment{&p.GrantedAt}, text{&p.GrantedBy},
		text{&p.UserEmail}, text{&p.GroupName}, text{&p.GrantedByEmail})
}

// List gives grants, and how many match beyond the page: those of users first, by user id and dataset,
// then those of groups, by name and dataset.
func (r *Permissions) List(ctx context.Context, f PermissionFilter) (list []Permission, total int, err error) {
	args := []any{f.UserID, f.GroupID, strings.TrimSpace(f.Dataset)}
	return page(ctx, r.s, f.Page, scanPermission, "SELECT p.user_id, p.group_id, p.dataset, p.access, p.granted_at, p.granted_by, u.email, g.name, b.email",
		permissionsMatching, " ORDER BY p.group_id <> '', p.user_id, lower(g.name), p.group_id, p.dataset", args...)
}

// page reads a piece of a listing, and how long the listing is.
func page[T any](ctx context.Context, s *Store, p Page, scan func(*sql.Rows) (T, error), columns, from, order string, args ...any) (list []T, total int, err error) {
	err = s.read(ctx, func(ctx context.Context, q querier) error {
		if list, err = collect(ctx, q, scan, columns+from+order+p.clause(), args...); err != nil {
			return err
		}
		if total = p.Offset + len(list); len(list) > 0 && (p.Limit <= 0 || len(list) < p.Limit) {
			return nil
		}
		n, err := one(ctx, q, nil, scanInt, "SELECT count(*)"+from, args...)
		total = int(n)
		return err
	})
	return list, total, err
}

// ValidDataset tells why a text cannot name a dataset.
func ValidDataset(dataset string) error {
	if dataset == "" || dataset == ".*" || dataset == "*" {
		return fault.New(fault.Invalid, "name the dataset: a table's id, source.table, bucket.* or source.*")
	}
	if len(dataset) > maxField || strings.ContainsFunc(dataset, func(c rune) bool { return c < 0x20 }) {
		return fault.New(fault.Invalid, "the dataset is not a name")
	}
	return nil
}

// Grant sets a user's or a group's access to a dataset; an empty access means read. It gives the grant
// as it stands, and fault.NotFound where there is no such user or group.
func (r *Permissions) Grant(ctx context.Context, p Permission) (Permission, error) {
	p.Dataset = strings.TrimSpace(p.Dataset)
	if p.Access == "" {
		p.Access = AccessRead
	}
	if p.Access != AccessRead && p.Access != AccessNone {
		return p, fault.New(fault.Invalid, "unknown access %.40q: use read or none", p.Access)
	}
	if err := ValidDataset(p.Dataset); err != nil {
		return p, err
	}
	if (p.UserID == "") == (p.GroupID == "") {
		return p, fault.New(fault.Invalid, "name a user or a group, not both")
	}
	err := r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) (err error) {
		p, err = grant(ctx, tx, p, r.s.now())
		return err
	})
	return p, err
}

// grant writes a valid grant.
func grant(ctx context.Context, tx *sql.Tx, p Permission, now time.Time) (Permission, error) {
	if p.While != "" { // a later table of the name would be another one
		if n, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM table_registry WHERE id = $1", p.While); err != nil || n == 0 {
			return p, noneOr(err, fault.New(fault.NotFound, "the table %q was just removed", p.While))
		}
	}
	table, column, owner := "dataset_permissions", "user_id", p.UserID
	if p.GroupID != "" {
		g, err := one(ctx, tx, errNoGroup, scanGroup, selectGroups+" WHERE g.id = $1", p.GroupID)
		if err != nil {
			return p, err
		}
		table, column, owner, p.GroupName = "group_permissions", "group_id", p.GroupID, g.Name
	} else {
		u, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", p.UserID)
		if err != nil {
			return p, err
		}
		p.UserEmail = u.Email
	}
	p.GrantedAt = now
	_, err := tx.ExecContext(ctx, `INSERT INTO `+table+` (`+column+`, dataset, access, granted_at, granted_by) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (`+column+`, dataset) DO UPDATE SET access = excluded.access, granted_at = excluded.granted_at, granted_by = excluded.granted_by`,
		owner, p.Dataset, p.Access, now, orNull(p.GrantedBy))
	return p, err
}

// Revoke takes the grant of a user or a group to a dataset away; one that is not there is none already.
func (r *Permissions) Revoke(ctx context.Context, p Permission) error {
	table, column, owner := "dataset_permissions", "user_id", p.UserID
	if p.GroupID != "" {
		table, column, owner = "group_permissions", "group_id", p.GroupID
	}
	return r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE "+column+" = $1 AND dataset = $2", owner, strings.TrimSpace(p.Dataset))
		return err
	})
}

// Rules are everything that says who may read what.
type Rules struct {
	// Registry are all registered tables; only ID, Name, Source, IsPublic and what tells their data is filled in.
	Registry []RegisteredTable
	// Grants are those of all users and groups; the names that List adds are left out, but GroupName.
	Grants []Permission
	// Members tell who is in which group.
	Members []Membership
}

// Membership is one user in one group.
type Membership struct{ GroupID, UserID string }

// Rules reads all of them, as of one moment.
func (r *Permissions) Rules(ctx context.Context) (Rules, error) {
	var rules Rules
	err := r.s.read(ctx, func(ctx context.Context, _ querier) error {
		tx, err := r.s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // it only read
		rules.Registry, err = collect(ctx, tx, func(r *sql.Rows) (t RegisteredTable, err error) {
			var options string
			err = r.Scan(&t.ID, &t.Name, text{&t.Source}, text{&t.Bucket}, text{&t.SourceTable}, text{&options}, flag{&t.IsPublic})
			t.Options = optionsOf(options)
			return t, err
		}, "SELECT id, name, coalesce(nullif(source, ''), source_type), bucket, source_table, CAST(options AS VARCHAR), is_public FROM table_registry")
		if err != nil {
			return err
		}
		rules.Grants, err = collect(ctx, tx, func(r *sql.Rows) (p Permission, err error) {
			return p, r.Scan(text{&p.UserID}, text{&p.GroupID}, text{&p.Dataset}, text{&p.Access}, text{&p.GroupName})
		}, "SELECT p.user_id, p.group_id, p.dataset, p.access, g.name FROM ("+everyPermission+") p LEFT JOIN user_groups g ON g.id = p.group_id")
		if err != nil {
			return err
		}
		rules.Members, err = collect(ctx, tx, func(r *sql.Rows) (m Membership, err error) {
			return m, r.Scan(&m.GroupID, &m.UserID)
		}, "SELECT m.group_id, m.user_id FROM group_members m")
		return err
	})
	return rules, err
}
