package catalog

import (
	"fmt"
	"sort"
	"strings"
)

// Ref is a table together with the source it belongs to.
type Ref struct {
	Source string
	Table  Table
}

// ID is the table's qualified name, "source.table". A source's name has no dot, so the first dot
// divides the two.
func (r Ref) ID() string { return TableID(r.Source, r.Table.Name) }

// TableID is the qualified name of a table.
func TableID(source, table string) string { return source + "." + table }

// SplitID takes a qualified name apart; ok is false where it is not one.
func SplitID(id string) (source, table string, ok bool) {
	source, table, ok = strings.Cut(id, ".")
	return source, table, ok && source != "" && table != ""
}

// Index finds tables by qualified and by unqualified name, whatever the case of the letters. An
// unqualified name stands for a table where only one source has a table of that name, or where the
// configuration says which one is meant: never for the first in some order. Setting and removing a
// source cost as much as that source has tables, whatever the number of others. An Index is not safe
// for concurrent changes.
type Index struct {
	sources map[string]Source          // by exact name
	byID    map[string]map[string]Ref  // folded id → exact id → table
	byName  map[string]map[string]Ref  // folded table name → exact id → table
	aliases map[string]configuredAlias // folded name → configured target
}

type configuredAlias struct{ name, target string }

// NewIndex returns an index of the sources. The aliases are the configured resolutions: from an
// unqualified name to the qualified name of the table it stands for. An alias wins over a table of
// that name. While its target is not there it stands for nothing: a query must not come upon
// another table's rows because the one that was meant is missing.
func NewIndex(sources []Source, aliases map[string]string) *Index {
	x := &Index{
		sources: make(map[string]Source, len(sources)),
		byID:    make(map[string]map[string]Ref),
		byName:  make(map[string]map[string]Ref),
		aliases: make(map[string]configuredAlias, len(aliases)),
	}
	for name, target := range aliases {
		x.aliases[fold(name)] = configuredAlias{name: name, target: target}
	}
	for _, s := range sources {
		x.Set(s)
	}
	return x
}

// Set puts a source into the index, in place of what it held of that source.
func (x *Index) Set(s Source) {
	x.Remove(s.Name)
	x.sources[s.Name] = s
	for _, t := range s.Tables {
		r := Ref{Source: s.Name, Table: t}
		put(x.byID, fold(r.ID()), r)
		put(x.byName, fold(t.Name), r)
	}
}

// Remove takes a source out of the index.
func (x *Index) Remove(name string) {
	for _, t := range x.sources[name].Tables {
		id := TableID(name, t.Name)
		drop(x.byID, fold(id), id)
		drop(x.byName, fold(t.Name), id)
	}
	delete(x.sources, name)
}

// Source gives a source by its exact name.
func (x *Index) Source(name string) (Source, bool) {
	s, ok := x.sources[name]
	return s, ok
}

// Sources gives all sources, ordered by name.
func (x *Index) Sources() []Source {
	out := make([]Source, 0, len(x.sources))
	for _, s := range x.sources {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Tables gives all tables, ordered by qualified name.
func (x *Index) Tables() []Ref {
	var out []Ref
	for _, same := range x.byID {
		for _, r := range same {
			out = append(out, r)
		}
	}
	sortRefs(out)
	return out
}

// Lookup finds a table by qualified or unqualified name. A qualified name comes first: a table that
// is itself called "a.b" is reached as "source.a.b" where a source a has a table b.
func (x *Index) Lookup(name string) (Ref, bool) {
	if r, ok := x.ByID(name); ok {
		return r, true
	}
	return x.ByName(name)
}

// ByID finds a table by its qualified name. Where two differ only in the case of letters, only the
// exact name finds one.
func (x *Index) ByID(id string) (Ref, bool) {
	same := x.byID[fold(id)]
	if r, ok := same[id]; ok {
		return r, true
	}
	return single(same)
}

// ByName finds the table that an unqualified name stands for.
func (x *Index) ByName(name string) (Ref, bool) {
	if a, ok := x.aliases[fold(name)]; ok {
		return x.ByID(a.target)
	}
	return single(x.byName[fold(name)])
}

// Alias is an unqualified name and the table it stands for.
type Alias struct {
	Name string
	Ref  Ref
}

// Aliases gives every unqualified name that stands for a table, ordered by name: the configured ones
// and the names that only one source has.
func (x *Index) Aliases() []Alias {
	var out []Alias
	for _, a := range x.aliases {
		if r, ok := x.ByID(a.target); ok {
			out = append(out, Alias{Name: a.name, Ref: r})
		}
	}
	for folded, same := range x.byName {
		if _, configured := x.aliases[folded]; configured {
			continue
		}
		if r, ok := single(same); ok {
			out = append(out, Alias{Name: r.Table.Name, Ref: r})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Problems gives the names that stand for no table: those that several sources have and no alias
// resolves, and aliases without their table. They are ordered.
func (x *Index) Problems() []Problem {
	var out []Problem
	for folded := range x.byName {
		if p, collides := x.collision(folded); collides {
			out = append(out, p)
		}
	}
	for _, a := range x.aliases {
		if _, ok := x.ByID(a.target); !ok {
			out = append(out, Problem{
				Table:   a.name,
				Code:    ProblemCollision,
				Message: fmt.Sprintf("the alias %q is configured for %q, which is not there", a.name, a.target),
			})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Message < out[j].Message })
	return out
}

// Collisions gives the tables of a source whose unqualified name stands for no table, ordered.
func (x *Index) Collisions(source string) []Problem {
	var out []Problem
	seen := make(map[string]bool)
	for _, t := range x.sources[source].Tables {
		folded := fold(t.Name)
		if seen[folded] {
			continue
		}
		seen[folded] = true
		if p, collides := x.collision(folded); collides {
			p.Table = t.Name
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Message < out[j].Message })
	return out
}

// collision tells whether several tables share a name that no alias resolves.
func (x *Index) collision(folded string) (Problem, bool) {
	same := x.byName[folded]
	if _, configured := x.aliases[folded]; configured || len(same) < 2 {
		return Problem{}, false
	}
	refs := make([]Ref, 0, len(same))
	for _, r := range same {
		refs = append(refs, r)
	}
	sortRefs(refs)
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.ID()
	}
	name := refs[0].Table.Name
	return Problem{
		Table: name,
		Code:  ProblemCollision,
		Message: fmt.Sprintf("the name %q alone stands for no table, for there are %s: use the qualified name, or set aliases: {%s: %s} in the configuration",
			name, strings.Join(ids, ", "), name, ids[0]),
	}, true
}

func fold(s string) string { return strings.ToLower(s) }

func single(same map[string]Ref) (Ref, bool) {
	if len(same) == 1 {
		for _, r := range same {
			return r, true
		}
	}
	return Ref{}, false
}

func put(m map[string]map[string]Ref, key string, r Ref) {
	if m[key] == nil {
		m[key] = make(map[string]Ref, 1)
	}
	m[key][r.ID()] = r
}

func drop(m map[string]map[string]Ref, key, id string) {
	delete(m[key], id)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

func sortRefs(refs []Ref) {
	sort.Slice(refs, func(i, j int) bool { return refs[i].ID() < refs[j].ID() })
}
