package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Limits of a registered table's fields, in bytes.
const (
	maxField   = 1024
	maxText    = 64 << 10 // of the description, and of the options
	maxKeyCols = 64
)

// check refuses what cannot be registered, naming the field, and fills in what has a default.
func (r *Registry) check(t RegisteredTable) (RegisteredTable, error) {
	if err := catalog.ValidTableName(t.Name); err != nil {
		return t, fault.New(fault.Invalid, "%s", err)
	}
	if t.Source == "" {
		return t, fault.New(fault.Invalid, "table %q: name the source it belongs to", t.Name)
	}
	if err := catalog.ValidSourceName(t.Source); err != nil {
		return t, fault.New(fault.Invalid, "table %q: %s", t.Name, err)
	}
	if t.SyncStrategy = strings.TrimSpace(t.SyncStrategy); t.SyncStrategy == "" {
		t.SyncStrategy = "full_refresh"
	}
	switch t.QueryMode = strings.TrimSpace(t.QueryMode); t.QueryMode {
	case "":
		t.QueryMode = catalog.ModeLocal
	case catalog.ModeLocal, catalog.ModeRemote, catalog.ModeMaterialized:
	default:
		return t, fault.New(fault.Invalid, "table %q: unknown query mode %.40q: use local, remote or materialized", t.Name, t.QueryMode)
	}
	t.SyncSchedule = strings.TrimSpace(t.SyncSchedule)
	if t.SyncSchedule != "" && r.s.opts.ValidSchedule != nil {
		if err := r.s.opts.ValidSchedule(t.SyncSchedule); err != nil {
			return t, fault.New(fault.Invalid, "table %q: sync_schedule: %s", t.Name, sentence(err))
		}
	}
	if err := checkTexts(t); err != nil {
		return t, err
	}
	if err := checkKey(t); err != nil {
		return t, err
	}
	var err error
	t.Options, err = checkOptions(t)
	return t, err
}

// sentence is what a validator says to the user, whether it speaks in faults or in plain errors.
func sentence(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

func checkTexts(t RegisteredTable) error {
	fields := []struct {
		name, value string
		limit       int
	}{
		{"bucket", t.Bucket, maxField},
		{"source_table", t.SourceTable, maxField},
		{"source_type", t.SourceType, maxField},
		{"sync_strategy", t.SyncStrategy, maxField},
		{"sync_schedule", t.SyncSchedule, maxField},
		{"folder", t.Folder, maxField},
		{"description", t.Description, maxText},
	}
	for _, f := range fields {
		if len(f.value) > f.limit {
			return fault.New(fault.Invalid, "table %q: %s is %d bytes long; the limit is %d", t.Name, f.name, len(f.value), f.limit)
		}
		if strings.ContainsFunc(f.value, func(c rune) bool { return c < 0x20 && (f.name != "description" || c == 0) }) {
			return fault.New(fault.Invalid, "table %q: %s contains a control character", t.Name, f.name)
		}
	}
	return nil
}

func checkKey(t RegisteredTable) error {
	if len(t.PrimaryKey) > maxKeyCols {
		return fault.New(fault.Invalid, "table %q: a primary key has at most %d columns", t.Name, maxKeyCols)
	}
	for i, c := range t.PrimaryKey {
		switch {
		case strings.TrimSpace(c) == "":
			return fault.New(fault.Invalid, "table %q: a column of the primary key has no name", t.Name)
		case len(c) > maxField, strings.ContainsRune(c, 0):
			return fault.New(fault.Invalid, "table %q: column %d of the primary key is not a name", t.Name, i+1)
		case slices.Contains(t.PrimaryKey[:i], c):
			return fault.New(fault.Invalid, "table %q: the primary key names column %q twice", t.Name, c)
		}
	}
	return nil
}

// checkOptions wants a JSON object and gives it compact; nothing, null and {} are nil.
func checkOptions(t RegisteredTable) (json.RawMessage, error) {
	raw := bytes.TrimSpace(t.Options)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > maxText {
		return nil, fault.New(fault.Invalid, "table %q: the options are %d bytes long; the limit is %d", t.Name, len(raw), maxText)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return nil, fault.New(fault.Invalid, "table %q: the options are not a JSON object", t.Name)
	}
	if len(object) == 0 {
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, fault.New(fault.Invalid, "table %q: the options are not a JSON object", t.Name)
	}
	return compact.Bytes(), nil
}

// apply changes the fields that are given and names them.
func (t *RegisteredTable) apply(c TableChange) ([]string, error) {
	var updated []string
	if c.Source != nil {
		if t.Source != "" && t.Source != *c.Source {
			return nil, fault.New(fault.Invalid, "table %q belongs to source %q: register it for the other source instead", t.Name, t.Source)
		}
		t.Source, updated = *c.Source, append(updated, "source")
	}
	texts := []struct {
		name  string
		value *string
		to    *string
	}{
		{"source_type", c.SourceType, &t.SourceType}, {"bucket", c.Bucket, &t.Bucket}, {"source_table", c.SourceTable, &t.SourceTable},
		{"sync_strategy", c.SyncStrategy, &t.SyncStrategy}, {"query_mode", c.QueryMode, &t.QueryMode},
		{"sync_schedule", c.SyncSchedule, &t.SyncSchedule}, {"folder", c.Folder, &t.Folder}, {"description", c.Description, &t.Description},
	}
	for _, f := range texts {
		if f.value != nil {
			*f.to, updated = *f.value, append(updated, f.name)
		}
	}
	if c.ProfileAfterSync != nil {
		t.ProfileAfterSync, updated = *c.ProfileAfterSync, append(updated, "profile_after_sync")
	}
	if c.PrimaryKey != nil {
		t.PrimaryKey, updated = *c.PrimaryKey, append(updated, "primary_key")
	}
	if c.IsPublic != nil {
		t.IsPublic, updated = *c.IsPublic, append(updated, "is_public")
	}
	if c.Options != nil {
		t.Options, updated = *c.Options, append(updated, "options")
	}
	return updated, nil
}
