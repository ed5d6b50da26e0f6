package state_test

import (
	"slices"
	"testing"

	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// What a connector finds is not registered a second time under the name that it proposes: the second name
// would be free of the rules that were bound to the first.
func TestTrap_P1_WhatIsFoundIsNotRegisteredUnderAnotherName(t *testing.T) {
	s := open(t, t.TempDir())
	private := false
	for _, n := range []state.NewTable{
		{Name: "pay", Source: "kbc", SourceType: "keboola", Bucket: "in.c-hr", SourceTable: "salaries", IsPublic: &private},
		{Name: "old", Source: "kbc", SourceType: "keboola", Bucket: "c-crm", SourceTable: "c-crm.leads"},
		{Name: "own", Source: "kbc", SourceType: "keboola", Bucket: "in.c-x"},
	} {
		if _, err := s.Registry.Register(t.Context(), n, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	found := []state.NewTable{
		{Name: "hr_salaries", Source: "kbc", SourceType: "keboola", Bucket: "in.c-hr", SourceTable: "salaries", Found: true},
		{Name: "crm_leads", Source: "kbc", SourceType: "keboola", Bucket: "in.c-crm", SourceTable: "leads", Found: true},
		{Name: "x_own", Source: "kbc", SourceType: "keboola", Bucket: "in.c-x", SourceTable: "own", Found: true},
		{Name: "new", Source: "kbc", SourceType: "keboola", Bucket: "out.c-hr", SourceTable: "salaries", Found: true},
		{Name: "elsewhere", Source: "other", SourceType: "keboola", Bucket: "in.c-hr", SourceTable: "salaries", Found: true},
	}
	done, err := s.Registry.RegisterAll(t.Context(), found, "extractor-keboola")
	if err != nil || !slices.Equal(done.Skipped, []string{"pay", "old", "own"}) || len(done.Registered) != 2 || done.Registered[0].Name != "new" {
		t.Errorf("%+v %v", done, err)
	}
	// Who chooses a name may have the table twice.
	if _, err := s.Registry.Register(t.Context(), state.NewTable{Name: "pay2", Source: "kbc", Bucket: "in.c-hr", SourceTable: "salaries"}, "ann"); err != nil {
		t.Error(err)
	}
}
