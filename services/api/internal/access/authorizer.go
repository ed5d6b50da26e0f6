package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Store is what an Authorizer reads.
type Store struct {
	// Rules reads everything that says who may read what, as of one moment.
	Rules func(ctx context.Context) (state.Rules, error)
	// Generation grows with every change of the rules, before the change is confirmed to who made it.
	Generation func() uint64
}

// StoreOf reads from the state.
func StoreOf(s *state.Store) Store {
	return Store{Rules: s.Permissions.Rules, Generation: s.AccessGeneration}
}

// Authorizer is the one place that decides who can read what. It keeps the rules in memory and reads
// them again once they changed, so that a change counts from the next request on. It is safe for
// concurrent use.
type Authorizer struct {
	store   Store
	reading chan struct{} // holds one token: who has it may read the rules

	mu   sync.Mutex
	book *rulebook
	view *view           // of the newest snapshot that was asked for
	sets map[string]*Set // user → what they can read, by that view
}

// New returns an Authorizer.
func New(store Store) *Authorizer {
	return &Authorizer{store: store, reading: make(chan struct{}, 1)}
}

// Readable gives the tables that the caller can read, of those that are published. With an error the
// set is nil, which is empty.
func (a *Authorizer) Readable(ctx context.Context, c identity.Caller, of *Published) (*Set, error) {
	if c.Admin() {
		return of.all, nil
	}
	v, err := a.viewOf(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("resolve access: %w", err)
	}
	a.mu.Lock()
	set, known := a.sets[c.UserID]
	known = known && a.view == v
	a.mu.Unlock()
	if known {
		return set, nil
	}
	set = v.resolve(c.UserID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view == v {
		a.sets[c.UserID] = set
	}
	return set, nil
}

// Explain tells for each table that a user can read why they can.
func (a *Authorizer) Explain(ctx context.Context, u state.User, of *Published) ([]Reason, error) {
	v, err := a.viewOf(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("explain access: %w", err)
	}
	return v.explain(u.Admin(), u.ID), nil
}

// viewOf gives the rules as they stand now, for a snapshot.
func (a *Authorizer) viewOf(ctx context.Context, of *Published) (*view, error) {
	book, err := a.rules(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view == nil || a.view.book != book || a.view.of != of {
		a.view, a.sets = newView(book, of), make(map[string]*Set)
	}
	return a.view, nil
}

// rules reads the rules, unless those that are known still hold. Those who ask at once wait for one
// reading.
func (a *Authorizer) rules(ctx context.Context) (*rulebook, error) {
	if book := a.current(); book != nil {
		return book, nil
	}
	select {
	case a.reading <- struct{}{}:
		defer func() { <-a.reading }()
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "the access rules are being read; try again in a moment")
	}
	if book := a.current(); book != nil {
		return book, nil
	}
	generation := a.store.Generation() // before anything is read
	rules, err := a.store.Rules(ctx)
	if err != nil {
		return nil, err
	}
	book := newRulebook(rules)
	book.generation = generation
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book = book
	return book, nil
}

// current gives the rules that are known, where they hold; otherwise nil.
func (a *Authorizer) current() *rulebook {
	generation := a.store.Generation()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.book != nil && a.book.generation == generation {
		return a.book
	}
	return nil
}

// Datasets are the names that grants can use, as things stand.
type Datasets struct{ names map[string]bool }

// Datasets gives the names that stand for a registered or published table, a bucket or a source.
// sources are those that are known beyond the tables.
func (a *Authorizer) Datasets(ctx context.Context, of *Published, sources []string) (Datasets, error) {
	book, err := a.rules(ctx)
	if err != nil {
		return Datasets{}, err
	}
	d := Datasets{names: make(map[string]bool, 3*len(of.names))}
	add := func(n Name) {
		for _, dataset := range book.named(n) {
			d.names[dataset] = true
		}
	}
	for n := range book.rows {
		add(n)
	}
	for _, n := range of.names {
		add(n)
	}
	for _, s := range sources {
		if all := s + ".*"; !book.isID(all) && !book.isOthersBucket(s) {
			d.names[all] = true
		}
	}
	return d, nil
}

// Has tells whether the dataset stands for something.
func (d Datasets) Has(dataset string) bool { return d.names[dataset] }

// Near gives names that somebody may have meant, the likeliest first, three at most.
func (d Datasets) Near(dataset string) []string {
	return catalog.Near(dataset, slices.Collect(maps.Keys(d.names)))
}

// DatasetOf gives the name to grant a table by: its registry id, or "source.table".
func DatasetOf(registryID string, n Name) string {
	if registryID != "" {
		return registryID
	}
	return catalog.TableID(n.Source, n.Table)
}
