package extract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Keys of _agnes.
const (
	keyFormat    = "format"
	keyDataDir   = "data_dir"
	keyToken     = "token:"     // + table: what TableWriter.SetToken kept
	keySpec      = "spec:"      // + table: a hash of the definition that the table was extracted by
	keyCompanion = "companion:" // + table: the table it belongs to
	formatValue  = "1"
)

// entry is one table as it stands, or will stand, in extract.duckdb.
type entry struct {
	catalog.Table
	token, spec string
	parent      string // of a companion
	damaged     bool   // it has no readable parts: its rows stay in _meta and _parts, without a view
	remote      remoteTable
}

// state is the content of one extract.duckdb.
type state struct {
	entries map[string]*entry
	remotes []catalog.Remote
	dataDir string // that the paths of the views begin with
}

func newState() *state { return &state{entries: map[string]*entry{}} }

func (s *state) names() []string {
	names := make([]string, 0, len(s.entries))
	for name := range s.entries {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// tables are what readers see of it, ordered by name.
func (s *state) tables() []catalog.Table {
	names := s.names()
	tables := make([]catalog.Table, len(names))
	for i, name := range names {
		tables[i] = s.entries[name].Table
	}
	return tables
}

// contentOf identifies what readers see of a version.
func contentOf(tables []catalog.Table, remotes []catalog.Remote, problems []catalog.Problem) string {
	return shortHash(catalog.VersionOf(tables) + fmt.Sprint(remotes, problems))
}

// companions of a table, by name.
func (s *state) companions(parent string) map[string]*entry {
	out := map[string]*entry{}
	for name, e := range s.entries {
		if e.parent == parent && parent != "" {
			out[name] = e
		}
	}
	return out
}

// sameContent tells whether readers see the same: tables, columns, rows, descriptions, remotes.
func (s *state) sameContent(o *state) bool {
	if len(s.entries) != len(o.entries) || !slices.Equal(s.remotes, o.remotes) {
		return false
	}
	for name, e := range s.entries {
		other, found := o.entries[name]
		if !found || e.Fingerprint != other.Fingerprint || e.Description != other.Description || e.damaged != other.damaged {
			return false
		}
	}
	return true
}

// sameMemory tells whether the next run would find the same in it.
func (s *state) sameMemory(o *state) bool {
	if s.dataDir != o.dataDir {
		return false
	}
	for name, e := range s.entries {
		other := o.entries[name]
		if other == nil || e.token != other.token || e.spec != other.spec || e.parent != other.parent {
			return false
		}
	}
	return true
}

// loadState reads what stands. Only a file that is there and is no extract at all is looked past, to
// the published catalog; every other failure to read ends the run: it is never "nothing" (trap S2).
func loadState(ctx context.Context, dataDir, source string) (s *state, unusable error, err error) {
	v, err := OpenVersion(ctx, dataDir, source)
	switch {
	case err == nil:
		s, err = stateOf(ctx, dataDir, v)
		return s, nil, err
	case fault.Is(err, fault.NotFound):
		return newState(), nil, nil
	case !fault.Is(err, fault.Permanent):
		return nil, nil, err
	}
	s, recoverErr := recoverState(dataDir, source)
	if recoverErr != nil {
		return nil, nil, recoverErr
	}
	return s, err, nil
}

// stateOf takes over a version. Tables of another program that wrote here before are copied into
// parts, so that they can be kept.
func stateOf(ctx context.Context, dataDir string, v *Version) (*state, error) {
	s := newState()
	s.remotes, s.dataDir = v.Remotes, v.Tokens[keyDataDir]
	add := func(t VersionTable, damaged bool) {
		e := &entry{Table: t.Table, damaged: damaged, token: v.Tokens[keyToken+t.Name], spec: v.Tokens[keySpec+t.Name], parent: v.Tokens[keyCompanion+t.Name]}
		if t.Stored == StoredRemote {
			e.remote = remoteOf(t.RemoteSQL)
		}
		s.entries[t.Name] = e
	}
	for _, t := range v.Tables {
		if t.Stored == StoredFile || t.Stored == StoredInside {
			parts, err := CopyOut(ctx, dataDir, v, t.Name, filepath.Join(extractsDir, v.Source, dataFolder))
			if err != nil {
				return nil, fmt.Errorf("keep the table %s of another program: %w", t.Name, err)
			}
			t.adopt(parts)
		}
		add(t, false)
	}
	for _, t := range v.damaged {
		add(t, true)
	}
	return s, nil
}

// adopt makes parts the content of a table.
func (t *VersionTable) adopt(parts []catalog.Part) {
	t.Parts, t.Rows, t.SizeBytes = parts, 0, 0
	for _, p := range parts {
		t.Rows += p.Rows
		t.SizeBytes += p.SizeBytes
	}
	t.Fingerprint = catalog.Fingerprint(t.Table)
}

// remoteOf reads back where a remote table lives from the view that publish wrote.
func remoteOf(sql string) remoteTable {
	rest, found := strings.CutPrefix(sql, "SELECT * FROM ")
	if !found {
		return remoteTable{}
	}
	var names []string
	for rest != "" {
		var name string
		if rest[0] == '"' {
			end := quotedEnd(rest)
			name, rest = strings.ReplaceAll(rest[1:end-1], `""`, `"`), rest[end:]
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			name, rest = rest[:end], rest[end:]
		}
		names = append(names, name)
		rest = strings.TrimPrefix(rest, ".")
	}
	if len(names) != 3 {
		return remoteTable{}
	}
	return remoteTable{names[0], names[1], names[2]}
}

// recoverState takes the published catalog of a source in place of an extract that cannot be read.
func recoverState(dataDir, source string) (*state, error) {
	s := newState()
	published, err := catalog.LoadSource(dataDir, source)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recover the extract of %s: %w", source, err)
	}
	own := extractsDir + "/" + source + "/" + dataFolder + "/"
	for _, t := range published.Tables {
		usable := len(t.Parts) > 0 && t.QueryMode != catalog.ModeRemote
		for _, p := range t.Parts {
			info, err := os.Lstat(filepath.Join(dataDir, filepath.FromSlash(p.Path)))
			usable = usable && strings.HasPrefix(p.Path, own) && err == nil && info.Size() == p.SizeBytes
		}
		if usable {
			s.entries[t.Name] = &entry{Table: t}
		}
	}
	return s, nil
}

// specHash identifies how a table is extracted: a change of it makes the connector read again.
func specHash(cfg SourceConfig, t TableSpec) string {
	definition := []any{cfg.Type, cfg.Options, t.Name, t.Bucket, t.SourceTable, t.QueryMode, t.SyncStrategy, t.Folder, t.PrimaryKey, t.Options}
	if t.Contract == ContractDiscard {
		definition = append(definition, t.Contract) // what was left out is read when that ends
	}
	raw, err := json.Marshal(definition)
	if err != nil {
		return "" // options that JSON cannot hold: never equal, so always read again
	}
	return shortHash(string(raw))
}
