package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// profiles keeps what the orchestrator found out about the columns of tables.
type profiles struct{ state *state.Store }

// tablesProfiled keeps the newest profile of each table, those that come together in one write: after
// a large publication there are thousands. An older one that comes late, or twice, changes nothing.
func (p profiles) tablesProfiled(ctx context.Context, batch []event.Event[*agnesv1.TableProfiled]) error {
	found, failed := map[string]state.Profile{}, event.Failures{}
	for _, e := range batch {
		key, profile, err := profileOf(e)
		if err != nil {
			failed[e.ID] = err
			continue
		}
		if before, twice := found[key]; !twice || !before.ProfiledAt.After(profile.ProfiledAt) {
			found[key] = profile
		}
	}
	if err := p.state.Profiles.Put(ctx, found); err != nil {
		return err
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func profileOf(e event.Event[*agnesv1.TableProfiled]) (key string, p state.Profile, err error) {
	source, table := e.Payload.GetSource(), e.Payload.GetTable()
	if source == "" {
		source = e.Source
	}
	if source == "" || table == "" || e.Payload.GetProfile() == nil {
		return "", p, fault.New(fault.Invalid, "table.profiled names no table or has no profile")
	}
	p.ProfiledAt = e.Time
	if t := e.Payload.GetProfiledAt(); t != nil {
		p.ProfiledAt = t.AsTime()
	}
	profile := e.Payload.GetProfile().AsMap()
	profile["hash"] = e.Payload.GetHash()
	if p.JSON, err = json.Marshal(profile); err != nil {
		return "", p, fault.Wrap(err, fault.Invalid, "the profile of %s is not JSON", catalog.TableID(source, table))
	}
	return catalog.TableID(source, table), p, nil
}

// Profile gives the newest profile of a table; fault.NotFound where it was never profiled. The answer
// says whether it is that of the content as it stands. One from before the table was registered may be
// that of a removed table of its name, with rules of its own: it is given only for the same content.
func (p profiles) Profile(ctx context.Context, t *published.Table) (json.RawMessage, error) {
	keys := []string{t.Qualified()}
	if !strings.Contains(t.ID, ".") {
		keys = append(keys, t.ID) // a predecessor kept them so; with a dot it may be another table's name
	}
	for _, key := range keys {
		found, err := p.state.Profiles.Get(ctx, key)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		profile, current, err := dressed(found, t)
		if err == nil && !current && t.Registered != nil && found.ProfiledAt.Before(t.Registered.RegisteredAt) {
			break
		}
		return profile, err
	}
	return nil, fault.New(fault.NotFound, "table %q was not profiled yet", t.ID)
}

func dressed(found state.Profile, t *published.Table) (raw json.RawMessage, current bool, err error) {
	profile := map[string]any{}
	if err := json.Unmarshal(found.JSON, &profile); err != nil {
		return nil, false, fmt.Errorf("read the profile of %s: %w", t.ID, err)
	}
	hash, _ := profile["hash"].(string)
	current = hash == t.Fingerprint
	profile["table_id"], profile["current"] = t.ID, current
	profile["profiled_at"] = found.ProfiledAt.UTC()
	raw, err = json.Marshal(profile)
	return raw, current, err
}
