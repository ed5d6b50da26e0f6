package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// UserSettings are one's own settings, and what was granted to one by name.
type UserSettings struct {
	UserID       string           `json:"user_id" doc:"Your id."`
	SyncSettings []DatasetSetting `json:"sync_settings" doc:"What you want a copy of, by dataset."`
	Permissions  []Permission     `json:"permissions" doc:"What is granted to you by name. Public tables and what your groups can read is not in it: /api/catalog/tables has all."`
}

// SyncSettings are one's own settings.
type SyncSettings struct {
	UserID          string           `json:"user_id" doc:"Your id."`
	Settings        []DatasetSetting `json:"settings" doc:"By dataset."`
	EnabledDatasets []string         `json:"enabled_datasets" doc:"Those that are switched on."`
}

// Subscriptions are one's own settings, as those who think of tables ask for them.
type Subscriptions struct {
	UserID        string           `json:"user_id" doc:"Your id."`
	Subscriptions []DatasetSetting `json:"subscriptions" doc:"By dataset."`
}

// DatasetSwitch is one dataset, on or off.
type DatasetSwitch struct {
	Dataset string `json:"dataset" minLength:"1" maxLength:"400" doc:"A table's id, its name or source.table, <bucket>.* or <source>.*." example:"orders"`
	Enabled bool   `json:"enabled" doc:"Whether you want a copy of it."`
}

// SwitchOutcome tells what became of one switch.
type SwitchOutcome struct {
	Enabled *bool  `json:"enabled,omitempty" doc:"What it is now; left out where it was refused."`
	Error   string `json:"error,omitempty" doc:"Why it was refused."`
}

// SwitchOutcomes tells what became of switches.
type SwitchOutcomes struct {
	Updated map[string]SwitchOutcome `json:"updated" doc:"By dataset."`
}

// Subscribed tells what was stored.
type Subscribed struct {
	TableMode string `json:"table_mode" enum:"all,explicit" doc:"As it was sent."`
	Updated   int    `json:"updated" doc:"How many tables were named." example:"3"`
}

type (
	userSettingsAnswer  struct{ Body UserSettings }
	syncSettingsAnswer  struct{ Body SyncSettings }
	subscriptionsAnswer struct{ Body Subscriptions }
	switchQuestion      struct{ Body DatasetSwitch }
	switchAnswer        struct{ Body DatasetSwitch }
	switchesAnswer      struct{ Body SwitchOutcomes }
	subscribedAnswer    struct{ Body Subscribed }
)

type switchesQuestion struct {
	Body struct {
		Datasets map[string]bool `json:"datasets" maxProperties:"5000" doc:"By dataset: whether you want a copy of it." example:"{\"orders\": true}"`
	}
}

type subscribeQuestion struct {
	Body struct {
		TableMode string          `json:"table_mode,omitempty" enum:"all,explicit" default:"all" doc:"all: everything that you can read but what is set to false. explicit: exactly what is set to true."`
		Tables    map[string]bool `json:"tables,omitempty" maxProperties:"5000" doc:"By table: whether you want a copy of it." example:"{\"orders\": true}"`
	}
}

func (s *Server) settingRoutes() {
	const subscriptions = "/api/sync/table-subscriptions"
	add(s, User, op{method: http.MethodGet, path: "/api/settings", id: "settings", tag: tagSync, summary: "My settings", text: "With what is granted to you by name."}, s.userSettings)
	add(s, User, op{
		method: http.MethodPut, path: "/api/settings/dataset", id: "switchDataset", scope: ScopeSync, audit: "settings.update", tag: tagSync, summary: "Switch a dataset on or off",
		text: "Whether you want a copy of it; the manifest tells clients. 403 where you cannot read it.",
	}, s.switchDataset)
	add(s, User, op{method: http.MethodGet, path: "/api/sync/settings", id: "syncSettings", tag: tagSync, summary: "What I want a copy of", text: "What no setting names is wanted."}, s.syncSettings)
	add(s, User, op{
		method: http.MethodPost, path: "/api/sync/settings", id: "switchDatasets", scope: ScopeSync, audit: "settings.update", tag: tagSync, summary: "Switch datasets on or off",
		text: "Each for itself: one that you cannot read is refused, and the others are stored.",
	}, s.switchDatasets)
	add(s, User, op{method: http.MethodGet, path: subscriptions, id: "subscriptions", tag: tagSync, summary: "Which tables I want a copy of", text: "The same settings."}, s.subscriptions)
	add(s, User, op{
		method: http.MethodPost, path: subscriptions, id: "subscribe", scope: ScopeSync, audit: "settings.update", tag: tagSync, summary: "Say which tables I want a copy of",
		text: "All or none is stored: 403 names what you cannot read.",
	}, s.subscribe)
}

func (s *Server) settingsOf(ctx context.Context) ([]DatasetSetting, error) {
	list, err := s.preferences.List(ctx, callerOf(ctx).UserID)
	return orEmpty(list), err
}

