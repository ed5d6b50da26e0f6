// Package published keeps what the orchestrator published in memory: immutable snapshots of the
// catalog, replaced whole, so that all that one answer says comes from one moment.
package published

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Table is one published table.
type Table struct {
	catalog.Table
	// Source is the name of the source it belongs to.
	Source string
	// ID is what the API calls it: the id of its row in the registry, else the unqualified name where
	// only this table has it, else "source.table".
	ID string
	// Registered is its row in the registry; nil where there is none.
	Registered *Registered
	// Alias tells that the unqualified name stands for this table alone.
	Alias bool
	// Aliases are the unqualified names that stand for this table: its own where no other source has
	// it, and configured ones.
	Aliases []string
}

// Qualified is the name "source.table".
func (t *Table) Qualified() string { return catalog.TableID(t.Source, t.Name) }

// Registered is what the registry says of a table that matters to readers.
type Registered struct {
	ID, Source, Name                              string
	Description, SourceType, SyncStrategy, Bucket string
	Public                                        bool
	RegisteredAt                                  time.Time // zero where that is not known
}

// Copied tells whether the table is kept as parts, so that clients can hold a copy.
func (t *Table) Copied() bool { return t.QueryMode != catalog.ModeRemote }

// version is an earlier content of a table, whose parts may still stand on disk.
type version struct {
	table    catalog.Table
	replaced time.Time
}

const (
	// maxVersions and versionAge bound what is remembered of a table's past. Parts are collected after
	// a grace period, so that older versions are of no use anyway.
	maxVersions = 8
	versionAge  = 2 * time.Hour
)

// Snapshot is the catalog at one moment. It never changes.
type Snapshot struct {
	// Version changes exactly when the content of the snapshot does.
	Version string
	// At is when it was taken.
	At time.Time

	sources  map[string]catalog.Source
	tables   []*Table
	index    *catalog.Index
	byID     map[string]*Table
	byName   map[string]*Table // by qualified name
	problems []catalog.Problem
	past     map[string][]version // by qualified name, newest first
}

// Tables gives all tables, ordered by id. The slice must not be changed.
func (s *Snapshot) Tables() []*Table { return s.tables }

// Sources gives all sources, ordered by name.
func (s *Snapshot) Sources() []catalog.Source { return s.index.Sources() }

// Source finds a source by name.
func (s *Snapshot) Source(name string) (catalog.Source, bool) {
	src, ok := s.sources[name]
	return src, ok
}

// Problems gives what could not be published or read, of all sources.
func (s *Snapshot) Problems() []catalog.Problem { return s.problems }

// Named finds a table by source and name.
func (s *Snapshot) Named(source, name string) (*Table, bool) {
	t, ok := s.byName[catalog.TableID(source, name)]
	return t, ok
}

// ByID finds a table by its exact id.
func (s *Snapshot) ByID(id string) (*Table, bool) {
	t, ok := s.byID[id]
	return t, ok
}

// Lookup finds a table by id, by qualified name, or by an unqualified one that stands for it alone.
func (s *Snapshot) Lookup(name string) (*Table, bool) {
	if t, ok := s.byID[name]; ok {
		return t, true
	}
	if ref, ok := s.index.Lookup(name); ok {
		t, ok := s.byName[ref.ID()]
		return t, ok
	}
	return nil, false
}

// Part finds a part of the table by its SHA-256: of this version, or of an earlier one.
func (s *Snapshot) Part(t *Table, sha256 string) (catalog.Part, bool) {
	for _, content := range s.Versions(t) {
		for _, p := range content.Parts {
			if p.SHA256 == sha256 {
				return p, true
			}
		}
	}
	return catalog.Part{}, false
}

// Versions gives the table's content as it stands, then what is remembered of its past, newest first.
func (s *Snapshot) Versions(t *Table) []catalog.Table {
	all := []catalog.Table{t.Table}
	for _, v := range s.past[t.Qualified()] {
		all = append(all, v.table)
	}
	return all
}

// content is what a snapshot is made of.
type content struct {
	sources  map[string]catalog.Source
	broken   []catalog.Problem
	aliases  map[string]string
	registry map[string]*Registered // by qualified name
}

