package httpapi

import (
	"context"
	"net/http"
)

type sessionsAnswer struct {
	Body struct {
		Sessions []SessionView `json:"sessions" doc:"Newest first."`
		Count    int           `json:"count" doc:"How many are listed." example:"1"`
	}
}

type allSessionsQuestion struct {
	UserID string `query:"user_id" maxLength:"200" doc:"Only those of one user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	Active bool   `query:"active" doc:"Only those that still work."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many."`
	Offset int    `query:"offset" minimum:"0" maximum:"10000000" doc:"How many to pass over."`
}

type allSessionsAnswer struct {
	Body struct {
		Sessions []SessionView `json:"sessions" doc:"Newest first."`
		Count    int           `json:"count" doc:"How many are listed." example:"1"`
		Total    int           `json:"total" doc:"How many there are." example:"1"`
	}
}

type logoutAllQuestion struct {
	Body *struct {
		KeepCurrent bool `json:"keep_current,omitempty" doc:"Whether the session that asks goes on." example:"false"`
	}
}

// renewedAnswer is a session, for a browser as a cookie too.
type renewedAnswer struct {
	SetCookie string `header:"Set-Cookie" doc:"The session, where the request came with a cookie."`
	Body      Session
}

func (s *Server) sessionRoutes() {
	add(s, User, op{
		method: http.MethodPost, path: "/auth/refresh", id: "refreshSession", session: true, audit: "session.refresh", limit: LimitSignIn, tag: tagAuth, summary: "Renew this session",
		text: "Gives a new session and ends the one that asks, at once.",
	}, s.refresh)
	add(s, User, op{method: http.MethodGet, path: "/auth/sessions", id: "listSessions", tag: tagAuth, summary: "List my sessions", text: "Those that still work, newest first."}, s.listSessions)
	add(s, User, op{
		method: http.MethodDelete, path: "/auth/sessions/{id}", id: "endSession", audit: "session.end", tag: tagAuth, summary: "End one of my sessions",
		text: "It stops working at once.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.endSession)
	add(s, User, op{
		method: http.MethodPost, path: "/auth/logout/all", id: "logoutAll", session: true, audit: "session.end_all", tag: tagAuth, summary: "End all my sessions",
		text: "On every machine, with or without the one that asks. Personal access tokens stay.", status: http.StatusNoContent,
	}, s.logoutAll)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/sessions", id: "listAllSessions", tag: tagPeople, summary: "List everybody's sessions",
		text: "Newest first, with their owners.", errors: []int{http.StatusUnprocessableEntity},
	}, s.listAllSessions)
	add(s, Admin, op{
		method: http.MethodDelete, path: "/api/admin/sessions/{id}", id: "endAnySession", audit: "session.admin_end", tag: tagPeople, summary: "End anybody's session",
		text: "It stops working at once.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.endAnySession)
}

func (s *Server) refresh(ctx context.Context, in *from) (*renewedAnswer, error) {
	c := callerOf(ctx)
	noteResource(ctx, "session", c.TokenID)
	session, err := s.signIn.Refresh(ctx, c, in.origin)
	if err != nil {
		return nil, err
	}
	out := &renewedAnswer{Body: session}
	if infoOf(ctx).cookie {
		out.SetCookie = s.sessionCookie(session).String()
	}
	return out, nil
}

func (s *Server) listSessions(ctx context.Context, _ *none) (*sessionsAnswer, error) {
	list, err := s.mySessions(ctx)
	out := &sessionsAnswer{}
	out.Body.Sessions, out.Body.Count = list, len(list)
	return out, err
}

func (s *Server) mySessions(ctx context.Context) ([]SessionView, error) {
	c := callerOf(ctx)
	list, _, err := s.signIn.Sessions(ctx, c, SessionFilter{UserID: c.UserID, Active: true})
	for i := range list {
		list[i].UserEmail = ""
	}
	return orEmpty(list), err
}

func (s *Server) endSession(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "session", in.ID)
	return nil, s.signIn.RevokeSession(ctx, callerOf(ctx).UserID, in.ID)
}

func (s *Server) logoutAll(ctx context.Context, in *logoutAllQuestion) (*logoutAnswer, error) {
	if in.Body != nil && in.Body.KeepCurrent {
		return &logoutAnswer{}, s.endAll(ctx, true)
	}
	return &logoutAnswer{SetCookie: s.noCookie(SessionCookie, "/").String()}, s.endAll(ctx, false)
}

// endAll ends the sessions of the caller, with or without the one that asks.
func (s *Server) endAll(ctx context.Context, keep bool) error {
	c, except := callerOf(ctx), ""
	if keep {
		except = c.TokenID
	}
	noteResource(ctx, "user", c.UserID)
	noteParam(ctx, "keep_current", keep)
	return s.signIn.RevokeSessions(ctx, c.UserID, except)
}

func (s *Server) listAllSessions(ctx context.Context, in *allSessionsQuestion) (*allSessionsAnswer, error) {
	list, total, err := s.signIn.Sessions(ctx, callerOf(ctx), SessionFilter{UserID: in.UserID, Active: in.Active, Limit: in.Limit, Offset: in.Offset})
	out := &allSessionsAnswer{}
	out.Body.Sessions, out.Body.Count, out.Body.Total = orEmpty(list), len(list), total
	return out, err
}

func (s *Server) endAnySession(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "session", in.ID)
	return nil, s.signIn.RevokeSession(ctx, "", in.ID)
}
