package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Account is a user of the server.
type Account struct {
	ID            string     `json:"id"`
	Email         string     `json:"email"`
	Name          string     `json:"name"`
	Role          string     `json:"role"`
	Active        bool       `json:"active"`
	CreatedAt     *time.Time `json:"created_at,omitempty"`
	DeactivatedAt *time.Time `json:"deactivated_at,omitempty"`
	// InviteURL and InviteEmailSent are in the answer to an account that was made with an invitation.
	InviteURL       string `json:"invite_url,omitempty"`
	InviteEmailSent *bool  `json:"invite_email_sent,omitempty"`
}

// NewAccount is a user to be added.
type NewAccount struct {
	Email    string `json:"email"`
	Name     string `json:"name,omitempty"`
	Role     string `json:"role,omitempty"`
	Password string `json:"password,omitempty"`
	// SendInvite has a link to choose a first password made, and mailed where the server has mail.
	SendInvite bool `json:"send_invite,omitempty"`
}

const users = "/api/users"

// Accounts lists all users, ordered by e-mail.
func (c *Client) Accounts(ctx context.Context) ([]Account, error) {
	return c.SearchAccounts(ctx, AccountFilter{})
}

// SearchAccounts lists all users that match, page after page; Limit and Offset of the filter count for
// nothing.
func (c *Client) SearchAccounts(ctx context.Context, f AccountFilter) ([]Account, error) {
	var all []Account
	for {
		f.Limit, f.Offset = 0, len(all)
		list, total, err := c.FindAccounts(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		// A server that does not page gives everything, and no total.
		if len(list) == 0 || len(all) >= total {
			return all, nil
		}
	}
}

// AccountFilter narrows a listing of users; the zero value lists what the server gives at once.
type AccountFilter struct {
	// Search is a part of an e-mail address or a name, in any case.
	Search string
	Role   string
	// Active nil lists both.
	Active        *bool
	Limit, Offset int
}

// FindAccounts lists users, ordered by e-mail, and tells how many there are beyond the page; 0 where the
// server does not say.
func (c *Client) FindAccounts(ctx context.Context, f AccountFilter) (list []Account, total int, err error) {
	q := page(f.Limit, f.Offset)
	set(q, "search", f.Search)
	set(q, "role", f.Role)
	if f.Active != nil {
		q.Set("active", strconv.FormatBool(*f.Active))
	}
	header, err := c.callHeader(ctx, request{method: http.MethodGet, path: users, query: q}, &list)
	if err != nil {
		return nil, 0, err
	}
	total, _ = strconv.Atoi(header.Get("X-Total-Count")) // an older server has none
	return list, total, nil
}

// Account gives one user.
func (c *Client) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "users", id)}, &a)
	return a, err
}

// AddAccount adds a user.
func (c *Client) AddAccount(ctx context.Context, a NewAccount) (Account, error) {
	var made Account
	err := c.call(ctx, request{method: http.MethodPost, path: users, body: a, secrets: []string{a.Password}}, &made)
	return made, err
}

// AccountChange is what to change of a user; what is nil stays.
type AccountChange struct {
	Name *string `json:"name,omitempty"`
	Role *string `json:"role,omitempty"`
}

// ChangeAccount changes a user.
func (c *Client) ChangeAccount(ctx context.Context, id string, change AccountChange) (Account, error) {
	var a Account
	err := c.call(ctx, request{method: http.MethodPatch, path: at("api", "users", id), body: change, repeatable: true}, &a)
	return a, err
}

// ActivateAccount lets a user sign in again.
func (c *Client) ActivateAccount(ctx context.Context, id string) (Account, error) {
	return c.accountAction(ctx, id, "activate")
}

// DeactivateAccount keeps a user out, and ends their sessions and tokens at once.
func (c *Client) DeactivateAccount(ctx context.Context, id string) (Account, error) {
	return c.accountAction(ctx, id, "deactivate")
}

func (c *Client) accountAction(ctx context.Context, id, action string) (Account, error) {
	var a Account
	err := c.call(ctx, request{method: http.MethodPost, path: at("api", "users", id, action), repeatable: true}, &a)
	return a, err
}

