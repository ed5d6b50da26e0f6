package httpapi

import (
	"context"
	"net/http"
)

// RequestList lists access requests.
type RequestList struct {
	Requests []Request `json:"requests" doc:"Newest first."`
	Count    int       `json:"count" doc:"How many are listed." example:"1"`
	Total    int       `json:"total" doc:"How many match." example:"1"`
}

type requestsAnswer struct{ Body RequestList }

type requestAnswer struct{ Body Request }

type newRequestQuestion struct {
	Body struct {
		TableID string `json:"table_id" minLength:"1" maxLength:"400" doc:"The id of the table, its name, or source.name. Any name is taken: whether it exists is for who decides." example:"orders"`
		Reason  string `json:"reason,omitempty" maxLength:"2000" doc:"Why you need it." example:"the report for the second quarter"`
	}
}

type requestsQuestion struct {
	Status  string `query:"status" enum:"pending,approved,denied,cancelled" doc:"Only those with this status."`
	UserID  string `query:"user_id" maxLength:"200" doc:"Only those of this user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	TableID string `query:"table_id" maxLength:"400" doc:"Only those for exactly this name." example:"orders"`
	Limit   int    `query:"limit" minimum:"1" maximum:"10000" default:"100" doc:"The most to list."`
	Offset  int    `query:"offset" minimum:"0" doc:"How many to leave out at the beginning."`
}

type decisionQuestion struct {
	ID   string `path:"id" maxLength:"400" doc:"The id of the request." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"2000" doc:"Why; who asked reads it."`
	} `required:"false"`
}

// Decided tells what became of a request.
type Decided struct {
	Status string `json:"status" enum:"approved,denied" doc:"What it is now." example:"approved"`
	ID     string `json:"id" doc:"The id of the request."`
}

type decidedAnswer struct{ Body Decided }

func (s *Server) requestRoutes() {
	const path = "/api/access-requests"
	add(s, User, op{
		method: http.MethodPost, path: path, id: "requestAccess", scope: ScopeRead, audit: "request.create", tag: tagPeople, summary: "Ask to read a table",
		text:   "Administrators are told. A table that you cannot see may be asked for by its name: the answer does not tell whether it exists. 409 where you can read it, where you asked already, or where too many of your requests wait.",
		status: http.StatusCreated, errors: []int{http.StatusConflict},
	}, s.requestAccess)
	add(s, User, op{method: http.MethodGet, path: path + "/my", id: "myRequests", tag: tagPeople, summary: "What I asked for", text: "And what came of it."}, s.myRequests)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/pending", id: "pendingRequests", tag: tagPeople, summary: "Requests that wait for a decision", text: "Everybody's.",
	}, s.pendingRequests)
	add(s, Admin, op{
		method: http.MethodGet, path: path, id: "listRequests", tag: tagPeople, summary: "List access requests", text: "Everybody's.", errors: []int{http.StatusUnprocessableEntity},
	}, s.listRequests)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/{id}/approve", id: "approveRequest", audit: "request.approve", tag: tagPeople, summary: "Approve a request",
		text:   "Grants what was asked for in the same moment, and tells who asked. 404 where there is nothing of that name to grant, or no such request that waits.",
		errors: []int{http.StatusNotFound},
	}, s.approveRequest)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/{id}/deny", id: "denyRequest", audit: "request.deny", tag: tagPeople, summary: "Deny a request",
		text: "Tells who asked, with the reason. They may ask again.", errors: []int{http.StatusNotFound},
	}, s.denyRequest)
	add(s, User, op{
		method: http.MethodDelete, path: path + "/{id}", id: "cancelRequest", scope: ScopeRead, audit: "request.cancel", tag: tagPeople, summary: "Take a request back",
		text: "One's own, while it waits.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.cancelRequest)
}

func (s *Server) requestAccess(ctx context.Context, in *newRequestQuestion) (*requestAnswer, error) {
	noteResource(ctx, "table", in.Body.TableID)
	r, err := s.requests.Create(ctx, callerOf(ctx), in.Body.TableID, in.Body.Reason)
	if err == nil {
		noteParam(ctx, "request_id", r.ID)
	}
	return &requestAnswer{Body: r}, err
}

func (s *Server) requestList(ctx context.Context, f RequestFilter) (*requestsAnswer, error) {
	list, total, err := s.requests.List(ctx, f)
	return &requestsAnswer{Body: RequestList{Requests: orEmpty(list), Count: len(list), Total: total}}, err
}

func (s *Server) myRequests(ctx context.Context, _ *none) (*requestsAnswer, error) {
	return s.requestList(ctx, RequestFilter{UserID: callerOf(ctx).UserID})
}

func (s *Server) pendingRequests(ctx context.Context, _ *none) (*requestsAnswer, error) {
	return s.requestList(ctx, RequestFilter{Status: "pending", WithTables: true})
}

func (s *Server) listRequests(ctx context.Context, in *requestsQuestion) (*requestsAnswer, error) {
	return s.requestList(ctx, RequestFilter{
		Status: in.Status, UserID: in.UserID, TableID: in.TableID, Limit: in.Limit, Offset: in.Offset, WithTables: true,
	})
}

func (s *Server) approveRequest(ctx context.Context, in *decisionQuestion) (*decidedAnswer, error) {
	return s.decide(ctx, in, true)
}

func (s *Server) denyRequest(ctx context.Context, in *decisionQuestion) (*decidedAnswer, error) {
	return s.decide(ctx, in, false)
}

func (s *Server) decide(ctx context.Context, in *decisionQuestion, approve bool) (*decidedAnswer, error) {
	noteResource(ctx, "request", in.ID)
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	r, err := s.requests.Decide(ctx, callerOf(ctx), in.ID, approve, reason)
	if err != nil {
		return nil, err
	}
	noteParam(ctx, "user_id", r.UserID)
	noteParam(ctx, "dataset", r.TableID)
	return &decidedAnswer{Body: Decided{Status: r.Status, ID: r.ID}}, nil
}

func (s *Server) cancelRequest(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "request", in.ID)
	return nil, s.requests.Cancel(ctx, callerOf(ctx), in.ID)
}
