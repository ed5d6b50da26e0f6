package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	// maxSleep bounds how long the wall clock may run ahead unnoticed, such as while a laptop sleeps.
	maxSleep = 30 * time.Second
	// debounce gathers changes of the registry that come together.
	debounce = 500 * time.Millisecond
	// publishTimeout is short: what did not reach the bus is sent again under the same id.
	publishTimeout = 5 * time.Second
	// again is the pause after something on the bus failed.
	again = 2 * time.Second
	// stopBudget is for the handlers of events, which only note what they heard.
	stopBudget = 5 * time.Second
	// consumerName is shared by all schedulers: only the leader consumes.
	consumerName = "scheduler"
)

// term is one leadership. One goroutine owns the plan; handlers of events hand it what to do.
type term struct {
	*scheduler
	plan       *plan
	bucket     *event.Bucket
	inbox      chan task
	complained map[key]string
	rereadAt   time.Time
}

// task is something for the owner of the plan to do.
type task struct {
	do   func(ctx context.Context, now time.Time) error
	done chan<- error
}

// errDeposed ends a term whose state was written by somebody else.
var errDeposed = errors.New("another scheduler wrote the state")

func newTerm(s *scheduler) *term {
	return &term{scheduler: s, plan: newPlan(s.Config), bucket: s.bus.Bucket(event.BucketScheduler), inbox: make(chan task), complained: map[key]string{}}
}

func (t *term) now() time.Time { return t.Clock.Now().UTC().Round(0) }

// lead schedules until ctx, that of the lease, ends or the state turns out to be somebody else's.
func (t *term) lead(ctx context.Context) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	subs, err := t.subscribe(ctx)
	defer func() { _ = event.StopAll(stopBudget, subs...) }()
	defer cancel() // first, so that handlers do not wait for us
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		sleep, err := t.turn(ctx)
		if errors.Is(err, errDeposed) {
			return err
		}
		t.health.set("state", err)
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot schedule right now, trying again")
			sleep = again
		}
		timer := t.Clock.NewTimer(sleep)
		select {
		case <-ctx.Done():
		case <-timer.Chan():
		case todo := <-t.inbox:
			err := todo.do(ctx, t.now())
			todo.done <- err
			if errors.Is(err, errDeposed) {
				timer.Stop()
				return err
			}
		}
		timer.Stop()
	}
	return nil
}

// prepare loads the state and reads the registry, however long the api takes to answer.
func (t *term) prepare(ctx context.Context) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := t.readRegistry(ctx, t.now())
		if err == nil {
			break
		}
		if attempt == 5 {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the registry does not answer yet, waiting for it")
		}
		pause(ctx, min(time.Duration(attempt)*200*time.Millisecond, again))
		if ctx.Err() != nil {
			return fmt.Errorf("scheduler: %w", ctx.Err())
		}
	}
	t.rereadAt = t.now().Add(t.Reread)
	t.plan.takeOver(t.now())
	return nil
}

// turn does what is due and tells how long nothing will be.
func (t *term) turn(ctx context.Context) (time.Duration, error) {
	now := t.now()
	if !now.Before(t.rereadAt) {
		t.rereadAt = now.Add(t.Reread)
		if err := t.readRegistry(ctx, now); err != nil {
			// What was read before still holds.
			t.rereadAt = now.Add(min(maxSleep, t.Reread))
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the registry cannot be read again, going by what it was")
		}
	}
	due := t.plan.due(now)
	if err := t.save(ctx); err != nil {
		return 0, err
	}
	t.count()
	for _, q := range t.plan.unsent() {
		if err := t.publish(ctx, q); err != nil {
			return 0, err
		}
	}
	for _, q := range due {
		zerolog.Ctx(ctx).Info().Str(service.FieldSource, q.source).Str(service.FieldRun, q.runID).Int("tables", len(q.rows)).Str("reason", q.reason).Msg("requested")
	}
	sleep := min(t.plan.wake(t.now(), maxSleep), max(t.rereadAt.Sub(t.now()), 0))
	return max(sleep, 10*time.Millisecond), nil
}

// publish sends a request. Its id is the run's: sent twice, it is stored once.
func (t *term) publish(ctx context.Context, q *request) error {
	m := &agnesv1.ExtractRequested{RunId: q.runID, Reason: q.reason, RequestedBy: "scheduler", RequestedAt: timestamppb.New(q.rows[0].Pending.Since)}
	for _, r := range q.rows {
		m.Tables = append(m.Tables, r.name)
	}
	sending, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := event.Publish(sending, t.bus, event.ExtractRequested, q.source, m, event.Key(q.connector), event.ID(q.runID)); err != nil {
		return fmt.Errorf("request %s: %w", q.source, err)
	}
	if err := t.record(sending, q, m); err != nil {
		return fmt.Errorf("record the request of %s: %w", q.source, err)
	}
	t.metrics.requests.WithLabelValues(q.source, q.reason).Inc()
	for _, r := range q.rows {
		r.Pending.Sent, r.dirty = true, true
	}
	return t.save(ctx)
}

// record writes down that a run was asked for, as the api does for those that people ask for.
func (t *term) record(ctx context.Context, q *request, m *agnesv1.ExtractRequested) error {
	params, err := structpb.NewStruct(map[string]any{"sources": q.source, "tables": strings.Join(m.GetTables(), " "), "reason": q.reason})
	if err != nil {
		return err
	}
	return event.Publish(ctx, t.bus, event.AuditRecorded, q.source, &agnesv1.AuditRecorded{
		Action: "sync.trigger", Resource: "run:" + q.runID, Result: "ok", Credential: "service", Service: "scheduler", Params: params, RecordedAt: timestamppb.Now(),
	}, event.ID("scheduled:"+q.runID))
}

func (t *term) count() {
	pending := 0
	for _, r := range t.plan.rows {
		if r.Pending != nil {
			pending++
		}
	}
	t.metrics.pending.Set(float64(pending))
}

// String is the key in the bucket.
func (k key) String() string { return k.source + "/" + k.name }

// load reads the state of every table. A row that cannot be read is as if the table never ran.
func (t *term) load(ctx context.Context) error {
	all, err := t.bucket.All(ctx)
	if err != nil {
		return fmt.Errorf("load the state: %w", err)
	}
	for name, entry := range all {
		source, table, ok := strings.Cut(name, "/")
		if !ok {
			continue
		}
		r := &row{key: key{source, table}, revision: entry.Revision}
		if err := json.Unmarshal(entry.Value, &r.State); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("key", name).Msg("the state of a table cannot be read, beginning anew")
			r.State = State{}
		}
		t.plan.rows[r.key] = r
	}
	return nil
}

// save writes what changed. A row that somebody else wrote ends the term.
func (t *term) save(ctx context.Context) error {
	for k, r := range t.plan.rows {
		if !r.dirty {
			continue
		}
		value, err := json.Marshal(r.State)
		if err != nil {
			return fmt.Errorf("save the state of %s: %w", k, err)
		}
		var revision uint64
		if r.revision == 0 {
			revision, err = t.bucket.Create(ctx, k.String(), value)
		} else {
			revision, err = t.bucket.Update(ctx, k.String(), value, r.revision)
		}
		if fault.Is(err, fault.Conflict) {
			return fmt.Errorf("%w: %w", errDeposed, err)
		}
		if err != nil {
			return fmt.Errorf("save the state of %s: %w", k, err)
		}
		r.revision, r.dirty = revision, false
	}
	return nil
}
