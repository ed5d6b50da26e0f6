package identity

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

const (
	accountFree = 5  // failures of one account before the next try has to wait
	placeFree   = 20 // failures from one address before the next try has to wait
	// waitMost bounds the pause, so that nobody can lock somebody else out for good.
	waitMost = time.Minute
	// forgetAfter is how long without a failure makes the record clean again.
	forgetAfter = 15 * time.Minute
	// placeForgives is the time in which one failure of an address is forgiven: in a large office somebody
	// mistypes all the time.
	placeForgives = 30 * time.Second
	maxTracked    = 10_000
)

// throttle slows down guessing: beyond some failures each further one doubles the pause before the
// next try.
type throttle struct {
	free     int
	forgives time.Duration // one failure is forgiven in this time; zero for never
	mu       sync.Mutex
	by       map[string]failures
}

type failures struct {
	count float64
	last  time.Time
}

func newThrottle(free int, forgives time.Duration) *throttle {
	return &throttle{free: free, forgives: forgives, by: make(map[string]failures)}
}

// wait is the pause that a record asks for after its last failure.
func (t *throttle) wait(f failures) time.Duration {
	over := int(f.count) - t.free
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
	switch past := now.Sub(f.last); {
	case past > forgetAfter:
		f = failures{}
	case t.forgives > 0:
		f.count = max(0, f.count-past.Seconds()/t.forgives.Seconds())
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
			if f.count <= float64(least) {
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

// trial is one password that is about to be checked, and where it is counted.
type trial struct {
	s              *Service
	account, place string
	// known: the account signed in from there before. It then has a record of its own, which strangers
	// elsewhere cannot fill: their guessing keeps nobody out of where they always sign in from.
	known bool
}

// attempt asks for leave to check a password of an account.
func (s *Service) attempt(ctx context.Context, account, ip string) (trial, error) {
	s.recalled.Do(func() { s.recall(context.WithoutCancel(ctx)) })
	t := trial{s: s, account: clip(account, maxEmail), place: place(ip)}
	now := s.now()
	if t.known = s.familiar.has(t.account, t.place, now); t.known {
		if wait := s.pairs.begin(pair(t.account, t.place), now); wait > 0 {
			return t, tooMany(wait)
		}
		return t, nil
	}
	if t.place != "" {
		if wait := s.places.begin(t.place, now); wait > 0 {
			return t, tooMany(wait)
		}
	}
	if wait := s.accounts.begin(t.account, now); wait > 0 {
		if t.place != "" {
			s.places.undo(t.place)
		}
		return t, tooMany(wait)
	}
	return t, nil
}

// succeeded clears the account's record; the address keeps what it did to other accounts.
func (t trial) succeeded() {
	if t.known {
		t.s.pairs.clear(pair(t.account, t.place))
		return
	}
	t.s.accounts.clear(t.account)
	if t.place != "" {
		t.s.places.undo(t.place)
	}
}

// undecided takes an attempt back whose password was never checked.
func (t trial) undecided() {
	if t.known {
		t.s.pairs.undo(pair(t.account, t.place))
		return
	}
	t.s.accounts.undo(t.account)
	if t.place != "" {
		t.s.places.undo(t.place)
	}
}

func pair(account, place string) string { return account + " " + place }

// familiarFor is how long an account's address stays familiar after it was seen there last.
const familiarFor = 30 * 24 * time.Hour

// familiar remembers from which addresses accounts signed in.
type familiar struct {
	mu   sync.Mutex
	seen map[string]time.Time // by pair
}

func (f *familiar) has(account, place string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.seen[pair(account, place)]
	return ok && now.Sub(at) < familiarFor
}

func (f *familiar) note(account, place string, at time.Time) {
	if place == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = make(map[string]time.Time)
	}
	key := pair(account, place)
	before, known := f.seen[key]
	if !known && len(f.seen) >= maxFamiliar {
		for old := range f.seen { // maps are walked from a random place
			delete(f.seen, old)
			break
		}
	}
	if at.After(before) {
		f.seen[key] = at
	}
}

const maxFamiliar = 50_000

// recall makes those addresses familiar again from which accounts signed in before this process began.
func (s *Service) recall(ctx context.Context) {
	list, _, err := s.store.Sessions.Search(ctx, state.SessionFilter{Limit: maxFamiliar})
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("it is not known from where people signed in before: somebody who guesses passwords can keep them out")
	}
	for _, v := range list {
		at := v.LastSeen
		if at.IsZero() {
			at = v.CreatedAt
		}
		s.familiar.note(state.EmailKey(v.UserEmail), place(v.IP), at)
	}
}
