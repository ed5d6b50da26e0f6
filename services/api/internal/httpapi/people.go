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
