package api

import (
	"context"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// groups shows the groups to the routes.
type groups struct {
	state    *state.Store
	granting *granting
}

func groupView(g state.Group) httpapi.Group {
	return httpapi.Group{
		ID: g.ID, Name: g.Name, Description: g.Description, Members: g.Members, Grants: g.Grants, CreatedAt: stamped(g.CreatedAt),
	}
}

// List gives all, by name.
func (g groups) List(ctx context.Context) ([]httpapi.Group, error) {
	rows, err := g.state.Groups.List(ctx)
	list := make([]httpapi.Group, len(rows))
	for i, r := range rows {
		list[i] = groupView(r)
	}
	return list, err
}

// Get finds a group by id or name, with who is in it and what it may read.
func (g groups) Get(ctx context.Context, id string) (httpapi.GroupDetail, error) {
	found, err := g.state.Groups.Find(ctx, id)
	if err != nil {
		return httpapi.GroupDetail{}, err
	}
	detail := httpapi.GroupDetail{Group: groupView(found)}
	members, err := g.state.Groups.Members(ctx, found.ID)
	if err != nil {
		return httpapi.GroupDetail{}, err
	}
	for _, m := range members {
		detail.Users = append(detail.Users, httpapi.GroupMember(m))
	}
	detail.Permissions, _, err = g.granting.Permissions(ctx, httpapi.PermissionFilter{GroupID: found.ID})
	return detail, err
}

// Create adds one.
func (g groups) Create(ctx context.Context, by httpapi.Caller, name, description string) (httpapi.Group, error) {
	made, err := g.state.Groups.Create(ctx, state.Group{Name: name, Description: description, CreatedBy: by.UserID})
	return groupView(made), err
}

// Update changes what is not nil.
func (g groups) Update(ctx context.Context, _ httpapi.Caller, id string, name, description *string) (httpapi.Group, error) {
	found, err := g.state.Groups.Find(ctx, id)
	if err != nil {
		return httpapi.Group{}, err
	}
	changed, err := g.state.Groups.Update(ctx, found.ID, name, description)
	return groupView(changed), err
}

// Delete removes a group with its memberships and permissions.
func (g groups) Delete(ctx context.Context, _ httpapi.Caller, id string) error {
	found, err := g.state.Groups.Find(ctx, id)
	if err != nil {
		return err
	}
	return g.state.Groups.Delete(ctx, found.ID)
}

// AddMember puts a user into a group.
func (g groups) AddMember(ctx context.Context, by httpapi.Caller, id, userID string) error {
	found, err := g.state.Groups.Find(ctx, id)
	if err != nil {
		return err
	}
	return g.state.Groups.AddMember(ctx, found.ID, userID, by.UserID)
}

// RemoveMember takes a user out of a group.
func (g groups) RemoveMember(ctx context.Context, _ httpapi.Caller, id, userID string) error {
	found, err := g.state.Groups.Find(ctx, id)
	if err != nil {
		return err
	}
	return g.state.Groups.RemoveMember(ctx, found.ID, userID)
}
