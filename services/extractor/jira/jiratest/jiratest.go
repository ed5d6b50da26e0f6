// Package jiratest is a Jira Cloud site for tests, benchmarks and verification, written from the public
// contract of the REST API v3 and of webhooks. It serves issues with embedded lists cut as Jira cuts
// them, pages of comments, worklogs, changelog and remote links, enhanced search by a subset of JQL, bulk
// fetch, fields, accounts, attachments on a media host and both kinds of webhooks; a program changes its
// issues under a clock of its own and receives the deliveries that Jira would send; and it fails in the
// ways that Jira, its limits and networks do.
//
// Where Jira is not consistent the fake takes the harder case, and says so at the method or the field.
package jiratest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What a site has where its Config says nothing.
const (
	DefaultEmail    = "agnes@example.com"
	DefaultToken    = "api-token-of-agnes" //nolint:gosec // a placeholder of tests
	DefaultSLAEmail = "sla@example.com"
	DefaultSLAToken = "api-token-of-sla" //nolint:gosec // a placeholder of tests
	DefaultAppToken = "access-token-of-app"
	DefaultCloudID  = "11111111-2222-4333-8444-555555555555"
	DefaultSecret   = "webhook-secret"
)

// Config of a site. The zero value is a site with a manual clock and Jira's documented limits.
type Config struct {
	// Email and Token are the account that the REST API accepts by basic authentication.
	Email, Token string
	// SLAEmail and SLAToken are a second account, accepted below /ex/jira/<CloudID> as well.
	SLAEmail, SLAToken string
	// AppToken is the bearer token of an OAuth 2.0 app, which alone may register dynamic webhooks.
	AppToken string
	// CloudID of the site: the base of api.atlassian.com/ex/jira/<CloudID> is URL + "/ex/jira/<CloudID>".
	CloudID string
	// Secret signs deliveries. Unsigned leaves the signature off.
	Secret   string
	Unsigned bool
	// Location is the time zone of the account: of the timestamps in answers and of dates in JQL.
	Location *time.Location
	// Now is the clock; nil means a manual one, which starts at Start and moves on by Tick with every
	// change (a second where Tick is zero, not at all where it is negative), and by Advance.
	Now   func() time.Time
	Start time.Time
	Tick  time.Duration
	// Latency is added to every answer.
	Latency time.Duration
	// Get and Bulk are the lengths of the lists within an issue that is read alone, and within the
	// issues of search and bulk fetch. Zero means Jira's: 100, 20 and 100; 20, 20 and 40.
	Get, Bulk Embedded
	// MaxComments, MaxWorklogs and MaxHistories bound the pages of the lists (100, 5000, 100).
	MaxComments, MaxWorklogs, MaxHistories int
	// SearchLag is how long a change stays unseen by search, by the site's clock: Jira's index is
	// eventually consistent.
	SearchLag time.Duration
	// SLARestricted shows the SLA fields to the SLA account only; the other one sees an errorMessage.
	SLARestricted bool
	// NoEcho leaves away the jira:issue_updated that accompanies the events of comments, worklogs and
	// attachments.
	NoEcho bool
	// AnyoneRegisters lets accounts that are no app register dynamic webhooks. Jira answers 403 to them.
	AnyoneRegisters bool
}

// Embedded are the lengths at which the lists within an issue are cut.
type Embedded struct{ Comments, Worklogs, Histories int }

// Site is the fake. Its methods may be called while it serves.
type Site struct {
	// URL of the site, without a slash at its end; MediaURL that of the host of attachments.
	URL, MediaURL string
	// Home is the URL of the gateway for the second account: URL + "/ex/jira/" + CloudID.
	Home string
	cfg  Config

	server, media *httptest.Server
	closing       chan struct{}
	once          sync.Once

	mu        sync.Mutex
	clock     time.Time
	seq       int64
	users     []*user
	projects  []*project
	statuses  []*status
	kinds     []*entity
	ranks     []*entity
	outcomes  []*entity
	gen       generator
	issues    map[int64]*issue // created or changed since Populate
	byKey     map[keyOf]int64  // where a key leads: only what the generator does not know
	gone      map[int64]bool
	changed   map[int64]change // for the lag of search
	blobs     map[int64][]byte // content of attachments
	sprints   map[int64]*sprint
	boards    int64
	sprintSeq int64
	pages     pages
	hooks     []*hook
	log       []Delivery
	keep      bool
	register  registered
	broken    map[string]bool
	traffic
	faults
	limiter *rate.Limiter
	burst   int
}

