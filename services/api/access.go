package api

import (
	"context"
	"strings"
	"sync"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// granting decides who can reach what, for the routes.
type granting struct {
	rules     *access.Authorizer
	state     *state.Store
	published *published.Store
	// sources names the configured sources.
	sources func() []string

	mu    sync.Mutex
	of    *published.Snapshot // whose tables these are
	names *access.Published
}

// reachable is the set of one caller.
type reachable struct{ *access.Set }

// Allows tells whether the caller can read the table.
func (r reachable) Allows(t *published.Table) bool { return r.Set.Allows(t.Source, t.Name) }

// Grants computes the caller's set.
func (g *granting) Grants(ctx context.Context, c httpapi.Caller, s *published.Snapshot) (httpapi.Grants, error) {
	set, err := g.rules.Readable(ctx, callerOf(c), g.tablesOf(s))
	if err != nil {
		return nil, err
	}
	return reachable{set}, nil
}

// tablesOf names the tables of a snapshot; nearly every request asks for the same one.
func (g *granting) tablesOf(s *published.Snapshot) *access.Published {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == s {
		return g.names
	}
	names := make([]access.Name, len(s.Tables()))
	for i, t := range s.Tables() {
		names[i] = nameOf(t)
	}
	g.of, g.names = s, access.Of(names)
	return g.names
}

func nameOf(t *published.Table) access.Name { return access.Name{Source: t.Source, Table: t.Name} }

// datasets are the names that grants can use now.
func (g *granting) datasets(ctx context.Context) (access.Datasets, error) {
	return g.rules.Datasets(ctx, g.tablesOf(g.published.Current()), g.sources())
}

// Permissions lists grants.
func (g *granting) Permissions(ctx context.Context, f httpapi.PermissionFilter) ([]httpapi.Permission, int, error) {
	filter := state.PermissionFilter{UserID: f.UserID, Dataset: f.Dataset, Page: state.Page{Limit: f.Limit, Offset: f.Offset}}
	if f.GroupID != "" {
		found, err := g.state.Groups.Find(ctx, f.GroupID)
		if fault.Is(err, fault.NotFound) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		filter.GroupID = found.ID
	}
	rows, total, err := g.state.Permissions.List(ctx, filter)
	if err != nil {
		return nil, 0, err
	}
	known, err := g.datasets(ctx)
	if err != nil {
		return nil, 0, err
	}
	list := make([]httpapi.Permission, len(rows))
	for i, p := range rows {
		list[i] = permissionView(p, known)
	}
	return list, total, nil
}

func permissionView(p state.Permission, known access.Datasets) httpapi.Permission {
	return httpapi.Permission{
		UserID: p.UserID, UserEmail: p.UserEmail, GroupID: p.GroupID, GroupName: p.GroupName, Dataset: p.Dataset, Access: p.Access,
		GrantedAt: stamped(p.GrantedAt), GrantedBy: p.GrantedBy, GrantedByEmail: p.GrantedByEmail, Dangling: !known.Has(p.Dataset),
	}
}

// Grant sets one.
func (g *granting) Grant(ctx context.Context, by httpapi.Caller, p httpapi.Permission, force bool) (httpapi.Permission, error) {
	dataset := strings.TrimSpace(p.Dataset)
	if err := state.ValidDataset(dataset); err != nil {
		return p, err
	}
	known, err := g.datasets(ctx)
	if err != nil {
		return p, err
	}
	if !known.Has(dataset) && !force {
		return p, noDataset(dataset, known)
	}
	row := state.Permission{UserID: p.UserID, Dataset: dataset, Access: p.Access, GrantedBy: by.UserID}
	if !force {
		if row.While, err = g.registered(ctx, dataset); err != nil {
			return p, err
		}
	}
	if p.GroupID != "" {
		found, err := g.state.Groups.Find(ctx, p.GroupID)
		if err != nil {
			return p, err
		}
		row.GroupID = found.ID
	}
	made, err := g.state.Permissions.Grant(ctx, row)
	made.GrantedByEmail = by.Email
	return permissionView(made, known), err
}

// registered gives the id of the registered table that a dataset stands for; empty for any other.
func (g *granting) registered(ctx context.Context, dataset string) (string, error) {
	if t, ok := g.published.Current().Lookup(dataset); ok && t.Registered != nil {
		return t.Registered.ID, nil
	}
	t, err := g.state.Registry.Get(ctx, dataset)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	return t.ID, err
}

// noDataset says that nothing has the name, and what may have been meant.
func noDataset(dataset string, known access.Datasets) error {
	near := ""
	if names := known.Near(dataset); len(names) > 0 {
		near = "; did you mean " + strings.Join(names, ", ") + "?"
	}
	return fault.New(fault.NotFound, "there is no table, bucket or source %q%s To grant what does not exist yet, send \"force\": true", dataset, orStop(near))
}

// orStop ends a sentence that has not ended.
func orStop(near string) string {
	if near == "" {
		return "."
	}
	return near
}

// Revoke takes one away.
func (g *granting) Revoke(ctx context.Context, _ httpapi.Caller, p httpapi.Permission) error {
	row := state.Permission{UserID: p.UserID, Dataset: p.Dataset}
	if p.GroupID != "" {
		found, err := g.state.Groups.Find(ctx, p.GroupID)
		if fault.Is(err, fault.NotFound) {
			return nil // with the group, its permissions are gone
		}
		if err != nil {
			return err
		}
		row.GroupID = found.ID
	}
	return g.state.Permissions.Revoke(ctx, row)
}

// Explain tells what a user can read, and why.
func (g *granting) Explain(ctx context.Context, userID string) (httpapi.AccessReport, error) {
	u, err := g.state.Users.Get(ctx, userID)
	if err != nil {
		return httpapi.AccessReport{}, err
	}
	s := g.published.Current()
	reasons, err := g.rules.Explain(ctx, u, g.tablesOf(s))
	if err != nil {
		return httpapi.AccessReport{}, err
	}
	report := httpapi.AccessReport{UserID: u.ID, Role: u.Role}
	for _, r := range reasons {
		if t, ok := s.Named(r.Source, r.Table); ok {
			report.Tables = append(report.Tables, httpapi.ReadableReason{ID: t.ID, Source: t.Source, Name: t.Name, Because: r.Because})
		}
	}
	return report, nil
}

// readable finds a published table that the caller can read; ok is false where it does not exist for
// them.
func (g *granting) readable(ctx context.Context, c httpapi.Caller, id string) (t *published.Table, ok bool, err error) {
	s := g.published.Current()
	grants, err := g.Grants(ctx, c, s)
	if err != nil {
		return nil, false, err
	}
	if t, ok = s.Lookup(id); !ok || !grants.Allows(t) {
		return nil, false, nil
	}
	return t, true, nil
}

// datasetOf is the name to grant a table by.
func datasetOf(t *published.Table) string {
	id := ""
	if t.Registered != nil {
		id = t.Registered.ID
	}
	return access.DatasetOf(id, nameOf(t))
}
