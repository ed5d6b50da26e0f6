package keboolatest

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Routes of a project and of its store, as Fault, Calls and Requests name them.
const (
	RouteVerify   = "tokens/verify"
	RouteBuckets  = "buckets"
	RouteTables   = "tables"
	RouteTable    = "table"
	RoutePreview  = "data-preview"
	RouteExport   = "export-async"
	RouteJob      = "job"
	RouteFile     = "file"
	RouteMetadata = "metadata"
	RouteManifest = "store/manifest" // of a sliced file
	RouteObject   = "store/object"   // a slice, or a file that is not sliced
	RouteUnknown  = "unknown"
)

// Fault is how calls fail.
type Fault struct {
	// Route is one of the Route constants; empty means every one. Path, where it is set, must be contained
	// in the path of the call.
	Route, Path string
	// Skip passes over so many matching calls first; Times is how many then fail, 0 meaning all until Mend.
	Skip, Times int
	// Delay holds the answer up. A fault with a delay alone goes on to answer as ever.
	Delay time.Duration
	// Status answers with this status; Body replaces the body that Keboola has for it.
	Status int
	Body   string
	// RetryAfter is that header, in whole seconds.
	RetryAfter time.Duration
	// Cut ends the connection after this many bytes of the answer; at the latest before its last.
	Cut int
	// Malformed answers 200 with half of the body, as complete.
	Malformed bool
	// Refuse ends the connection without an answer.
	Refuse bool
	// Expired treats the credentials of a call to the store as expired.
	Expired bool

	hits int
}

type faults struct{ active []*Fault }

// Fail adds a fault. The first that matches a call decides.
func (p *Project) Fail(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = append(p.active, &f)
}

// Mend removes all faults.
func (p *Project) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = nil
}

// Request is a call that the project or its store got.
type Request struct {
	Route, Method, Path, Query string
	// Form is that of an export.
	Form map[string][]string
	// Token is the one of the Storage API; Range the header of that name.
	Token, Range string
}

type traffic struct {
	calls    map[string]int
	requests []Request
	busy     map[string]int
	busiest  map[string]int
}

func (t *traffic) forget() {
	*t = traffic{calls: map[string]int{}, busy: map[string]int{}, busiest: map[string]int{}}
}

// Calls counts the calls by route since ResetCalls.
func (p *Project) Calls() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for k, v := range p.calls {
		out[k] = v
	}
	return out
}

// Requests gives the calls since ResetCalls, of the routes that are named, or all.
func (p *Project) Requests(routes ...string) []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.requests), func(r Request) bool { return len(routes) > 0 && !slices.Contains(routes, r.Route) })
}

// Busiest is the most calls of a route that were under way at once since ResetCalls.
func (p *Project) Busiest(route string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busiest[route]
}

// ResetCalls forgets what was counted.
func (p *Project) ResetCalls() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
}

// Watch calls f with every call before it is answered; nil for nobody.
func (p *Project) Watch(f func(Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = f
}

// arrive counts a call, and finds its fault, if any.
func (p *Project) arrive(route string, r *http.Request) (fault *Fault, leave func()) {
	req := Request{Route: route, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Token: r.Header.Get("X-Storageapi-Token"), Range: r.Header.Get("Range")}
	if route == RouteExport {
		r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
		if err := r.ParseForm(); err == nil {
			req.Form = r.PostForm
		}
	}
	p.mu.Lock()
	p.calls[route]++
	p.busy[route]++
	p.busiest[route] = max(p.busiest[route], p.busy[route])
	p.requests = append(p.requests, req)
	watch := p.watch
	for _, f := range p.active {
		if f.Route != "" && f.Route != route || !strings.Contains(r.URL.Path, f.Path) {
			continue
		}
		f.hits++
		if f.hits > f.Skip && (f.Times == 0 || f.hits <= f.Skip+f.Times) {
			hit := *f
			fault = &hit
			break
		}
	}
	p.mu.Unlock()
	if watch != nil {
		watch(req)
	}
	return fault, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy[route]--
	}
}

// fails answers a call as its fault says; false where it is to be answered as ever, by what w gives.
func (p *Project) fails(f *Fault, w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
	if f == nil {
		return w, false
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return w, true
		}
	}
	switch {
	case f.Refuse:
		hangUp(w)
		return w, true
	case f.Status != 0:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
		}
		if f.Body != "" {
			w.WriteHeader(f.Status)
			_, _ = w.Write([]byte(f.Body))
			return w, true
		}
		refuse(w, f.Status, fmt.Sprintf("storage.status%d", f.Status), http.StatusText(f.Status))
		return w, true
	case f.Cut > 0:
		return &cutter{ResponseWriter: w, left: f.Cut}, false
	case f.Malformed:
		return &halver{ResponseWriter: w}, false
	}
	return w, false
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// cutter ends the connection after some bytes, or before the last.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) < c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	_, _ = c.ResponseWriter.Write(b[:min(c.left, len(b)-1)])
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// halver answers half of a body as if it were all.
type halver struct{ http.ResponseWriter }

func (h *halver) Write(b []byte) (int, error) {
	h.Header().Del("Content-Length")
	_, err := h.ResponseWriter.Write(b[:len(b)/2])
	return len(b), err
}
