package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Result is what a rebuild of one source did.
type Result struct {
	Source     string
	Generation uint64
	// Changes are exactly the tables that this rebuild added, updated or removed.
	Changes []*agnesv1.TableChange
	// Problems are what could not be published, with colliding names.
	Problems []catalog.Problem
	// Published tells whether the catalog has a new generation of the source.
	Published bool
	// Removed tells whether the source is no longer in the catalog.
	Removed bool
}

// incompleteMark follows the stamp of an extract of which a later try may publish more: the next
// reconciliation reads it again.
const incompleteMark = " incomplete"

// RebuildSource publishes what stands in extracts/<name>. It reads that extract only and writes that
// source's document only. runIDs are the sync runs that wait for it; with any of them the
// publication is announced even if nothing changed. What cannot be published is a Problem in the
// result; an error means that the rebuild as a whole did not happen, and what stood still stands.
func (o *Orchestrator) RebuildSource(ctx context.Context, name string, runIDs ...string) (Result, error) {
	started := time.Now()
	result, err := o.rebuildLocked(ctx, name, runIDs)
	switch {
	case err != nil:
		o.metrics.rebuilt(started, resultFailed)
	case result.Removed:
		o.metrics.rebuilt(started, resultRemoved)
	case result.Published:
		o.metrics.rebuilt(started, resultPublished)
	default:
		o.metrics.rebuilt(started, resultUnchanged)
	}
	return result, err
}

func (o *Orchestrator) rebuildLocked(ctx context.Context, name string, runIDs []string) (Result, error) {
	if err := catalog.ValidSourceName(name); err != nil {
		return Result{}, fault.Wrap(err, fault.Invalid, "%s", err)
	}
	ctx = zerolog.Ctx(ctx).With().Str(service.FieldSource, name).Logger().WithContext(ctx)
	unlock, err := o.lock(ctx, name)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	if err := o.sendNoted(ctx, name); err != nil {
		return Result{}, err
	}
	previous, err := o.previous(name)
	if err != nil {
		return Result{}, err
	}
	if twin := o.twinOf(name); twin != "" && previous.PublishedAt.IsZero() {
		return Result{}, fault.New(fault.Conflict, "source %s differs from the published source %s only in letter case; rename its folder", name, twin)
	}
	version, err := o.open(ctx, name)
	switch {
	case err == nil:
		return o.publishVersion(ctx, previous, version, runIDs)
	case fault.Is(err, fault.NotFound):
		return o.removeIfGone(ctx, previous, runIDs)
	case fault.Retryable(err) || ctx.Err() != nil:
		return Result{}, fmt.Errorf("read the extract of source %s: %w", name, err)
	}
	return o.publishBroken(ctx, previous, err, runIDs)
}

// previous is what is published of a source. A source that is not in the catalog has an empty
// document, which goes on from the generation in which it was removed.
func (o *Orchestrator) previous(name string) (catalog.Source, error) {
	s, err := catalog.LoadSource(o.dataDir, name)
	if err == nil {
		return s, nil
	}
	var pathErr *fs.PathError
	if errors.Is(err, fs.ErrNotExist) {
		generation, err := o.removedAt(name)
		return catalog.Source{Name: name, Generation: generation}, err
	}
	if errors.As(err, &pathErr) {
		return catalog.Source{}, fault.Wrap(err, fault.Unavailable, "the catalog of source %s cannot be read", name)
	}
	// The document itself is damaged, and its generation with it: go on from one that is surely later.
	return catalog.Source{Name: name, Generation: uint64(max(o.now().Unix(), 0))}, nil
}

// publishVersion publishes what an extract holds.
func (o *Orchestrator) publishVersion(ctx context.Context, previous catalog.Source, v *extract.Version, runIDs []string) (Result, error) {
	d := &draft{o: o, version: v, previous: previous, inputs: o.loadInputs(v.Source)}
	if err := d.fill(ctx, o.allowLists()); err != nil {
		return Result{}, err
	}
	if err := o.saveInputs(v.Source, d.inputs, v.Tables); err != nil {
		return Result{}, err
	}
	next := catalog.Source{
		Name: v.Source, ExtractStamp: v.Stamp, Tables: d.tables, Remotes: d.remotes, Problems: d.problems,
	}
	if d.incomplete {
		next.ExtractStamp += incompleteMark
	}
	return o.publish(ctx, previous, next, runIDs)
}

