package httpapi

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Proxy passes requests on to another service, WebSockets included. The session of a browser stays
// here: the service has no use for it.
func Proxy(target *url.URL, name string) http.Handler {
	return &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Header.Set("X-Request-Id", requestID(r.In.Context()))
			dropCookie(r.Out, SessionCookie)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			writeProblem(w, r, fault.Wrap(err, fault.Unavailable, "%s does not answer; it may be starting", name))
		},
	}
}

// dropCookie takes one cookie out of a request.
func dropCookie(r *http.Request, name string) {
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if c.Name != name {
			r.AddCookie(c)
		}
	}
}
