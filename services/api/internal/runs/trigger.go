package runs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Request says what to extract. The zero value means every configured source, whole.
type Request struct {
	// Tables are registry ids, qualified names ("source.table"), or names that only one registered table
	// has. None means all of the sources.
	Tables []string
	// Sources narrow it; none means all.
	Sources []string
	// Force publishes even what a guard would hold back.
	Force bool
	// Reason is why; empty means ReasonManual.
	Reason string
	// RequestedBy is a user id, or the name of a service.
	RequestedBy string
}

// publishTimeout is how long a trigger waits for the bus. A request that could not be handed over is
// handed over later: the run stands.
const publishTimeout = 3 * time.Second

// Trigger asks the extractors for a run and gives it. fault.NotFound names every table and source that
// is not known, and nothing is begun then.
func (t *Tracker) Trigger(ctx context.Context, q Request) (Run, error) {
	parts, err := t.plan(ctx, q)
	if err != nil {
		return Run{}, err
	}
	if q.Reason == "" {
		q.Reason = ReasonManual
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Run{}, fmt.Errorf("make a run id: %w", err)
	}
	r := state.Run{ID: id.String(), Reason: q.Reason, RequestedBy: q.RequestedBy, Force: q.Force, RequestedAt: t.now(), Sources: parts}
	settle(&r)
	if err := t.begin(ctx, r); err != nil {
		return Run{}, err
	}
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := t.send(sending, r.ID); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("run_id", r.ID).Msg("a run could not be requested yet; it is requested when the bus is back")
	}
	return t.Get(ctx, r.ID)
}

func (t *Tracker) begin(ctx context.Context, r state.Run) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	if err := t.cfg.Store.Runs.Save(ctx, []state.Run{r}, "", state.Recorded{}); err != nil {
		return err
	}
	t.keep(r)
	return nil
}

// plan finds out which sources and tables are meant.
func (t *Tracker) plan(ctx context.Context, q Request) ([]state.RunSource, error) {
	types := map[string]string{}
	for _, c := range t.cfg.Sources() {
		types[c.Name] = c.Type
	}
	if err := unknownSources(q.Sources, types); err != nil {
		return nil, err
	}
	wanted := map[string][]string{} // by source
	if len(q.Tables) == 0 {
		names := q.Sources
		if len(names) == 0 {
			names = slices.Collect(maps.Keys(types))
		}
		for _, name := range names {
			wanted[name] = nil
		}
	} else {
		registered, err := t.cfg.Store.Registry.List(ctx, "")
		if err != nil {
			return nil, err
		}
		if wanted, err = resolve(q, registered, types); err != nil {
			return nil, err
		}
	}
	if len(wanted) == 0 {
		return nil, fault.New(fault.Conflict, "no source is configured: add one to sources in instance.yaml")
	}
	var parts []state.RunSource
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		tables := wanted[name]
		slices.Sort(tables)
		parts = append(parts, state.RunSource{Source: name, Type: types[name], Status: requested, Requested: slices.Compact(tables)})
	}
	return parts, nil
}

