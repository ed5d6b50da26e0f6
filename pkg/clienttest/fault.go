package clienttest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong with some requests. It ends after Times requests.
type Fault struct {
	// Path is a part of the paths that it happens to; empty means all.
	Path string
	// Times is how many requests it happens to; 0 means every one.
	Times int
	// After lets this many requests pass first.
	After int

	// Status answers with an error instead; with RetryAfter seconds, where that is positive.
	Status     int
	RetryAfter int
	// Cut sends so many bytes of the body and breaks the connection; with 0 not even the head arrives.
	Cut *int
	// Flip changes the bytes of the body and keeps their number.
	Flip bool
	// DropQuery hides the query string and the conditions from the server, as a careless proxy does.
	DropQuery bool
	// NoRanges hides Range from the server.
	NoRanges bool
	// Stall waits in the middle of the body until the client leaves.
	Stall bool
	// Page answers with a proxy's HTML page and status 200.
	Page bool
	// Do is called before the request is served.
	Do func()
}

// Bytes is for Fault.Cut.
func Bytes(n int) *int { return &n }

// Inject makes a fault happen from now on.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// next gives the fault that happens to a request, if one does.
func (s *Server) next(r *http.Request) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r.Method+" "+r.URL.RequestURI())
	for i, f := range s.faults {
		if !strings.Contains(r.URL.Path, f.Path) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		found := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return found, true
	}
	return Fault{}, false
}

func (s *Server) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, failing := s.next(r)
		if !failing {
			next.ServeHTTP(w, r)
			return
		}
		if f.Do != nil {
			f.Do()
		}
		if f.DropQuery {
			r.URL.RawQuery = "part=" + s.anotherPart(r.URL.Query().Get("part"))
			r.Header.Del("If-Match")
			r.Header.Del("If-Range")
		}
		if f.NoRanges {
			r.Header.Del("Range")
		}
		switch {
		case f.Status != 0:
			if f.RetryAfter > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
			}
			Problem(w, f.Status, "", "the server is out of sorts")
		case f.Page:
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>Please sign in to the Wi-Fi</html>"))
		case f.Cut != nil, f.Flip, f.Stall:
			f.spoil(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// anotherPart is a part of another content: what a proxy answers with that does not look at the query.
func (s *Server) anotherPart(hash string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		for _, p := range t.Parts {
			if other := Hash(p); other != hash {
				return other
			}
		}
	}
	return hash
}

// spoil serves the request aside, and sends what comes of it in part, or changed.
func (f Fault) spoil(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	switch {
	case f.Flip:
		body = bytes.Clone(rec.Body.Bytes())
		for i := range body {
			body[i] ^= 0x55
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	case f.Stall:
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	default:
		if *f.Cut > 0 {
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body[:min(*f.Cut, len(body))])
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}
}
