// Package access decides which tables a caller can read. It is computed once per request, as a set,
// and the same set bounds everything that the request can reach. What cannot be decided is denied.
package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Name is a published table: its source, and its name within it.
type Name struct{ Source, Table string }

// Set is what one caller can read. It never changes. A nil Set is empty.
type Set struct {
	tables      map[Name]struct{}
	fingerprint string
}

// Allows tells whether the table is in the set.
func (s *Set) Allows(source, table string) bool {
	if s == nil {
		return false
	}
	_, ok := s.tables[Name{source, table}]
	return ok
}

// Len is how many tables are in the set.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.tables)
}

// Tables gives the set, ordered by source and name.
func (s *Set) Tables() []Name {
	if s == nil {
		return nil
	}
	return sorted(s.tables)
}

func sorted(tables map[Name]struct{}) []Name {
	list := make([]Name, 0, len(tables))
	for n := range tables {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Name) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(a.Table, b.Table)
	})
	return list
}

// Fingerprint is equal for equal sets, whoever they belong to, and different for different ones.
func (s *Set) Fingerprint() string {
	if s == nil {
		return fingerprintOf(nil)
	}
	return s.fingerprint
}

func fingerprintOf(tables map[Name]struct{}) string {
	h := sha256.New()
	for _, n := range sorted(tables) {
		fmt.Fprintf(h, "%q %q\n", n.Source, n.Table)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func newSet(tables map[Name]struct{}) *Set {
	return &Set{tables: tables, fingerprint: fingerprintOf(tables)}
}

// Rules are what the state says about who may read what.
type Rules struct {
	// Registry are all registered tables.
	Registry []state.RegisteredTable
	// Grants are those of one user.
	Grants []state.Permission
}

// Resolve gives the tables that a user with a role can read, of those that are published.
//
// An administrator reads all. Everybody else reads a table that is registered as public, and a table
// that a grant names: by its registry id, by "source.table", by its bucket ("bucket.*") or by its source
// ("source.*"). A grant of "none" grants nothing, as if it were not there. A table that is not in the
// registry is private: only the qualified forms name it. Names count to the letter. Where several rows
// of the registry name one table, it is public only if all of them say so; and where a bucket of
// another source has the name of a source, "<name>.*" means the bucket alone.
func Resolve(role string, rules Rules, published []Name) *Set {
	if role == state.RoleAdmin {
		all := make(map[Name]struct{}, len(published))
		for _, n := range published {
			all[n] = struct{}{}
		}
		return newSet(all)
	}
	granted := make(map[string]bool, len(rules.Grants))
	for _, g := range rules.Grants {
		if !strings.EqualFold(strings.TrimSpace(g.Access), state.AccessNone) {
			granted[g.Dataset] = true
		}
	}
	r := index(rules.Registry)
	r.granted = granted
	readable := make(map[Name]struct{})
	for _, n := range published {
		if r.mayRead(n) {
			readable[n] = struct{}{}
		}
	}
	return newSet(readable)
}

// rulebook is the registry and one user's grants, ordered for looking up tables.
type rulebook struct {
	rows    map[Name][]state.RegisteredTable
	ids     map[string]Name            // registry id → table
	buckets map[string]map[string]bool // bucket → the sources that have one of that name
	granted map[string]bool
}

func index(registry []state.RegisteredTable) rulebook {
	r := rulebook{
		rows: make(map[Name][]state.RegisteredTable, len(registry)), ids: make(map[string]Name, len(registry)),
		buckets: make(map[string]map[string]bool),
	}
	for _, t := range registry {
		n := Name{t.Source, t.Name}
		r.rows[n] = append(r.rows[n], t)
		r.ids[t.ID] = n
		if t.Bucket == "" {
			continue
		}
		if r.buckets[t.Bucket] == nil {
			r.buckets[t.Bucket] = make(map[string]bool, 1)
		}
		r.buckets[t.Bucket][t.Source] = true
	}
	return r
}

func (r rulebook) mayRead(n Name) bool {
	if r.grants(catalog.TableID(n.Source, n.Table), n) || (r.grantsAll(n.Source) && !r.isOthersBucket(n.Source)) {
		return true
	}
	rows := r.rows[n]
	public := len(rows) > 0
	for _, t := range rows {
		public = public && t.IsPublic
		if r.granted[t.ID] || (t.Bucket != "" && r.grantsAll(t.Bucket)) {
			return true
		}
	}
	return public
}

// grants tells whether a dataset is granted and stands for the table: a registry id that looks like
// another table's qualified name is an id.
func (r rulebook) grants(dataset string, n Name) bool {
	owner, isID := r.ids[dataset]
	return r.granted[dataset] && (!isID || owner == n)
}

// grantsAll tells whether all of a bucket or a source is granted.
func (r rulebook) grantsAll(group string) bool {
	_, isID := r.ids[group+".*"]
	return r.granted[group+".*"] && !isID
}

// isOthersBucket tells whether a source's name is that of a bucket of another source.
func (r rulebook) isOthersBucket(source string) bool {
	for owner := range r.buckets[source] {
		if owner != source {
			return true
		}
	}
	return false
}

// Store is what an Authorizer reads.
type Store struct {
	// Registry lists all registered tables.
	Registry func(ctx context.Context) ([]state.RegisteredTable, error)
	// Grants lists the grants of one user.
	Grants func(ctx context.Context, userID string) ([]state.Permission, error)
	// Generation grows with every change of either.
	Generation func() uint64
}

// StoreOf reads from the state.
func StoreOf(s *state.Store) Store {
	return Store{
		Registry:   func(ctx context.Context) ([]state.RegisteredTable, error) { return s.Registry.List(ctx, "") },
		Grants:     s.Permissions.List,
		Generation: s.AccessGeneration,
	}
}

// cacheFor bounds the age of rules that were read: changes of this process count at once, those of
// another replica after this time.
const cacheFor = 3 * time.Second

// maxUsers bounds how many users' grants are kept.
const maxUsers = 4096

// Authorizer computes sets from the state, with two queries at most, and none while nothing changed.
// It is safe for concurrent use.
type Authorizer struct {
	store Store
	now   func() time.Time

	mu       sync.Mutex
	registry cached[[]state.RegisteredTable]
	grants   map[string]cached[[]state.Permission]
}

type cached[T any] struct {
	value      T
	generation uint64
	until      time.Time
}

func (c cached[T]) fresh(generation uint64, now time.Time) bool {
	return c.generation == generation && now.Before(c.until)
}

// New returns an Authorizer.
func New(store Store) *Authorizer {
	return &Authorizer{store: store, now: time.Now, grants: make(map[string]cached[[]state.Permission])}
}

// Readable gives the tables that the caller can read, of those that are published. With an error the
// set is empty.
func (a *Authorizer) Readable(ctx context.Context, c identity.Caller, published []Name) (*Set, error) {
	if c.Admin() {
		return Resolve(c.Role, Rules{}, published), nil
	}
	rules, err := a.rules(ctx, c.UserID)
	if err != nil {
		return nil, fmt.Errorf("resolve access: %w", err)
	}
	return Resolve(c.Role, rules, published), nil
}

// rules reads the registry and a user's grants, unless it knows them.
func (a *Authorizer) rules(ctx context.Context, userID string) (Rules, error) {
	generation, now := a.store.Generation(), a.now() // before anything is read
	a.mu.Lock()
	registry, grants := a.registry, a.grants[userID]
	a.mu.Unlock()
	var err error
	if !registry.fresh(generation, now) {
		registry = cached[[]state.RegisteredTable]{generation: generation, until: now.Add(cacheFor)}
		if registry.value, err = a.store.Registry(ctx); err != nil {
			return Rules{}, err
		}
	}
	if !grants.fresh(generation, now) {
		if userID == "" {
			return Rules{Registry: registry.value}, nil // the state would list everybody's
		}
		grants = cached[[]state.Permission]{generation: generation, until: now.Add(cacheFor)}
		if grants.value, err = a.store.Grants(ctx, userID); err != nil {
			return Rules{}, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.grants) >= maxUsers {
		clear(a.grants)
	}
	a.registry, a.grants[userID] = registry, grants
	return Rules{Registry: registry.value, Grants: grants.value}, nil
}
