package identity

import (
	"net/netip"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	accountFree = 5  // failures of one account before the next try has to wait
	placeFree   = 20 // failures from one address before the next try has to wait
	// waitMost bounds the pause, so that nobody can lock somebody else out for good.
	waitMost = time.Minute
	// forgetAfter is how long without a failure makes the record clean again.
	forgetAfter = 15 * time.Minute
	maxTracked  = 10_000
)

// throttle slows down guessing: beyond some failures each further one doubles the pause before the
// next try.
type throttle struct {
	free int
	mu   sync.Mutex
	by   map[string]failures
}

type failures struct {
	count int
	last  time.Time
}

func newThrottle(free int) *throttle { return &throttle{free: free, by: make(map[string]failures)} }

// wait is the pause that a record asks for after its last failure.
func (t *throttle) wait(f failures) time.Duration {
	over := f.count - t.free
	if over < 0 {
		return 0
	}
	return min(time.Second<<min(over, 10), waitMost)
}

// begin counts a try as failed before it is made, so that many at once do not all get in; undo takes
// it back. The answer is how long to wait instead, 0 for go ahead.
func (t *throttle) begin(key string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.by[key]
	if now.Sub(f.last) > forgetAfter {
		f = failures{}
	}
	if left := t.wait(f) - now.Sub(f.last); f.count > 0 && left > 0 {
		return left
	}
	if f.count == 0 && len(t.by) >= maxTracked {
		t.sweep(now)
	}
	t.by[key] = failures{count: f.count + 1, last: now}
	return 0
}

// undo takes back one try that did not fail.
func (t *throttle) undo(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.by[key]; f.count > 1 {
		f.count--
		t.by[key] = f
		return
	}
	delete(t.by, key)
}

// clear forgets all failures of a key.
func (t *throttle) clear(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, key)
}

// sweep makes room: what is forgotten goes, and where that is not enough, those with fewest failures.
func (t *throttle) sweep(now time.Time) {
	for key, f := range t.by {
		if now.Sub(f.last) > forgetAfter {
			delete(t.by, key)
		}
	}
	for least := 1; len(t.by) >= maxTracked; least++ {
		for key, f := range t.by {
			if f.count <= least {
				delete(t.by, key)
			}
		}
	}
}

// place is the part of an address that one person has to themselves: a whole IPv4 address, or the
// first half of an IPv6 one.
func place(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, err := addr.Prefix(64)
		if err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

func tooMany(wait time.Duration) error {
	return fault.New(fault.Busy, "too many failed attempts to sign in; try again later").After(wait)
}

// attempt asks both throttles for leave to check a password.
func (s *Service) attempt(account, ip string) error {
	now := s.now()
	if ip != "" {
		if wait := s.places.begin(place(ip), now); wait > 0 {
			return tooMany(wait)
		}
	}
	if wait := s.accounts.begin(account, now); wait > 0 {
		if ip != "" {
			s.places.undo(place(ip))
		}
		return tooMany(wait)
	}
	return nil
}

// succeeded clears the account's record; the address keeps what it did to other accounts.
func (s *Service) succeeded(account, ip string) {
	s.accounts.clear(account)
	if ip != "" {
		s.places.undo(place(ip))
	}
}

// undecided takes an attempt back whose password was never checked.
func (s *Service) undecided(account, ip string) {
	s.accounts.undo(account)
	if ip != "" {
		s.places.undo(place(ip))
	}
}
