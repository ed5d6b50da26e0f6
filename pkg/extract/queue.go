package extract

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const announcedFile = ".announced" // stamp and content of the last version that extract.ready told of

// queue merges the requests of one source into runs, one at a time.
type queue struct {
	rt     *serving
	source SourceConfig
	wake   chan struct{}
	memory memory

	mu      sync.Mutex
	pending []*waiting
}

// waiting is a request that waits for the run that serves it.
type waiting struct {
	request *agnesv1.ExtractRequested
	attempt int
	ctx     context.Context //nolint:containedctx // of the handler that waits
	done    chan error
	ready   *agnesv1.ExtractReady // what was announced, once done has nil
}

func newQueue(rt *serving, source SourceConfig) *queue {
	return &queue{rt: rt, source: source, wake: make(chan struct{}, 1)}
}

// submit waits for the outcome of the run that serves the request.
func (q *queue) submit(ctx context.Context, e event.Event[*agnesv1.ExtractRequested]) error {
	return q.wait(ctx, &waiting{request: e.Payload, attempt: e.Attempt, ctx: ctx, done: make(chan error, 1)})
}

func (q *queue) wait(ctx context.Context, w *waiting) error {
	q.mu.Lock()
	q.pending = append(q.pending, w)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take takes what waits and is still waited for.
func (q *queue) take() []*waiting {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := slices.DeleteFunc(q.pending, func(w *waiting) bool { return w.ctx.Err() != nil })
	q.pending = nil
	return taken
}

// work runs what is requested, until soft ends; then what waits goes back to the bus.
func (q *queue) work(soft context.Context) {
	for {
		select {
		case <-soft.Done():
			q.giveBack()
			return
		case <-q.wake:
		}
		select {
		case <-soft.Done():
			q.giveBack()
			return
		case q.rt.slots <- struct{}{}:
		}
		if batch := q.take(); len(batch) > 0 {
			err := q.serve(soft, batch)
			for _, w := range batch {
				w.done <- err
			}
		}
		<-q.rt.slots
	}
}

func (q *queue) giveBack() {
	for _, w := range q.take() {
		w.done <- fault.New(fault.Unavailable, "the extractor is stopping")
	}
}

// merged is the request that stands for several: the union of their tables, where none means all.
func merged(batch []*waiting) (request *agnesv1.ExtractRequested, ids []string) {
	request = &agnesv1.ExtractRequested{}
	all := false
	for _, w := range batch {
		request.Force = request.GetForce() || w.request.GetForce()
		request.Reason = cmp.Or(request.GetReason(), w.request.GetReason())
		all = all || len(w.request.GetTables()) == 0
		request.Tables = append(request.Tables, w.request.GetTables()...)
		ids = append(ids, runIDs(w.request)...)
	}
	slices.Sort(request.Tables)
	request.Tables = slices.Compact(request.Tables)
	if all {
		request.Tables = nil
	}
	slices.Sort(ids)
	return request, slices.Compact(ids)
}

// serve runs once for a batch and announces what came of it.
func (q *queue) serve(soft context.Context, batch []*waiting) error {
	request, ids := merged(batch)
	// A run that stands for several requests goes on with the trace of the first.
	traced := trace.ContextWithSpanContext(q.rt.hard, trace.SpanContextFromContext(batch[0].ctx))
	ctx := q.log(traced, ids)
	started := time.Now()
	ready, err := q.runWhenFree(soft, ctx, request, ids)
	q.rt.ran(q.source.Name, time.Since(started), ready, err)
	if err == nil {
		ready.Reason = request.GetReason()
		err = q.announce(ctx, ready)
		for _, w := range batch {
			w.ready = ready
		}
	}
	if err == nil || q.rt.hard.Err() != nil {
		return err
	}
	var final []string
	for _, w := range batch {
		if !fault.Retryable(err) || w.attempt >= requestAttempts {
			final = append(final, runIDs(w.request)...)
		}
	}
	if !fault.Retryable(err) || len(final) > 0 {
		if lost := q.rt.announceFailure(ctx, q.source.Name, request.GetReason(), final, started, err); lost != nil {
			return lost
		}
	}
	return err
}

func (q *queue) log(ctx context.Context, ids []string) context.Context {
	log := zerolog.Ctx(ctx).With().Str("source", q.source.Name)
	if len(ids) > 0 {
		log = log.Str("run_id", strings.Join(ids, ","))
	}
	return log.Logger().WithContext(ctx)
}

// runWhenFree waits a while for a run of another process to end.
func (q *queue) runWhenFree(soft, ctx context.Context, request *agnesv1.ExtractRequested, ids []string) (*agnesv1.ExtractReady, error) {
	patience := time.NewTimer(busyPatience)
	defer patience.Stop()
	for {
		ready, err := q.runOnce(ctx, request, ids)
		if !fault.Is(err, fault.Busy) {
			return ready, err
		}
		select {
		case <-soft.Done():
			return nil, err
		case <-patience.C:
			return nil, err
		case <-time.After(busyPause / 4):
		}
	}
}

func (q *queue) runOnce(ctx context.Context, request *agnesv1.ExtractRequested, ids []string) (*agnesv1.ExtractReady, error) {
	registry, err := q.registry(ctx)
	if err != nil {
		return nil, err
	}
	return Run(ctx, RunConfig{
		Connector: q.rt.cfg.Connector, Source: q.source, Registry: registry,
		Tables: request.GetTables(), Force: request.GetForce(), RunIDs: ids, Limits: q.rt.cfg.Limits, memory: &q.memory, warm: q.rt.warm,
		Progress: func(p *agnesv1.ExtractProgress) {
			if err := event.Publish(ctx, q.rt.cfg.Bus, event.ExtractProgress, q.source.Name, p); err != nil {
				zerolog.Ctx(ctx).Debug().Err(err).Msg("progress was not published")
			}
		},
	})
}

// registry asks the api for the complete listing of the source's tables. A listing that fails is an
// error that is tried again, never an empty one.
func (q *queue) registry(ctx context.Context) ([]*agnesv1.RegisteredTable, error) {
	answer, err := event.Call(ctx, q.rt.cfg.Bus, event.ListRegistry, &agnesv1.ListRegistryRequest{Source: q.source.Name})
	if err != nil {
		if !fault.Retryable(err) {
			return nil, err
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the registry cannot be read: is the api running?")
	}
	return slices.DeleteFunc(answer.GetTables(), func(t *agnesv1.RegisteredTable) bool { return t.GetSource() != q.source.Name }), nil
}

// announce tells of a run. A version that was swapped in by a process that died before it told
// anybody is told of now.
func (q *queue) announce(ctx context.Context, ready *agnesv1.ExtractReady) error {
	marker := filepath.Join(SourceDir(q.source.DataDir, q.source.Name), announcedFile)
	raw, _ := os.ReadFile(marker) // unreadable counts as untold
	told := string(raw)
	now, changed, err := q.untold(ctx, told)
	if err != nil {
		return err
	}
	ready.Changed = ready.GetChanged() || changed
	if err := event.Publish(ctx, q.rt.cfg.Bus, event.ExtractReady, q.source.Name, ready); err != nil {
		return err
	}
	q.logOutcomes(ctx, ready)
	if told == now {
		return nil
	}
	scratch, err := newScratch(q.source.DataDir)
	if err == nil {
		err = writeAside(scratch.Dir, marker, []byte(now))
		_ = scratch.Close()
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the announcement was not noted; it will be made again")
	}
	return nil
}

// untold compares what stands with what was told of, and gives what to note now. A version that
// differs in what only the next run needs is not news.
func (q *queue) untold(ctx context.Context, told string) (now string, changed bool, err error) {
	stamp, err := StampOf(q.source.DataDir, q.source.Name)
	if err != nil {
		return "", false, err
	}
	toldStamp, toldContent, _ := strings.Cut(told, " ")
	if toldStamp == stamp {
		return told, false, nil
	}
	if content := q.memory.content(stamp); content != "" {
		return stamp + " " + content, content != toldContent, nil
	}
	v, err := OpenVersion(ctx, q.source.DataDir, q.source.Name)
	if err != nil {
		return "", false, err
	}
	tables := make([]catalog.Table, len(v.Tables))
	for i, t := range v.Tables {
		tables[i] = t.Table
	}
	content := contentOf(tables, v.Remotes, v.Problems)
	return v.Stamp + " " + content, content != toldContent, nil
}

func (q *queue) logOutcomes(ctx context.Context, ready *agnesv1.ExtractReady) {
	count := map[string]int{}
	for _, t := range ready.GetTables() {
		count[t.GetOutcome()]++
	}
	entry := zerolog.Ctx(ctx).Info()
	for _, outcome := range []string{OutcomeUpdated, OutcomeUnchanged, OutcomeFailed, OutcomeHeldBack, OutcomeRemoved} {
		if count[outcome] > 0 {
			entry = entry.Int(outcome, count[outcome])
		}
	}
	entry.Bool("changed", ready.GetChanged()).Dur("took", ready.GetFinishedAt().AsTime().Sub(ready.GetStartedAt().AsTime())).Msg("extracted")
}

// announceFailure tells that a whole run failed.
func (rt *serving) announceFailure(ctx context.Context, source, reason string, ids []string, started time.Time, cause error) error {
	err := event.Publish(ctx, rt.cfg.Bus, event.ExtractFailed, source, &agnesv1.ExtractFailed{
		RunIds: ids, Source: source, Reason: reason, Error: sentence(cause), ErrorKind: string(kindOf(cause)),
		StartedAt: timestamppb.New(started), FinishedAt: timestamppb.Now(),
	})
	if err != nil {
		return fmt.Errorf("announce a failed run: %w", err)
	}
	return nil
}

// tidy collects old parts of a source that is not run for long.
func (q *queue) tidy(soft context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-soft.Done():
			return
		case <-tick.C:
			q.tidyOnce(soft)
		}
	}
}

func (q *queue) tidyOnce(ctx context.Context) {
	unlock, ok, err := lake.TryLock(filepath.Join(SourceDir(q.source.DataDir, q.source.Name), lockFile))
	if err != nil || !ok {
		return // a run collects by itself
	}
	defer unlock()
	scratch, err := newScratch(q.source.DataDir)
	if err != nil {
		return
	}
	defer func() { _ = scratch.Close() }()
	if stamp, err := StampOf(q.source.DataDir, q.source.Name); err == nil && stamp != "" {
		collect(ctx, q.source.DataDir, q.source.Name, scratch.Dir, q.rt.cfg.Grace, func(string) {})
	}
}
