package runs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// seen is what was heard of a source in a run since the state was written.
type seen struct {
	began       time.Time
	at          time.Time // the last sign of life
	tablesDone  int
	tablesTotal int
	tables      map[string]Table
}

// view joins what the state says about a run with what was heard since.
func (t *Tracker) view(r state.Run, heard map[string]*seen) Run {
	out := Run{
		ID: r.ID, Reason: r.Reason, RequestedBy: r.RequestedBy, Force: r.Force, RequestedAt: r.RequestedAt,
		Sources: make([]Source, len(r.Sources)),
	}
	now := r // its sources as they stand now decide what the run is
	now.Sources = slices.Clone(r.Sources)
	for i := range now.Sources {
		s := &now.Sources[i]
		out.Sources[i] = t.viewSource(s, heard[s.Source], r.RequestedAt)
		stale := out.Sources[i].Error != "" && s.Error == "" && !ended(s.Status)
		out.Stale = out.Stale || stale
		s.Status, s.StartedAt, s.Error = out.Sources[i].Status, out.Sources[i].StartedAt, out.Sources[i].Error
	}
	settle(&now)
	out.Status, out.StartedAt, out.FinishedAt, out.Error = now.Status, now.StartedAt, now.FinishedAt, now.Error
	return out
}

func (t *Tracker) viewSource(s *state.RunSource, heard *seen, requestedAt time.Time) Source {
	out := Source{
		Source: s.Source, Type: s.Type, Status: s.Status, Requested: s.Requested, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		Generation: s.Generation, Error: s.Error, ErrorKind: s.ErrorKind, TablesDone: len(s.Tables), TablesTotal: len(s.Tables),
	}
	if out.Status == requested {
		out.Status = Queued
	}
	tables := make(map[string]Table, len(s.Tables))
	if heard != nil && s.ExtractedAt.IsZero() {
		maps.Copy(tables, heard.tables)
		out.TablesDone, out.TablesTotal = heard.tablesDone, max(heard.tablesTotal, heard.tablesDone)
		if out.Status == Queued {
			out.Status, out.StartedAt = Running, heard.began
		}
	}
	for _, o := range s.Tables {
		tables[o.Table] = Table{
			Source: s.Source, Table: o.Table, Outcome: o.Outcome, Phase: phaseDone, Rows: o.Rows, Bytes: o.SizeBytes, Hash: o.Hash, Duration: o.Duration,
			Error: o.Error, ErrorKind: o.ErrorKind, RejectedRows: o.RejectedRows, PartsWritten: o.PartsWritten, PartsReused: o.PartsReused,
			SchemaChanges: o.SchemaChanges,
		}
	}
	out.Tables = slices.SortedFunc(maps.Values(tables), func(a, b Table) int { return strings.Compare(a.Table, b.Table) })
	if out.TablesTotal == 0 && len(s.Requested) > 0 {
		out.TablesTotal = len(s.Requested)
	}
	if !ended(out.Status) {
		t.reportSilence(&out, s, heard, requestedAt)
	}
	return out
}

const phaseDone = "done"

// reportSilence says of a source that nothing was heard of for long. It can still finish.
func (t *Tracker) reportSilence(out *Source, s *state.RunSource, heard *seen, requestedAt time.Time) {
	last := t.lastSign(s, heard, requestedAt)
	quiet := t.now().Sub(last)
	if quiet <= t.cfg.StaleAfter {
		return
	}
	who := "the extractor"
	if s.Type != "" {
		who = "agnes-extractor-" + s.Type
	}
	if out.Status == Publishing {
		who = "the orchestrator"
	}
	out.Error = fmt.Sprintf("no sign of life from %s for %s: is it running? The run can still finish", who, quiet.Round(time.Minute))
	out.ErrorKind = "unavailable"
}

// lastSign is when something was last heard of a source. What was heard before this process began is
// not known, so that its own beginning counts.
func (t *Tracker) lastSign(s *state.RunSource, heard *seen, requestedAt time.Time) time.Time {
	last := t.started
	for _, at := range []time.Time{requestedAt, s.ExtractedAt} {
		if at.After(last) {
			last = at
		}
	}
	if heard != nil && heard.at.After(last) {
		last = heard.at
	}
	return last
}