func unknownSources(names []string, types map[string]string) error {
	var unknown []string
	for _, name := range names {
		if types[name] == "" {
			unknown = append(unknown, fmt.Sprintf("%.80q", name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return fault.New(fault.NotFound, "not configured in instance.yaml: source %s", strings.Join(unknown, ", "))
}

// resolve finds the tables that are named, by source.
func resolve(q Request, registered []state.RegisteredTable, types map[string]string) (map[string][]string, error) {
	known := make(map[string][]state.RegisteredTable, 3*len(registered))
	for _, row := range registered {
		if len(q.Sources) > 0 && !slices.Contains(q.Sources, row.Source) {
			continue
		}
		for _, name := range slices.Compact([]string{row.ID, catalog.TableID(row.Source, row.Name), row.Name}) {
			known[name] = append(known[name], row)
		}
	}
	wanted := map[string][]string{}
	var unknown, homeless []string
	for _, name := range q.Tables {
		row, err := choose(name, known[name])
		switch {
		case err != nil:
			return nil, err
		case row.ID == "":
			unknown = append(unknown, fmt.Sprintf("%.80q", name))
		case types[row.Source] == "":
			homeless = append(homeless, fmt.Sprintf("%s (source %q)", row.ID, row.Source))
		default:
			wanted[row.Source] = append(wanted[row.Source], row.Name)
		}
	}
	if len(unknown) > 0 {
		return nil, fault.New(fault.NotFound, "not registered: table %s", strings.Join(unknown, ", "))
	}
	if len(homeless) > 0 {
		return nil, fault.New(fault.NotFound, "the source is not configured in instance.yaml: table %s", strings.Join(homeless, ", "))
	}
	return wanted, nil
}

// choose picks the row that a name means: the one with that id before any other; a name that several
// tables have means none of them.
func choose(name string, rows []state.RegisteredTable) (state.RegisteredTable, error) {
	if len(rows) == 0 {
		return state.RegisteredTable{}, nil
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		if row.ID == name {
			return row, nil
		}
		ids[i] = row.ID
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 1 {
		return state.RegisteredTable{}, fault.New(fault.Conflict, "several tables are called %.80q: use one of the ids %s", name, strings.Join(ids, ", "))
	}
	return rows[0], nil
}

// send hands the requests of a run to the bus that are not there yet. The id of each makes handing it
// over twice harmless.
func (t *Tracker) send(ctx context.Context, id string) error {
	t.changing.Lock()
	r, err := t.load(ctx, id)
	t.changing.Unlock()
	if err != nil {
		return err
	}
	var sent []string
	for _, s := range r.Sources {
		if s.Status != requested {
			continue
		}
		err = event.Publish(ctx, t.cfg.Bus, event.ExtractRequested, s.Source, &agnesv1.ExtractRequested{
			RunId: r.ID, Tables: s.Requested, Force: r.Force, Reason: r.Reason, RequestedBy: r.RequestedBy, RequestedAt: timestamppb.New(r.RequestedAt),
		}, event.Key(s.Type), event.ID(r.ID+":"+s.Source))
		if err != nil {
			break
		}
		sent = append(sent, s.Source)
	}
	if len(sent) == 0 {
		return err
	}
	if noted := t.noteSent(context.WithoutCancel(ctx), id, sent); noted != nil && err == nil {
		err = noted
	}
	return err
}

// noteSent writes down that requests are on the bus. An extractor may have been faster.
func (t *Tracker) noteSent(ctx context.Context, id string, sources []string) error {
	t.changing.Lock()
	defer t.changing.Unlock()
	r, err := t.load(ctx, id)
	if err != nil {
		return err
	}
	changed := false
	for i := range r.Sources {
		if s := &r.Sources[i]; s.Status == requested && slices.Contains(sources, s.Source) {
			s.Status, changed = Queued, true
		}
	}
	if !changed {
		return nil
	}
	settle(&r)
	if err := t.cfg.Store.Runs.Save(ctx, []state.Run{r}, "", state.Recorded{}); err != nil {
		return err
	}
	t.keep(r)
	return nil
}

// sendRequested hands over what could not be handed over before: while the bus was away, or because
// the process ended in between.
func (t *Tracker) sendRequested(ctx context.Context) {
	t.mu.Lock()
	var waiting []string
	for id, l := range t.active {
		if slices.ContainsFunc(l.run.Sources, func(s state.RunSource) bool { return s.Status == requested }) {
			waiting = append(waiting, id)
		}
	}
	t.mu.Unlock()
	for _, id := range waiting {
		sending, cancel := context.WithTimeout(ctx, publishTimeout)
		err := t.send(sending, id)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				zerolog.Ctx(ctx).Debug().Err(err).Str("run_id", id).Msg("a run cannot be requested yet")
			}
			return // the others wait for the same bus
		}
	}
}
