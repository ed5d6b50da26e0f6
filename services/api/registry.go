package api

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// announceTimeout bounds how long a change of the registry waits for the bus. The change stands either
// way; who missed it reads the registry again by itself later.
const announceTimeout = 3 * time.Second

// registry is the table of what is to be extracted, for the routes and for other services: each change
// is announced, and known to the published catalog at once.
type registry struct {
	state     *state.Store
	published *published.Store
	bus       *event.Bus
}

// refresh tells the published catalog what is registered.
func (r *registry) refresh(ctx context.Context) error {
	rows, err := r.state.Registry.List(ctx, "")
	if err != nil {
		return err
	}
	known := make([]published.Registered, len(rows))
	for i, t := range rows {
		known[i] = published.Registered{
			ID: t.ID, Source: t.Source, Name: t.Name, Description: t.Description, SourceType: t.SourceType,
			SyncStrategy: t.SyncStrategy, Bucket: t.Bucket, Public: t.IsPublic, RegisteredAt: t.RegisteredAt,
		}
	}
	r.published.SetRegistry(known)
	return nil
}

// changed announces a change that stands.
func (r *registry) changed(ctx context.Context, change, by string, tables ...state.RegisteredTable) {
	log := zerolog.Ctx(ctx)
	if err := r.refresh(ctx); err != nil {
		log.Error().Err(err).Msg("the registry changed and cannot be read; the catalog shows it after the next change")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer cancel()
	for _, t := range tables {
		e := &agnesv1.RegistryChanged{Source: t.Source, TableId: t.ID, Change: change, ChangedBy: by}
		if err := event.Publish(ctx, r.bus, event.RegistryChanged, t.Source, e); err != nil {
			log.Warn().Err(err).Str("table_id", t.ID).Msg("a change of the registry could not be announced; others see it when they read the registry again")
		}
	}
}

// List gives the rows of a source, or all.
func (r *registry) List(ctx context.Context, source string) ([]httpapi.RegisteredTable, error) {
	rows, err := r.state.Registry.List(ctx, source)
	if err != nil {
		return nil, err
	}
	views := make([]httpapi.RegisteredTable, len(rows))
	for i, t := range rows {
		views[i] = viewOf(t)
	}
	return views, nil
}

// Get gives one row.
func (r *registry) Get(ctx context.Context, id string) (httpapi.RegisteredTable, error) {
	t, err := r.state.Registry.Get(ctx, id)
	return viewOf(t), err
}

func viewOf(t state.RegisteredTable) httpapi.RegisteredTable {
	options := map[string]any{}
	if len(t.Options) > 0 {
		_ = json.Unmarshal(t.Options, &options) // the state takes objects only
	}
	view := httpapi.RegisteredTable{
		ID: t.ID, Name: t.Name, Source: t.Source, SourceType: t.SourceType, Bucket: t.Bucket, SourceTable: t.SourceTable,
		SyncStrategy: t.SyncStrategy, QueryMode: t.QueryMode, SyncSchedule: t.SyncSchedule, ProfileAfterSync: t.ProfileAfterSync,
		PrimaryKey: t.PrimaryKey, Folder: t.Folder, Description: t.Description, IsPublic: t.IsPublic, Options: options,
		RegisteredBy: t.RegisteredBy, RegisteredAt: stamped(t.RegisteredAt),
	}
	if view.PrimaryKey == nil {
		view.PrimaryKey = []string{}
	}
	return view
}

func rowOf(t httpapi.NewTable) (state.NewTable, error) {
	row := state.NewTable{
		Name: strings.TrimSpace(t.Name), Source: t.Source, SourceType: t.SourceType, Bucket: t.Bucket, SourceTable: t.SourceTable,
		SyncStrategy: t.SyncStrategy, QueryMode: t.QueryMode, SyncSchedule: t.SyncSchedule, ProfileAfterSync: t.ProfileAfterSync,
		PrimaryKey: t.PrimaryKey, Folder: t.Folder, Description: t.Description, IsPublic: t.IsPublic,
	}
	if len(t.Options) > 0 {
		raw, err := json.Marshal(t.Options)
		if err != nil {
			return row, fault.Wrap(err, fault.Invalid, "the options of table %q are not JSON", t.Name)
		}
		row.Options = raw
	}
	return row, nil
}

// Register adds one table.
func (r *registry) Register(ctx context.Context, by httpapi.Caller, t httpapi.NewTable) (httpapi.RegisteredTable, error) {
	row, err := rowOf(t)
	if err != nil {
		return httpapi.RegisteredTable{}, err
	}
	made, err := r.state.Registry.Register(ctx, row, by.UserID)
	if err != nil {
		return httpapi.RegisteredTable{}, err
	}
	r.changed(ctx, "registered", by.UserID, made)
	return viewOf(made), nil
}

// RegisterAll adds those that are not there.
func (r *registry) RegisterAll(ctx context.Context, by httpapi.Caller, tables []httpapi.NewTable) (httpapi.Registration, error) {
	var out httpapi.Registration
	rows := make([]state.NewTable, 0, len(tables))
	for _, t := range tables {
		row, err := rowOf(t)
		if err != nil {
			out.Errors = append(out.Errors, httpapi.RegistrationFail{Table: t.Name, Error: fault.Message(err)})
			continue
		}
		row.Found = true
		rows = append(rows, row)
	}
	done, err := r.registerRows(ctx, rows, by.UserID)
	if err != nil {
		return out, err
	}
	out.Registered, out.Skipped = len(done.Registered), len(done.Skipped)
	for _, t := range done.Registered {
		out.Tables = append(out.Tables, httpapi.Registered{ID: t.ID, Name: t.Name, Status: "registered", IsPublic: t.IsPublic})
	}
	for _, refused := range done.Refused {
		out.Errors = append(out.Errors, httpapi.RegistrationFail{Table: refused.Name, Error: fault.Message(refused.Err)})
	}
	return out, nil
}

func (r *registry) registerRows(ctx context.Context, rows []state.NewTable, by string) (state.Registered, error) {
	done, err := r.state.Registry.RegisterAll(ctx, rows, by)
	if err != nil {
		return done, err
	}
	if len(done.Registered) > 0 {
		r.changed(ctx, "registered", by, done.Registered...)
	}
	return done, nil
}

// Update changes what is given.
func (r *registry) Update(ctx context.Context, by httpapi.Caller, id string, c httpapi.TableChange) ([]string, error) {
	if c.Name != nil {
		standing, err := r.state.Registry.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if *c.Name != standing.Name {
			return nil, fault.New(fault.Conflict, "a table cannot be renamed: register %q anew and remove %q", *c.Name, id)
		}
	}
	change := state.TableChange{
		Source: c.Source, SourceType: c.SourceType, Bucket: c.Bucket, SourceTable: c.SourceTable, SyncStrategy: c.SyncStrategy,
		QueryMode: c.QueryMode, SyncSchedule: c.SyncSchedule, ProfileAfterSync: c.ProfileAfterSync, PrimaryKey: (*[]string)(c.PrimaryKey),
		Folder: c.Folder, Description: c.Description, IsPublic: c.IsPublic,
	}
	if c.Options != nil {
		raw, err := json.Marshal(*c.Options)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the options are not JSON")
		}
		options := json.RawMessage(raw)
		change.Options = &options
	}
	t, updated, err := r.state.Registry.Update(ctx, id, change)
	if err != nil {
		return nil, err
	}
	if len(updated) > 0 {
		r.changed(ctx, "updated", by.UserID, t)
	}
	return updated, nil
}

// Delete takes a table out.
func (r *registry) Delete(ctx context.Context, by httpapi.Caller, id string) error {
	t, err := r.state.Registry.Delete(ctx, id)
	if err != nil {
		return err
	}
	r.changed(ctx, "removed", by.UserID, t)
	return nil
}
