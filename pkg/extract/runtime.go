package extract

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	busyPause       = time.Second
	busyPatience    = 30 * time.Second // for a run of another process, before the request goes back to the bus
	defaultBudget   = 20 * time.Second
	waitingRequests = 1_024 // requests that may wait in this process, over all sources
	requestAttempts = 20    // deliveries of a request before its run is given up
	collectEvery    = 15 * time.Minute
)

// RuntimeConfig is what Serve needs. Fields without a word about zero are required.
type RuntimeConfig struct {
	Connector Connector
	Bus       *event.Bus
	// Sources that this process owns: all of Connector.Type, with unique names. None is fine: requests
	// are then refused.
	Sources []SourceConfig
	DataDir string
	// ParallelSources bounds the runs at once, and Limits each of them; zero means 2 sources.
	ParallelSources int
	Limits
	// StopBudget is how long runs may take to finish after a stop; zero means 20 s, and a negative one
	// that they are cancelled at once. A cancelled run leaves nothing, and its request comes again.
	StopBudget time.Duration
	// Metrics is where the runtime registers its metrics, which runtimes in one process share; nil for none.
	Metrics prometheus.Registerer
}

// Serve runs the connector until ctx ends: then no new run starts, and those under way have the stop
// budget to finish. It returns nil after a stop, and an error for a configuration that cannot work.
//
// Requests of a source that wait are merged into one run. A run that could not be begun, because the
// api or the source is away, is tried again by the bus; one that failed for good is announced with
// extract.failed, and its request is kept with the dead letters.
func Serve(ctx context.Context, cfg RuntimeConfig) error {
	rt, err := newRuntime(ctx, cfg)
	if err != nil {
		return err
	}
	if err := lake.SweepScratch(scratchRoot(cfg.DataDir)); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("scratch space was not swept")
	}
	return rt.serve(ctx)
}

// serving is one running Serve.
type serving struct {
	cfg    RuntimeConfig
	queues map[string]*queue
	slots  chan struct{} // of runs
	hard   context.Context
	cancel context.CancelFunc
	warm   *warm
	work   sync.WaitGroup
	metrics
}

func newRuntime(ctx context.Context, cfg RuntimeConfig) (*serving, error) {
	switch {
	case cfg.Connector.Type == "" || cfg.Connector.Open == nil:
		return nil, fault.New(fault.Invalid, "the connector has no type or cannot be opened")
	case cfg.Bus == nil:
		return nil, fault.New(fault.Invalid, "the runtime of %s has no bus", cfg.Connector.Type)
	case cfg.DataDir == "":
		return nil, fault.New(fault.Invalid, "the runtime of %s has no data directory", cfg.Connector.Type)
	}
	if cfg.ParallelSources <= 0 {
		cfg.ParallelSources = 2
	}
	if cfg.StopBudget == 0 {
		cfg.StopBudget = defaultBudget
	}
	cfg.Limits = cfg.withDefaults()
	rt := &serving{cfg: cfg, queues: map[string]*queue{}, slots: make(chan struct{}, cfg.ParallelSources)}
	var err error
	if rt.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, s := range cfg.Sources {
		if err := catalog.ValidSourceName(s.Name); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%s", err.Error())
		}
		if s.Type != cfg.Connector.Type || names[strings.ToLower(s.Name)] {
			return nil, fault.New(fault.Invalid, "the source %s is of type %q or named twice; this process serves %q", s.Name, s.Type, cfg.Connector.Type)
		}
		names[strings.ToLower(s.Name)] = true
		s.DataDir = cfg.DataDir
		s, err := prepare(s)
		if err != nil {
			return nil, err
		}
		rt.queues[s.Name] = newQueue(rt, s)
	}
	dataDir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	rt.warm = newWarm(dataDir, cfg.Tables+1, cfg.MemoryBytes/int64(cfg.Tables))
	rt.hard, rt.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return rt, nil
}

func (rt *serving) serve(ctx context.Context) error {
	defer rt.warm.close()
	defer rt.work.Wait()
	defer rt.cancel()
	soft, stop := context.WithCancel(ctx)
	defer stop()
	var subs []*event.Subscription
	stopAll := func() error { return event.StopAll(max(rt.cfg.StopBudget, 0), subs...) }
	for _, q := range rt.queues {
		answering, err := q.answer(rt.hard)
		subs = append(subs, answering...)
		if err != nil {
			return errors.Join(err, stopAll())
		}
		rt.work.Go(func() { q.work(soft) })
		rt.work.Go(func() { q.tidy(soft) })
		rt.work.Go(func() { q.observe(soft) })
		rt.work.Go(func() { q.feed(soft) })
	}
	sub, err := event.Consume(rt.hard, rt.cfg.Bus, event.ExtractRequested, event.Consumer{
		Name: "extractor-" + rt.cfg.Connector.Type, Key: rt.cfg.Connector.Type,
		Concurrency: waitingRequests, MaxAttempts: requestAttempts,
	}, rt.requested)
	if err != nil {
		return errors.Join(err, stopAll())
	}
	subs = append(subs, sub)
	zerolog.Ctx(ctx).Info().Str("connector", rt.cfg.Connector.Type).Int("sources", len(rt.queues)).Msg("extracting on request")
	<-ctx.Done()
	return stopAll()
}

// requested hands a request to its source and waits for the run that serves it: until then the bus
// keeps the request.
func (rt *serving) requested(ctx context.Context, e event.Event[*agnesv1.ExtractRequested]) error {
	q := rt.queues[e.Source]
	if q == nil {
		err := fault.New(fault.Permanent, "no source %q of type %s is configured for this extractor: check `sources` in instance.yaml", e.Source, rt.cfg.Connector.Type)
		if catalog.ValidSourceName(e.Source) != nil {
			return err // not even a subject to tell it on
		}
		return errors.Join(rt.announceFailure(ctx, e.Source, e.Payload.GetReason(), runIDs(e.Payload), time.Now(), err), err)
	}
	return q.submit(ctx, e)
}

func runIDs(requests ...*agnesv1.ExtractRequested) []string {
	var ids []string
	for _, r := range requests {
		if r.GetRunId() != "" {
			ids = append(ids, r.GetRunId())
		}
	}
	return ids
}

// open opens a source for something else than a run.
func (rt *serving) open(ctx context.Context, cfg SourceConfig) (Source, error) {
	src, err := rt.cfg.Connector.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the source %s: %w", cfg.Name, err)
	}
	return src, nil
}
