package access

import (
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// rulebook is everything that the state says about who may read what, ordered for looking it up.
//
// An administrator reads all. Everybody else reads a table that is registered as public, and a table
// that a grant of theirs or of a group of theirs names: by its registry id, by "source.table", by its
// bucket ("bucket.*") or by its source ("source.*"). A grant of "none" grants nothing, as if it were not
// there. A table that is not in the registry is private: only the qualified forms name it. Names count
// to the letter. Where several rows of the registry name one table, or bring the same data under several
// names, it is public only if all of them say so; and where a bucket of another source has the name of a source, "<name>.*" means the bucket
// alone.
type rulebook struct {
	generation uint64
	rows       map[Name][]state.RegisteredTable
	ids        map[string]Name            // registry id → table
	private    map[string]bool            // data of which a row is private
	buckets    map[string]map[string]bool // bucket → the sources that have one of that name
	granted    map[string][]string        // user → datasets
	groups     map[string][]*group        // user → groups, by name
}

// group is a group with what it may read.
type group struct {
	name     string
	datasets []string
}

func newRulebook(rules state.Rules) *rulebook {
	b := &rulebook{
		rows: make(map[Name][]state.RegisteredTable, len(rules.Registry)), ids: make(map[string]Name, len(rules.Registry)),
		private: map[string]bool{}, buckets: map[string]map[string]bool{}, granted: map[string][]string{}, groups: map[string][]*group{},
	}
	for _, t := range rules.Registry {
		n := Name{t.Source, t.Name}
		b.rows[n] = append(b.rows[n], t)
		b.ids[t.ID] = n
		if !t.IsPublic {
			b.private[t.Data()] = true
		}
		if t.Bucket == "" {
			continue
		}
		if b.buckets[t.Bucket] == nil {
			b.buckets[t.Bucket] = make(map[string]bool, 1)
		}
		b.buckets[t.Bucket][t.Source] = true
	}
	groups := map[string]*group{}
	for _, g := range rules.Grants {
		if strings.EqualFold(strings.TrimSpace(g.Access), state.AccessNone) {
			continue
		}
		switch {
		case g.GroupID == "":
			b.granted[g.UserID] = append(b.granted[g.UserID], g.Dataset)
		case groups[g.GroupID] == nil:
			groups[g.GroupID] = &group{name: g.GroupName, datasets: []string{g.Dataset}}
		default:
			groups[g.GroupID].datasets = append(groups[g.GroupID].datasets, g.Dataset)
		}
	}
	for _, m := range rules.Members {
		if g := groups[m.GroupID]; g != nil {
			b.groups[m.UserID] = append(b.groups[m.UserID], g)
		}
	}
	for _, list := range b.groups {
		slices.SortFunc(list, func(x, y *group) int { return strings.Compare(x.name, y.name) })
	}
	return b
}

// public tells whether a table is registered, and as public in every row of it and of its data.
func (b *rulebook) public(n Name) bool {
	rows := b.rows[n]
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(t state.RegisteredTable) bool { return !t.IsPublic || b.private[t.Data()] })
}

// named gives the datasets that stand for a table, whoever they are granted to.
func (b *rulebook) named(n Name) []string {
	list := make([]string, 0, 4)
	// A registry id that looks like another table's qualified name, or like a wildcard, is an id.
	qualified := catalog.TableID(n.Source, n.Table)
	if owner, isID := b.ids[qualified]; !isID || owner == n {
		list = append(list, qualified)
	}
	if all := n.Source + ".*"; !b.isID(all) && !b.isOthersBucket(n.Source) {
		list = append(list, all)
	}
	for _, t := range b.rows[n] {
		list = append(list, t.ID)
		if all := t.Bucket + ".*"; t.Bucket != "" && !b.isID(all) {
			list = append(list, all)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (b *rulebook) isID(dataset string) bool {
	_, isID := b.ids[dataset]
	return isID
}

// isOthersBucket tells whether a source's name is that of a bucket of another source.
func (b *rulebook) isOthersBucket(source string) bool {
	for owner := range b.buckets[source] {
		if owner != source {
			return true
		}
	}
	return false
}

// view is a rulebook for the tables of one snapshot.
type view struct {
	book *rulebook
	of   *Published
	open bits             // what everybody can read
	by   map[string][]int // dataset → the places of the tables that it stands for
}

func newView(b *rulebook, of *Published) *view {
	v := &view{book: b, of: of, open: of.none(), by: make(map[string][]int, 3*len(of.names))}
	for i, n := range of.names {
		if b.public(n) {
			v.open.add(i)
		}
		for _, dataset := range b.named(n) {
			v.by[dataset] = append(v.by[dataset], i)
		}
	}
	return v
}

// resolve gives what a user can read who is no administrator.
func (v *view) resolve(userID string) *Set {
	members := slices.Clone(v.open)
	add := func(datasets []string) {
		for _, dataset := range datasets {
			for _, i := range v.by[dataset] {
				members.add(i)
			}
		}
	}
	if userID != "" {
		add(v.book.granted[userID])
		for _, g := range v.book.groups[userID] {
			add(g.datasets)
		}
	}
	return newSet(v.of, members)
}

// Reason tells why a user can read a table.
type Reason struct {
	Name
	// Because are "public", "admin", "grant <dataset>" or "group <name>: <dataset>".
	Because []string
}

// explain gives the reasons for each table that a user can read.
func (v *view) explain(admin bool, userID string) []Reason {
	why := make(map[int][]string)
	note := func(prefix string, datasets []string) {
		for _, dataset := range slices.Sorted(slices.Values(datasets)) {
			for _, i := range v.by[dataset] {
				why[i] = append(why[i], prefix+dataset)
			}
		}
	}
	for i := range v.of.names {
		if v.open.has(i) {
			why[i] = append(why[i], "public")
		}
		if admin {
			why[i] = append(why[i], "admin")
		}
	}
	if userID != "" {
		note("grant ", v.book.granted[userID])
		for _, g := range v.book.groups[userID] {
			note("group "+g.name+": ", g.datasets)
		}
	}
	list := make([]Reason, 0, len(why))
	for i, n := range v.of.names {
		if because := why[i]; len(because) > 0 {
			list = append(list, Reason{Name: n, Because: because})
		}
	}
	return list
}
