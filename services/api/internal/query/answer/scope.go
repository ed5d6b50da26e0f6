package answer

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Scope is a set of tables that queries may reach. It never changes; make it once and use it for
// every request with the same grants over the same catalog.
type Scope struct {
	// Fingerprint is equal for equal views, and for them alone.
	Fingerprint string
	// Place is equal for scopes that one process may have one after the other: versions of the same
	// tables. Empty: for no other one.
	Place  string
	views  []lake.View
	names  []string         // each once: what a statement may call a table
	byName map[string][]int // folded name → places in views
}

// NewScope makes a scope of the views.
func NewScope(fingerprint string, views []lake.View) *Scope {
	s := &Scope{Fingerprint: fingerprint, views: views, byName: make(map[string][]int, len(views))}
	for i, v := range views {
		for _, name := range append([]string{v.Name}, v.Aliases...) {
			folded := strings.ToLower(name)
			at := s.byName[folded]
			if len(at) == 0 {
				s.names = append(s.names, folded)
			}
			if !slices.Contains(at, i) {
				s.byName[folded] = append(at, i)
			}
		}
	}
	return s
}

// ViewOf shows a table of the catalog of dataDir.
func ViewOf(dataDir, source string, t catalog.Table, aliases []string) lake.View {
	v := lake.View{Schema: source, Name: t.Name, Aliases: aliases, Columns: t.Columns}
	if t.QueryMode == catalog.ModeRemote {
		v.Remote = true
		if len(t.Columns) == 0 {
			v.Problem = "the columns of the table " + catalog.TableID(source, t.Name) + " are not known: its source has to run again"
		}
		return v
	}
	v.Files = make([]string, len(t.Parts))
	for i, p := range t.Parts {
		v.Files[i] = filepath.Join(dataDir, filepath.FromSlash(p.Path))
	}
	return v
}

// Views are all that the scope holds. The slice must not be changed.
func (s *Scope) Views() []lake.View { return s.views }

// selection is which views a session shows, and by which of their names: those by their place are bound
// to their files; the others are left out, or shown deferred.
type selection struct {
	bound    []int // sorted
	deferred bool
	forms    lake.Forms
	// plan shows stand-ins in the place of remote tables: statements are planned over them.
	plan bool
}

// everything binds every view.
func (s *Scope) everything() selection {
	all := make([]int, len(s.views))
	for i := range all {
		all[i] = i
	}
	return selection{bound: all, forms: lake.AllForms}
}

// selects tells what a statement may need: the views that it mentions, and the names of the others
// where it asks what there is.
func (s *Scope) selects(sql string) selection {
	mention := lake.Mentioned(sql, s.names)
	var at []int
	for _, name := range mention.Names {
		at = append(at, s.byName[name]...)
	}
	slices.Sort(at)
	return selection{bound: slices.Compact(at), deferred: mention.Everything, forms: mention.Forms}
}

// show gives the views of a selection, for a session.
func (s *Scope) show(chosen selection) []lake.View {
	var views []lake.View
	if chosen.deferred {
		views = slices.Clone(s.views)
	} else {
		for _, at := range chosen.bound {
			views = append(views, s.views[at])
		}
	}
	for i := range views {
		views[i].Forms = chosen.forms
		if chosen.deferred {
			_, bound := slices.BinarySearch(chosen.bound, i)
			views[i].Deferred = !bound
		}
	}
	return views
}

// key is equal for equal selections of one scope.
func (s *Scope) key(chosen selection) string {
	if len(chosen.bound) == len(s.views) && chosen.forms == lake.AllForms && !chosen.plan {
		return s.Fingerprint // all are bound: nothing is left to defer
	}
	h := sha256.New()
	for _, at := range chosen.bound {
		_, _ = fmt.Fprintln(h, at)
	}
	return fmt.Sprintf("%s %v %d %v %x", s.Fingerprint, chosen.deferred, chosen.forms, chosen.plan, h.Sum(nil))
}

// Remote are the places in Views of the remote tables that a statement mentions and that hold no rows here.
func (s *Scope) Remote(sql string) (at []int) {
	for _, i := range s.selects(sql).bound {
		if v := s.views[i]; v.Remote && v.Problem == "" && len(v.Files) == 0 {
			at = append(at, i)
		}
	}
	return at
}

// Tables are the qualified names of those that a statement mentions.
func (s *Scope) Tables(sql string) []string {
	var names []string
	for _, at := range s.selects(sql).bound {
		names = append(names, catalog.TableID(s.views[at].Schema, s.views[at].Name))
	}
	return names
}
