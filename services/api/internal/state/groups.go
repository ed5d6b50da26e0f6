package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Group is a set of users that grants can be given to.
type Group struct {
	ID string
	// Name is unique whatever the case of its letters.
	Name        string
	Description string
	CreatedAt   time.Time
	CreatedBy   string // a user id
	// Members and Grants are how many it has.
	Members, Grants int
}

// Member is a user of a group.
type Member struct{ UserID, Email, Name string }

// Groups are the groups.
type Groups struct{ s *Store }

const selectGroups = `SELECT g.id, g.name, g.description, g.created_at, g.created_by,
	(SELECT count(*) FROM group_members m WHERE m.group_id = g.id), (SELECT count(*) FROM group_permissions p WHERE p.group_id = g.id) FROM user_groups g`

func scanGroup(r *sql.Rows) (Group, error) {
	var g Group
	return g, r.Scan(&g.ID, &g.Name, text{&g.Description}, moment{&g.CreatedAt}, text{&g.CreatedBy}, number[int]{&g.Members}, number[int]{&g.Grants})
}

var errNoGroup = fault.New(fault.NotFound, "there is no such group")

// List gives all groups, by name.
func (r *Groups) List(ctx context.Context) ([]Group, error) {
	return readAll(ctx, r.s, scanGroup, selectGroups+" ORDER BY lower(g.name), g.id")
}

// Find gives a group by its id or else its name, whatever the case of its letters; fault.NotFound where
// there is none.
func (r *Groups) Find(ctx context.Context, idOrName string) (Group, error) {
	var g Group
	err := r.s.read(ctx, func(ctx context.Context, q querier) (err error) {
		g, err = findGroup(ctx, q, idOrName)
		return err
	})
	return g, err
}

func findGroup(ctx context.Context, q querier, idOrName string) (Group, error) {
	list, err := collect(ctx, q, scanGroup, selectGroups)
	if err != nil {
		return Group{}, err
	}
	named := -1
	for i, g := range list {
		if g.ID == idOrName {
			return g, nil
		}
		if groupKey(g.Name) == groupKey(idOrName) {
			named = i
		}
	}
	if named < 0 {
		return Group{}, errNoGroup
	}
	return list[named], nil
}

// groupKey is the form of a name by which a group is found.
func groupKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// Create adds a group; fault.Conflict where one has the name.
func (r *Groups) Create(ctx context.Context, g Group) (Group, error) {
	g.ID, g.Name, g.CreatedAt = uuid.NewString(), strings.TrimSpace(g.Name), r.s.now()
	if err := validGroup(g); err != nil {
		return Group{}, err
	}
	return g, r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		if err := freeGroupName(ctx, tx, g); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO user_groups (id, name, description, created_at, created_by) VALUES ($1, $2, $3, $4, $5)",
			g.ID, g.Name, orNull(g.Description), g.CreatedAt, orNull(g.CreatedBy))
		return err
	})
}

func validGroup(g Group) error {
	if g.Name == "" || len(g.Name) > 200 || strings.ContainsFunc(g.Name, func(c rune) bool { return c < 0x20 || c == '/' }) {
		return fault.New(fault.Invalid, "a group needs a name of at most 200 characters, without slashes")
	}
	if len(g.Description) > 10*maxField {
		return fault.New(fault.Invalid, "the description of the group is too long")
	}
	return nil
}

// freeGroupName fails where another group has the name, or has it for an id.
func freeGroupName(ctx context.Context, tx *sql.Tx, g Group) error {
	switch other, err := findGroup(ctx, tx, g.Name); {
	case fault.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case other.ID == g.ID:
		return nil
	default:
		return fault.New(fault.Conflict, "there is a group %q already", other.Name)
	}
}

// Update changes what is not nil.
func (r *Groups) Update(ctx context.Context, id string, name, description *string) (Group, error) {
	var g Group
	err := r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) (err error) {
		if g, err = one(ctx, tx, errNoGroup, scanGroup, selectGroups+" WHERE g.id = $1", id); err != nil {
			return err
		}
		if name != nil {
			g.Name = strings.TrimSpace(*name)
		}
		if description != nil {
			g.Description = *description
		}
		if err := validGroup(g); err != nil {
			return err
		}
		if err := freeGroupName(ctx, tx, g); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE user_groups SET name = $1, description = $2 WHERE id = $3", g.Name, orNull(g.Description), id)
		return err
	})
	return g, err
}

// Delete removes a group with its memberships and grants.
func (r *Groups) Delete(ctx context.Context, id string) error {
	return r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoGroup, scanGroup, selectGroups+" WHERE g.id = $1", id); err != nil {
			return err
		}
		for _, statement := range []string{
			"DELETE FROM group_members WHERE group_id = $1", "DELETE FROM group_permissions WHERE group_id = $1", "DELETE FROM user_groups WHERE id = $1",
		} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// Members gives the users of a group, by e-mail address.
func (r *Groups) Members(ctx context.Context, id string) ([]Member, error) {
	return readAll(ctx, r.s, func(r *sql.Rows) (m Member, err error) {
		return m, r.Scan(&m.UserID, &m.Email, text{&m.Name})
	}, "SELECT u.id, u.email, u.name FROM group_members m JOIN users u ON u.id = m.user_id WHERE m.group_id = $1 ORDER BY u.email, u.id", id)
}

// AddMember puts a user into a group; one who is in it stays. fault.NotFound where either is missing.
func (r *Groups) AddMember(ctx context.Context, id, userID, by string) error {
	return r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoGroup, scanGroup, selectGroups+" WHERE g.id = $1", id); err != nil {
			return err
		}
		if _, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", userID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO group_members (group_id, user_id, added_at, added_by) VALUES ($1, $2, $3, $4)
			ON CONFLICT (group_id, user_id) DO NOTHING`, id, userID, r.s.now(), orNull(by))
		return err
	})
}

// RemoveMember takes a user out of a group; one who is not in it is out already. fault.NotFound where
// there is no such group.
func (r *Groups) RemoveMember(ctx context.Context, id, userID string) error {
	return r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoGroup, scanGroup, selectGroups+" WHERE g.id = $1", id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM group_members WHERE group_id = $1 AND user_id = $2", id, userID)
		return err
	})
}
