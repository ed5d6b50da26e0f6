// Package access decides which tables a caller can read. It is computed once per request, as a set,
// and the same set bounds everything that the request can reach. What cannot be decided is denied.
package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Name is a published table: its source, and its name within it.
type Name struct{ Source, Table string }

// Published are the tables of one snapshot of the catalog, of which callers can read some.
type Published struct {
	names []Name // ordered by source and name, each once
	place map[Name]int
	all   *Set
}

// Of makes a Published, once per snapshot: what is remembered about callers is remembered for it.
func Of(names []Name) *Published {
	p := &Published{names: slices.Clone(names)}
	slices.SortFunc(p.names, func(a, b Name) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(a.Table, b.Table)
	})
	p.names = slices.Compact(p.names)
	p.place = make(map[Name]int, len(p.names))
	everything := p.none()
	for i, n := range p.names {
		p.place[n] = i
		everything.add(i)
	}
	p.all = newSet(p, everything)
	return p
}

// bits are places in Published.names.
type bits []uint64

func (p *Published) none() bits { return make(bits, (len(p.names)+63)/64) }

func (b bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// Set is what one caller can read. It never changes. A nil Set is empty.
type Set struct {
	of          *Published
	members     bits
	n           int
	fingerprint string
}

// newSet takes over the bits.
func newSet(of *Published, members bits) *Set {
	s := &Set{of: of, members: members}
	h := sha256.New()
	for i, n := range of.names {
		if members.has(i) {
			s.n++
			fmt.Fprintf(h, "%q %q\n", n.Source, n.Table)
		}
	}
	s.fingerprint = hex.EncodeToString(h.Sum(nil))
	return s
}

// Allows tells whether the table is in the set.
func (s *Set) Allows(source, table string) bool {
	if s == nil {
		return false
	}
	i, ok := s.of.place[Name{source, table}]
	return ok && s.members.has(i)
}

// Reaches tells whether a table of the source is in the set.
func (s *Set) Reaches(source string) bool {
	if s == nil {
		return false
	}
	from, _ := slices.BinarySearchFunc(s.of.names, source, func(n Name, source string) int { return strings.Compare(n.Source, source) })
	for i := from; i < len(s.of.names) && s.of.names[i].Source == source; i++ {
		if s.members.has(i) {
			return true
		}
	}
	return false
}

// Len is how many tables are in the set.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Tables gives the set, ordered by source and name.
func (s *Set) Tables() []Name {
	if s == nil {
		return nil
	}
	list := make([]Name, 0, s.n)
	for i, n := range s.of.names {
		if s.members.has(i) {
			list = append(list, n)
		}
	}
	return list
}

// Fingerprint is equal for equal sets, whoever they belong to, and different for different ones.
func (s *Set) Fingerprint() string {
	if s == nil {
		return emptyFingerprint
	}
	return s.fingerprint
}

var emptyFingerprint = Of(nil).all.fingerprint