// newSnapshot builds the next snapshot. before may be nil.
func newSnapshot(c content, before *Snapshot, now time.Time) *Snapshot {
	list := make([]catalog.Source, 0, len(c.sources))
	for _, s := range c.sources {
		list = append(list, s)
	}
	s := &Snapshot{
		At: now, sources: c.sources, index: catalog.NewIndex(list, c.aliases),
		byID: map[string]*Table{}, byName: map[string]*Table{}, past: map[string][]version{},
	}
	refs := s.index.Tables()
	flat := make([]Table, len(refs))
	s.tables = make([]*Table, len(refs))
	for i, r := range refs {
		flat[i] = Table{Table: r.Table, Source: r.Source, Registered: c.registry[r.ID()]}
		s.tables[i] = &flat[i]
		s.byName[r.ID()] = &flat[i]
	}
	for _, a := range s.index.Aliases() {
		if t, ok := s.byName[a.Ref.ID()]; ok {
			t.Aliases = append(t.Aliases, a.Name)
			t.Alias = t.Alias || strings.EqualFold(a.Name, t.Name)
		}
	}
	s.name(c.registry)
	s.problems = append(slices.Clone(c.broken), s.index.Problems()...)
	for _, src := range s.index.Sources() {
		s.problems = append(s.problems, src.Problems...)
	}
	s.Version = versionOf(s)
	s.remember(before, now)
	return s
}

// name gives every table its id, and orders the tables by it. An id of the registry belongs to the
// table that was registered under it and to no other, whether that one is published or not.
func (s *Snapshot) name(registry map[string]*Registered) {
	taken := make(map[string]bool, len(registry))
	for _, r := range registry {
		taken[r.ID] = true
	}
	for _, t := range s.tables {
		switch {
		case t.Registered != nil:
			t.ID = t.Registered.ID
			if t.Description == "" {
				t.Description = t.Registered.Description
			}
		case t.Alias && !taken[t.Name] && !strings.Contains(t.Name, "."):
			t.ID = t.Name
		default:
			t.ID = t.Qualified()
		}
	}
	for _, t := range s.tables {
		for t.Registered == nil && taken[t.ID] {
			t.ID += "~" // somebody registered another table under what looks like this one's name
		}
		s.byID[t.ID] = t
	}
	slices.SortFunc(s.tables, func(a, b *Table) int { return strings.Compare(a.ID, b.ID) })
}

// versionOf hashes what readers can tell apart.
func versionOf(s *Snapshot) string {
	h := sha256.New()
	for _, src := range s.index.Sources() {
		fmt.Fprintf(h, "%q %d %s\n", src.Name, src.Generation, src.Version)
		for _, t := range src.Tables {
			fmt.Fprintf(h, "  %q %s %d\n", t.Name, t.Fingerprint, t.ExtractedAt.UnixNano())
		}
	}
	for _, t := range s.tables {
		fmt.Fprintf(h, "id %q %q", t.ID, t.Description)
		if r := t.Registered; r != nil {
			fmt.Fprintf(h, " %q %q %q %t", r.SourceType, r.SyncStrategy, r.Bucket, r.Public)
		}
		fmt.Fprintln(h)
	}
	for _, a := range s.index.Aliases() {
		fmt.Fprintf(h, "alias %q %q\n", a.Name, a.Ref.ID())
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// remember carries over what went before, and what this snapshot replaces.
func (s *Snapshot) remember(before *Snapshot, now time.Time) {
	if before == nil {
		return
	}
	for _, old := range before.tables {
		name := old.Qualified()
		t, still := s.byName[name]
		if !still {
			continue
		}
		var past []version
		if old.Fingerprint != t.Fingerprint {
			past = append(past, version{table: old.Table, replaced: now})
		}
		for _, v := range before.past[name] {
			if len(past) < maxVersions && now.Sub(v.replaced) < versionAge && v.table.Fingerprint != t.Fingerprint {
				past = append(past, v)
			}
		}
		if len(past) > 0 {
			s.past[name] = past
		}
	}
}

// Collisions gives the tables of a source whose name alone stands for no table.
func (s *Snapshot) Collisions(source string) []catalog.Problem { return s.index.Collisions(source) }
