package httpapi

import (
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

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
			r.Out.Header.Set("X-Forwarded-For", infoOf(r.In.Context()).remote) // whose proxies are believed is known here
			r.Out.Header.Set(headerRequestID, requestID(r.In.Context()))
			dropCookie(r.Out, SessionCookie)
		},
		ModifyResponse: func(r *http.Response) error {
			unsecure(r.Header)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if failed := unsent(r); failed != nil {
				writeProblem(w, r, failed)
				return
			}
			writeProblem(w, r, fault.Wrap(err, fault.Unavailable, "%s does not answer; it may be starting", name))
		},
	}
}

// Handed passes requests on to a service in this process. As with Proxy, the session of a browser stays
// here.
func Handed(service http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set(headerRequestID, requestID(r.Context()))
		dropCookie(r, SessionCookie)
		service.ServeHTTP(w, r)
	})
}

// unsent tells why the client's request could not be passed on: it was too long, or did not arrive. A
// request that stalls ends its context.
func unsent(r *http.Request) error {
	if unread := infoOf(r.Context()).unread.Load(); unread != nil && !errors.Is(*unread, os.ErrDeadlineExceeded) {
		return *unread
	}
	if r.Context().Err() != nil {
		return errStalled("the request did not arrive in time")
	}
	return nil
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
