package httpapi

import (
	"context"
	"net/http"
)

// GroupList lists groups.
type GroupList struct {
	Groups []Group `json:"groups" doc:"By name."`
	Count  int     `json:"count" doc:"How many there are." example:"1"`
}

type groupsAnswer struct{ Body GroupList }

type groupAnswer struct{ Body Group }

type groupDetailAnswer struct{ Body GroupDetail }

type newGroupQuestion struct {
	Body struct {
		Name        string `json:"name" minLength:"1" maxLength:"200" doc:"Unique whatever the case of its letters; without slashes." example:"finance"`
		Description string `json:"description,omitempty" maxLength:"2000" doc:"Who belongs to it."`
	}
}

type byGroup struct {
	Group string `path:"group" maxLength:"200" doc:"The id or the name of the group." example:"finance"`
}

type groupChangeQuestion struct {
	Group string `path:"group" maxLength:"200" doc:"The id or the name of the group." example:"finance"`
	Body  struct {
		Name        *string `json:"name,omitempty" minLength:"1" maxLength:"200" doc:"Another name."`
		Description *string `json:"description,omitempty" maxLength:"2000" doc:"Who belongs to it."`
	}
}

type memberQuestion struct {
	Group  string `path:"group" maxLength:"200" doc:"The id or the name of the group." example:"finance"`
	UserID string `path:"user_id" maxLength:"200" doc:"The id of the user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
}

func (s *Server) groupRoutes() {
	const path = "/api/admin/groups"
	add(s, Admin, op{method: http.MethodGet, path: path, id: "listGroups", tag: tagPeople, summary: "List groups", text: "With how many members and permissions each has."}, s.listGroups)
	add(s, Admin, op{
		method: http.MethodPost, path: path, id: "createGroup", audit: "group.create", tag: tagPeople, summary: "Add a group",
		text: "Give it permissions with POST /api/admin/permissions.", status: http.StatusCreated, errors: []int{http.StatusConflict},
	}, s.createGroup)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/{group}", id: "getGroup", tag: tagPeople, summary: "Who is in a group, and what it can read",
		text: "A group is found by its id or by its name.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.getGroup)
	add(s, Admin, op{
		method: http.MethodPatch, path: path + "/{group}", id: "updateGroup", audit: "group.update", tag: tagPeople, summary: "Rename or describe a group",
		text: "What is left out stays.", errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.updateGroup)
	add(s, Admin, op{
		method: http.MethodDelete, path: path + "/{group}", id: "deleteGroup", audit: "group.delete", tag: tagPeople, summary: "Remove a group",
		text: "With its memberships and permissions. Counts from the next request on.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.deleteGroup)
	add(s, Admin, op{
		method: http.MethodPut, path: path + "/{group}/members/{user_id}", id: "addMember", audit: "group.add_member", tag: tagPeople, summary: "Put a user into a group",
		text: "Counts from the user's next request on. One who is in it stays.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.addMember)
	add(s, Admin, op{
		method: http.MethodDelete, path: path + "/{group}/members/{user_id}", id: "removeMember", audit: "group.remove_member", tag: tagPeople, summary: "Take a user out of a group",
		text: "Counts from the user's next request on. One who is not in it is out already.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.removeMember)
}

func (s *Server) listGroups(ctx context.Context, _ *none) (*groupsAnswer, error) {
	list, err := s.groups.List(ctx)
	return &groupsAnswer{Body: GroupList{Groups: orEmpty(list), Count: len(list)}}, err
}

func (s *Server) createGroup(ctx context.Context, in *newGroupQuestion) (*groupAnswer, error) {
	noteParam(ctx, "name", in.Body.Name)
	g, err := s.groups.Create(ctx, callerOf(ctx), in.Body.Name, in.Body.Description)
	if err == nil {
		noteResource(ctx, "group", g.ID)
	}
	return &groupAnswer{Body: g}, err
}

func (s *Server) getGroup(ctx context.Context, in *byGroup) (*groupDetailAnswer, error) {
	g, err := s.groups.Get(ctx, in.Group)
	g.Users, g.Permissions = orEmpty(g.Users), orEmpty(g.Permissions)
	return &groupDetailAnswer{Body: g}, err
}

func (s *Server) updateGroup(ctx context.Context, in *groupChangeQuestion) (*groupAnswer, error) {
	noteResource(ctx, "group", in.Group)
	if in.Body.Name != nil {
		noteParam(ctx, "name", *in.Body.Name)
	}
	g, err := s.groups.Update(ctx, callerOf(ctx), in.Group, in.Body.Name, in.Body.Description)
	if err == nil {
		noteResource(ctx, "group", g.ID)
	}
	return &groupAnswer{Body: g}, err
}

func (s *Server) deleteGroup(ctx context.Context, in *byGroup) (*none, error) {
	noteResource(ctx, "group", in.Group)
	return nil, s.groups.Delete(ctx, callerOf(ctx), in.Group)
}

func (s *Server) addMember(ctx context.Context, in *memberQuestion) (*none, error) {
	noteResource(ctx, "group", in.Group)
	noteParam(ctx, "user_id", in.UserID)
	return nil, s.groups.AddMember(ctx, callerOf(ctx), in.Group, in.UserID)
}

func (s *Server) removeMember(ctx context.Context, in *memberQuestion) (*none, error) {
	noteResource(ctx, "group", in.Group)
	noteParam(ctx, "user_id", in.UserID)
	return nil, s.groups.RemoveMember(ctx, callerOf(ctx), in.Group, in.UserID)
}
