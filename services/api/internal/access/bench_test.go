package access_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// largeHouse has 600 tables, 5,000 grants of users and groups, and 10,000 users, half of them in groups.
func largeHouse(b *testing.B) (state.Rules, *access.Published) {
	b.Helper()
	var rules state.Rules
	var all []access.Name
	for i := range 600 {
		source := fmt.Sprintf("s%d", i%10)
		t := row(fmt.Sprintf("t%d", i), source, fmt.Sprintf("t%d", i), fmt.Sprintf("in.c-%d", i%30), i%20 == 0)
		rules.Registry = append(rules.Registry, t)
		all = append(all, access.Name{Source: source, Table: t.Name})
	}
	for i := range 5000 {
		p := state.Permission{UserID: fmt.Sprintf("u%d", i%4000), Dataset: fmt.Sprintf("t%d", i%600), Access: state.AccessRead}
		if i%10 == 0 {
			p.UserID, p.GroupID, p.GroupName, p.Dataset = "", fmt.Sprintf("g%d", i%100), "group", fmt.Sprintf("in.c-%d.*", i%30)
		}
		rules.Grants = append(rules.Grants, p)
	}
	for i := range 5000 {
		rules.Members = append(rules.Members, state.Membership{GroupID: fmt.Sprintf("g%d", i%100), UserID: fmt.Sprintf("u%d", 2*i)})
	}
	return rules, access.Of(all)
}

// BenchmarkReadable is what authorization adds to a request: for users who come again, for users who
// come for the first time, and right after a rule changed.
func BenchmarkReadable(b *testing.B) {
	rules, of := largeHouse(b)
	for name, change := range map[string]func(i int, generation *uint64) string{
		"again":        func(i int, _ *uint64) string { return fmt.Sprintf("u%d", i%100) },
		"first":        func(i int, _ *uint64) string { return fmt.Sprintf("u%d-%d", i%10000, i) },
		"10,000 users": func(i int, _ *uint64) string { return fmt.Sprintf("u%d", (i*7919)%10000) },
		"1 % after a change": func(i int, generation *uint64) string {
			if i%100 == 0 {
				*generation++
			}
			return fmt.Sprintf("u%d", (i*7919)%10000)
		},
	} {
		b.Run(name, func(b *testing.B) {
			generation := uint64(1)
			a := access.New(access.Store{Rules: rulesOf(rules), Generation: func() uint64 { return generation }})
			took := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				c := identity.Caller{UserID: change(i, &generation), Role: state.RoleAnalyst}
				began := time.Now()
				if _, err := a.Readable(b.Context(), c, of); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkRules is how long the first request after a change waits for the rules, from a real state.
func BenchmarkRules(b *testing.B) {
	s, _ := openState(b, 600)
	g, err := s.Groups.Create(b.Context(), state.Group{Name: "everybody"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 500 {
		if _, err := s.Permissions.Grant(b.Context(), state.Permission{GroupID: g.ID, Dataset: fmt.Sprintf("t%d", i)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Permissions.Rules(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