// RemoveAccount removes a user with sessions, tokens and grants.
func (c *Client) RemoveAccount(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("api", "users", id)}, nil)
}

// SetPassword sets the password of a user and ends their sessions.
func (c *Client) SetPassword(ctx context.Context, id, password string) error {
	return c.call(ctx, request{
		method: http.MethodPost, path: at("api", "users", id, "set-password"), body: map[string]string{"password": password},
		repeatable: true, secrets: []string{password},
	}, nil)
}

// OneTimeLink is a link that lets its user choose a password, once.
type OneTimeLink struct {
	// URL is empty where the server does not know its own public address.
	URL string
	// Token is the secret in the link, where the server gives it apart.
	Token string
	// EmailSent: the user got it by mail, too.
	EmailSent bool
	ExpiresAt *time.Time
}

// Invite makes a link to choose a first password.
func (c *Client) Invite(ctx context.Context, id string) (OneTimeLink, error) {
	return c.link(ctx, at("api", "users", id, "invite"))
}

// ResetPassword makes a link to choose a new password.
func (c *Client) ResetPassword(ctx context.Context, id string) (OneTimeLink, error) {
	return c.link(ctx, at("api", "users", id, "reset-password"))
}

func (c *Client) link(ctx context.Context, path string) (OneTimeLink, error) {
	var a struct {
		InviteURL  string     `json:"invite_url"`
		ResetURL   string     `json:"reset_url"`
		ResetToken string     `json:"reset_token"`
		EmailSent  bool       `json:"email_sent"`
		ExpiresAt  *time.Time `json:"expires_at"`
	}
	err := c.call(ctx, request{method: http.MethodPost, path: path}, &a)
	return OneTimeLink{URL: a.InviteURL + a.ResetURL, Token: a.ResetToken, EmailSent: a.EmailSent, ExpiresAt: a.ExpiresAt}, err
}

// LogoutAccount ends all sessions of a user.
func (c *Client) LogoutAccount(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodPost, path: at("api", "users", id, "logout"), repeatable: true}, nil)
}

// Group is a set of users that grants can be given to.
type Group struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Members     int        `json:"members"`
	Grants      int        `json:"grants"`
	CreatedAt   *time.Time `json:"created_at"`
}

// GroupDetail is a group with who is in it and what it may read.
type GroupDetail struct {
	Group
	Users       []GroupMember `json:"users"`
	Permissions []Grant       `json:"permissions"`
}

// GroupMember is a user of a group.
type GroupMember struct {
	UserID string `json:"user_id"`
	Email  string `json:"email"`
	Name   string `json:"name"`
}

const groups = "/api/admin/groups"

