package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type triggerQuestion struct {
	Body *TriggerBody
}

type triggerAnswer struct{ Body TriggerAnswer }

type runsQuestion struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"The most runs to list."`
	Source string `query:"source" maxLength:"64" doc:"Only runs of this source." example:"shop"`
	Status string `query:"status" enum:"queued,running,publishing,succeeded,partial,failed" doc:"Only runs with this status."`
}

// RunList lists runs.
type RunList struct {
	Runs  []Run `json:"runs" doc:"Newest first."`
	Count int   `json:"count" doc:"How many are listed." example:"1"`
}

type runsAnswer struct{ Body RunList }

type runAnswer struct{ Body Run }

func (s *Server) syncRoutes() {
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/sync/trigger", id: "trigger", scope: ScopeSync, audit: "sync.trigger", tag: tagSync, summary: "Extract now",
		text:   "Starts one run over the sources that are meant and answers at once. A source is extracted by one run at a time: what is asked for while it is being extracted follows. Tables that are not named stay as they are.",
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.trigger)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/sync/runs", id: "listRuns", scope: ScopeSync, tag: tagSync, summary: "List runs", text: "Newest first.",
		errors: []int{http.StatusUnprocessableEntity},
	}, s.listRuns)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/sync/runs/{id}", id: "getRun", scope: ScopeSync, tag: tagSync, summary: "Follow a run",
		text:   "Per table: outcome, progress, duration, rows, bytes and error. A run has succeeded once everything it extracted is published.",
		errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.getRun)
}

func (s *Server) trigger(ctx context.Context, in *triggerQuestion) (*triggerAnswer, error) {
	var body TriggerBody
	if in.Body != nil {
		body = *in.Body
	}
	answer, err := s.runs.Trigger(ctx, callerOf(ctx), body)
	noteResource(ctx, "run", answer.RunID)
	noteParam(ctx, "sources", strings.Join(answer.Sources, " "))
	noteParam(ctx, "tables", strings.Join(body.Tables, " "))
	noteParam(ctx, "force", body.Force)
	return &triggerAnswer{Body: answer}, err
}

func (s *Server) listRuns(ctx context.Context, in *runsQuestion) (*runsAnswer, error) {
	list, err := s.runs.List(ctx, RunFilter{Source: in.Source, Status: in.Status, Limit: in.Limit})
	return &runsAnswer{Body: RunList{Runs: orEmpty(list), Count: len(list)}}, err
}

func (s *Server) getRun(ctx context.Context, in *byID) (*runAnswer, error) {
	run, err := s.runs.Get(ctx, in.ID)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "there is no run %q", in.ID)
	}
	run.Sources, run.Tables = orEmpty(run.Sources), orEmpty(run.Tables)
	return &runAnswer{Body: run}, err
}
