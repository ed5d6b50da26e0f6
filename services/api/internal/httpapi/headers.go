package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// pageCSP is for everything that a browser may show. Pages carry no inline script or style and load
// nothing from elsewhere.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// unused are the powers of a browser that no page asks for.
const unused = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"

// always are the headers of every answer; those of services behind this one do not count.
var always = map[string]string{
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "same-origin", // not no-referrer: browsers would send Origin: null with our own forms
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Permissions-Policy":           unused,
	"Content-Security-Policy":      pageCSP,
	"Cache-Control":                "no-store", // handlers that may be cached say so
}

const (
	headerRequestID = "X-Request-Id"
	headerTLS       = "Strict-Transport-Security"
)

// secure puts on what every answer has.
func (s *Server) secure(h http.Header, id string) {
	h.Set(headerRequestID, id)
	for name, value := range always {
		h.Set(name, value)
	}
	if s.https() {
		h.Set(headerTLS, "max-age=31536000")
	}
}

// unsecure takes off an answer of another service what this one says, who may read it included.
func unsecure(h http.Header) {
	for name := range h {
		if _, ok := always[name]; ok || name == headerRequestID || name == headerTLS || strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
}

// What pages of other origins may send and read, where they are allowed at all.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsHeaders = "Accept, Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range, X-Request-Id"
	corsExposed = "Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, X-Agnes-Truncated, X-Request-Id, X-Total-Count"
)

// checkOrigins refuses what is no origin, such as "*" or an address with a path.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return fault.New(fault.Invalid, "AGNES_CORS_ORIGINS takes origins such as https://app.example.com, divided by commas; %.80q is none", o)
		}
	}
	return nil
}

// cors tells a browser which other origins may read answers (https://fetch.spec.whatwg.org/#http-cors-protocol),
// and reports whether it answered the request. Only what is configured is allowed, and never with a
// cookie: a page elsewhere has to send a token.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	if len(s.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(s.origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", corsExposed)
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
