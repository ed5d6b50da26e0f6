package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
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

// gated asks the door of the route that matched before its handler runs, and records what came of it.
// A route that nobody gave a door is closed to everybody.
func (s *Server) gated(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		info := infoOf(r.Context())
		d, known := s.doors[r.Method+" "+c.Path()]
		if !known {
			if err := s.unrouted(c); err != nil {
				return err
			}
			return fault.New(fault.Forbidden, "this path is closed")
		}
		info.route, info.door, info.began = c.Path(), d, time.Now()
		if err := cmp.Or(s.tooLong(r), encoded(r)); err != nil {
			return err
		}
		if err := s.pass(r, d); err != nil {
			if d.page && fault.Is(err, fault.Unauthenticated) {
				return c.Redirect(http.StatusSeeOther, withNext(loginPath, s.wayBack(r, c.Path())))
			}
			s.recordRefusal(r, d, err)
			return err
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), keyCaller, info.caller)))
		return next(c)
	}
}

// wayBack is the page to come back to after signing in: where the request was for, or where its form was.
func (s *Server) wayBack(r *http.Request, pattern string) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.URL.RequestURI()
	}
	if _, ok := s.doors[http.MethodGet+" "+pattern]; ok {
		return r.URL.Path
	}
	return accountPath
}

// loginPath is the sign-in page.
const loginPath = "/login"

// pass checks everything that stands before the handler: who asks, whether they may, how often.
func (s *Server) pass(r *http.Request, d door) error {
	info := infoOf(r.Context())
	if d.gate != Public {
		caller, err := s.authenticate(r)
		if err != nil {
			return s.stranger(r, err)
		}
		info.user, info.caller = caller.UserID, caller
		if err := d.admits(caller); err != nil {
			return err
		}
	} else if d.form && !s.sameOrigin(r) {
		// Without a cookie too: a page elsewhere must not sign anybody in as somebody else.
		return errElsewhere
	}
	switch {
	case d.limit != "":
		return s.count(r, d.limit)
	case d.gate == Public:
		return s.count(r, LimitStranger)
	}
	return nil
}

// stranger gives the error for who could not be authenticated, and counts them. Those who are signed in
// are not counted with the strangers of their address.
func (s *Server) stranger(r *http.Request, err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	return cmp.Or(s.count(r, LimitStranger), err)
}

// count counts the request in a class.
func (s *Server) count(r *http.Request, c Class) error {
	if s.limiter == nil {
		return nil
	}
	info := infoOf(r.Context())
	err := s.limiter.Allow(r.Context(), c, info.caller.UserID, info.remote)
	info.limited = err != nil
	return err
}

// refusedAction is the action of a refusal where looking is not recorded.
const refusedAction = "door.refused"

// recordRefusal records who was turned away at a door.
func (s *Server) recordRefusal(r *http.Request, d door, err error) {
	info := infoOf(r.Context())
	if info.limited && d.limit == "" {
		return // a flood of strangers is counted, not written down one by one
	}
	if d.audit == "" {
		d.audit = refusedAction
	}
	noteParam(r.Context(), "route", r.Method+" "+info.route)
	if strings.Contains(info.route, ":") && strings.HasPrefix(info.path, "/api/") { // what it was about; elsewhere it may be a code
		noteParam(r.Context(), "path", clip(info.path, 400))
	}
	s.recordOrLog(r.Context(), d, err)
}

// recordWithheld records what a handler refused, where what it does is not recorded itself: a table that
// is not granted, or not there.
func (s *Server) recordWithheld(ctx context.Context, err error) {
	info := infoOf(ctx)
	d := info.door
	if err == nil || d.audit != "" || d.gate == Public || resultOf(err) != ResultRefused || !info.about() && !fault.Is(err, fault.Forbidden) {
		return
	}
	d.audit = refusedAction
	noteParam(ctx, "route", info.route)
	s.recordOrLog(ctx, d, err)
}

// about tells whether somebody said what the request is about.
func (i *requestInfo) about() bool {
	i.noted.mu.Lock()
	defer i.noted.mu.Unlock()
	return i.noted.resource != ""
}

// recordOrLog records what came of a request whose answer does not depend on it.
func (s *Server) recordOrLog(ctx context.Context, d door, err error) {
	if lost := s.record(infoOf(ctx), d, infoOf(ctx).began, err); lost != nil {
		zerolog.Ctx(ctx).Error().Err(lost).Msg("a refusal could not be recorded")
	}
}

// unrouted is the router's answer where no handler of ours would run: 404, or 405 with the methods that
// the path has. It is nil where a handler was registered without a gate.
func (s *Server) unrouted(c echo.Context) error {
	var allow []string
	for route := range s.doors {
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
	infoOf(r.Context()).cookie = cred.cookie
	if cred.cookie && !s.sameOrigin(r) {
		return Caller{}, errElsewhere
	}
	return s.identity.Authenticate(r.Context(), cred.token, infoOf(r.Context()).remote)
}

var errElsewhere = fault.New(fault.Forbidden, "the request comes from another site; a browser's session only works on pages of this server")

// sameOrigin tells whether a request that a browser signed with its cookie comes from a page of this
// server. Reading is always allowed: other sites cannot see the answer.
func (s *Server) sameOrigin(r *http.Request) bool {
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
	if err != nil || u.Host == "" {
		return false
	}
	if u.Host == s.publicHost {
		return origin == s.publicOrigin // not the same host without TLS
	}
	return u.Host == r.Host
}

// callerOf is who passed the gate; only for handlers behind a gate that is not Public.
func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(keyCaller).(Caller)
	return c
}
