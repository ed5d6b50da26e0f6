package query

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Scope is a set of tables that queries may reach. It never changes; make it once and use it for
// every request with the same grants over the same catalog.
type Scope struct {
	// Fingerprint is equal for equal sets of grants over equal catalogs, and for them alone.
	Fingerprint string
	views       []lake.View
	names       []string         // each once: what a statement may call a table
	byName      map[string][]int // folded name → places in views
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
		v.Problem = "the table " + catalog.TableID(source, t.Name) + " stays where it lives and cannot be queried here"
		return v
	}
	v.Files = make([]string, len(t.Parts))
	for i, p := range t.Parts {
		v.Files[i] = filepath.Join(dataDir, filepath.FromSlash(p.Path))
	}
	return v
}

// needs are the views that a statement mentions, in the scope's order.
func (s *Scope) needs(sql string) []lake.View {
	var at []int
	for _, name := range lake.Mentions(sql, s.names) {
		at = append(at, s.byName[name]...)
	}
	slices.Sort(at)
	at = slices.Compact(at)
	needed := make([]lake.View, len(at))
	for i, n := range at {
		needed[i] = s.views[n]
	}
	return needed
}

// maxScopes is how many scopes an engine remembers.
const maxScopes = 64

// scopes remembers the last scopes.
type scopes struct {
	mu   sync.Mutex
	list []*Scope // the latest last
}

// Scope gives the scope of that fingerprint, made of views where it is not remembered.
func (e *Engine) Scope(fingerprint string, views func() []lake.View) *Scope {
	if s := e.scopes.find(fingerprint); s != nil {
		return s
	}
	made := NewScope(fingerprint, views())
	e.scopes.mu.Lock()
	defer e.scopes.mu.Unlock()
	e.scopes.list = append(e.scopes.list, made)
	if len(e.scopes.list) > maxScopes {
		e.scopes.list = slices.Delete(e.scopes.list, 0, len(e.scopes.list)-maxScopes)
	}
	return made
}

func (s *scopes) find(fingerprint string) *Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.list) - 1; i >= 0; i-- {
		if found := s.list[i]; found.Fingerprint == fingerprint {
			s.list = append(slices.Delete(s.list, i, i+1), found)
			return found
		}
	}
	return nil
}
