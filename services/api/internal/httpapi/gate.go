package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Gate says who may pass a route. A route without a gate cannot be registered.
type Gate string

// The gates.
const (
	Public Gate = "public" // everybody
	User   Gate = "user"   // any active user, by session or personal access token
	Admin  Gate = "admin"  // an active user with the role admin
)

// SessionCookie carries the session of a browser.
const SessionCookie = "access_token"

// credential is what a request carries to say who asks.
type credential struct {
	token string
	// cookie tells that the browser sent it by itself, so that the origin has to be checked.
	cookie bool
}

func credentialOf(r *http.Request) credential {
	scheme, token, found := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if found && strings.EqualFold(scheme, "bearer") {
		if token = strings.TrimSpace(token); token != "" {
			return credential{token: token}
		}
	}
	if c, err := r.Cookie(SessionCookie); err == nil && c.Value != "" {
		return credential{token: c.Value, cookie: true}
	}
	return credential{}
}

// gated asks the gate of the route that matched before its handler runs. A route that nobody gave a
// gate is closed to everybody.
func (s *Server) gated(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		info := infoOf(r.Context())
		gate, known := s.gates[r.Method+" "+c.Path()]
		if !known {
			if err := s.unrouted(c); err != nil {
				return err
			}
			return fault.New(fault.Forbidden, "this path is closed")
		}
		info.route = c.Path()
		if gate == Public {
			return next(c)
		}
		caller, err := s.authenticate(r)
		if err != nil {
			return err
		}
		info.user = caller.UserID
		if gate == Admin && !caller.Admin() {
			return fault.New(fault.Forbidden, "this needs the role admin")
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), keyCaller, caller)))
		return next(c)
	}
}

// unrouted is the router's answer where no handler of ours would run: 404, or 405 with the methods that
// the path has. It is nil where a handler was registered without a gate.
func (s *Server) unrouted(c echo.Context) error {
	var allow []string
	for route := range s.gates {
		if method, path, _ := strings.Cut(route, " "); path == c.Path() {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 {
		slices.Sort(allow)
		c.Response().Header().Set(echo.HeaderAllow, strings.Join(allow, ", "))
		return echo.ErrMethodNotAllowed
	}
	for _, r := range c.Echo().Routes() {
		if r.Method == c.Request().Method && r.Path == c.Path() {
			return nil
		}
	}
	return echo.ErrNotFound
}

// authenticate tells who asks.
func (s *Server) authenticate(r *http.Request) (Caller, error) {
	cred := credentialOf(r)
	if cred.token == "" {
		return Caller{}, fault.New(fault.Unauthenticated, "sign in first: send a session or a personal access token as Authorization: Bearer …")
	}
	if cred.cookie && !sameOrigin(r, s.publicHost) {
		return Caller{}, fault.New(fault.Forbidden, "the request comes from another site; a browser's session only works on pages of this server")
	}
	return s.identity.Authenticate(r.Context(), cred.token, infoOf(r.Context()).remote)
}

// sameOrigin tells whether a request that a browser signed with its cookie comes from a page of this
// server. Reading is always allowed: other sites cannot see the answer.
func sameOrigin(r *http.Request, publicHost string) bool {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method) {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (u.Host == r.Host || u.Host == publicHost)
}

// callerOf is who passed the gate; only for handlers behind User or Admin.
func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(keyCaller).(Caller)
	return c
}
