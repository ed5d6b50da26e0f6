package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Permission lets a user or a group read a table.
type Permission struct {
	UserID         string     `json:"user_id" doc:"The user; empty for a group's." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	UserEmail      string     `json:"user_email,omitempty" doc:"The user's e-mail address." example:"ann@example.com"`
	GroupID        string     `json:"group_id,omitempty" doc:"The group; left out for a user's."`
	GroupName      string     `json:"group_name,omitempty" doc:"The name of the group." example:"finance"`
	Dataset        string     `json:"dataset" doc:"The id of a table or source.table, <bucket>.* for all of a bucket, or <source>.* for all of a source." example:"orders"`
	Access         string     `json:"access" doc:"read or none. none is the same as no permission on exactly this name: what is public, or granted otherwise, stays." example:"read"`
	GrantedAt      *time.Time `json:"granted_at,omitempty" doc:"When it was granted; left out where that is not known."`
	GrantedBy      string     `json:"granted_by,omitempty" doc:"The id of the user who granted it."`
	GrantedByEmail string     `json:"granted_by_email,omitempty" doc:"Their e-mail address."`
	Dangling       bool       `json:"dangling,omitempty" doc:"true where nothing of that name exists now: it counts once something does."`
}

// NewPermission is a permission to give or to take.
type NewPermission struct {
	UserID  string `json:"user_id,omitempty" maxLength:"200" doc:"The user; or name a group." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	GroupID string `json:"group_id,omitempty" maxLength:"200" doc:"The id or the name of a group, in place of a user."`
	Dataset string `json:"dataset" minLength:"1" maxLength:"400" doc:"The id of a table or source.table, <bucket>.* for all of a bucket, or <source>.* for all of a source." example:"orders"`
	Access  string `json:"access,omitempty" maxLength:"32" default:"read" doc:"read or none; read where empty."`
	Force   bool   `json:"force,omitempty" doc:"Grant ahead: also what does not exist yet."`
}

// PermissionFilter narrows a listing of permissions; empty fields match all.
type PermissionFilter struct {
	UserID, GroupID, Dataset string
	Limit, Offset            int // a limit of zero is none
}

// PermissionList lists permissions.
type PermissionList struct {
	UserID      string       `json:"user_id,omitempty" doc:"The user, where one was asked for."`
	Permissions []Permission `json:"permissions" doc:"Those of users by user and dataset, then those of groups by name and dataset."`
	Count       int          `json:"count" doc:"How many are listed." example:"1"`
	Total       int          `json:"total" doc:"How many match." example:"1"`
}

// AccessReport tells what a user can read.
type AccessReport struct {
	UserID string           `json:"user_id" doc:"The id of the user." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	Role   string           `json:"role" doc:"Their role." example:"analyst"`
	Tables []ReadableReason `json:"tables" doc:"Every published table that the user can read, by source and name."`
	Count  int              `json:"count" doc:"How many there are." example:"1"`
}

// ReadableReason tells why a user can read a table.
type ReadableReason struct {
	ID      string   `json:"id" doc:"The id of the table." example:"orders"`
	Source  string   `json:"source" doc:"Its source." example:"shop"`
	Name    string   `json:"name" doc:"Its name within the source." example:"orders"`
	Because []string `json:"because" doc:"public, admin, grant <dataset>, or group <name>: <dataset>." example:"[\"group finance: shop.*\"]"`
}

type permissionsAnswer struct{ Body PermissionList }

type permissionsQuestion struct {
	UserID  string `query:"user_id" maxLength:"200" doc:"Only those of this user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	GroupID string `query:"group_id" maxLength:"200" doc:"Only those of this group, by id or name." example:"finance"`
	Dataset string `query:"dataset" maxLength:"400" doc:"Only those on exactly this name." example:"orders"`
	Limit   int    `query:"limit" minimum:"0" maximum:"100000" doc:"The most to list; 0 for all."`
	Offset  int    `query:"offset" minimum:"0" doc:"How many to leave out at the beginning."`
}

type permissionQuestion struct{ Body NewPermission }

type permissionAnswer struct{ Body Permission }

// Revoked says that a permission is gone.
type Revoked struct {
	Revoked bool `json:"revoked" doc:"Always true: what was not there is gone, too."`
}

type revokedAnswer struct{ Body Revoked }

