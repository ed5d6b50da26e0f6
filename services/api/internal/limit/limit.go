// Package limit counts requests per account and per address, and says how long to wait where they are
// too many. The counting is that of pkg/ratelimit.
package limit

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
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
	Rates map[httpapi.Class]ratelimit.Rate
	// Strangers is the rate of an address for requests without a credential that holds.
	Strangers ratelimit.Rate
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
		if r.Off() {
			continue
		}
		wide := r.Times(AddressFactor)
		l.add(name, ratelimit.NewTable(r, r.Count, maxKeys), ratelimit.NewTable(wide, wide.Count, maxKeys))
	}
	if r := c.Strangers; !r.Off() {
		l.add(httpapi.LimitStranger, nil, ratelimit.NewTable(r, r.Times(strangerBurst).Count, maxKeys))
	}
	return l
}

func (l *Limiter) add(name httpapi.Class, accounts, addresses *ratelimit.Table) {
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
	wait := c.take(l.now(), account, ratelimit.Address(ip))
	if wait <= 0 {
		return nil
	}
	l.refused.WithLabelValues(string(name)).Inc()
	seconds := math.Ceil(wait.Seconds())
	return fault.New(fault.Busy, "too many requests of this kind: try again in %.0f s", seconds).After(time.Duration(seconds) * time.Second)
}

// class holds the buckets of one class of requests.
type class struct {
	mu        sync.Mutex
	accounts  *ratelimit.Table // nil where accounts are not counted
	addresses *ratelimit.Table
}

// take takes one request from the buckets of both, or from none, and tells how long to wait.
func (c *class) take(now time.Time, account, address string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var buckets []*ratelimit.Bucket
	if account != "" && c.accounts != nil {
		buckets = append(buckets, c.accounts.Bucket(now, account))
	}
	if address != "" {
		buckets = append(buckets, c.addresses.Bucket(now, address))
	}
	return ratelimit.Take(now, buckets...)
}
