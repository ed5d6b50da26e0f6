package jiratest

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Routes of a site, as Fault, Calls and Requests name them.
const (
	RouteIssue          = "issue"
	RouteComments       = "comment"
	RouteWorklogs       = "worklog"
	RouteChangelog      = "changelog"
	RouteRemoteLinks    = "remotelink"
	RouteSearch         = "search/jql"
	RouteCount          = "search/approximate-count"
	RouteBulkFetch      = "issue/bulkfetch"
	RouteFields         = "field"
	RouteMyself         = "myself"
	RouteServerInfo     = "serverInfo"
	RouteWebhooks       = "webhook"
	RouteRefresh        = "webhook/refresh"
	RouteFailed         = "webhook/failed"
	RouteAdminWebhooks  = "webhooks/1.0"
	RouteAttachment     = "attachment"
	RouteContent        = "attachment/content"
	RouteMedia          = "media"
	RouteTenant         = "tenant_info"
	RouteUnknown        = "unknown"
	RouteAny            = "*"
	throttleRetryHeader = "Retry-After"
)

// Fault is how calls fail.
type Fault struct {
	// Route is one of the Route constants; RouteAny or empty means every one. Path, where it is set, must
	// be contained in the path of the call; Account must be its user.
	Route, Path, Account string
	// Skip passes over so many matching calls first; Times is how many then fail, 0 meaning all until Mend.
	Skip, Times int
	// Delay holds the answer up. A fault with a delay alone goes on to answer as ever.
	Delay time.Duration
	// Status answers with this status and a body as Jira has it; Header is added.
	Status int
	Header http.Header
	// RetryAfter is that header, in whole seconds, and the X-RateLimit headers of a limit that is used up.
	RetryAfter time.Duration
	// Body replaces the body of a Status, or of the answer.
	Body string
	// Cut ends the connection after this many bytes of the answer; at the latest before its last.
	Cut int
	// Malformed answers 200 with half of the body, as complete.
	Malformed bool
	// Refuse ends the connection without an answer.
	Refuse bool
	// Location redirects: with Status 3xx.
	Location string

	hits int
}

type faults struct{ active []*Fault }

// Fail adds a fault. The first that matches a call decides.
func (s *Site) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = append(s.active, &f)
}

// Mend removes all faults.
func (s *Site) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = nil
}

// Throttle limits the site to so many calls a second after a burst of some: more are answered 429 with
// Retry-After and the X-RateLimit headers. Zero lifts the limit.
func (s *Site) Throttle(perSecond float64, burst int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limiter, s.burst = nil, burst
	if perSecond > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(perSecond), burst)
	}
}

// SetLatency changes the latency of every answer.
func (s *Site) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Latency = d
}

// Request is a call that the site got.
type Request struct {
	Route, Method, Path, Query string
	// Account is the user of basic authentication, "app" for the app, empty for strangers; it is set
	// whether or not the secret was right.
	Account string
	// Authorized tells whether the call had an Authorization header at all.
	Authorized bool
}

type traffic struct {
	calls    map[string]int
	requests []Request
	busy     int
	busiest  int
}

func (t *traffic) forget() { *t = traffic{calls: map[string]int{}, busy: t.busy} }

const keptRequests = 10_000

// Calls counts the calls by route since ResetCalls.
func (s *Site) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for k, v := range s.calls {
		out[k] = v
	}
	return out
}

// Requests gives the last 10,000 calls since ResetCalls, of the routes that are named, or all.
func (s *Site) Requests(routes ...string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.requests), func(r Request) bool { return len(routes) > 0 && !slices.Contains(routes, r.Route) })
}

// Busiest is the most calls that were under way at once since ResetCalls.
func (s *Site) Busiest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busiest
}

// ResetCalls forgets what was counted.
func (s *Site) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
}

func (s *Site) arrive(route string, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[route]++
	s.busy++
	s.busiest = max(s.busiest, s.busy)
	if len(s.requests) >= keptRequests {
		s.requests = append(s.requests[:0], s.requests[keptRequests/2:]...)
	}
	account, _, _ := r.BasicAuth()
	if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		account = "app"
	}
	s.requests = append(s.requests, Request{
		Route: route, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Account: account, Authorized: r.Header.Get("Authorization") != "",
	})
}

func (s *Site) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

// faultFor is the fault of a call, if any.
func (s *Site) faultFor(route string, r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	account, _, _ := r.BasicAuth()
	for _, f := range s.active {
		if f.Route != "" && f.Route != RouteAny && f.Route != route || !strings.Contains(r.URL.Path, f.Path) || f.Account != "" && f.Account != account {
			continue
		}
		f.hits++
		if f.hits > f.Skip && (f.Times == 0 || f.hits <= f.Skip+f.Times) {
			hit := *f
			return &hit
		}
	}
	return nil
}

