package query

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// Scope is a set of tables that queries may reach. It never changes; make it once and use it for
// every request with the same grants over the same catalog.
type Scope = answer.Scope

// NewScope makes a scope of the views. The fingerprint is equal for equal views, and for them alone.
func NewScope(fingerprint string, views []lake.View) *Scope {
	return answer.NewScope(fingerprint, views)
}

// ViewOf shows a table of the catalog of dataDir.
func ViewOf(dataDir, source string, t catalog.Table, aliases []string) lake.View {
	return answer.ViewOf(dataDir, source, t, aliases)
}

// PlaceOf is equal for scopes that may read the same tables.
func PlaceOf(s *Scope) string { return worker.PlaceOf(s) }

// FetchedDir is where rows stand that were fetched for one question.
func FetchedDir(dataDir string) string { return worker.FetchedDir(dataDir) }

// maxScopes is how many scopes an engine remembers.
const maxScopes = 64

// scopes remembers the last scopes by what they were asked for.
type scopes struct {
	mu   sync.Mutex
	list []remembered // the latest last
}

type remembered struct {
	key   string
	scope *Scope
}

// Scope gives the scope of the key, made of views where it is not remembered. Keys are equal for equal sets
// of grants over equal catalogs, and for them alone. Scopes of different keys are one where their views are
// equal: a publication concerns those who may read what is new.
func (e *Engine) Scope(key string, views func() []lake.View) *Scope {
	if s := e.scopes.find(key); s != nil {
		return s
	}
	made := e.NewScope(views())
	e.scopes.mu.Lock()
	defer e.scopes.mu.Unlock()
	e.scopes.list = append(e.scopes.list, remembered{key, made})
	if len(e.scopes.list) > maxScopes {
		e.scopes.list = slices.Delete(e.scopes.list, 0, len(e.scopes.list)-maxScopes)
	}
	return made
}

// NewScope makes a scope of the views that nobody asks for again by a key.
func (e *Engine) NewScope(views []lake.View) *Scope {
	made := NewScope(contentOf(views), views)
	if e.pool != nil {
		made.Place = worker.Place(e.pool.dataDir, views)
	}
	return made
}

func (s *scopes) find(key string) *Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.list) - 1; i >= 0; i-- {
		if found := s.list[i]; found.key == key {
			s.list = append(slices.Delete(s.list, i, i+1), found)
			return found.scope
		}
	}
	return nil
}

// contentOf is equal for equal views, and for them alone.
func contentOf(views []lake.View) string {
	h := sha256.New()
	for _, v := range views {
		_, _ = fmt.Fprintf(h, "%q %q %q %q %q %t %q\n", v.Schema, v.Name, v.Aliases, v.Files, v.Problem, v.Remote, v.Fetched)
		for _, c := range v.Columns {
			_, _ = fmt.Fprintf(h, "\t%q %q\n", c.Name, c.Type)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
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
