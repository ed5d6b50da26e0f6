package mirror

import (
	"context"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// wanted is what a manifest asks for, checked: nothing of it can lead out of the workspace.
type wanted struct {
	tables  map[string]workspace.Table
	invalid map[string]error
	remote  map[string]workspace.RemoteTable
}

// readManifest checks a manifest. Two names that differ only in case cannot both be views: the table
// that the workspace has already keeps the name, else the first by id.
func readManifest(m client.Manifest, have map[string]workspace.Table) wanted {
	w := wanted{tables: map[string]workspace.Table{}, invalid: map[string]error{}, remote: map[string]workspace.RemoteTable{}}
	for id, t := range m.RemoteTables {
		w.remote[id] = remoteTable(t)
	}
	ids := slices.Sorted(maps.Keys(m.Tables))
	slices.SortStableFunc(ids, func(a, b string) int {
		_, hadA := have[a]
		_, hadB := have[b]
		switch {
		case hadA == hadB:
			return 0
		case hadA:
			return -1
		}
		return 1
	})
	taken, aliases := map[string]string{}, map[string]bool{}
	for _, id := range ids {
		if m.Tables[id].QueryMode == catalog.ModeRemote {
			w.remote[id] = remoteTable(m.Tables[id])
			continue
		}
		t, err := readTable(id, m.Tables[id])
		name := foldASCII(t.Source + "." + t.Name)
		if other, is := taken[name]; err == nil && is {
			err = fault.New(fault.Conflict, "its name %s.%s differs from that of %s at most in case, and a view can have it only once", t.Source, t.Name, other)
		}
		if err != nil {
			w.invalid[id] = err
			continue
		}
		taken[name] = id
		alias := foldASCII(t.Name)
		t.Alias = t.Alias && !aliases[alias]
		if t.Alias {
			aliases[alias] = true
		}
		w.tables[id] = t
	}
	return w
}

func remoteTable(m client.ManifestTable) workspace.RemoteTable {
	return workspace.RemoteTable{Source: m.Source, Name: m.Name, Alias: m.Alias, Columns: m.Columns, BigQuery: m.BigQuery}
}

func readTable(id string, m client.ManifestTable) (workspace.Table, error) {
	t := workspace.Table{
		Source: m.Source, Name: m.Name, Alias: m.Alias, Description: m.Description,
		Rows: m.Rows, Hash: m.Hash, Updated: m.Updated, Columns: m.Columns, Parts: []workspace.Part{},
	}
	if id == "" || id == "." || id == ".." {
		return t, fault.New(fault.Invalid, "the server gives it an id that cannot be asked for")
	}
	if err := catalog.ValidSourceName(t.Source); err != nil {
		return t, fault.Wrap(err, fault.Invalid, "the server names its source in a way that cannot be: %s", err)
	}
	if err := catalog.ValidTableName(t.Name); err != nil {
		return t, fault.Wrap(err, fault.Invalid, "the server names it in a way that cannot be: %s", err)
	}
	sizes := map[string]int64{}
	for _, p := range m.Parts {
		if !workspace.ValidSHA(p.SHA256) {
			return t, fault.New(fault.Invalid, "the server lists a part of %q without a usable hash", id)
		}
		if size, twice := sizes[p.SHA256]; p.SizeBytes <= 0 || (twice && size != p.SizeBytes) {
			return t, fault.New(fault.Invalid, "the server lists a part of %q without a usable size", id)
		}
		sizes[p.SHA256] = p.SizeBytes
		t.SizeBytes += p.SizeBytes
		t.Parts = append(t.Parts, workspace.Part{SHA256: p.SHA256, SizeBytes: p.SizeBytes})
	}
	if len(t.Parts) == 0 && len(t.Columns) == 0 {
		return t, fault.New(fault.Invalid, "the server lists neither parts nor columns of it")
	}
	return t, nil
}

// foldASCII is how DuckDB compares names.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// choose resolves names of tables, by id, qualified name or unique name. nil means all.
func choose(names []string, w wanted) (map[string]bool, error) {
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // nil means all
	}
	chosen := map[string]bool{}
	for _, name := range names {
		ids := lookup(name, w)
		switch {
		case len(ids) == 1:
			chosen[ids[0]] = true
		case len(ids) > 1:
			return nil, fault.New(fault.NotFound, "%q can be %s: name one of them", name, strings.Join(ids, " or "))
		case w.isRemote(name):
			return nil, fault.New(fault.Invalid, "%q stays where it lives and cannot be synced: ask it with `da query`, or `da query --remote`", name)
		default:
			return nil, fault.New(fault.NotFound, "there is no table %q, or it is not granted to you: `da status` lists those that are", name)
		}
	}
	return chosen, nil
}

