package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/coalesce"
)

// name is that of the service on the bus, in locks and in scratch folders.
const name = "orchestrator"

// Config of the service.
type Config struct {
	service.Base
	Parallel   int           `envconfig:"AGNES_ORCHESTRATOR_PARALLEL" default:"2" desc:"sources that are rebuilt at once"`
	Coalesce   time.Duration `envconfig:"AGNES_ORCHESTRATOR_COALESCE" default:"5ms" desc:"how long a rebuild waits for more announcements of its source"`
	Reconcile  time.Duration `envconfig:"AGNES_ORCHESTRATOR_RECONCILE" default:"5m" desc:"how often extracts/ is compared with analytics/"`
	ServerDB   time.Duration `envconfig:"AGNES_ORCHESTRATOR_SERVER_DB" default:"2s" desc:"how long after a publication server.duckdb is written anew; negative: never"`
	Grace      time.Duration `envconfig:"AGNES_PART_GRACE" default:"1h" desc:"how long a part outlives its last publication"`
	StopBudget time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"20s" desc:"how long work may take to finish after a stop"`
	NoProfiles bool          `envconfig:"AGNES_ORCHESTRATOR_NO_PROFILES" default:"false" desc:"publish no table profiles"`
}

// request is one reason to rebuild a source: the sync runs that wait for it, and the trace it belongs to.
type request struct {
	runIDs []string
	span   trace.SpanContext
}

// runner is one running service.
type runner struct {
	cfg      Config
	bus      *event.Bus
	o        *Orchestrator
	rebuilds *coalesce.Group[request]
	background
}

// Run publishes what is announced by extract.ready, and what it finds to differ when it starts and
// from time to time, until ctx ends: then what is under way is finished within the stop budget.
func Run(ctx context.Context, cfg Config) error {
	instance, err := service.LoadInstance(cfg.ConfigDir, cfg.DataDir)
	if err != nil {
		return err
	}
	bus, disconnect, err := cfg.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer disconnect()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	r := &runner{cfg: cfg, bus: bus, background: newBackground()}
	versions := extract.NewReader(cfg.DataDir)
	defer versions.Close()
	metrics := cfg.Registry()
	r.o, err = New(Options{
		DataDir: cfg.DataDir, Instance: instance, Grace: cfg.Grace, Metrics: metrics,
		Announce: r.announcePublished, Published: r.changed,
		OpenVersion: versions.OpenVersion,
	})
	if err != nil {
		return err
	}
	if err := lake.SweepScratch(r.o.tmpDir()); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot sweep scratch that a killed process left")
	}
	stopHealth, err := service.ServeHealth(ctx, cfg.HealthAddr, bus.Ready, metrics)
	if err != nil {
		return err
	}
	defer stopHealth()
	return r.serve(ctx, work, stopWork)
}

// serve does the work until ctx ends; the context work, which stopWork ends, outlives it by the stop
// budget.
func (r *runner) serve(ctx, work context.Context, stopWork context.CancelFunc) error {
	cfg := r.cfg
	r.rebuilds = coalesce.New(work, cfg.Parallel, cfg.Coalesce, r.rebuild)
	looping, stopLoops := context.WithCancel(ctx)
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){r.reconcileLoop, r.serverDBLoop, r.profileLoop, r.collectLoop} {
		loops.Go(func() { loop(looping) })
	}
	sub, err := event.Consume(work, r.bus, event.ExtractReady, event.Consumer{Name: name, Concurrency: handlers}, r.extractReady)
	var changed *event.Subscription
	if err == nil {
		changed, err = event.Listen(work, r.bus, event.RegistryChanged, event.Listener{}, r.registryChanged)
	}
	if err == nil {
		<-ctx.Done()
		err = event.StopAll(cfg.StopBudget, sub, changed)
	}
	stopLoops()
	stopWork()
	r.rebuilds.Wait()
	loops.Wait()
	return err
}

// announcePublished sends analytics.published.
func (r *runner) announcePublished(ctx context.Context, id string, m *agnesv1.AnalyticsPublished) error {
	var opts []event.PublishOption
	if id != "" {
		opts = append(opts, event.ID(id))
	}
	return event.Publish(ctx, r.bus, event.AnalyticsPublished, m.GetSource(), m, opts...)
}

// rebuild is one run for all requests of a source that came in time for it.
func (r *runner) rebuild(ctx context.Context, source string, requests []request) error {
	seen := make(map[string]bool)
	var runIDs []string
	for _, q := range requests {
		for _, id := range q.runIDs {
			if id != "" && !seen[id] {
				seen[id] = true
				runIDs = append(runIDs, id)
			}
		}
	}
	// A rebuild that stands for several requests goes on with the trace of the first.
	ctx = trace.ContextWithSpanContext(ctx, requests[0].span)
	result, err := r.o.RebuildSource(ctx, source, runIDs...)
	if err != nil {
		return err
	}
	if result.Published {
		zerolog.Ctx(ctx).Info().Str(service.FieldSource, source).Uint64("generation", result.Generation).
			Int("changed", len(result.Changes)).Int("problems", len(result.Problems)).Msg("published")
	}
	return nil
}

// reconcileLoop publishes what differs: at once, and then from time to time.
func (r *runner) reconcileLoop(ctx context.Context) {
	for {
		if err := r.reconcile(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot compare extracts with what is published; nothing was taken away")
		}
		if !pause(ctx, r.cfg.Reconcile) {
			return
		}
	}
}

func (r *runner) reconcile(ctx context.Context) error {
	r.readConfiguration(ctx)
	stale, err := r.o.Stale()
	if err != nil {
		return err
	}
	for _, p := range r.o.newFolderProblems() {
		zerolog.Ctx(ctx).Warn().Str("code", p.Code).Msg("a folder under extracts/ is not published: " + p.Message)
	}
	failed := make([]error, len(stale))
	var wait sync.WaitGroup
	for i, source := range stale {
		wait.Go(func() {
			if err := r.rebuilds.Do(ctx, source, request{}); err != nil && !fault.Is(err, fault.Busy) {
				failed[i] = fmt.Errorf("source %s: %w", source, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

// readConfiguration takes over what changed in instance.yaml. One that cannot be read, such as while
// it is being edited, changes nothing.
func (r *runner) readConfiguration(ctx context.Context) {
	instance, err := service.LoadInstance(r.cfg.ConfigDir, r.cfg.DataDir)
	aliases := false
	if err == nil {
		aliases, err = r.o.configure(instance)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the configuration stays as it was")
	}
	if aliases {
		r.changed("")
	}
}

// registryChanged reads the configuration again where that is what changed. Changes of the registry
// itself reach this service as extracts.
func (r *runner) registryChanged(ctx context.Context, e event.Event[*agnesv1.RegistryChanged]) error {
	if e.Payload.GetChange() == "configured" {
		r.readConfiguration(ctx)
	}
	return nil
}

// collectLoop removes generated parts after their grace period.
func (r *runner) collectLoop(ctx context.Context) {
	for pause(ctx, max(r.o.grace/4, time.Second)) {
		if err := r.o.Collect(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot collect old parts")
		}
	}
}