// Groups lists the groups.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var answer struct {
		Groups []Group `json:"groups"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: groups}, &answer)
	return answer.Groups, err
}

// Group gives one group, by id or name.
func (c *Client) Group(ctx context.Context, group string) (GroupDetail, error) {
	var g GroupDetail
	err := c.call(ctx, request{method: http.MethodGet, path: groups + at(group)}, &g)
	return g, err
}

// CreateGroup makes a group.
func (c *Client) CreateGroup(ctx context.Context, name, description string) (Group, error) {
	body := map[string]string{"name": name}
	if description != "" {
		body["description"] = description
	}
	var g Group
	err := c.call(ctx, request{method: http.MethodPost, path: groups, body: body}, &g)
	return g, err
}

// GroupChange is what to change of a group; what is nil stays.
type GroupChange struct {
	Name        *string `json:"name,omitempty"`
	Description *string `json:"description,omitempty"`
}

// ChangeGroup changes a group, by id or name.
func (c *Client) ChangeGroup(ctx context.Context, group string, change GroupChange) (Group, error) {
	var g Group
	err := c.call(ctx, request{method: http.MethodPatch, path: groups + at(group), body: change}, &g)
	return g, err
}

// DeleteGroup removes a group and its grants.
func (c *Client) DeleteGroup(ctx context.Context, group string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: groups + at(group)}, nil)
}

// AddMember puts a user into a group.
func (c *Client) AddMember(ctx context.Context, group, userID string) error {
	return c.call(ctx, request{method: http.MethodPut, path: groups + at(group, "members", userID)}, nil)
}

// RemoveMember takes a user out of a group.
func (c *Client) RemoveMember(ctx context.Context, group, userID string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: groups + at(group, "members", userID)}, nil)
}

// Grant lets a user, or the users of a group, read a dataset: a table's id, "<bucket>.*" or "<source>.*".
type Grant struct {
	UserID    string     `json:"user_id,omitempty"`
	UserEmail string     `json:"user_email,omitempty"`
	GroupID   string     `json:"group_id,omitempty"`
	GroupName string     `json:"group_name,omitempty"`
	Dataset   string     `json:"dataset"`
	Access    string     `json:"access"`
	GrantedAt *time.Time `json:"granted_at,omitempty"`
	GrantedBy string     `json:"granted_by,omitempty"`
	// Dangling: nothing has the name that was granted; not known of servers before.
	Dangling bool `json:"dangling,omitempty"`
	// Force grants ahead, what does not exist yet. The server does not tell it.
	Force bool `json:"-"`
}

// asked is what of a grant is sent.
func (g Grant) asked() map[string]any {
	body := map[string]any{"dataset": g.Dataset}
	if g.Force {
		body["force"] = true
	}
	for name, value := range map[string]string{"user_id": g.UserID, "group_id": g.GroupID, "access": g.Access} {
		if value != "" {
			body[name] = value
		}
	}
	return body
}

const permissions = "/api/admin/permissions"

// AddGrant makes or replaces a grant of a user or a group.
func (c *Client) AddGrant(ctx context.Context, g Grant) error {
	return c.call(ctx, request{method: http.MethodPost, path: permissions, body: g.asked(), repeatable: true}, nil)
}

// RemoveGrant takes a grant away.
func (c *Client) RemoveGrant(ctx context.Context, g Grant) error {
	body := g.asked()
	return c.call(ctx, request{method: http.MethodDelete, path: permissions, body: body}, nil)
}

// Grants lists the grants of a user; an empty user means everybody's.
func (c *Client) Grants(ctx context.Context, userID string) ([]Grant, error) {
	if userID == "" {
		return c.FindGrants(ctx, GrantFilter{})
	}
	var answer struct {
		Permissions []Grant `json:"permissions"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: permissions + at(userID)}, &answer)
	return answer.Permissions, err
}

// GrantFilter narrows a listing of grants; empty fields match all.
type GrantFilter struct {
	UserID, GroupID, Dataset string
}

// FindGrants lists grants, page after page.
func (c *Client) FindGrants(ctx context.Context, f GrantFilter) ([]Grant, error) {
	var all []Grant
	for {
		q := url.Values{}
		if len(all) > 0 {
			q.Set("offset", strconv.Itoa(len(all)))
		}
		set(q, "user_id", f.UserID)
		set(q, "group_id", f.GroupID)
		set(q, "dataset", f.Dataset)
		var answer struct {
			Permissions []Grant `json:"permissions"`
			Total       int     `json:"total"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: permissions, query: q}, &answer); err != nil {
			return nil, err
		}
		all = append(all, answer.Permissions...)
		if len(answer.Permissions) == 0 || len(all) >= answer.Total {
			return all, nil
		}
	}
}

// Access is what a user can read, and why.
type Access struct {
	UserID string        `json:"user_id"`
	Role   string        `json:"role"`
	Tables []TableAccess `json:"tables"`
}

// TableAccess is one table that a user can read.
type TableAccess struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Name   string `json:"name"`
	// Because are the reasons: "public", "admin", "grant orders", "group finance: shop.*".
	Because []string `json:"because"`
}

// ExplainAccess tells what a user can read, and why.
func (c *Client) ExplainAccess(ctx context.Context, userID string) (Access, error) {
	var a Access
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "admin", "access", userID)}, &a)
	return a, err
}
