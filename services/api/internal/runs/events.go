package runs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// moment is a time of an event, or another one where the event has none.
func moment(t *timestamppb.Timestamp, otherwise time.Time) time.Time {
	if t.IsValid() && !t.AsTime().IsZero() && t.AsTime().Unix() > 0 {
		return t.AsTime().UTC().Truncate(time.Microsecond)
	}
	return otherwise.UTC().Truncate(time.Microsecond)
}

// checkSource refuses an event whose subject names no source that can be one.
func checkSource(source string) error {
	if err := catalog.ValidSourceName(source); err != nil {
		return fault.New(fault.Invalid, "the event belongs to no source: %s", err)
	}
	return nil
}

// idsOf are the runs that an event is about. An extraction that nobody asked this api for gets a run
// of its own, with an id made from the event's, so that the same event again finds it.
func idsOf(named []string, eventID string) []string {
	named = slices.DeleteFunc(slices.Clone(named), func(id string) bool { return id == "" || len(id) > 200 })
	if len(named) > 0 {
		slices.Sort(named)
		return slices.Compact(named)
	}
	return []string{uuid.NewSHA1(uuid.NameSpaceURL, []byte("agnes:run:"+eventID)).String()}
}

// unasked makes the record of a run that this api did not start, or has forgotten.
func (t *Tracker) unasked(origin, source, reason string, started time.Time, external bool) func(id string) state.Run {
	return func(id string) state.Run {
		r := state.Run{ID: id, Reason: cmp.Or(reason, ReasonAutomatic), RequestedBy: origin, RequestedAt: started}
		if external {
			r.Reason = ReasonExternal
		}
		r.Sources = []state.RunSource{{Source: source, Type: t.typeOf(source), Status: Queued}}
		return r
	}
}

func (t *Tracker) typeOf(source string) string {
	for _, c := range t.cfg.Sources() {
		if c.Name == source {
			return c.Type
		}
	}
	return ""
}

// extractReady notes that a source was extracted. What was noted for a run stays: the same event again,
// and a repetition of a request whose end was not acknowledged, change nothing.
func (t *Tracker) extractReady(ctx context.Context, e event.Event[*agnesv1.ExtractReady]) error {
	if err := checkSource(e.Source); err != nil {
		return err
	}
	p := e.Payload
	finished := moment(p.GetFinishedAt(), e.Time)
	started := moment(p.GetStartedAt(), finished)
	tables := tablesOf(p.GetTables())
	// {} is the announcement of another program, which does not say whether anything changed.
	external := len(p.GetTables()) == 0 && p.GetFinishedAt() == nil
	if isFeed(p) {
		t.noteFeed(e.ID, e.Source, finished, recordOf(tables))
		return nil
	}
	record := state.Recorded{EventID: e.ID, Source: e.Source, At: finished, Outcomes: recordOf(tables)}
	ids := idsOf(p.GetRunIds(), e.ID)
	return t.change(ctx, ids, e.Source, record, t.unasked(e.Origin, e.Source, p.GetReason(), started, external), func(s *state.RunSource) bool {
		if !s.ExtractedAt.IsZero() || s.EventID == e.ID {
			return false
		}
		published := s.Generation > 0 // its publication was heard of first
		*s = state.RunSource{
			Source: s.Source, Type: s.Type, Requested: s.Requested, Generation: s.Generation, EventID: e.ID,
			StartedAt: started, ExtractedAt: finished, Tables: tables, Status: Publishing,
		}
		if published || (!p.GetChanged() && !external) {
			finish(s, finished)
		}
		return true
	})
}

// finish ends a source by its tables.
func finish(s *state.RunSource, at time.Time) {
	s.Status, s.Error, s.ErrorKind = verdict(s.Tables)
	s.FinishedAt = at
}

// extractFailed notes that a whole run failed. A retry that succeeds later is noted over it.
func (t *Tracker) extractFailed(ctx context.Context, e event.Event[*agnesv1.ExtractFailed]) error {
	if err := checkSource(e.Source); err != nil {
		return err
	}
	p := e.Payload
	finished := moment(p.GetFinishedAt(), e.Time)
	started := moment(p.GetStartedAt(), finished)
	message := p.GetError()
	if message == "" {
		message = "the extractor gave no reason; its log has it"
	}
	ids := idsOf(p.GetRunIds(), e.ID)
	affected, err := t.affected(ctx, ids, e.Source)
	if err != nil {
		return err
	}
	record := state.Recorded{EventID: e.ID, Source: e.Source, At: finished}
	for _, name := range affected {
		record.Outcomes = append(record.Outcomes, state.TableOutcome{Table: name, Status: state.SyncError, Error: message})
	}
	return t.change(ctx, ids, e.Source, record, t.unasked(e.Origin, e.Source, p.GetReason(), started, false), func(s *state.RunSource) bool {
		if !s.ExtractedAt.IsZero() || s.EventID == e.ID {
			return false
		}
		s.EventID, s.StartedAt, s.FinishedAt = e.ID, started, finished
		s.Status, s.Error, s.ErrorKind = Failed, message, p.GetErrorKind()
		return true
	})
}