// isRemote tells whether a table of that id or qualified name stays where it lives.
func (w wanted) isRemote(name string) bool {
	for id, t := range w.remote {
		if id == name || foldASCII(t.Source+"."+t.Name) == foldASCII(name) {
			return true
		}
	}
	return false
}

func lookup(name string, w wanted) []string {
	all := map[string]workspace.Table{}
	maps.Copy(all, w.tables)
	for id := range w.invalid {
		all[id] = workspace.Table{}
	}
	if _, ok := all[name]; ok {
		return []string{name}
	}
	var qualified, plain []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		t := all[id]
		if foldASCII(t.Source+"."+t.Name) == foldASCII(name) {
			qualified = append(qualified, id)
		}
		if foldASCII(t.Name) == foldASCII(name) {
			plain = append(plain, id)
		}
	}
	if len(qualified) > 0 {
		return qualified
	}
	return plain
}

// plan is what has to happen, ordered by id.
type plan struct {
	change []change
	keep   []string
	remove []string
}

// change is a table that gets a new version, or gets back what was lost of it.
type change struct {
	id      string
	table   workspace.Table
	missing []workspace.Part // each once
}

func (p plan) nothing() bool { return len(p.change) == 0 && len(p.remove) == 0 }

func (c change) missingBytes() int64 {
	var n int64
	for _, p := range c.missing {
		n += p.SizeBytes
	}
	return n
}

func (c change) describe(old map[string]workspace.Table) Change {
	_, had := old[c.id]
	return Change{Table: c.id, Rows: c.table.Rows, SizeBytes: c.table.SizeBytes, Fetched: c.missingBytes(), Parts: len(c.missing), New: !had}
}

// makePlan compares what is wanted with what the state shows and what lies on disk. chosen bounds it;
// nil means all, and only then is anything removed.
func makePlan(w wanted, chosen map[string]bool, shown map[string]workspace.Table, inv workspace.Inventory) plan {
	var p plan
	for _, id := range slices.Sorted(maps.Keys(w.tables)) {
		if chosen != nil && !chosen[id] {
			continue
		}
		c := change{id: id, table: w.tables[id]}
		seen := map[string]bool{}
		for _, part := range c.table.Parts {
			if !seen[part.SHA256] && !inv.Has(id, part.SHA256, part.SizeBytes) {
				c.missing = append(c.missing, part)
			}
			seen[part.SHA256] = true
		}
		now, is := shown[id]
		if is && len(c.missing) == 0 && same(now, c.table) {
			p.keep = append(p.keep, id)
			continue
		}
		p.change = append(p.change, c)
	}
	if chosen == nil {
		for _, id := range slices.Sorted(maps.Keys(shown)) {
			_, wanted := w.tables[id]
			if !wanted && w.invalid[id] == nil {
				p.remove = append(p.remove, id)
			}
		}
	}
	return p
}

// same tells whether two versions of a table are one. When it was updated, or counted, makes no version.
func same(a, b workspace.Table) bool {
	return a.Source == b.Source && a.Name == b.Name && a.Alias == b.Alias && a.Description == b.Description &&
		slices.Equal(a.Parts, b.Parts) && (len(a.Parts) > 0 || reflect.DeepEqual(a.Columns, b.Columns))
}

// rehash takes parts out of the inventory, and off the disk, whose bytes are not what their name says.
func (p *pass) rehash(ctx context.Context) error {
	for id, t := range p.want.tables {
		for _, part := range t.Parts {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !p.inv.Has(id, part.SHA256, part.SizeBytes) {
				continue
			}
			path := p.ws.Part(id, part.SHA256)
			digest, err := lake.HashFile(path)
			if err == nil && digest.SHA256 == part.SHA256 {
				continue
			}
			delete(p.inv[workspace.FolderOf(id)], part.SHA256+workspace.PartExt)
			p.notes = append(p.notes, "a part of "+id+" on disk was damaged")
			if !p.opts.DryRun {
				_ = os.Remove(path) // else the download puts the right one over it
			}
		}
	}
	return nil
}
