package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type usersQuestion struct {
	Search string `query:"search" maxLength:"254" doc:"A part of the e-mail address or the name, in any case." example:"ann"`
	Role   string `query:"role" enum:"viewer,analyst,km_admin,admin" doc:"Only users with this role."`
	Active string `query:"active" enum:"true,false" doc:"Only users who may sign in, or only those who may not."`
	Limit  int    `query:"limit" minimum:"0" maximum:"10000" doc:"At most so many; 0 or left out for all."`
	Offset int    `query:"offset" minimum:"0" maximum:"10000000" doc:"How many to pass over."`
}

type usersAnswer struct {
	Total int `header:"X-Total-Count" doc:"How many match, whatever limit and offset."`
	Body  []UserView
}

type userAnswer struct{ Body UserView }

type newUserQuestion struct{ Body NewUser }

// createdUser is a user just made, with the invitation that was asked for.
type createdUser struct {
	UserView
	InviteURL       *string `json:"invite_url" doc:"With send_invite: the link to choose a first password with, to hand over where no mail was sent. null without AGNES_PUBLIC_URL: links come from nowhere else."`
	InviteEmailSent *bool   `json:"invite_email_sent" doc:"With send_invite: whether the link was mailed; null without."`
	Message         string  `json:"message,omitempty" doc:"What is left to do, where something is."`
}

type createdUserAnswer struct{ Body createdUser }

type userChangeQuestion struct {
	ID   string `path:"id" maxLength:"200" doc:"The id of the user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	Body UserChange
}

type passwordQuestion struct {
	ID   string `path:"id" maxLength:"200" doc:"The id of the user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	Body struct {
		Password string `json:"password" maxLength:"1024" doc:"At least 8 characters." example:"correct horse battery"`
	}
}

type inviteAnswer struct {
	Body struct {
		InviteURL *string   `json:"invite_url" doc:"The link to choose a first password with; null without AGNES_PUBLIC_URL." example:"https://agnes.example.com/auth/password/setup?email=ann%40example.com&token=…"`
		EmailSent bool      `json:"email_sent" doc:"Whether it was mailed to the user."`
		ExpiresAt time.Time `json:"expires_at" doc:"When the link ends."`
		Message   string    `json:"message,omitempty" doc:"What is left to do, where something is."`
	}
}

type resetAnswer struct {
	Body struct {
		ResetToken string    `json:"reset_token" doc:"The token of the link."`
		ResetURL   *string   `json:"reset_url" doc:"The link to choose a new password with; null without AGNES_PUBLIC_URL." example:"https://agnes.example.com/auth/password/reset?email=ann%40example.com&token=…"`
		EmailSent  bool      `json:"email_sent" doc:"Whether it was mailed to the user."`
		ExpiresAt  time.Time `json:"expires_at" doc:"When the link ends."`
		Message    string    `json:"message,omitempty" doc:"What is left to do, where something is."`
	}
}