func (s *Server) userSettings(ctx context.Context, _ *none) (*userSettingsAnswer, error) {
	c := callerOf(ctx)
	list, err := s.settingsOf(ctx)
	if err != nil {
		return nil, err
	}
	granted, _, err := s.access.Permissions(ctx, PermissionFilter{UserID: c.UserID})
	if err != nil {
		return nil, err
	}
	own := make([]Permission, len(granted))
	for i, p := range granted { // who granted it, and whether it exists, is for administrators
		own[i] = Permission{UserID: p.UserID, Dataset: p.Dataset, Access: p.Access}
	}
	return &userSettingsAnswer{Body: UserSettings{UserID: c.UserID, SyncSettings: list, Permissions: own}}, nil
}

func (s *Server) syncSettings(ctx context.Context, _ *none) (*syncSettingsAnswer, error) {
	list, err := s.settingsOf(ctx)
	enabled := []string{}
	for _, d := range list {
		if d.Enabled {
			enabled = append(enabled, d.Dataset)
		}
	}
	return &syncSettingsAnswer{Body: SyncSettings{UserID: callerOf(ctx).UserID, Settings: list, EnabledDatasets: enabled}}, err
}

func (s *Server) subscriptions(ctx context.Context, _ *none) (*subscriptionsAnswer, error) {
	list, err := s.settingsOf(ctx)
	return &subscriptionsAnswer{Body: Subscriptions{UserID: callerOf(ctx).UserID, Subscriptions: list}}, err
}

func (s *Server) switchDataset(ctx context.Context, in *switchQuestion) (*switchAnswer, error) {
	noteResource(ctx, "dataset", in.Body.Dataset)
	noteParam(ctx, "enabled", in.Body.Enabled)
	refused, err := s.preferences.SetDatasets(ctx, callerOf(ctx), map[string]bool{in.Body.Dataset: in.Body.Enabled})
	if err == nil {
		err = refused[in.Body.Dataset]
	}
	return &switchAnswer{Body: in.Body}, err
}

func (s *Server) switchDatasets(ctx context.Context, in *switchesQuestion) (*switchesAnswer, error) {
	noteParam(ctx, "datasets", len(in.Body.Datasets))
	refused, err := s.preferences.SetDatasets(ctx, callerOf(ctx), in.Body.Datasets)
	if err != nil {
		return nil, err
	}
	out := &switchesAnswer{Body: SwitchOutcomes{Updated: make(map[string]SwitchOutcome, len(in.Body.Datasets))}}
	for dataset, enabled := range in.Body.Datasets {
		outcome := SwitchOutcome{Enabled: &enabled}
		if why := refused[dataset]; why != nil {
			outcome = SwitchOutcome{Error: fault.Message(why)}
		}
		out.Body.Updated[dataset] = outcome
	}
	return out, nil
}

func (s *Server) subscribe(ctx context.Context, in *subscribeQuestion) (*subscribedAnswer, error) {
	mode := in.Body.TableMode
	if mode == "" {
		mode = modeAll
	}
	noteParam(ctx, "table_mode", mode)
	noteParam(ctx, "tables", len(in.Body.Tables))
	n, err := s.preferences.Subscribe(ctx, callerOf(ctx), mode, in.Body.Tables)
	return &subscribedAnswer{Body: Subscribed{TableMode: mode, Updated: n}}, err
}

// Values of DatasetSetting.TableMode.
const (
	modeAll      = "all"
	modeExplicit = "explicit"
)

// wishes are one user's settings, by dataset.
type wishes map[string]DatasetSetting

// wishesOf reads the caller's.
func (s *Server) wishesOf(ctx context.Context) (wishes, error) {
	if s.preferences == nil {
		return nil, nil
	}
	list, err := s.preferences.List(ctx, callerOf(ctx).UserID)
	if err != nil {
		return nil, err
	}
	w := make(wishes, len(list))
	for _, d := range list {
		w[d.Dataset] = d
	}
	return w, nil
}

// has tells whether a copy of the table is wanted. The setting that names it most closely holds: the
// table's own, then its bucket's, its source's, and the one for everything else. What none names is
// wanted.
func (w wishes) has(t *published.Table) bool {
	for _, own := range []string{t.ID, t.Qualified()} {
		if d, ok := w[own]; ok {
			return d.Enabled
		}
	}
	var around []string
	if t.Registered != nil && t.Registered.Bucket != "" {
		around = append(around, t.Registered.Bucket+".*")
	}
	for _, dataset := range append(around, t.Source+".*", "*") {
		if d, ok := w[dataset]; ok {
			return d.Enabled && (d.TableMode != modeExplicit || d.Tables[t.ID] || d.Tables[t.Qualified()])
		}
	}
	return true
}

// tag changes when the wishes do.
func (w wishes) tag() string {
	var b strings.Builder
	for _, dataset := range slices.Sorted(maps.Keys(w)) {
		d := w[dataset]
		fmt.Fprintf(&b, "%q %t %s", dataset, d.Enabled, d.TableMode)
		for _, table := range slices.Sorted(maps.Keys(d.Tables)) {
			fmt.Fprintf(&b, " %q %t", table, d.Tables[table])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
