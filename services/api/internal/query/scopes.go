package query

import (
	"slices"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// Scope is a set of tables that queries may reach. It never changes; make it once and use it for
// every request with the same grants over the same catalog.
type Scope = answer.Scope

// NewScope makes a scope of the views. The fingerprint is equal for equal sets of grants over equal
// catalogs, and for them alone.
func NewScope(fingerprint string, views []lake.View) *Scope {
	return answer.NewScope(fingerprint, views)
}

// ViewOf shows a table of the catalog of dataDir.
func ViewOf(dataDir, source string, t catalog.Table, aliases []string) lake.View {
	return answer.ViewOf(dataDir, source, t, aliases)
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

// Media types of answers.
const (
	TypeJSON    = answer.TypeJSON
	TypeNDJSON  = answer.TypeNDJSON
	TypeCSV     = answer.TypeCSV
	TypeArrow   = answer.TypeArrow
	TypeParquet = answer.TypeParquet
)

// MediaTypes are those of answers, sorted.
func MediaTypes() []string { return answer.MediaTypes() }