func (s *Server) userRoutes() {
	one := []int{http.StatusNotFound, http.StatusUnprocessableEntity}
	onOne := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity}
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/users", id: "listUsers", tag: tagPeople, summary: "List users",
		text: "By e-mail address. X-Total-Count tells how many match.", errors: []int{http.StatusUnprocessableEntity},
	}, s.listUsers)
	add(s, Admin, op{method: http.MethodGet, path: "/api/users/{id}", id: "getUser", tag: tagPeople, summary: "Look at a user", text: "One user by id.", errors: one}, s.getUser)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users", id: "createUser", audit: "user.create", tag: tagPeople, summary: "Add a user",
		text: "An e-mail address has one user, whatever the case of its letters. With send_invite they get a link to choose a first password.", status: http.StatusCreated,
		errors: []int{http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.createUser)
	add(s, Admin, op{
		method: http.MethodPatch, path: "/api/users/{id}", id: "updateUser", audit: "user.update", tag: tagPeople, summary: "Change a user",
		text: "Deactivating ends all sessions and tokens at once; a new role counts from the next request on.", errors: onOne,
	}, s.updateUser)
	for action, active := range map[string]bool{"activate": true, "deactivate": false} {
		text := map[bool]string{true: "Lets a user sign in again.", false: "Keeps a user out: ends all sessions and tokens at once. Nobody can deactivate themselves or the last administrator."}[active]
		add(s, Admin, op{
			method: http.MethodPost, path: "/api/users/{id}/" + action, id: action + "User", audit: "user." + action, tag: tagPeople, summary: strings.ToUpper(action[:1]) + action[1:] + " a user",
			text: text, errors: onOne,
		}, s.setActive(active))
	}
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users/{id}/set-password", id: "setPassword", audit: "user.set_password", tag: tagPeople, summary: "Set a user's password",
		text: "Ends the user's sessions.", status: http.StatusNoContent, errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.setPassword)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users/{id}/invite", id: "inviteUser", audit: "user.invite", limit: LimitLinks, tag: tagPeople, summary: "Invite a user",
		text: "Makes a link to choose a first password, and mails it where mail is set up. Links from before stop working.", errors: onOne,
	}, s.inviteUser)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users/{id}/reset-password", id: "resetPassword", audit: "user.reset_password", limit: LimitLinks, tag: tagPeople, summary: "Give a user a link to choose a new password",
		text: "Makes the link, and mails it where mail is set up. The password as it is works until the link is used.", errors: onOne,
	}, s.resetPassword)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/users/{id}/logout", id: "endUserSessions", audit: "user.end_sessions", tag: tagPeople, summary: "End all sessions of a user",
		text: "They stop working at once. Personal access tokens stay.", status: http.StatusNoContent, errors: one,
	}, s.endUserSessions)
	add(s, Admin, op{
		method: http.MethodDelete, path: "/api/users/{id}", id: "deleteUser", audit: "user.delete", tag: tagPeople, summary: "Remove a user",
		text: "With sessions, tokens, permissions and notes; other uploads stay on the disk, under the id. Nobody can remove themselves or the last administrator.", status: http.StatusNoContent,
		errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.deleteUser)
}

func (s *Server) listUsers(ctx context.Context, in *usersQuestion) (*usersAnswer, error) {
	list, err := s.identity.Users(ctx)
	if err != nil {
		return nil, err
	}
	search := strings.ToLower(strings.TrimSpace(in.Search))
	list = slices.DeleteFunc(list, func(u UserView) bool {
		return in.Role != "" && u.Role != in.Role || in.Active != "" && u.Active != (in.Active == "true") ||
			!strings.Contains(strings.ToLower(u.Email), search) && !strings.Contains(strings.ToLower(u.Name), search)
	})
	out := &usersAnswer{Total: len(list)}
	list = list[min(in.Offset, len(list)):]
	if in.Limit > 0 {
		list = list[:min(in.Limit, len(list))]
	}
	out.Body = orEmpty(list)
	return out, nil
}

func (s *Server) getUser(ctx context.Context, in *byID) (*userAnswer, error) {
	u, err := s.identity.User(ctx, in.ID)
	return &userAnswer{Body: u}, err
}

func (s *Server) createUser(ctx context.Context, in *newUserQuestion) (*createdUserAnswer, error) {
	u := in.Body
	if u.Role == "" {
		u.Role = RoleAnalyst
	}
	if !slices.Contains([]string{RoleViewer, RoleAnalyst, RoleCurator, RoleAdmin}, u.Role) {
		return nil, fault.New(fault.Invalid, "there is no role %q: use viewer, analyst, km_admin or admin", u.Role)
	}
	noteParam(ctx, "email", clip(u.Email, 254))
	noteParam(ctx, "role", u.Role)
	made, err := s.identity.CreateUser(ctx, callerOf(ctx), u)
	if err != nil {
		return nil, err
	}
	noteResource(ctx, "user", made.ID)
	out := &createdUserAnswer{Body: createdUser{UserView: made}}
	if !u.SendInvite {
		return out, nil
	}
	link, err := s.signIn.Invite(ctx, callerOf(ctx), made.ID)
	if err != nil { // the user is there: an error would have them made a second time
		noteParam(ctx, "invited", false)
		sent := false
		out.Body.InviteEmailSent, out.Body.Message = &sent, "The user is made, but not invited: "+fault.Message(err)+". Invite them again."
		return out, nil
	}
	noteParam(ctx, "email_sent", link.EmailSent)
	out.Body.InviteURL, out.Body.InviteEmailSent, out.Body.Message = urlOf(link), &link.EmailSent, leftToDo(link, setupPath, made.Email)
	return out, nil
}

