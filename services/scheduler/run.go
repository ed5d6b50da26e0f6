// Package scheduler decides when tables are extracted: it publishes extract.requested for the tables
// whose schedule is due, one request per source. What it remembers is in a bucket of the bus; of
// several schedulers one leads. See docs/scheduling.md.
package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// Config of the scheduler.
type Config struct {
	service.Base

	Reread   time.Duration `envconfig:"AGNES_SCHEDULER_REREAD" default:"5m" desc:"how often the registry is read even if nobody said it changed"`
	Jitter   time.Duration `envconfig:"AGNES_SCHEDULER_JITTER" default:"30s" desc:"sources that are due together are spread over this time"`
	Timeout  time.Duration `envconfig:"AGNES_SCHEDULER_TIMEOUT" default:"6h" desc:"a request without an outcome is given up after this time"`
	RetryMin time.Duration `envconfig:"AGNES_SCHEDULER_RETRY_MIN" default:"1m" desc:"pause before a failed table is tried again; it doubles"`
	RetryMax time.Duration `envconfig:"AGNES_SCHEDULER_RETRY_MAX" default:"1h" desc:"the longest pause before a failed table is tried again"`
	LeaseTTL time.Duration `envconfig:"AGNES_SCHEDULER_LEASE" default:"15s" desc:"after a crash another scheduler takes over within about this time"`

	// Clock is the clock to go by; nil means the real one.
	Clock clockwork.Clock `ignored:"true"`
}

func (c Config) validate() error {
	for name, d := range map[string]time.Duration{
		"AGNES_SCHEDULER_REREAD": c.Reread, "AGNES_SCHEDULER_TIMEOUT": c.Timeout, "AGNES_SCHEDULER_RETRY_MIN": c.RetryMin,
		"AGNES_SCHEDULER_RETRY_MAX": c.RetryMax, "AGNES_SCHEDULER_LEASE": c.LeaseTTL,
	} {
		if d <= 0 {
			return fault.New(fault.Invalid, "%s must be longer than nothing", name)
		}
	}
	if c.Jitter < 0 {
		return fault.New(fault.Invalid, "AGNES_SCHEDULER_JITTER must not be negative")
	}
	return nil
}

// leaseName is what the schedulers of one installation contend for.
const leaseName = "scheduler"

// Run schedules until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	bus, done, err := cfg.Connect(ctx, "agnes-scheduler")
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	registry := cfg.Registry()
	s := &scheduler{Config: cfg, bus: bus, metrics: newMetrics(registry)}
	wait, err := service.ServeHealth(ctx, cfg.HealthAddr, s.ready, registry)
	if err != nil {
		return err
	}
	defer wait()
	defer cancel()
	for ctx.Err() == nil {
		s.serve(ctx)
	}
	return nil
}

// scheduler is one process that leads, or waits to.
type scheduler struct {
	Config
	bus     *event.Bus
	metrics *metrics
	health  health
}

// serve waits for the leadership and leads until it is lost.
func (s *scheduler) serve(ctx context.Context) {
	log := zerolog.Ctx(ctx)
	lease, err := s.bus.Lease(ctx, leaseName, s.LeaseTTL)
	if err != nil {
		if ctx.Err() == nil {
			log.Warn().Err(err).Msg("cannot contend for the leadership, trying again")
			pause(ctx, time.Second)
		}
		return
	}
	defer lease.Release()
	log.Info().Uint64("fence", lease.Fence()).Msg("leading")
	s.metrics.leader.Set(1)
	defer s.metrics.leader.Set(0)
	defer s.health.forget()
	if err := newTerm(s).lead(lease.Context()); err != nil && ctx.Err() == nil {
		log.Warn().Err(err).Msg("the leadership ended, contending again")
		pause(ctx, time.Second)
	}
}

// ready tells whether the bus answers and, where this process leads, whether it knows the registry.
func (s *scheduler) ready(ctx context.Context) error {
	if err := s.bus.Ready(ctx); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	return s.health.problem()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