// New starts a site without issues, with the projects SUP, OPS and DEV. Close it.
func New(cfg Config) *Site {
	defaults(&cfg)
	s := &Site{
		cfg: cfg, clock: cfg.Start, issues: map[int64]*issue{}, byKey: map[keyOf]int64{}, gone: map[int64]bool{},
		changed: map[int64]change{}, blobs: map[int64][]byte{}, sprints: map[int64]*sprint{}, broken: map[string]bool{},
		seq: firstSeq, boards: 1, closing: make(chan struct{}),
	}
	s.pages.tokens = map[string]*enumeration{}
	s.register.dynamic = map[int64]*dynamicHook{}
	s.register.admin = map[int64]*adminHook{}
	s.forget()
	s.server = httptest.NewServer(s.routes())
	s.media = httptest.NewServer(http.HandlerFunc(s.serveMedia))
	s.URL, s.MediaURL = s.server.URL, s.media.URL
	s.Home = s.URL + "/ex/jira/" + cfg.CloudID
	s.furnish()
	return s
}

func defaults(cfg *Config) {
	for _, d := range []struct {
		at    *string
		value string
	}{
		{&cfg.Email, DefaultEmail}, {&cfg.Token, DefaultToken}, {&cfg.SLAEmail, DefaultSLAEmail}, {&cfg.SLAToken, DefaultSLAToken},
		{&cfg.AppToken, DefaultAppToken}, {&cfg.CloudID, DefaultCloudID}, {&cfg.Secret, DefaultSecret},
	} {
		if *d.at == "" {
			*d.at = d.value
		}
	}
	if cfg.Location == nil {
		cfg.Location = time.UTC
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	}
	if cfg.Tick == 0 {
		cfg.Tick = time.Second
	}
	for _, d := range []struct {
		at    *int
		value int
	}{
		{&cfg.Get.Comments, 100}, {&cfg.Get.Worklogs, 20}, {&cfg.Get.Histories, 100},
		{&cfg.Bulk.Comments, 20}, {&cfg.Bulk.Worklogs, 20}, {&cfg.Bulk.Histories, 40},
		{&cfg.MaxComments, 100}, {&cfg.MaxWorklogs, 5000}, {&cfg.MaxHistories, 100},
	} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
}

// Close ends the servers, and with them every request under way. Doing so twice is no error.
func (s *Site) Close() {
	s.once.Do(func() { close(s.closing) })
	s.server.CloseClientConnections()
	s.server.Close()
	s.media.CloseClientConnections()
	s.media.Close()
}

// Now is the time of the site.
func (s *Site) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Site) now() time.Time {
	if s.cfg.Now != nil {
		return s.cfg.Now().UTC().Truncate(time.Millisecond)
	}
	return s.clock
}

// Advance moves the manual clock on.
func (s *Site) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// SetTime sets the manual clock.
func (s *Site) SetTime(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = t.UTC().Truncate(time.Millisecond)
}

// tick is the time of a change.
func (s *Site) tick() time.Time {
	if s.cfg.Now == nil && s.cfg.Tick > 0 {
		s.clock = s.clock.Add(s.cfg.Tick)
	}
	return s.now()
}

// firstSeq is where the ids of what a program creates begin: above all that the generator gives.
const firstSeq = 9_000_000_000

func (s *Site) next() int64 {
	s.seq++
	return s.seq
}

// misuse reports an error of the test that uses the site.
func misuse(format string, args ...any) {
	panic("jiratest: " + fmt.Sprintf(format, args...))
}