// publishBroken keeps everything that stands of a source whose extract tells nothing, and says why.
func (o *Orchestrator) publishBroken(ctx context.Context, previous catalog.Source, cause error, runIDs []string) (Result, error) {
	stamp, err := extract.StampOf(o.dataDir, previous.Name)
	if err != nil {
		return Result{}, fmt.Errorf("read the extract of source %s: %w", previous.Name, err)
	}
	zerolog.Ctx(ctx).Warn().Err(cause).Msg("an extract cannot be read")
	d := &draft{o: o, previous: previous}
	d.problem("", catalog.ProblemUnreadable, fault.Message(cause)+"; what was published before stays")
	for _, t := range previous.Tables {
		if missing := o.missingPart(t.Parts); missing != nil {
			d.problem(t.Name, catalog.ProblemMissingFile, fault.Message(missing)+"; the table is not published")
			continue
		}
		d.tables = append(d.tables, t)
	}
	sortProblems(d.problems)
	return o.publish(ctx, previous, catalog.Source{
		Name: previous.Name, ExtractStamp: stamp, Tables: d.tables, Remotes: previous.Remotes, Problems: d.problems,
	}, runIDs)
}

// publish writes the document where it differs from the standing one, and announces what changed.
func (o *Orchestrator) publish(ctx context.Context, previous, next catalog.Source, runIDs []string) (Result, error) {
	if next.Tables == nil {
		next.Tables = []catalog.Table{} // a list in the document, also where it is empty
	}
	next.Version = catalog.VersionOf(next.Tables)
	next.Generation, next.PublishedAt = previous.Generation, previous.PublishedAt
	result := Result{Source: next.Name, Changes: changes(previous.Tables, next.Tables)}
	result.Published = previous.PublishedAt.IsZero() || previous.Version != next.Version ||
		!slices.Equal(previous.Problems, next.Problems) || !slices.Equal(previous.Remotes, next.Remotes)
	if result.Published {
		next.Generation, next.PublishedAt = previous.Generation+1, o.now().UTC()
	}
	result.Generation = next.Generation
	m := o.announcement(next, result.Changes, runIDs)
	if result.Published {
		if err := o.noteAnnouncement(m); err != nil {
			return Result{}, err
		}
	}
	if result.Published || previous.ExtractStamp != next.ExtractStamp {
		o.retire(previous, next)
		if err := catalog.SaveSource(o.dataDir, next); err != nil {
			return Result{}, fault.Wrap(err, fault.Unavailable, "the catalog of source %s cannot be written", next.Name)
		}
	}
	collisions := o.remember(next)
	result.Problems = append(slices.Clone(next.Problems), collisions...)
	m.Problems = append(m.Problems, problemMessages(next.Name, collisions)...)
	o.metrics.problemsOf(next.Name, result.Problems)
	if result.Published {
		o.published(next.Name)
	}
	if result.Published || len(runIDs) > 0 {
		id := "" // an answer to runs that wait: each is one of its own
		if result.Published {
			id = announcementID(m)
		}
		if err := o.announce(ctx, id, m); err != nil {
			return Result{}, fault.Wrap(err, fault.Unavailable, "the publication of source %s could not be announced", next.Name)
		}
		if err := o.dropNoted(next.Name); err != nil {
			return Result{}, err
		}
	}
	return result, nil
}

// announcement says what changed.
func (o *Orchestrator) announcement(s catalog.Source, changed []*agnesv1.TableChange, runIDs []string) *agnesv1.AnalyticsPublished {
	return &agnesv1.AnalyticsPublished{
		Source: s.Name, Generation: s.Generation, Version: s.Version, Tables: changed,
		Problems: problemMessages(s.Name, s.Problems), PublishedAt: timestamppb.New(s.PublishedAt), RunIds: runIDs,
	}
}

func problemMessages(source string, problems []catalog.Problem) []*agnesv1.Problem {
	out := make([]*agnesv1.Problem, len(problems))
	for n, p := range problems {
		out[n] = &agnesv1.Problem{Source: source, Table: p.Table, Code: p.Code, Message: p.Message}
	}
	return out
}

// Kinds of change of a table.
const (
	changeAdded   = "added"
	changeUpdated = "updated"
	changeRemoved = "removed"
)

// changes lists the tables that differ, ordered by name within added and updated, then removed.
func changes(before, after []catalog.Table) []*agnesv1.TableChange {
	old := make(map[string]catalog.Table, len(before))
	for _, t := range before {
		old[t.Name] = t
	}
	var out []*agnesv1.TableChange
	for _, t := range after {
		was, had := old[t.Name]
		delete(old, t.Name)
		kind := changeUpdated
		if !had {
			kind = changeAdded
		} else if was.Fingerprint == t.Fingerprint && was.Description == t.Description {
			continue
		}
		out = append(out, &agnesv1.TableChange{Table: t.Name, Change: kind, Hash: t.Fingerprint, Rows: t.Rows, Bytes: t.SizeBytes})
	}
	for _, t := range before {
		if _, gone := old[t.Name]; gone {
			out = append(out, &agnesv1.TableChange{Table: t.Name, Change: changeRemoved})
		}
	}
	return out
}