const (
	setupPath = "/auth/password/setup"
	resetPath = "/auth/password/reset"
)

// urlOf is the address of a link; nil where the server does not know its own.
func urlOf(l Link) *string {
	if l.URL == "" {
		return nil
	}
	return &l.URL
}

// leftToDo tells an administrator how to hand a link over that was not mailed.
func leftToDo(l Link, path, email string) string {
	switch {
	case l.EmailSent:
		return ""
	case l.URL != "":
		return "No mail was sent: hand the link over yourself."
	}
	query := url.Values{"email": {email}, "token": {l.Token}}
	return "AGNES_PUBLIC_URL is not set, so this server makes no links and sends no mails. Set it, or hand over the address of this server followed by " + path + "?" + query.Encode()
}

func (s *Server) updateUser(ctx context.Context, in *userChangeQuestion) (*userAnswer, error) {
	noteResource(ctx, "user", in.ID)
	if c := in.Body; c.Role != nil {
		noteParam(ctx, "role", *c.Role)
	}
	if c := in.Body; c.Active != nil {
		noteParam(ctx, "active", *c.Active)
	}
	if c := in.Body; c.Name != nil {
		noteParam(ctx, "name", clip(*c.Name, 200))
	}
	u, err := s.identity.UpdateUser(ctx, callerOf(ctx), in.ID, in.Body)
	return &userAnswer{Body: u}, err
}

func (s *Server) setActive(active bool) func(context.Context, *byID) (*userAnswer, error) {
	return func(ctx context.Context, in *byID) (*userAnswer, error) {
		noteResource(ctx, "user", in.ID)
		u, err := s.identity.UpdateUser(ctx, callerOf(ctx), in.ID, UserChange{Active: &active})
		return &userAnswer{Body: u}, err
	}
}

func (s *Server) setPassword(ctx context.Context, in *passwordQuestion) (*none, error) {
	noteResource(ctx, "user", in.ID)
	return nil, s.identity.SetPassword(ctx, callerOf(ctx), in.ID, in.Body.Password)
}

func (s *Server) inviteUser(ctx context.Context, in *byID) (*inviteAnswer, error) {
	u, link, err := s.linkFor(ctx, in.ID, s.signIn.Invite)
	if err != nil {
		return nil, err
	}
	out := &inviteAnswer{}
	out.Body.InviteURL, out.Body.EmailSent, out.Body.ExpiresAt = urlOf(link), link.EmailSent, link.ExpiresAt
	out.Body.Message = leftToDo(link, setupPath, u.Email)
	return out, nil
}

func (s *Server) resetPassword(ctx context.Context, in *byID) (*resetAnswer, error) {
	u, link, err := s.linkFor(ctx, in.ID, s.signIn.ResetFor)
	if err != nil {
		return nil, err
	}
	out := &resetAnswer{}
	out.Body.ResetToken, out.Body.ResetURL, out.Body.EmailSent, out.Body.ExpiresAt = link.Token, urlOf(link), link.EmailSent, link.ExpiresAt
	out.Body.Message = leftToDo(link, resetPath, u.Email)
	return out, nil
}

// linkFor makes a link for a user, who must be there.
func (s *Server) linkFor(ctx context.Context, id string, link func(context.Context, Caller, string) (Link, error)) (UserView, Link, error) {
	noteResource(ctx, "user", id)
	u, err := s.identity.User(ctx, id)
	if err != nil {
		return u, Link{}, err
	}
	l, err := link(ctx, callerOf(ctx), id)
	if err == nil {
		noteParam(ctx, "email_sent", l.EmailSent)
	}
	return u, l, err
}

func (s *Server) endUserSessions(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "user", in.ID)
	if _, err := s.identity.User(ctx, in.ID); err != nil {
		return nil, err
	}
	return nil, s.signIn.RevokeSessions(ctx, in.ID, "")
}

func (s *Server) deleteUser(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "user", in.ID)
	return nil, s.identity.DeleteUser(ctx, callerOf(ctx), in.ID)
}
