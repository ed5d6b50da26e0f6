package coalesce

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestTrap_E5_ABurstIsFewRunsAndNoItemIsLost(t *testing.T) {
	t.Parallel()
	const burst = 200
	var runs atomic.Int32
	var mu sync.Mutex
	seen := map[int]int{}
	begun, first := make(chan struct{}), make(chan struct{})
	g := New(t.Context(), 2, 0, func(_ context.Context, _ string, items []int) error {
		if runs.Add(1) == 1 {
			close(begun)
			<-first
		}
		mu.Lock()
		defer mu.Unlock()
		for _, i := range items {
			seen[i]++
		}
		return nil
	})
	g.Add("s", -1)
	<-begun
	var wg sync.WaitGroup
	for i := range burst {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := g.Do(t.Context(), "s", i); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[i] != 1 {
				t.Errorf("item %d was answered after %d runs had it, want 1", i, seen[i])
			}
		}()
	}
	waitFor(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		l := g.lanes["s"]
		return l != nil && l.next != nil && len(l.next.items) == burst
	})
	close(first)
	wg.Wait()
	g.Wait()
	if n := runs.Load(); n != 2 {
		t.Errorf("%d requests during one run took %d runs, want that one and one more", burst, n)
	}
	if len(g.lanes) != 0 {
		t.Errorf("lanes left behind: %v", g.lanes)
	}
}

func TestARequestDuringARunGetsANewRun(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}, 2), make(chan struct{})
	var runs atomic.Int32
	g := New(t.Context(), 1, 0, func(context.Context, string, []int) error {
		runs.Add(1)
		started <- struct{}{}
		<-release
		return nil
	})
	g.Add("s", 1)
	<-started
	g.Add("s", 2)
	close(release)
	g.Wait()
	if runs.Load() != 2 {
		t.Errorf("%d runs; the one under way cannot have seen what was asked later", runs.Load())
	}
}

func TestKeysRunSideBySideUpToTheBound(t *testing.T) {
	t.Parallel()
	var at, most atomic.Int32
	both := make(chan struct{}, 8)
	g := New(t.Context(), 2, 0, func(context.Context, string, []int) error {
		n := at.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		both <- struct{}{}
		waitFor(t, func() bool { return len(both) >= 2 })
		at.Add(-1)
		return nil
	})
	for _, k := range []string{"a", "b", "c", "d"} {
		g.Add(k, 0)
	}
	g.Wait()
	if most.Load() != 2 {
		t.Errorf("%d keys ran at once, want 2", most.Load())
	}
}

func TestErrorsPanicsAndStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	boom := errors.New("boom")
	block := make(chan struct{})
	g := New(ctx, 1, 0, func(ctx context.Context, key string, _ []int) error {
		switch key {
		case "error":
			return boom
		case "panic":
			panic("!")
		}
		close(block)
		<-ctx.Done()
		return ctx.Err()
	})
	if err := g.Do(ctx, "error", 0); !errors.Is(err, boom) {
		t.Errorf("error: %v", err)
	}
	if err := g.Do(ctx, "panic", 0); !fault.Is(err, fault.Internal) {
		t.Errorf("panic: %v", err)
	}
	impatient, giveUp := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- g.Do(impatient, "block", 0) }()
	<-block
	giveUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up got %v", err)
	}
	g.Add("waiting", 0)
	cancel()
	g.Wait()
	if err := g.Do(t.Context(), "late", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the stop: %v", err)
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("waited for ten seconds in vain")
		}
		time.Sleep(time.Millisecond)
	}
}
