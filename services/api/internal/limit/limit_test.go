package limit

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newLimiter(c Config) (*Limiter, *clock) {
	at := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c.Now = at.now
	return New(c), at
}

func TestTheWaitIsEnoughAndNotTooLong(t *testing.T) {
	t.Parallel()
	l, at := newLimiter(Config{Rates: map[httpapi.Class]ratelimit.Rate{httpapi.LimitQuery: {Count: 6, Per: time.Minute}}})
	for n := range 6 {
		if err := l.Allow(t.Context(), httpapi.LimitQuery, "ann", "192.0.2.1"); err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
	}
	for range 100 { // refused requests are not counted: they do not make the wait longer
		err := l.Allow(t.Context(), httpapi.LimitQuery, "ann", "192.0.2.1")
		if !fault.Is(err, fault.Busy) || fault.RetryAfter(err) != 10*time.Second {
			t.Fatalf("got %v after %v", err, fault.RetryAfter(err))
		}
	}
	at.at = at.at.Add(9 * time.Second)
	err := l.Allow(t.Context(), httpapi.LimitQuery, "ann", "192.0.2.1")
	if fault.RetryAfter(err) != time.Second {
		t.Errorf("a second too early: %v after %v", err, fault.RetryAfter(err))
	}
	at.at = at.at.Add(fault.RetryAfter(err))
	if err := l.Allow(t.Context(), httpapi.LimitQuery, "ann", "192.0.2.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if err := l.Allow(t.Context(), httpapi.LimitQuery, "bob", "192.0.2.1"); err != nil {
		t.Errorf("another account at the same address: %v", err)
	}
	if err := l.Allow(t.Context(), httpapi.LimitTokens, "ann", "192.0.2.1"); err != nil {
		t.Errorf("a class without a limit: %v", err)
	}
}

func TestWaitingAsLongAsAskedForIsAlwaysEnough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := ratelimit.Rate{Count: rapid.IntRange(1, 1000).Draw(t, "count"), Per: time.Duration(rapid.IntRange(1, 86400).Draw(t, "per")) * time.Second}
		l, at := newLimiter(Config{Rates: map[httpapi.Class]ratelimit.Rate{httpapi.LimitLinks: r}})
		for range 200 {
			at.at = at.at.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "pause")) * time.Millisecond)
			err := l.Allow(t.Context(), httpapi.LimitLinks, "ann", "")
			if err == nil {
				continue
			}
			at.at = at.at.Add(fault.RetryAfter(err))
			if err := l.Allow(t.Context(), httpapi.LimitLinks, "ann", ""); err != nil {
				t.Fatalf("%v: after the wait: %v", r, err)
			}
		}
	})
}

func TestAddressesAreCountedBesideAccounts(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(Config{Rates: map[httpapi.Class]ratelimit.Rate{httpapi.LimitSignIn: {Count: 2, Per: time.Minute}}})
	for n := range 2 * AddressFactor {
		if err := l.Allow(t.Context(), httpapi.LimitSignIn, fmt.Sprint("user", n), "192.0.2.1"); err != nil {
			t.Fatalf("account %d: %v", n, err)
		}
	}
	if err := l.Allow(t.Context(), httpapi.LimitSignIn, "another", "192.0.2.1"); !fault.Is(err, fault.Busy) {
		t.Errorf("the address has no end: %v", err)
	}
	for n := range 2 { // the address refused it, so the account lost nothing
		if err := l.Allow(t.Context(), httpapi.LimitSignIn, "another", "192.0.2.2"); err != nil {
			t.Errorf("elsewhere, %d: %v", n, err)
		}
	}
}

func TestTrap_O6_OneCustomerIsOneAddress(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(Config{Strangers: ratelimit.Rate{Count: 1, Per: time.Second}})
	refused := 0
	for n := range 100 {
		if l.Allow(t.Context(), httpapi.LimitStranger, "", net.IP(append([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, byte(n))).String()) != nil {
			refused++
		}
	}
	if refused != 100-strangerBurst {
		t.Errorf("%d of 100 addresses of one network were refused", refused)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	l, _ := newLimiter(Config{Metrics: r, Rates: map[httpapi.Class]ratelimit.Rate{httpapi.LimitUpload: {Count: 1, Per: time.Minute}, httpapi.LimitQuery: {}}})
	for range 3 {
		_ = l.Allow(t.Context(), httpapi.LimitUpload, "ann", "192.0.2.1")
		if err := l.Allow(t.Context(), httpapi.LimitQuery, "ann", "192.0.2.1"); err != nil {
			t.Errorf("what is switched off refuses: %v", err)
		}
	}
	want := `# HELP agnes_limited_total Requests that were refused because there were too many, by class.
# TYPE agnes_limited_total counter
agnes_limited_total{class="uploads"} 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "agnes_limited_total"); err != nil {
		t.Error(err)
	}
}

func BenchmarkAllow(b *testing.B) {
	l := New(Config{Rates: map[httpapi.Class]ratelimit.Rate{httpapi.LimitSignIn: {Count: 10, Per: time.Minute}}})
	addresses := make([]string, 100_000)
	for n := range addresses {
		addresses[n] = net.IPv4(10, byte(n>>16), byte(n>>8), byte(n)).String()
	}
	b.Run("one address", func(b *testing.B) {
		for b.Loop() {
			_ = l.Allow(b.Context(), httpapi.LimitSignIn, "", "192.0.2.1")
		}
	})
	b.Run("more addresses than are remembered", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			_ = l.Allow(b.Context(), httpapi.LimitSignIn, "", addresses[n%len(addresses)])
		}
	})
}