type byUser struct {
	UserID string `path:"user_id" maxLength:"200" doc:"The id of the user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
}

type accessAnswer struct{ Body AccessReport }

func (s *Server) permissionRoutes() {
	const path = "/api/admin/permissions"
	add(s, Admin, op{
		method: http.MethodGet, path: path, id: "listPermissions", tag: tagPeople, summary: "List permissions", text: "Everybody's, or those of one user or group, or on one name.",
		errors: []int{http.StatusUnprocessableEntity},
	}, s.listPermissions)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/{user_id}", id: "userPermissions", tag: tagPeople, summary: "List a user's permissions",
		text: "A user without any has an empty list. Those of the user's groups are not in it: /api/admin/access/{user_id} tells all that a user can read.", errors: []int{http.StatusUnprocessableEntity},
	}, s.userPermissions)
	add(s, Admin, op{
		method: http.MethodPost, path: path, id: "grant", audit: "grant.create", tag: tagPeople, summary: "Let a user or a group read a table",
		text:   "Counts from the next request on. The name must be that of a table, a bucket or a source that exists, unless force grants ahead. What was granted on that name before is replaced.",
		status: http.StatusCreated, errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.grant)
	add(s, Admin, op{
		method: http.MethodDelete, path: path, id: "revoke", audit: "grant.delete", tag: tagPeople, summary: "Take a permission away",
		text: "Counts from the next request on.", errors: []int{http.StatusBadRequest, http.StatusUnprocessableEntity},
	}, s.revoke)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/access/{user_id}", id: "explainAccess", tag: tagPeople, summary: "What a user can read, and why",
		text: "Every published table with all the reasons: one that is left over when a permission is revoked still opens it.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.explainAccess)
}

func (s *Server) listPermissions(ctx context.Context, in *permissionsQuestion) (*permissionsAnswer, error) {
	list, total, err := s.access.Permissions(ctx, PermissionFilter{UserID: in.UserID, GroupID: in.GroupID, Dataset: in.Dataset, Limit: in.Limit, Offset: in.Offset})
	return &permissionsAnswer{Body: PermissionList{UserID: in.UserID, Permissions: orEmpty(list), Count: len(list), Total: total}}, err
}

func (s *Server) userPermissions(ctx context.Context, in *byUser) (*permissionsAnswer, error) {
	return s.listPermissions(ctx, &permissionsQuestion{UserID: in.UserID})
}

// subject gives whose permission it is, and notes it for the record.
func (p NewPermission) subject(ctx context.Context) (Permission, error) {
	switch {
	case (p.UserID == "") == (p.GroupID == ""):
		return Permission{}, fault.New(fault.Invalid, "name one of user_id and group_id")
	case p.UserID != "":
		noteResource(ctx, "user", p.UserID)
	default:
		noteResource(ctx, "group", p.GroupID)
	}
	noteParam(ctx, "dataset", p.Dataset)
	return Permission{UserID: p.UserID, GroupID: p.GroupID, Dataset: p.Dataset, Access: p.Access}, nil
}

func (s *Server) grant(ctx context.Context, in *permissionQuestion) (*permissionAnswer, error) {
	p, err := in.Body.subject(ctx)
	if err != nil {
		return nil, err
	}
	if p.Access == "" {
		p.Access = accessRead
	}
	if p.Access != accessRead && p.Access != accessNone {
		return nil, fault.New(fault.Invalid, "access is read or none, not %q", p.Access)
	}
	noteParam(ctx, "access", p.Access)
	p, err = s.access.Grant(ctx, callerOf(ctx), p, in.Body.Force)
	return &permissionAnswer{Body: p}, err
}

// Values of Permission.Access.
const (
	accessRead = "read"
	accessNone = "none"
)

func (s *Server) revoke(ctx context.Context, in *permissionQuestion) (*revokedAnswer, error) {
	p, err := in.Body.subject(ctx)
	if err != nil {
		return nil, err
	}
	return &revokedAnswer{Body: Revoked{Revoked: true}}, s.access.Revoke(ctx, callerOf(ctx), p)
}

func (s *Server) explainAccess(ctx context.Context, in *byUser) (*accessAnswer, error) {
	report, err := s.access.Explain(ctx, in.UserID)
	report.Tables, report.Count = orEmpty(report.Tables), len(report.Tables)
	return &accessAnswer{Body: report}, err
}
