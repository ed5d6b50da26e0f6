package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/runs"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// following shows the tracker of runs to the routes.
type following struct {
	tracker   *runs.Tracker
	published *published.Store
}

// Trigger starts a run over what is meant.
func (f *following) Trigger(ctx context.Context, by httpapi.Caller, t httpapi.TriggerBody) (httpapi.TriggerAnswer, error) {
	request := runs.Request{Tables: t.Tables, Sources: slices.Clone(t.Sources), Force: t.Force, RequestedBy: by.UserID}
	if t.Source != "" && !slices.Contains(request.Sources, t.Source) {
		request.Sources = append(request.Sources, t.Source)
	}
	r, err := f.tracker.Trigger(ctx, request)
	if err != nil {
		return httpapi.TriggerAnswer{}, err
	}
	answer := httpapi.TriggerAnswer{Status: "triggered", RunID: r.ID, Tables: "all", Sources: make([]string, len(r.Sources))}
	if len(t.Tables) > 0 {
		answer.Tables = t.Tables
	}
	for i, s := range r.Sources {
		answer.Sources[i] = s.Source
	}
	answer.Message = fmt.Sprintf("extraction of %s was asked for; follow it at /api/sync/runs/%s", strings.Join(answer.Sources, ", "), r.ID)
	return answer, nil
}

// List gives runs as they stand.
func (f *following) List(ctx context.Context, filter httpapi.RunFilter) ([]httpapi.Run, error) {
	list, err := f.tracker.List(ctx, runs.Filter{Source: filter.Source, Status: filter.Status, Limit: filter.Limit})
	if err != nil {
		return nil, err
	}
	views := make([]httpapi.Run, len(list))
	for i, r := range list {
		views[i] = f.view(r)
	}
	return views, nil
}

// Get gives one run. What it says is published can be queried by whoever reads that.
func (f *following) Get(ctx context.Context, id string) (httpapi.Run, error) {
	r, err := f.tracker.Get(ctx, id)
	if err != nil {
		return httpapi.Run{}, err
	}
	for _, s := range r.Sources {
		shown, _ := f.published.Current().Source(s.Source)
		if s.Generation <= shown.Generation {
			continue
		}
		if _, err := f.published.Refresh(ctx, s.Source); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("source", s.Source).Msg("a published source cannot be read yet")
		}
	}
	return f.view(r), nil
}

func (f *following) view(r runs.Run) httpapi.Run {
	progress := r.Progress()
	v := httpapi.Run{
		ID: r.ID, Status: r.Status, Reason: r.Reason, RequestedBy: r.RequestedBy, Force: r.Force, Error: r.Error,
		RequestedAt: stamped(r.RequestedAt), StartedAt: stamped(r.StartedAt), FinishedAt: stamped(r.FinishedAt),
		DurationMS: r.Duration(time.Now()).Milliseconds(), Sources: make([]httpapi.RunSource, len(r.Sources)), Tables: []httpapi.RunTable{},
		Progress: httpapi.RunProgress(progress),
	}
	if len(r.Sources) == 1 {
		v.Source = r.Sources[0].Source
	}
	for i, s := range r.Sources {
		v.Sources[i] = httpapi.RunSource{Source: s.Source, Status: s.Status, Error: s.Error, ErrorKind: s.ErrorKind}
	}
	snapshot := f.published.Current()
	for _, t := range r.Tables() {
		v.Tables = append(v.Tables, httpapi.RunTable{
			TableID: f.idOf(snapshot, t), Source: t.Source, Table: t.Table, Outcome: t.Outcome, Phase: t.Phase, Rows: t.Rows, Bytes: t.Bytes,
			BytesTotal: t.BytesTotal, DurationMS: t.Duration.Milliseconds(), Error: t.Error, ErrorKind: t.ErrorKind, RejectedRows: t.RejectedRows,
			SchemaChanges: schemaChanges(t.SchemaChanges),
		})
	}
	return v
}

func schemaChanges(list []state.SchemaChange) []httpapi.SchemaChange {
	out := make([]httpapi.SchemaChange, len(list))
	for i, c := range list {
		out[i] = httpapi.SchemaChange(c)
	}
	return out
}

// History gives what became of a table in the runs that are remembered.
func (f *following) History(ctx context.Context, source, table string, limit int) ([]httpapi.TableRun, error) {
	past, err := f.tracker.History(ctx, source, table, limit)
	if err != nil {
		return nil, err
	}
	out := make([]httpapi.TableRun, len(past))
	for i, p := range past {
		out[i] = httpapi.TableRun{
			RunID: p.RunID, Reason: p.Reason, At: stamped(p.At), Outcome: p.Outcome, Rows: p.Rows, Bytes: p.SizeBytes, DurationMS: p.Duration.Milliseconds(),
			Error: p.Error, ErrorKind: p.ErrorKind, RejectedRows: p.RejectedRows, PartsWritten: p.PartsWritten, PartsReused: p.PartsReused,
			SchemaChanges: schemaChanges(p.SchemaChanges),
		}
	}
	return out, nil
}

// idOf is what the API calls a table, published or not.
func (f *following) idOf(s *published.Snapshot, t runs.Table) string {
	if shown, ok := s.Named(t.Source, t.Table); ok {
		return shown.ID
	}
	return f.published.IDOf(t.Source, t.Table)
}
