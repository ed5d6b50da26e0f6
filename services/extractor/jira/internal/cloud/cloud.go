// Package cloud is the client of the REST API v3 of a Jira Cloud site: issues with all their lists, search,
// bulk fetch, fields, webhooks and the content of attachments, within Jira's limits. It is the only place
// that sends the source's credentials, and sends them to the configured site alone.
//
// Two kinds of callers share one client. What follows a webhook goes first: a Client as New gives it. What
// can wait, such as a backfill, asks through Background: it gets no place while the others wait for one,
// and when Jira throttles it, they go on.
//
// Errors have a fault kind, and a sentence for the operator without any secret: Unauthenticated and
// Forbidden say what to do, NotFound means that Jira said so to an account that it knows, Busy that Jira
// throttles (with RetryAfter), Unavailable that it cannot be reached or answers nonsense after several
// tries, Permanent that trying again cannot help.
package cloud

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Account signs in: with an API token of an Atlassian account, by basic authentication.
type Account struct{ Email, Token string }

// Config of a client. Site, Email and Token are required.
type Config struct {
	// Source is the name of the source: a label of the metrics.
	Source string
	// Site is https://your.atlassian.net; the scheme may be left away. Plain HTTP is for a loopback
	// address alone.
	Site string
	// Email and Token of the account that reads. It needs "Browse projects" in the projects.
	Email, Token string
	// SLA is a second account that sees the fields SLAFields, which replace what the first one sees.
	// It asks Atlassian's gateway for the site with CloudID. Empty means that there is none.
	SLA       Account
	SLAFields []string
	CloudID   string
	// AppToken gives the access token of an OAuth 2.0 app. Jira lets only apps register dynamic webhooks;
	// nil means that there is none, and webhooks are those of administrators.
	AppToken func(ctx context.Context) (string, error)
	// SkipRemoteLinks saves a call an issue: documents then have no _remote_links, and say so.
	SkipRemoteLinks bool

	// Concurrency is the most calls at once (8). The client finds out how many Jira bears.
	Concurrency int
	// CallTimeout is the longest that one call may take (30 s), or, of the content of an attachment, the
	// longest pause in it.
	CallTimeout time.Duration
	// Retries is how often a call is tried again that failed in passing (4).
	Retries int
	// Patience is how long a call waits while Jira throttles (1 min); BackgroundPatience the same for
	// background work (10 min).
	Patience, BackgroundPatience time.Duration
	// MaxBody is the largest answer that is read, in bytes (32 MiB).
	MaxBody int64

	// Gateway and MediaHosts are Atlassian's own where they are empty: https://api.atlassian.com, and the
	// hosts (with a port where it is not the scheme's) that attachments may be redirected to.
	Gateway    string
	MediaHosts []string

	Transport http.RoundTripper
	Clock     clockwork.Clock
	Metrics   prometheus.Registerer
}

// defaultMedia are the hosts that Jira Cloud keeps attachments on.
var defaultMedia = []string{"api.media.atlassian.com", "media-cdn.atlassian.com"}

// Client of one site. It may be used by many goroutines at once.
type Client struct {
	*shared
	priority priority
}

// shared is what a client and its background view have in common.
type shared struct {
	cfg     Config
	site    *url.URL
	gateway *url.URL // of the second account: with the cloud id
	limit   *limiter
	secrets *strings.Replacer
	metrics metrics
	own     *http.Transport

	confirmed atomic.Pointer[time.Time]
}

// New checks the configuration. It does not call Jira.
func New(cfg Config) (*Client, error) {
	site, err := address("the site", cfg.Site)
	if err != nil {
		return nil, err
	}
	if cfg.Email == "" || cfg.Token == "" {
		return nil, fault.New(fault.Invalid, "Jira needs an account: set email and api_token (JIRA_EMAIL, JIRA_API_TOKEN)")
	}
	s := &shared{cfg: cfg, site: site}
	c := &s.cfg
	c.Gateway = orText(c.Gateway, "https://api.atlassian.com")
	if c.SLA != (Account{}) {
		if c.SLA.Email == "" || c.SLA.Token == "" || !validCloudID(c.CloudID) {
			return nil, fault.New(fault.Invalid, "the second account for SLA fields needs its email, its API token and the cloud id of the site, which https://%s/_edge/tenant_info tells", site.Host)
		}
		if s.gateway, err = address("the gateway", c.Gateway); err != nil {
			return nil, err
		}
		s.gateway = s.gateway.JoinPath("ex", "jira", c.CloudID)
	}
	if len(c.MediaHosts) == 0 {
		c.MediaHosts = defaultMedia
	}
	c.Concurrency = orNumber(c.Concurrency, 8)
	c.Retries = orNumber(c.Retries, 4)
	c.CallTimeout = orNumber(c.CallTimeout, 30*time.Second)
	c.Patience = orNumber(c.Patience, time.Minute)
	c.BackgroundPatience = orNumber(c.BackgroundPatience, 10*time.Minute)
	c.MaxBody = orNumber(c.MaxBody, 32<<20)
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Transport == nil {
		base, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			base = &http.Transport{}
		}
		s.own = base.Clone()
		s.own.MaxIdleConnsPerHost = 2 * c.Concurrency
		c.Transport = s.own
	}
	s.secrets = secretsOf(*c)
	if s.metrics, err = newMetrics(c.Metrics, c.Source); err != nil {
		return nil, err
	}
	s.limit = newLimiter(c.Clock, c.Concurrency, s.metrics)
	return &Client{shared: s}, nil
}

// Background is the same client for work that can wait.
func (c *Client) Background() *Client { return &Client{shared: c.shared, priority: background} }

// Close ends idle connections.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Site is the base of the site's URLs, without a slash at its end: issues are at Site() + "/browse/" + key.
func (c *Client) Site() string { return c.site.String() }

func orText(v, fallback string) string {
	if v == "" {
		return fallback
	}
	return v
}

func orNumber[N int | int64 | time.Duration](v, fallback N) N {
	if v <= 0 {
		return fallback
	}
	return v
}

// address reads the URL of a host: nothing but scheme and host, and plain HTTP on loopback alone.
func address(what, text string) (*url.URL, error) {
	if text == "" {
		return nil, fault.New(fault.Invalid, "Jira needs the address of %s, such as https://your.atlassian.net: set site (JIRA_DOMAIN)", strings.TrimPrefix(what, "the "))
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "the address of %s must be a scheme and a host alone, such as https://your.atlassian.net", what)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fault.New(fault.Invalid, "the address of %s must begin with https://", what)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// validCloudID keeps the id from changing the path that it becomes part of: it is a UUID.
func validCloudID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'f') && (r < 'A' || r > 'F')
	})
}

// confirm makes sure that Jira knows our account, before its silence about an issue is believed: to a
// stranger, and that is who comes with an expired token, Jira answers 404, and finds nothing.
func (c *Client) confirm(ctx context.Context) error {
	now := c.cfg.Clock.Now()
	if at := c.confirmed.Load(); at != nil && now.Sub(*at) < time.Minute {
		return nil
	}
	_, err := c.Myself(ctx)
	if fault.Is(err, fault.NotFound) {
		// Every Jira knows this question: there is none at the address, or it is suspended.
		return fault.Wrap(err, fault.Unavailable, "there is no Jira at %s now", c.site.Host)
	}
	if err != nil {
		return fmt.Errorf("check the account: %w", err)
	}
	c.confirmed.Store(&now)
	return nil
}

// isAny tells whether err is of one of the kinds.
func isAny(err error, kinds ...fault.Kind) bool {
	return err != nil && slices.Contains(kinds, fault.KindOf(err))
}
