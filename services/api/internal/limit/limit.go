// Package limit counts requests per account and per address, and says how long to wait where they are
// too many. The counting is that of a token bucket: a bucket holds as many requests as its rate has
// counts, and fills again evenly.
package limit

import (
	"context"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// AddressFactor is how many times the rate of an account one address has: people behind one address
// must not lock each other out.
const AddressFactor = 20

// strangerBurst is how many seconds' worth of requests a stranger may send at once: a page brings its
// files with it.
const strangerBurst = 4

// maxKeys bounds the accounts, and the addresses, that are remembered per class. A bucket takes about
// 200 bytes.
const maxKeys = 50_000

// Config of a Limiter.
type Config struct {
	// Rates are those of an account per class; what is missing is not limited. Requests without an account
	// are counted by their address alone, AddressFactor times as wide.
	Rates map[httpapi.Class]Rate
	// Strangers is the rate of an address for requests without a credential that holds.
	Strangers Rate
	// Metrics is where refusals are counted; nil for nowhere.
	Metrics *prometheus.Registry
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Limiter counts requests. It is safe for concurrent use, and holds at most a fixed number of buckets.
type Limiter struct {
	classes map[httpapi.Class]*class
	refused *prometheus.CounterVec
	now     func() time.Time
}

// New makes a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{classes: map[httpapi.Class]*class{}, now: c.Now, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_limited_total", Help: "Requests that were refused because there were too many, by class.",
	}, []string{"class"})}
	if l.now == nil {
		l.now = time.Now
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(l.refused)
	}
	for name, r := range c.Rates {
		if r.off() {
			continue
		}
		wide := r.times(AddressFactor)
		l.add(name, newTable(r, r.Count, maxKeys), newTable(wide, wide.Count, maxKeys))
	}
	if r := c.Strangers; !r.off() {
		l.add(httpapi.LimitStranger, nil, newTable(r, r.times(strangerBurst).Count, maxKeys))
	}
	return l
}

func (l *Limiter) add(name httpapi.Class, accounts, addresses *table) {
	l.classes[name] = &class{accounts: accounts, addresses: addresses}
	l.refused.WithLabelValues(string(name)) // so that it is shown before it happens
}

// Allow counts one request. A refused one is counted nowhere: waiting as long as the fault asks for is
// always enough.
func (l *Limiter) Allow(_ context.Context, name httpapi.Class, account, ip string) error {
	c, limited := l.classes[name]
	if !limited {
		return nil
	}
	wait := c.take(l.now(), account, Address(ip))
	if wait <= 0 {
		return nil
	}
	l.refused.WithLabelValues(string(name)).Inc()
	seconds := math.Ceil(wait.Seconds())
	return fault.New(fault.Busy, "too many requests of this kind: try again in %.0f s", seconds).After(time.Duration(seconds) * time.Second)
}

// Address is what requests from an address are counted under: the address itself, or the /64 network of
// an IPv6 address, which is what one customer is given.
func Address(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return network.String()
}

// class holds the buckets of one class of requests.
type class struct {
	mu        sync.Mutex
	accounts  *table // nil where accounts are not counted
	addresses *table
}

// take takes one request from the buckets of both, or from none, and tells how long to wait.
func (c *class) take(now time.Time, account, address string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var buckets [2]*rate.Limiter
	if account != "" && c.accounts != nil {
		buckets[0] = c.accounts.bucket(now, account)
	}
	if address != "" {
		buckets[1] = c.addresses.bucket(now, address)
	}
	var wait time.Duration
	for _, b := range buckets {
		if b == nil {
			continue
		}
		if missing := 1 - b.TokensAt(now); missing > 0 {
			wait = max(wait, time.Duration(math.Ceil(missing/float64(b.Limit())*float64(time.Second))))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, b := range buckets {
		if b != nil {
			b.AllowN(now, 1)
		}
	}
	return 0
}

// table holds the buckets of accounts or of addresses.
type table struct {
	rate    rate.Limit
	burst   int
	most    int
	buckets map[string]*rate.Limiter
}

func newTable(r Rate, burst, most int) *table {
	return &table{rate: rate.Limit(float64(r.Count) / r.Per.Seconds()), burst: burst, most: most, buckets: map[string]*rate.Limiter{}}
}

// sample is how many buckets are looked at to find one that can be forgotten.
const sample = 16

// bucket finds or makes the bucket of a key. Where there are too many, the fullest of a sample goes:
// a full one says nothing, and one that is empty is what an attacker wants forgotten.
func (t *table) bucket(now time.Time, key string) *rate.Limiter {
	if b, ok := t.buckets[key]; ok {
		return b
	}
	if len(t.buckets) >= t.most {
		fullest, tokens, looked := "", -1.0, 0
		for k, b := range t.buckets { // maps are walked from a random place
			if have := b.TokensAt(now); have > tokens {
				fullest, tokens = k, have
			}
			if looked++; looked >= sample || tokens >= float64(t.burst) {
				break
			}
		}
		delete(t.buckets, fullest)
	}
	b := rate.NewLimiter(t.rate, t.burst)
	t.buckets[key] = b
	return b
}
