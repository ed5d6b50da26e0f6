package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// Names of tasks.
const (
	taskBackfill  = "backfill"
	taskReconcile = "reconcile"
	taskSLA       = "sla"
	taskRegister  = "register"
	taskRebuild   = "rebuild"
	taskStop      = "stop"
)

// States of a task.
const (
	stateRunning = "running"
	stateDone    = "done"
	stateFailed  = "failed"
	stateStopped = "stopped"
)

// Reasons of a task.
const (
	reasonRequest  = "request"
	reasonSchedule = "schedule"
	reasonResume   = "resume"
)

// tasks are the long tasks of a site: at most one of a name at a time, for as long as the feed lives.
type tasks struct {
	site *site
	life context.Context //nolint:containedctx // of the feed, which outlives the request that starts a task
	work sync.WaitGroup

	mu      sync.Mutex
	current map[string]*task
	last    map[string]*agnesv1.JiraTask
}

// task is one that runs.
type task struct {
	all    *tasks
	cancel context.CancelFunc
	state  *agnesv1.JiraTask // guarded by all.mu
}

func newTasks(ctx context.Context, s *site) *tasks {
	return &tasks{site: s, life: ctx, current: map[string]*task{}, last: map[string]*agnesv1.JiraTask{}}
}

// start begins a task, and gives what is known of it at once. One of the same name that runs is a conflict.
func (a *tasks) start(name, reason string, do func(ctx context.Context, t *task) error) (*agnesv1.JiraTask, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life.Err() != nil {
		return nil, fault.New(fault.Unavailable, "the extractor is stopping")
	}
	if running := a.current[name]; running != nil {
		return nil, fault.New(fault.Conflict, "a %s is running since %s: wait for its end, or stop it", name, running.state.GetStartedAt().AsTime().Format(time.RFC3339))
	}
	ctx, cancel := context.WithCancel(a.life)
	t := &task{all: a, cancel: cancel, state: &agnesv1.JiraTask{Name: name, State: stateRunning, Reason: reason, StartedAt: timestamppb.New(a.site.now())}}
	a.current[name] = t
	log := zerolog.Ctx(ctx).With().Str("task", name).Logger()
	a.work.Go(func() {
		defer cancel()
		err := do(log.WithContext(ctx), t)
		a.end(ctx, t, err, &log)
	})
	return proto.CloneOf(t.state), nil
}

// end notes how a task ended. One that ends because the service stops is not over: see resume.
func (a *tasks) end(ctx context.Context, t *task, err error, log *zerolog.Logger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := t.state
	s.FinishedAt, s.State = timestamppb.New(a.site.now()), stateDone
	switch {
	case err == nil:
	case ctx.Err() != nil:
		s.State, s.Message = stateStopped, "it was stopped; what it did so far stays"
	default:
		s.State, s.Message = stateFailed, fault.Message(err)
	}
	delete(a.current, s.GetName())
	a.last[s.GetName()] = s
	entry := log.Info()
	if s.GetState() == stateFailed {
		entry = log.Warn().Err(err)
	}
	entry.Int64("done", s.GetDone()).Int64("changed", s.GetChanged()).Int64("failed", s.GetFailed()).
		Dur("took", s.GetFinishedAt().AsTime().Sub(s.GetStartedAt().AsTime())).Msg("a task ended: " + s.GetState())
}

// stop ends a task that runs.
func (a *tasks) stop(name string) (*agnesv1.JiraTask, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.current[name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "no %s is running", name)
	}
	t.cancel()
	return proto.CloneOf(t.state), nil
}

// list gives the running tasks and the last of each name, by name.
func (a *tasks) list() []*agnesv1.JiraTask {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*agnesv1.JiraTask
	for _, t := range a.current {
		out = append(out, proto.CloneOf(t.state))
	}
	for name, t := range a.last {
		if a.current[name] == nil {
			out = append(out, proto.CloneOf(t))
		}
	}
	slices.SortFunc(out, func(x, y *agnesv1.JiraTask) int { return strings.Compare(x.GetName(), y.GetName()) })
	return out
}

// update changes what is told of a task.
func (t *task) update(change func(s *agnesv1.JiraTask)) {
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	change(t.state)
}

// add counts issues.
func (t *task) add(done, changed, failed int) {
	t.update(func(s *agnesv1.JiraTask) {
		s.Done += int64(done)
		s.Changed += int64(changed)
		s.Failed += int64(failed)
	})
}

// schedule runs something again and again: every so often after its last success, which is remembered over
// restarts under the name.
func (s *site) schedule(ctx context.Context, name string, every time.Duration, do func(ctx context.Context) error) {
	if every <= 0 {
		return
	}
	first := min(every, startPause)
	for {
		pause := first
		var last time.Time
		if raw, err := s.store.Cursor(ctx, "last-"+name); err == nil && raw != "" && last.UnmarshalText([]byte(raw)) == nil {
			pause = max(last.Add(every).Sub(s.now()), first)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		first = min(every, retryPause)
		if err := do(ctx); err != nil {
			if ctx.Err() == nil && !fault.Is(err, fault.Conflict) {
				zerolog.Ctx(ctx).Warn().Err(err).Str("task", name).Msg("a scheduled task did not begin")
			}
			continue
		}
	}
}

// Pauses of schedules: after the start, and after a failure.
const (
	startPause = time.Minute
	retryPause = 5 * time.Minute
)

// succeeded remembers when a scheduled task last did.
func (s *site) succeeded(ctx context.Context, name string) error {
	at, err := s.now().UTC().MarshalText()
	if err != nil {
		return fmt.Errorf("write a time: %w", err)
	}
	return s.store.Write(ctx, func(tx *store.Tx) error { return tx.SetCursor(ctx, "last-"+name, string(at)) })
}

// loadCursor reads how far a task is into a value; found is false where it never began.
func (s *site) loadCursor(ctx context.Context, name string, into any) (found bool, err error) {
	raw, err := s.store.Cursor(ctx, name)
	if err != nil || raw == "" {
		return false, err
	}
	if err := json.Unmarshal([]byte(raw), into); err != nil {
		return false, nil //nolint:nilerr // it begins anew
	}
	return true, nil
}

func saveCursor(ctx context.Context, tx *store.Tx, name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("remember how far a task is: %w", err)
	}
	return tx.SetCursor(ctx, name, string(raw))
}
