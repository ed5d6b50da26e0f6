package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Gate says who may pass a route. A route without a gate cannot be registered.
type Gate string

// The gates, from the widest to the narrowest.
const (
	Public  Gate = "public"   // everybody
	User    Gate = "user"     // any active user
	Curator Gate = "km_admin" // an active user with the role km_admin or admin
	Admin   Gate = "admin"    // an active user with the role admin
)

// passes tells whether a role is enough for the gate.
func (g Gate) passes(role string) bool {
	switch g {
	case Public, User:
		return true
	case Curator:
		return role == RoleCurator || role == RoleAdmin
	case Admin:
		return role == RoleAdmin
	}
	return false
}

// Scope is what a personal access token may be used for. A session has all of them.
type Scope string

// The scopes.
const (
	ScopeAny   Scope = "any"   // whatever the token may do: who am I, end this credential
	ScopeRead  Scope = "read"  // look at catalogs, profiles and what is one's own
	ScopeQuery Scope = "query" // ask with SQL
	ScopeSync  Scope = "sync"  // manifest, downloads, uploads, and for administrators: extract now
	ScopeAdmin Scope = "admin" // what needs the role admin or km_admin, and changes of one's own account
)

// Scopes are those that a token can be given.
var Scopes = []Scope{ScopeRead, ScopeQuery, ScopeSync, ScopeAdmin}

// door is everything that a request has to pass before the handler of a route runs, and what is
// written down about it.
type door struct {
	gate Gate
	// scope is what a personal access token needs.
	scope Scope
	// session closes the door to personal access tokens.
	session bool
	// page: whoever is not signed in is sent to the sign-in page instead of being refused.
	page bool
	// form: the request comes from a form of a page of this server, and from nowhere else.
	form bool
	// html: errors are shown as a page.
	html bool
	// audit is the action that is recorded; empty for what only looks.
	audit string
	// limit is the class of requests that are counted together; empty for none.
	limit Class
}

// doorOf fills in what follows from the rest.
func (d door) withDefaults(method string) door {
	if d.scope != "" {
		return d
	}
	switch {
	case d.gate == Admin || d.gate == Curator:
		d.scope = ScopeAdmin
	case method == http.MethodGet || method == http.MethodHead:
		d.scope = ScopeRead
	default:
		d.scope = ScopeAdmin
	}
	return d
}

// admits tells why a caller may not pass; nil where they may.
func (d door) admits(c Caller) error {
	if !d.gate.passes(c.Role) {
		return fault.New(fault.Forbidden, "this needs the role %s", d.gate)
	}
	if c.Credential == credentialSession {
		return nil
	}
	if d.session {
		return fault.New(fault.Forbidden, "a personal access token cannot do this: sign in first")
	}
	if !c.May(d.scope) {
		return fault.New(fault.Forbidden, "this personal access token lacks the scope %s: make one that has it", d.scope)
	}
	return nil
}

// May tells whether the caller's credential has a scope.
func (c Caller) May(s Scope) bool {
	return c.Credential == credentialSession || s == ScopeAny || slices.Contains(c.Scopes, s)
}

// credentialSession is the Credential of a Caller who signed in; the other one is "pat".
const credentialSession = "session"

// Class is a class of requests that are counted together, per account and per address.
type Class string

// The classes. How many requests each allows is the configuration's.
const (
	LimitSignIn Class = "sign_in" // passwords and one-time tokens that are tried
	LimitLinks  Class = "links"   // mails that are sent
	LimitCodes  Class = "codes"   // device codes that are asked for and typed
	LimitTokens Class = "tokens"  // personal access tokens that are made
	LimitUpload Class = "uploads" // files that are uploaded
	LimitQuery  Class = "queries" // statements that are asked
	// LimitStranger counts, per address, every request without a credential that holds. Doors do not name
	// it: it is what is counted where they name nothing.
	LimitStranger Class = "strangers"
	// LimitNone is for doors whose handler checks its callers itself: what it is sent must not be lost.
	LimitNone Class = "none"
)

// Limiter counts requests.
type Limiter interface {
	// Allow counts one request of a class by an account (a user id, or an e-mail address that somebody
	// tries; empty where unknown) from an address. fault.Busy with a pause where it is one too many.
	Allow(ctx context.Context, class Class, account, ip string) error
}