// faulty counts, delays and breaks calls of a route.
func (s *Site) faulty(route string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.arrive(route, r)
		defer s.leave()
		// A server notices that its caller went away only when the body is read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		latency := s.cfg.Latency
		s.mu.Unlock()
		if !s.hold(r, latency) || s.throttled(w) {
			return
		}
		f := s.faultFor(route, r)
		if f == nil {
			next(w, r)
			return
		}
		if !s.hold(r, f.Delay) {
			return
		}
		s.fail(w, r, f, next)
	}
}

// hold waits, and tells whether the caller is still there.
func (s *Site) hold(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

func (s *Site) fail(w http.ResponseWriter, r *http.Request, f *Fault, next http.HandlerFunc) {
	for k, v := range f.Header {
		w.Header()[k] = v
	}
	if f.Refuse {
		panic(http.ErrAbortHandler)
	}
	if f.RetryAfter > 0 {
		limitHeaders(w.Header(), f.RetryAfter, 0)
	}
	if f.Location != "" {
		w.Header().Set("Location", f.Location)
	}
	if f.Status != 0 {
		answerFault(w, f)
		return
	}
	if f.Cut == 0 && !f.Malformed && f.Body == "" {
		next(w, r)
		return
	}
	rec := httptest.NewRecorder()
	next(rec, r)
	out := rec.Body.Bytes()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	switch {
	case f.Body != "":
		_, _ = w.Write([]byte(f.Body))
	case f.Malformed:
		w.WriteHeader(rec.Code)
		_, _ = w.Write(out[:len(out)/2])
	default:
		w.Header().Set("Content-Length", strconv.Itoa(max(len(out), 1)))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(out[:min(f.Cut, max(len(out)-1, 0))])
		if fl, ok := w.(http.Flusher); ok {
			fl.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

func answerFault(w http.ResponseWriter, f *Fault) {
	text := f.Body
	switch {
	case text != "":
	case f.Status == http.StatusUnauthorized:
		w.Header().Set("X-Seraph-Loginreason", "AUTHENTICATED_FAILED")
		text = "Client must be authenticated to access this resource."
	case f.Status == http.StatusNotFound:
		text = errorBody("Issue does not exist or you do not have permission to see it.")
	case f.Status == http.StatusTooManyRequests:
		text = `{"errorMessages":["Rate limit exceeded."],"errors":{}}`
	case f.Status >= 500:
		text = "<html><body><h1>" + strconv.Itoa(f.Status) + " " + http.StatusText(f.Status) + "</h1></body></html>"
	default:
		text = errorBody(http.StatusText(f.Status))
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(text))
}

func errorBody(text string) string {
	return `{"errorMessages":[` + quoted(text) + `],"errors":{}}`
}

func limitHeaders(h http.Header, after time.Duration, limit int) {
	seconds := int(math.Ceil(after.Seconds()))
	h.Set(throttleRetryHeader, strconv.Itoa(seconds))
	h.Set("X-Ratelimit-Limit", strconv.Itoa(max(limit, 100)))
	h.Set("X-Ratelimit-Remaining", "0")
	h.Set("X-Ratelimit-Reset", time.Now().Add(after).UTC().Format("2006-01-02T15:04Z"))
	h.Set("X-Ratelimit-Nearlimit", "true")
	h.Set("Ratelimit-Reason", "jira-burst-based")
}

// throttled answers 429 where the limit is used up, and warns where it is nearly so.
func (s *Site) throttled(w http.ResponseWriter) bool {
	s.mu.Lock()
	limiter, burst := s.limiter, s.burst
	s.mu.Unlock()
	if limiter == nil {
		return false
	}
	if limiter.Allow() {
		left := limiter.Tokens()
		w.Header().Set("X-Ratelimit-Limit", strconv.Itoa(burst))
		w.Header().Set("X-Ratelimit-Remaining", strconv.Itoa(max(0, int(left))))
		if left < float64(burst)/5 {
			w.Header().Set("X-Ratelimit-Nearlimit", "true")
		}
		return false
	}
	limitHeaders(w.Header(), time.Second, burst)
	answerFault(w, &Fault{Status: http.StatusTooManyRequests})
	return true
}

// ExpirePageTokens makes every page token of search one that is expired.
func (s *Site) ExpirePageTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.pages.tokens)
}

// refusal is an answer in Jira's form of errors.
func refusal(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(errorBody(fmt.Sprintf(format, args...))))
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = bytes.NewReader(body).WriteTo(w)
}
