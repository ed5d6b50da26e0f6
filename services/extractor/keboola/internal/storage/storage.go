// Package storage is the client of Keboola's Storage API: who a token is, buckets, tables, previews, exports
// and their files, on the stores of three clouds. It is the only place that sends the source's token, and
// sends it to the configured stack alone; what a store wants it gets from the API, file by file.
//
// Errors have a fault kind, and a sentence for the operator without any secret or signed address:
// Unauthenticated and Forbidden say what to do, NotFound means that there is no such thing for this token,
// Busy that Keboola limits the rate of calls (with RetryAfter), Unavailable that it cannot be reached,
// answers nonsense or does not end a job, after several tries; Permanent and Invalid that trying again
// cannot help.
package storage

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Config of a client. Stack and Token are required.
type Config struct {
	// Source is the name of the source: a label of the metrics.
	Source string
	// Stack is https://connection.keboola.com or its like; the scheme may be left away. Plain HTTP is for a
	// loopback address alone.
	Stack string
	Token string

	// Calls is the most calls of the API at once (10); Downloads that of objects read from stores (16).
	Calls, Downloads int
	// CallTimeout is the longest that a call may take (60 s), or, of an object, the longest pause in it.
	CallTimeout time.Duration
	// Retries is how often a call, or the rest of an object, is asked for again that failed in passing (5).
	Retries int
	// Patience is the longest pause that Keboola may ask for (2 min); a longer one is answered Busy.
	Patience time.Duration
	// JobTimeout is how long an export may take (1 h); PollFirst and PollMost how often it is looked after
	// (from 20 ms, for a change of a few rows is exported in no time, to 10 s).
	JobTimeout          time.Duration
	PollFirst, PollMost time.Duration
	// MaxBody is the largest answer of the API that is read, in bytes (256 MiB: a listing of a large project).
	MaxBody int64

	Transport http.RoundTripper
	Clock     clockwork.Clock
	Metrics   prometheus.Registerer
}

// Client of one project. It may be used by many goroutines at once.
type Client struct {
	cfg       Config
	stack     *url.URL
	calls     *semaphore.Weighted
	downloads *semaphore.Weighted
	secrets   *strings.Replacer
	metrics   metrics
	own       *http.Transport
}

// New checks the configuration. It does not call Keboola.
func New(cfg Config) (*Client, error) {
	stack, err := address(cfg.Stack)
	if err != nil {
		return nil, err
	}
	if cfg.Token == "" {
		return nil, fault.New(fault.Invalid, "Keboola needs a Storage API token: set token_env, or KEBOOLA_STORAGE_TOKEN")
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.New(fault.Invalid, "the Storage API token has a space or a sign that no token has")
	}
	c := &Client{cfg: cfg, stack: stack}
	d := &c.cfg
	d.Calls, d.Downloads, d.Retries = or(d.Calls, 10), or(d.Downloads, 16), or(d.Retries, 5)
	d.CallTimeout, d.Patience, d.JobTimeout = or(d.CallTimeout, time.Minute), or(d.Patience, 2*time.Minute), or(d.JobTimeout, time.Hour)
	d.PollFirst, d.PollMost = or(d.PollFirst, 20*time.Millisecond), or(d.PollMost, 10*time.Second)
	d.MaxBody = or(d.MaxBody, 256<<20)
	if d.Clock == nil {
		d.Clock = clockwork.NewRealClock()
	}
	if d.Transport == nil {
		base, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			base = &http.Transport{}
		}
		c.own = base.Clone()
		c.own.DisableCompression = true // what is gzip in a store is a file, not an encoding
		c.own.MaxIdleConnsPerHost = d.Downloads
		c.own.ResponseHeaderTimeout = d.CallTimeout
		d.Transport = c.own
	}
	c.calls, c.downloads = semaphore.NewWeighted(int64(d.Calls)), semaphore.NewWeighted(int64(d.Downloads))
	c.secrets = strings.NewReplacer(d.Token, "***", url.QueryEscape(d.Token), "***", url.PathEscape(d.Token), "***")
	if c.metrics, err = newMetrics(d.Metrics, d.Source); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

func or[N int | int64 | time.Duration](v, fallback N) N {
	if v <= 0 {
		return fallback
	}
	return v
}

// address reads the URL of a stack: nothing but scheme and host, and plain HTTP on loopback alone.
func address(text string) (*url.URL, error) {
	if text == "" {
		return nil, fault.New(fault.Invalid, "Keboola needs the address of its stack, such as https://connection.keboola.com: set stack_url, or KEBOOLA_STACK_URL")
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/v2/storage") {
		return nil, fault.New(fault.Invalid, "stack_url must be a scheme and a host alone, such as https://connection.keboola.com")
	}
	u.Path = ""
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fault.New(fault.Invalid, "stack_url must begin with https://")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sleep waits, and tells whether it was for the whole time.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	t := c.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
		return true
	case <-ctx.Done():
		return false
	}
}
