package orchestrator

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// others publishes so many sources with five tables each, without reading their extracts.
func (h *house) others(n int) {
	h.t.Helper()
	s := h.doc("s")
	for i := range n {
		s.Name = fmt.Sprintf("other%d", i)
		for j := range s.Tables {
			s.Tables[j].Name = fmt.Sprintf("table%d_%d", i, j)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			h.t.Fatal(err)
		}
		h.write("analytics/sources/"+s.Name+".json", string(raw))
		h.write("extracts/"+s.Name+"/extract.duckdb", "stands here")
	}
}

// BenchmarkRebuildSource is the cost of one publication beside few and many other sources.
func BenchmarkRebuildSource(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("beside-%d", n), func(b *testing.B) {
			h := newHouse(b, nil)
			h.five(0)
			h.rebuild("s")
			h.others(n)
			h.restart(nil)
			rebuilt := 0
			for b.Loop() {
				b.StopTimer()
				rebuilt++
				h.five(rebuilt)
				b.StartTimer()
				if r := h.rebuild("s"); !r.Published {
					b.Fatal("nothing was published")
				}
			}
		})
	}
}

// TestRebuildSourceCostsTheSameAmongManySources holds the goal loosely, for a busy machine: the
// medians of interleaved runs within a factor of two.
func TestRebuildSourceCostsTheSameAmongManySources(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for seconds")
	}
	few, many := newHouse(t, nil), newHouse(t, nil)
	for h, n := range map[*house]int{few: 10, many: 1000} {
		h.five(0)
		h.rebuild("s")
		h.others(n)
		h.restart(nil)
	}
	var costs [2][]time.Duration
	for i := range 15 {
		for k, h := range []*house{few, many} {
			h.five(i + 1)
			started := time.Now()
			h.rebuild("s")
			costs[k] = append(costs[k], time.Since(started))
		}
	}
	a, b := median(costs[0]), median(costs[1])
	t.Logf("beside 10: %v, beside 1,000: %v, ratio %.2f", a, b, float64(b)/float64(a))
	if b > 2*a {
		t.Errorf("a publication beside 1,000 sources costs %v, beside 10 %v", b, a)
	}
	started := time.Now()
	if _, err := many.Stale(); err != nil {
		t.Fatal(err)
	}
	t.Logf("comparing 1,000 sources: %v", time.Since(started))
}
