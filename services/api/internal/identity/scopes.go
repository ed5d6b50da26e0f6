package identity

import (
	"slices"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Scopes are what a personal access token may be used for, if it is given all.
var Scopes = []string{"read", "query", "sync", scopeAdmin}

const scopeAdmin = "admin"

// defaultScopes are those of a token that asks for none by name.
var defaultScopes = []string{"read", "query", "sync"}

// checkScopes gives the scopes of a new token, each once and in the order of Scopes. scopeAdmin needs a
// role that can do something with it.
func checkScopes(scopes []string, role string) ([]string, error) {
	if len(scopes) == 0 {
		return slices.Clone(defaultScopes), nil
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes, scope) {
			return nil, fault.New(fault.Invalid, "unknown scope %.40q: use read, query, sync or admin", scope)
		}
	}
	if slices.Contains(scopes, scopeAdmin) && role != state.RoleAdmin && role != state.RoleCurator {
		return nil, fault.New(fault.Forbidden, "the scope admin needs the role km_admin or admin")
	}
	var known []string
	for _, scope := range Scopes {
		if slices.Contains(scopes, scope) {
			known = append(known, scope)
		}
	}
	return known, nil
}

// scopesOf are those that a stored token has: all, where none were stored.
func scopesOf(t state.Token) []string {
	if len(t.Scopes) == 0 {
		return slices.Clone(Scopes)
	}
	return t.Scopes
}
