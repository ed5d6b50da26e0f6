package ratelimit

import (
	"fmt"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestRatesAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"30/m": {30, time.Minute}, "100/h": {100, time.Hour}, "6/10m": {6, 10 * time.Minute},
		"off": {}, "OFF": {}, "0": {}, "0/m": {},
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
		again := Rate{}
		if err := again.Decode(want.String()); err != nil || again != want {
			t.Errorf("%v is written %q and read as %v %v", want, want.String(), again, err)
		}
	}
	for _, bad := range []string{"", " ", "30", "m", "/m", "30/", "-1/m", "1/0s", "1/1ms", "1/25h", "a/m", "1/m/m", "9999999999/s"} {
		if r, err := ParseRate(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q is read as %v %v", bad, r, err)
		}
	}
}

func TestTrap_O6_OneCustomerIsOneAddress(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9%eth0": "2001:db8:1:2::/64", "2001:db8:1:3::1": "2001:db8:1:3::/64", "": "", "nonsense": "nonsense",
	} {
		if got := Address(ip); got != want {
			t.Errorf("%q is counted under %q, not %q", ip, got, want)
		}
	}
}

func TestWaitingAsLongAsAskedForIsEnoughWhateverTheRate(t *testing.T) {
	t.Parallel()
	for per := 1; per <= 86_400; per++ {
		at := time.Unix(1_700_000_000, 0)
		tab := NewTable(Rate{1, time.Duration(per) * time.Second}, 1, 10)
		if wait := Take(at, tab.Bucket(at, "ann")); wait != 0 {
			t.Fatalf("the first of %d s has to wait for %s", per, wait)
		}
		at = at.Add(Take(at, tab.Bucket(at, "ann")))
		if wait := Take(at, tab.Bucket(at, "ann")); wait != 0 {
			t.Fatalf("1 in %d s: %s after the wait", per, wait)
		}
		if Take(at, tab.Bucket(at, "ann")) <= 0 {
			t.Fatalf("1 in %d s: one more was free", per)
		}
	}
}

func TestMemoryIsBoundedAndEmptyBucketsAreKept(t *testing.T) {
	t.Parallel()
	at := time.Now()
	tab := NewTable(Rate{10, time.Hour}, 10, 500)
	for range 11 {
		Take(at, tab.Bucket(at, "attacker"))
	}
	for n := range 20_000 {
		Take(at, tab.Bucket(at, fmt.Sprint("address", n)))
	}
	if len(tab.buckets) != 500 {
		t.Errorf("%d buckets", len(tab.buckets))
	}
	if Take(at, tab.Bucket(at, "attacker")) <= 0 {
		t.Error("a flood of addresses made the limiter forget the one that was refused")
	}
}
