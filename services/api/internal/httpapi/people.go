package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type usersAnswer struct{ Body []UserView }

type userAnswer struct{ Body UserView }

type newUserQuestion struct{ Body NewUser }

type userChangeQuestion struct {
	ID   string `path:"id" maxLength:"200" doc:"The id of the user."`
	Body UserChange
}

type passwordQuestion struct {
	ID   string `path:"id" maxLength:"200" doc:"The id of the user."`
	Body struct {
		Password string `json:"password" minLength:"8" maxLength:"1024" doc:"At least 8 characters." example:"correct horse battery"`
	}
}

func (s *Server) userRoutes() {
	add(s, Admin, op{method: http.MethodGet, path: "/api/users", id: "listUsers", tag: tagPeople, summary: "List users", text: "By e-mail address."}, s.listUsers)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users", id: "createUser", audit: "user.create", tag: tagPeople, summary: "Add a user",
		text: "An e-mail address has one user, whatever the case of its letters.", status: http.StatusCreated,
		errors: []int{http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.createUser)
	add(s, Admin, op{
		method: http.MethodPatch, path: "/api/users/{id}", id: "updateUser", audit: "user.update", tag: tagPeople, summary: "Change a user",
		text:   "Deactivating ends all sessions and tokens at once; a new role counts from the next request on.",
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.updateUser)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users/{id}/set-password", id: "setPassword", audit: "user.set_password", tag: tagPeople, summary: "Set a user's password",
		text: "Ends the user's sessions.", status: http.StatusNoContent,
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.setPassword)
	add(s, Admin, op{
		method: http.MethodDelete, path: "/api/users/{id}", id: "deleteUser", audit: "user.delete", tag: tagPeople, summary: "Remove a user",
		text: "With sessions, tokens and permissions. Nobody can remove themselves or the last administrator.", status: http.StatusNoContent,
		errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.deleteUser)
}

func (s *Server) listUsers(ctx context.Context, _ *none) (*usersAnswer, error) {
	list, err := s.identity.Users(ctx)
	return &usersAnswer{Body: orEmpty(list)}, err
}

func (s *Server) createUser(ctx context.Context, in *newUserQuestion) (*userAnswer, error) {
	u := in.Body
	if u.Role == "" {
		u.Role = RoleAnalyst
	}
	if !slices.Contains([]string{RoleViewer, RoleAnalyst, RoleCurator, RoleAdmin}, u.Role) {
		return nil, fault.New(fault.Invalid, "there is no role %q: use viewer, analyst, km_admin or admin", u.Role)
	}
	made, err := s.identity.CreateUser(ctx, callerOf(ctx), u)
	return &userAnswer{Body: made}, err
}

func (s *Server) updateUser(ctx context.Context, in *userChangeQuestion) (*userAnswer, error) {
	u, err := s.identity.UpdateUser(ctx, callerOf(ctx), in.ID, in.Body)
	return &userAnswer{Body: u}, err
}

func (s *Server) setPassword(ctx context.Context, in *passwordQuestion) (*none, error) {
	return nil, s.identity.SetPassword(ctx, callerOf(ctx), in.ID, in.Body.Password)
}

func (s *Server) deleteUser(ctx context.Context, in *byID) (*none, error) {
	return nil, s.identity.DeleteUser(ctx, callerOf(ctx), in.ID)
}

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