// affected are the tables that a failed run was to extract: those that were asked for, or all that
// are registered.
func (t *Tracker) affected(ctx context.Context, ids []string, source string) ([]string, error) {
	names := map[string]bool{}
	for _, id := range ids {
		r, err := t.load(ctx, id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		wanted := part(&r, source).Requested
		if len(wanted) == 0 {
			registered, err := t.cfg.Store.Registry.List(ctx, source)
			if err != nil {
				return nil, err
			}
			for _, row := range registered {
				names[row.Name] = true
			}
			break
		}
		for _, name := range wanted {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// analyticsPublished notes that what a run extracted can be read now.
func (t *Tracker) analyticsPublished(ctx context.Context, e event.Event[*agnesv1.AnalyticsPublished]) error {
	if err := checkSource(e.Source); err != nil {
		return err
	}
	p := e.Payload
	at := e.Time.UTC().Truncate(time.Microsecond)
	ids := slices.DeleteFunc(slices.Clone(p.GetRunIds()), func(id string) bool { return id == "" || len(id) > 200 })
	for _, id := range t.waitingForAny(e.Source, at) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	record := state.Recorded{EventID: e.ID, Source: e.Source, At: moment(p.GetPublishedAt(), at), Outcomes: t.foreign(e.Source, p)}
	return t.change(ctx, ids, e.Source, record, nil, func(s *state.RunSource) bool {
		if ended(s.Status) && s.Status != Failed || (s.Status == Failed && !s.ExtractedAt.IsZero()) {
			return false
		}
		s.Generation = max(p.GetGeneration(), 1)
		if s.ExtractedAt.IsZero() {
			return true // heard before the extraction's own event: that one ends it
		}
		s.Tables = withProblems(s.Tables, p.GetProblems())
		finish(s, at)
		return true
	})
}

// waitingForAny gives the runs that this api did not start, which were extracted before a publication
// of their source: no publication names them.
func (t *Tracker) waitingForAny(source string, at time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for id, l := range t.active {
		if !unnamed(l.run) {
			continue
		}
		for _, s := range l.run.Sources {
			if s.Source == source && s.Status == Publishing && !s.ExtractedAt.After(at) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// unnamed tells whether nobody gave the run its name, so that no publication says it: its name was made here
// from an event, whatever reason an extractor gives for what it did by itself. See idsOf.
func unnamed(r state.Run) bool {
	id, err := uuid.Parse(r.ID)
	return r.Reason == ReasonExternal || err == nil && id.Version() == madeFromEvent
}

// madeFromEvent is the version of the ids of runs that were named after an event.
const madeFromEvent = 5

// finishPublished ends runs that no publication names and that were published before their extraction
// was noted here: the catalog says which extract it was made from.
func (t *Tracker) finishPublished(ctx context.Context) {
	t.mu.Lock()
	waiting := map[string][]string{} // by source
	for id, l := range t.active {
		for _, s := range l.run.Sources {
			if unnamed(l.run) && s.Status == Publishing {
				waiting[s.Source] = append(waiting[s.Source], id)
			}
		}
	}
	t.mu.Unlock()
	for source, ids := range waiting {
		generation, ok := t.publishedNow(source)
		if !ok {
			continue
		}
		err := t.change(ctx, ids, source, state.Recorded{}, nil, func(s *state.RunSource) bool {
			if s.Status != Publishing {
				return false
			}
			s.Generation = generation
			finish(s, t.now())
			return true
		})
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the end of a run could not be written down, trying again")
		}
	}
}

// publishedNow tells whether the catalog shows the extract that stands.
func (t *Tracker) publishedNow(source string) (generation uint64, ok bool) {
	if t.cfg.DataDir == "" {
		return 0, false
	}
	stamp, err := extract.StampOf(t.cfg.DataDir, source)
	if err != nil || stamp == "" {
		return 0, false
	}
	doc, err := catalog.LoadSource(t.cfg.DataDir, source)
	return doc.Generation, err == nil && doc.ExtractStamp == stamp
}

// tablesOf reads the outcomes of an event; a name that comes twice counts once.
func tablesOf(outcomes []*agnesv1.TableOutcome) []state.RunTable {
	byName := make(map[string]state.RunTable, len(outcomes))
	for _, o := range outcomes {
		if o.GetTable() == "" {
			continue
		}
		byName[o.GetTable()] = state.RunTable{
			Table: o.GetTable(), Outcome: o.GetOutcome(), Rows: o.GetRows(), SizeBytes: o.GetBytes(), Hash: o.GetHash(),
			Duration: o.GetDuration().AsDuration(), RejectedRows: o.GetRejectedRows(), PartsWritten: int(o.GetPartsWritten()),
			PartsReused: int(o.GetPartsReused()), Error: o.GetError(), ErrorKind: o.GetErrorKind(),
			SchemaChanges: changesOf(o.GetSchemaChanges()),
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b state.RunTable) int { return strings.Compare(a.Table, b.Table) })
}

func changesOf(list []*agnesv1.SchemaChange) []state.SchemaChange {
	var out []state.SchemaChange
	for _, c := range list {
		out = append(out, state.SchemaChange{Column: c.GetColumn(), Change: c.GetChange(), FromType: c.GetFromType(), ToType: c.GetToType()})
	}
	return out
}

// recordOf says what an extraction means for how its tables stand. A word that this version does not
// know is no success.
func recordOf(tables []state.RunTable) []state.TableOutcome {
	out := make([]state.TableOutcome, len(tables))
	for i, t := range tables {
		o := state.TableOutcome{Table: t.Table, Status: state.SyncError, Rows: t.Rows, SizeBytes: t.SizeBytes, Hash: t.Hash, Duration: t.Duration, Error: t.Error}
		switch t.Outcome {
		case outcomeUpdated, outcomeUnchanged:
			o.Status, o.Error = state.SyncOK, ""
		case outcomeHeldBack:
			o.Status = state.SyncHeldBack
		case outcomeRemoved:
			o.Status = state.SyncRemoved
		default:
			if o.Error == "" {
				o.Error = "the extractor gave no reason; its log has it"
			}
		}
		out[i] = o
	}
	return out
}

// foreign says what a publication means for tables whose extraction told nothing: those of other
// programs. For our own, the extraction said all there is to say.
func (t *Tracker) foreign(source string, p *agnesv1.AnalyticsPublished) []state.TableOutcome {
	if t.typeOf(source) != "" || len(p.GetTables()) == 0 {
		return nil
	}
	var out []state.TableOutcome
	for _, c := range p.GetTables() {
		o := state.TableOutcome{Table: c.GetTable(), Status: state.SyncOK, Rows: c.GetRows(), SizeBytes: c.GetBytes(), Hash: c.GetHash()}
		if c.GetChange() == outcomeRemoved {
			o.Status = state.SyncRemoved
		}
		if c.GetTable() != "" {
			out = append(out, o)
		}
	}
	return out
}

// withProblems turns tables that could not be published into failed ones. A name that two sources
// share is a problem of the name, not of the run.
func withProblems(tables []state.RunTable, problems []*agnesv1.Problem) []state.RunTable {
	tables = slices.Clone(tables)
	for _, p := range problems {
		if p.GetCode() == catalog.ProblemCollision {
			continue
		}
		for i, o := range tables {
			if o.Table == p.GetTable() && o.Outcome != outcomeFailed && o.Outcome != outcomeRemoved {
				tables[i].Outcome, tables[i].Error, tables[i].ErrorKind = outcomeFailed, p.GetMessage(), string(fault.Permanent)
			}
		}
	}
	return tables
}

// extractProgress notes how far a run is.
func (t *Tracker) extractProgress(_ context.Context, e event.Event[*agnesv1.ExtractProgress]) error {
	p := e.Payload
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range p.GetRunIds() {
		l, ok := t.active[id]
		if !ok || !slices.ContainsFunc(l.run.Sources, func(s state.RunSource) bool { return s.Source == e.Source }) {
			continue
		}
		s := l.seen[e.Source]
		if s == nil {
			s = &seen{began: now, tables: make(map[string]Table)}
			l.seen[e.Source] = s
		}
		s.hear(e.Source, p, now)
		t.wakeLocked(id)
	}
	return nil
}

// maxHeard bounds the tables whose progress is kept per source.
const maxHeard = 10_000

func (s *seen) hear(source string, p *agnesv1.ExtractProgress, now time.Time) {
	s.at = now
	s.tablesDone, s.tablesTotal = int(p.GetTablesDone()), int(p.GetTablesTotal())
	if p.GetTable() == "" {
		return
	}
	t, known := s.tables[p.GetTable()]
	if !known && len(s.tables) >= maxHeard {
		return
	}
	t.Source, t.Table, t.Phase = source, p.GetTable(), p.GetPhase()
	t.Rows, t.Bytes, t.BytesTotal = max(t.Rows, p.GetRows()), max(t.Bytes, p.GetBytes()), max(t.BytesTotal, p.GetBytesTotal())
	s.tables[p.GetTable()] = t
}
