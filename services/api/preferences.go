package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// preferences are what users want to have synced.
type preferences struct {
	state    *state.Store
	granting *granting
}

// everythingElse is the dataset of the setting for what no other setting names.
const everythingElse = "*"

// Modes of a setting.
const (
	modeAll      = "all"
	modeExplicit = "explicit"
)

// List gives a user's settings, by dataset.
func (p preferences) List(ctx context.Context, userID string) ([]httpapi.DatasetSetting, error) {
	rows, err := p.state.Preferences.List(ctx, userID)
	list := make([]httpapi.DatasetSetting, len(rows))
	for i, v := range rows {
		list[i] = httpapi.DatasetSetting{
			UserID: v.UserID, Dataset: v.Dataset, Enabled: v.Enabled, TableMode: v.TableMode, Tables: v.Tables, UpdatedAt: stamped(v.UpdatedAt),
		}
	}
	return list, err
}

// canonical gives the names that settings are stored under, and says of what the caller cannot read
// that they cannot: whether it exists makes no difference.
func (p preferences) canonical(ctx context.Context, c httpapi.Caller, datasets map[string]bool) (names map[string]string, refused map[string]error, err error) {
	s := p.granting.published.Current()
	grants, err := p.granting.Grants(ctx, c, s)
	if err != nil {
		return nil, nil, err
	}
	around := map[string]bool{} // buckets and sources of which something can be read
	for _, t := range s.Tables() {
		if grants.Allows(t) {
			around[t.Source+".*"] = true
			if t.Registered != nil && t.Registered.Bucket != "" {
				around[t.Registered.Bucket+".*"] = true
			}
		}
	}
	names, refused = map[string]string{}, map[string]error{}
	for dataset := range datasets {
		if t, ok := s.Lookup(dataset); ok && grants.Allows(t) {
			names[dataset] = datasetOf(t)
			continue
		}
		if around[dataset] {
			names[dataset] = dataset
			continue
		}
		refused[dataset] = fault.New(fault.Forbidden, "no permission: there is no %q, or it is not granted to you", dataset)
	}
	return names, refused, nil
}

// SetDatasets switches what the caller can read.
func (p preferences) SetDatasets(ctx context.Context, c httpapi.Caller, datasets map[string]bool) (map[string]error, error) {
	names, refused, err := p.canonical(ctx, c, datasets)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]state.SyncSetting, len(names))
	for _, given := range slices.Sorted(maps.Keys(names)) {
		rows[names[given]] = state.SyncSetting{Dataset: names[given], Enabled: datasets[given], TableMode: modeAll}
	}
	return refused, p.state.Preferences.Put(ctx, c.UserID, slices.Collect(maps.Values(rows)))
}

// Subscribe stores which tables are wanted.
func (p preferences) Subscribe(ctx context.Context, c httpapi.Caller, mode string, tables map[string]bool) (int, error) {
	names, refused, err := p.canonical(ctx, c, tables)
	if err != nil {
		return 0, err
	}
	if len(refused) > 0 {
		return 0, fault.New(fault.Forbidden, "nothing was stored: these do not exist, or are not granted to you: %s", strings.Join(slices.Sorted(maps.Keys(refused)), ", "))
	}
	standing, err := p.state.Preferences.List(ctx, c.UserID)
	if err != nil {
		return 0, err
	}
	rest := state.SyncSetting{Dataset: everythingElse, Enabled: true, TableMode: mode, Tables: map[string]bool{}}
	rows := map[string]state.SyncSetting{}
	was := modeAll
	for _, v := range standing {
		if v.Dataset == everythingElse {
			was = v.TableMode
		}
	}
	for _, v := range standing {
		// Only what is listed: the settings from before are off. Back to all: what that switched off is on.
		if v.Dataset != everythingElse && (mode == modeExplicit || was == modeExplicit) {
			v.Enabled = mode == modeAll
			rows[v.Dataset] = v
		}
	}
	for _, given := range slices.Sorted(maps.Keys(names)) {
		rows[names[given]] = state.SyncSetting{Dataset: names[given], Enabled: tables[given], TableMode: modeAll}
		if mode == modeExplicit {
			rest.Tables[names[given]] = tables[given]
		}
	}
	rows[everythingElse] = rest
	return len(tables), p.state.Preferences.Put(ctx, c.UserID, slices.Collect(maps.Values(rows)))
}
