// Package ratelimit counts what is allowed only so often, in token buckets: a bucket holds as many
// counts as its burst, and fills evenly at its rate.
package ratelimit

import (
	"math"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

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

// Bucket is what one key has left.
type Bucket struct{ *rate.Limiter }

// Take takes one count out of every bucket, or out of none, and tells how long to wait then: waiting that
// long is always enough.
func Take(now time.Time, buckets ...*Bucket) time.Duration {
	var wait time.Duration
	for _, b := range buckets {
		// Less than a nanosecond is what the arithmetic lost: who waited as long as asked for has it.
		if missing := (1 - b.TokensAt(now)) / float64(b.Limit()) * float64(time.Second); missing >= 1 {
			wait = max(wait, time.Duration(math.Ceil(missing)))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, b := range buckets {
		b.AllowN(now, 1)
	}
	return 0
}

// Table holds a bucket per key, of at most a fixed number of keys. It is not safe for concurrent use.
type Table struct {
	rate    rate.Limit
	burst   int
	most    int
	buckets map[string]*Bucket
}

// NewTable makes one whose buckets fill at a rate, which must not be off, and hold a burst. A bucket takes
// about 200 bytes.
func NewTable(r Rate, burst, most int) *Table {
	return &Table{rate: rate.Limit(float64(r.Count) / r.Per.Seconds()), burst: burst, most: most, buckets: map[string]*Bucket{}}
}

// sample is how many buckets are looked at to find one that can be forgotten.
const sample = 16

// Bucket finds or makes the bucket of a key. Where there are too many, the fullest of a sample goes:
// a full one says nothing, and one that is empty is what an attacker wants forgotten.
func (t *Table) Bucket(now time.Time, key string) *Bucket {
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
	b := &Bucket{rate.NewLimiter(t.rate, t.burst)}
	t.buckets[key] = b
	return b
}
