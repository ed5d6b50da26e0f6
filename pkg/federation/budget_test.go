package federation_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
)

// stores gives several stores over one budget, as several processes have them.
func stores(t *testing.T) map[string]func() federation.BudgetStore {
	t.Helper()
	server := eventtest.Server(t)
	path := filepath.Join(t.TempDir(), "budget.json")
	n := 0
	return map[string]func() federation.BudgetStore{
		"bucket": func() federation.BudgetStore {
			n++
			return federation.BucketBudget(eventtest.Connect(t, server, fmt.Sprint("process", n)))
		},
		"file": func() federation.BudgetStore { return federation.FileBudget(path) },
	}
}

func TestLimitsHoldAcrossProcesses(t *testing.T) {
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			limits := federation.BudgetLimits{Query: 10, UserDay: 100, Day: 250}
			const processes, each = 4, 40 // 4 × 40 × 5 bytes of 4 users are asked for
			var granted, refused [processes]atomic.Int64
			var all sync.WaitGroup
			for p := range processes {
				ledger := federation.NewLedger(open(), limits)
				for range each {
					all.Go(func() {
						_, err := ledger.Reserve(t.Context(), fmt.Sprint("user", p), 5)
						switch {
						case err == nil:
							granted[p].Add(5)
						case fault.Is(err, fault.Busy):
							refused[p].Add(1)
						default:
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
			total := int64(0)
			for p := range processes {
				total += granted[p].Load()
				if granted[p].Load() > 100 || refused[p].Load() == 0 {
					t.Errorf("user %d was given %d of 100", p, granted[p].Load())
				}
			}
			use, err := federation.NewLedger(open(), limits).Use(t.Context(), "user0")
			if err != nil || total != 250 || use.All != 250 || use.User != granted[0].Load() || use.Left() != 0 {
				t.Errorf("given %d of 250, counted %+v, %v", total, use, err)
			}
		})
	}
}

func TestSettlingPutsWhatWasBilledInPlaceOfWhatWasReserved(t *testing.T) {
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ledger := federation.NewLedger(open(), federation.BudgetLimits{Query: -1, UserDay: 100, Day: -1})
			ctx, cancel := context.WithCancel(t.Context())
			settle, err := ledger.Reserve(ctx, "ann", 90)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ledger.Reserve(t.Context(), "ann", 20); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "90 B of 100 B") {
				t.Error("a reservation does not count:", err)
			}
			if _, err := ledger.Reserve(t.Context(), "bob", 90); err != nil {
				t.Error("the budget of another one:", err)
			}
			cancel() // whoever asked is gone, what was billed counts all the same
			settle(30)
			settle(0) // once
			use, err := ledger.Use(t.Context(), "ann")
			if err != nil || use.User != 30 || use.All != 120 || use.Left() != 70 {
				t.Errorf("%+v, %v", use, err)
			}
		})
	}
}

func TestTrap_B3_WhatIsNotKnownIsRefused(t *testing.T) {
	ledger := federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "b.json")), federation.BudgetLimits{Query: -1, UserDay: -1, Day: -1})
	if _, err := ledger.Reserve(t.Context(), "ann", -1); err == nil {
		t.Error("an estimate that failed is free")
	}
	for range 2 { // no bound, and no overflow
		if _, err := ledger.Reserve(t.Context(), "ann", math.MaxInt64); err != nil {
			t.Error(err)
		}
	}
	none := federation.NewLedger(federation.FileBudget(filepath.Join(t.TempDir(), "b.json")), federation.BudgetLimits{})
	if _, err := none.Reserve(t.Context(), "ann", 1); !fault.Is(err, fault.TooLarge) {
		t.Error("limits that nobody filled in are free:", err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := federation.NewLedger(federation.FileBudget(broken), federation.BudgetLimits{Query: -1, UserDay: -1, Day: -1}).Reserve(t.Context(), "ann", 1); err == nil {
		t.Error("a budget that cannot be read is free")
	}
}

func TestWithoutTheBusNothingIsSpent(t *testing.T) {
	server := eventtest.Server(t)
	ledger := federation.NewLedger(federation.BucketBudget(eventtest.Connect(t, server, "api")), federation.BudgetLimits{Query: -1, UserDay: -1, Day: -1})
	if _, err := ledger.Reserve(t.Context(), "ann", 1); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if _, err := ledger.Reserve(t.Context(), "ann", 1); err == nil {
		t.Error("without the bus the query is free")
	}
}
