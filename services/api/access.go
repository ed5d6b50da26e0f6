package api

import (
	"context"
	"sync"

	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// granting decides who can reach what, for the routes.
type granting struct {
	rules *access.Authorizer
	state *state.Store

	mu    sync.Mutex
	of    *published.Snapshot // whose names these are
	names []access.Name
}

// reachable is the set of one caller.
type reachable struct{ *access.Set }

// Allows tells whether the caller can read the table.
func (r reachable) Allows(t *published.Table) bool { return r.Set.Allows(t.Source, t.Name) }

// Grants computes the caller's set.
func (g *granting) Grants(ctx context.Context, c httpapi.Caller, s *published.Snapshot) (httpapi.Grants, error) {
	set, err := g.rules.Readable(ctx, callerOf(c), g.namesOf(s))
	if err != nil {
		return nil, err
	}
	return reachable{set}, nil
}

// namesOf lists the tables of a snapshot; nearly every request asks for the same one.
func (g *granting) namesOf(s *published.Snapshot) []access.Name {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == s {
		return g.names
	}
	names := make([]access.Name, len(s.Tables()))
	for i, t := range s.Tables() {
		names[i] = access.Name{Source: t.Source, Table: t.Name}
	}
	g.of, g.names = s, names
	return names
}

// Permissions lists grants.
func (g *granting) Permissions(ctx context.Context, userID string) ([]httpapi.Permission, error) {
	rows, err := g.state.Permissions.List(ctx, userID)
	list := make([]httpapi.Permission, len(rows))
	for i, p := range rows {
		list[i] = httpapi.Permission(p)
	}
	return list, err
}

// Grant sets one.
func (g *granting) Grant(ctx context.Context, _ httpapi.Caller, p httpapi.Permission) error {
	_, err := g.state.Permissions.Grant(ctx, state.Permission(p))
	return err
}

// Revoke takes one away.
func (g *granting) Revoke(ctx context.Context, _ httpapi.Caller, userID, dataset string) error {
	return g.state.Permissions.Revoke(ctx, userID, dataset)
}
