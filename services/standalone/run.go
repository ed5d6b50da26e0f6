// Package standalone runs every service of Agnes in one process, over an embedded bus and one data
// directory: the default for one machine, and what the demo starts.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api"
	"github.com/agnes-platform/agnes/services/extractor/bigquery"
	"github.com/agnes-platform/agnes/services/extractor/csv"
	"github.com/agnes-platform/agnes/services/extractor/jira"
	"github.com/agnes-platform/agnes/services/extractor/keboola"
	"github.com/agnes-platform/agnes/services/jirawebhook"
	"github.com/agnes-platform/agnes/services/orchestrator"
	"github.com/agnes-platform/agnes/services/scheduler"
	"github.com/agnes-platform/agnes/services/wsgateway"
)

// Config of the whole. Each service reads its own variables beside these.
type Config struct {
	service.Base
	// NATSListen opens the embedded bus to other processes; empty keeps it inside.
	NATSListen string `envconfig:"AGNES_NATS_LISTEN" desc:"address on which the embedded bus listens; empty: for this process only"`

	// Own is the command of this same binary, as in api.Config.
	Own []string `ignored:"true"`
	// OnReady is called with the api's address once the api listens.
	OnReady func(addr string) `ignored:"true"`
}

// Run starts the bus and every service, and stops all of them when ctx ends or one of them fails.
// A second Run over the same data directory, in whatever process, is refused.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o755); err != nil {
		return fault.Wrap(err, fault.Invalid, "cannot make DATA_DIR %s", cfg.DataDir)
	}
	unlock, ok, err := lake.TryLock(filepath.Join(cfg.DataDir, ".agnes.lock"))
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "cannot write in DATA_DIR %s", cfg.DataDir)
	}
	if !ok {
		return fault.New(fault.Conflict, "another agnes runs on DATA_DIR %s: stop it, or use another folder", cfg.DataDir)
	}
	defer unlock()
	if _, err := service.ApplyOverlay(cfg.DataDir); err != nil {
		return err
	}
	bus, err := embedded.Start(ctx, embedded.Config{
		StoreDir: filepath.Join(cfg.DataDir, "nats"), Listen: cfg.NATSListen, Token: cfg.NATSToken, SyncAlways: true,
	})
	if err != nil {
		return fmt.Errorf("start the embedded bus: %w", err)
	}
	defer bus.Stop()
	if url := bus.URL(); url != "" {
		zerolog.Ctx(ctx).Info().Str("url", url).Msg("the embedded bus listens")
	}
	group, ctx := errgroup.WithContext(ctx)
	metrics := service.NewRegistry()
	for _, m := range members(cfg) {
		group.Go(func() error { return m.run(ctx, bus, cfg, metrics) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// member is one service of the house.
type member struct {
	name  string
	start func(ctx context.Context, base service.Base) error
}

// members lists the services; each reads its own part of the environment.
func members(cfg Config) []member {
	webhooks, sockets := &mount{}, &mount{}
	return []member{
		{"api", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *api.Config) {
				c.Base, c.OnListen, c.Own, c.Webhooks, c.Sockets = base, cfg.OnReady, cfg.Own, webhooks, sockets
			}, api.Run)
		}},
		{"orchestrator", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *orchestrator.Config) { c.Base = base }, orchestrator.Run)
		}},
		{"scheduler", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *scheduler.Config) { c.Base = base }, scheduler.Run)
		}},
		{"extractor-csv", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *csv.Config) { c.Base = base }, csv.Run)
		}},
		{"extractor-jira", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *jira.Config) { c.Base = base }, jira.Run)
		}},
		{"extractor-keboola", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *keboola.Config) { c.Base = base }, keboola.Run)
		}},
		{"extractor-bigquery", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *bigquery.Config) { c.Base = base }, bigquery.Run)
		}},
		{"jira-webhook", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *jirawebhook.Config) { c.Base, c.Mount = base, webhooks.set }, jirawebhook.Run)
		}},
		{"ws-gateway", func(ctx context.Context, base service.Base) error {
			return load(ctx, func(c *wsgateway.Config) { c.Base, c.Mount = base, sockets.set }, wsgateway.Run)
		}},
	}
}

// described is a configuration to print.
type described struct {
	name   string
	config any
}

func configs() []described {
	return []described{
		{"agnes", &Config{}}, {"its api", &api.Config{}}, {"its orchestrator", &orchestrator.Config{}},
		{"its scheduler", &scheduler.Config{}}, {"its extractor-csv", &csv.Config{}},
		{"its extractor-jira", &jira.Config{}}, {"its extractor-keboola", &keboola.Config{}}, {"its extractor-bigquery", &bigquery.Config{}},
		{"its jira-webhook", &jirawebhook.Config{}}, {"its ws-gateway", &wsgateway.Config{}},
	}
}

// load fills a service's configuration from the environment, lets set put what the services share
// over it, and runs the service.
func load[C any](ctx context.Context, set func(*C), run func(context.Context, C) error) error {
	var c C
	if err := service.LoadEnv(&c); err != nil {
		return err
	}
	set(&c)
	return run(ctx, c)
}

// run gives the service a connection and a logger of its own. A member that ends by itself, for
// whatever reason, ends the house: nothing is half there.
func (m member) run(ctx context.Context, server *embedded.Server, cfg Config, metrics *prometheus.Registry) error {
	log := zerolog.Ctx(ctx).With().Str(service.FieldService, m.name).Logger()
	ctx = log.WithContext(ctx)
	bus, err := event.Connect(ctx, event.Config{Name: m.name, InProcess: server})
	if err != nil {
		return fmt.Errorf("%s: connect to the embedded bus: %w", m.name, err)
	}
	defer bus.Close()
	base := cfg.Base
	base.Bus, base.Metrics, base.HealthAddr = bus, metrics, ""
	err = m.start(ctx, base)
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return nil
	case err == nil:
		return fault.New(fault.Internal, "%s ended by itself", m.name)
	}
	return fmt.Errorf("%s: %w", m.name, err)
}
