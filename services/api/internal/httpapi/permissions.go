package httpapi

import (
	"context"
	"net/http"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// PermissionList lists permissions.
type PermissionList struct {
	UserID      string       `json:"user_id,omitempty" doc:"The user, where one was asked for."`
	Permissions []Permission `json:"permissions" doc:"By user, then by dataset."`
}

type permissionsAnswer struct{ Body PermissionList }

type permissionQuestion struct{ Body Permission }

type permissionAnswer struct{ Body Permission }

// Revoked says that a permission is gone.
type Revoked struct {
	Revoked bool `json:"revoked" doc:"Always true: what was not there is gone, too."`
}

type revokedAnswer struct{ Body Revoked }

type byUser struct {
	UserID string `path:"user_id" maxLength:"200" doc:"The id of the user."`
}

func (s *Server) permissionRoutes() {
	const path = "/api/admin/permissions"
	add(s, Admin, op{method: http.MethodGet, path: path, id: "listPermissions", tag: tagPeople, summary: "List permissions", text: "Everybody's."}, s.listPermissions)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/{user_id}", id: "userPermissions", tag: tagPeople, summary: "List a user's permissions",
		text: "A user without any has an empty list.", errors: []int{http.StatusUnprocessableEntity},
	}, s.userPermissions)
	add(s, Admin, op{
		method: http.MethodPost, path: path, id: "grant", audit: "grant.create", tag: tagPeople, summary: "Let a user read a table",
		text:   "Counts from the user's next request on. A dataset is the id of a table, or <bucket>.* for all of a bucket.",
		status: http.StatusCreated, errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.grant)
	add(s, Admin, op{
		method: http.MethodDelete, path: path, id: "revoke", audit: "grant.delete", tag: tagPeople, summary: "Take a permission away",
		text: "Counts from the user's next request on.", errors: []int{http.StatusBadRequest, http.StatusUnprocessableEntity},
	}, s.revoke)
}

func (s *Server) listPermissions(ctx context.Context, _ *none) (*permissionsAnswer, error) {
	list, err := s.access.Permissions(ctx, "")
	return &permissionsAnswer{Body: PermissionList{Permissions: orEmpty(list)}}, err
}

func (s *Server) userPermissions(ctx context.Context, in *byUser) (*permissionsAnswer, error) {
	list, err := s.access.Permissions(ctx, in.UserID)
	return &permissionsAnswer{Body: PermissionList{UserID: in.UserID, Permissions: orEmpty(list)}}, err
}

func (s *Server) grant(ctx context.Context, in *permissionQuestion) (*permissionAnswer, error) {
	p := in.Body
	if p.Access == "" {
		p.Access = accessRead
	}
	if p.Access != accessRead && p.Access != accessNone {
		return nil, fault.New(fault.Invalid, "access is read or none, not %q", p.Access)
	}
	return &permissionAnswer{Body: p}, s.access.Grant(ctx, callerOf(ctx), p)
}

// Values of Permission.Access.
const (
	accessRead = "read"
	accessNone = "none"
)

func (s *Server) revoke(ctx context.Context, in *permissionQuestion) (*revokedAnswer, error) {
	return &revokedAnswer{Body: Revoked{Revoked: true}}, s.access.Revoke(ctx, callerOf(ctx), in.Body.UserID, in.Body.Dataset)
}
