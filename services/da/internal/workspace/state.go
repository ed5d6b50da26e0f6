package workspace

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// stateFormat is the version of the state file. A newer one is refused, untouched.
const stateFormat = 1

// State is what the workspace remembers: the tables that its views show, part by part.
type State struct {
	Format int `json:"format"`
	// Server is the one that the workspace belongs to.
	Server string `json:"server"`
	// ManifestETag names the manifest that Tables is the whole of; empty after anything partial.
	ManifestETag string `json:"manifest_etag,omitempty"`
	// Root is the folder that the views point into: another one than the workspace's after a move.
	Root   string           `json:"root"`
	Tables map[string]Table `json:"tables"`
	// Unwanted are the tables of that manifest that the user switched off on the server.
	Unwanted []string `json:"unwanted,omitempty"`
	// Remote are the tables of that manifest that stay where they live, by id; nil where an older program wrote the state.
	Remote map[string]RemoteTable `json:"remote"`
}

// RemoteTable is a table that stays where it lives.
type RemoteTable struct {
	Source  string           `json:"source"`
	Name    string           `json:"name"`
	Alias   bool             `json:"alias"`
	Columns []catalog.Column `json:"columns,omitempty"`
	// BigQuery is where it lives there; nil where only the server can ask it.
	BigQuery *catalog.BigQueryTable `json:"bigquery,omitempty"`
}

// Table is one table as it stands in the workspace.
type Table struct {
	Source      string           `json:"source"`
	Name        string           `json:"name"`
	Alias       bool             `json:"alias"`
	Description string           `json:"description,omitempty"`
	Rows        int64            `json:"rows"`
	SizeBytes   int64            `json:"size_bytes"`
	Hash        string           `json:"hash,omitempty"`
	Updated     time.Time        `json:"updated"`
	Columns     []catalog.Column `json:"columns,omitempty"`
	Parts       []Part           `json:"parts"`
}

// Part is one file of a table.
type Part struct {
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"size_bytes"`
}

// StateFile is where the state stands.
func (w *Workspace) StateFile() string { return filepath.Join(w.Metadata(), "sync_state.json") }

// LoadState reads the state; a missing one is empty. A file that is damaged, or that an older program
// wrote in another form, is empty too and tells damaged: a sync makes a new one without loss.
func (w *Workspace) LoadState() (s *State, damaged bool, err error) {
	s = &State{Format: stateFormat, Tables: map[string]Table{}}
	raw, err := os.ReadFile(w.StateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return nil, false, fault.Wrap(err, fault.Permanent, "%s cannot be read", w.StateFile())
	}
	var got State
	if err := json.Unmarshal(raw, &got); err != nil || got.Format < stateFormat {
		return s, true, nil //nolint:nilerr // told as damaged
	}
	if got.Format > stateFormat {
		return nil, false, fault.New(fault.Invalid, "the workspace %s was written by a newer da: update this one", w.Root)
	}
	for id, t := range got.Tables {
		for _, p := range t.Parts {
			if !ValidSHA(p.SHA256) {
				return s, true, nil
			}
		}
		s.Tables[id] = t
	}
	got.Tables = s.Tables
	return &got, false, nil
}

// SaveState puts the state in place, whole or not at all, and safe against a power cut.
func (w *Workspace) SaveState(s *State) error {
	s.Format = stateFormat
	return w.writeJSON(w.StateFile(), s)
}

// LastSync says how the last sync went, for people and scripts.
type LastSync struct {
	// SyncedAt is when the last complete sync ended; zero for never.
	SyncedAt time.Time `json:"synced_at,omitzero"`
	// TriedAt is when the last sync ended, complete or not.
	TriedAt time.Time `json:"tried_at"`
	Server  string    `json:"server"`
	// Complete: nothing was left undone.
	Complete bool `json:"complete"`
	Tables   int  `json:"tables"`
	Errors   int  `json:"errors"`
}

// LoadLastSync reads how the last sync went; nil where there was none.
func (w *Workspace) LoadLastSync() *LastSync {
	raw, err := os.ReadFile(w.lastSyncFile())
	if err != nil {
		return nil
	}
	var l LastSync
	if json.Unmarshal(raw, &l) != nil {
		return nil
	}
	return &l
}

func (w *Workspace) lastSyncFile() string { return filepath.Join(w.Metadata(), "last_sync.json") }

// SaveLastSync writes data/metadata/last_sync.json.
func (w *Workspace) SaveLastSync(l LastSync) error {
	return w.writeJSON(w.lastSyncFile(), l)
}

// SaveSchema writes the server's catalog as it came.
func (w *Workspace) SaveSchema(raw json.RawMessage) error {
	return w.writeJSON(w.SchemaFile(), raw)
}

func (w *Workspace) writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = lake.WriteFileAtomic(path, append(raw, '\n'), 0o644)
	}
	if err != nil {
		return fault.Wrap(err, fault.Permanent, "%s cannot be written", path)
	}
	return nil
}
