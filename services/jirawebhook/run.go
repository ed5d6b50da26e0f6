// Package jirawebhook takes in what Jira pushes: it verifies a webhook, appends it to the stream of the
// bus, and answers once it is on the disk there. What the webhooks mean is the extractor's business. See
// docs/jira.md.
package jirawebhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/pkg/service"
)

// name is that of the service on the bus.
const name = "jira-webhook"

// Config of the service.
type Config struct {
	service.Base
	Addr    string   `envconfig:"AGNES_JIRA_WEBHOOK_ADDR" default:"127.0.0.1:8001" desc:"address to listen on, where the service has a process of its own"`
	Proxies []string `envconfig:"AGNES_TRUSTED_PROXIES" desc:"networks whose X-Forwarded-For is believed, such as 10.0.0.0/8"`

	MaxBodyKB int64          `envconfig:"AGNES_JIRA_WEBHOOK_MAX_KB" default:"4096" desc:"the longest webhook in KiB, at most 5120"`
	Patience  time.Duration  `envconfig:"AGNES_JIRA_WEBHOOK_PATIENCE" default:"5s" desc:"how long the bus may take before Jira is asked to come again; Jira itself waits longer"`
	Refusals  ratelimit.Rate `envconfig:"AGNES_LIMIT_JIRA_REFUSALS" default:"30/m" desc:"wrong signatures per address that are told apart; more are answered 429 and only counted"`
	// AllowUnsigned is for development: whoever reaches the address can then say what they like.
	AllowUnsigned bool          `envconfig:"AGNES_JIRA_ALLOW_UNSIGNED" desc:"for development only: sources without a webhook_secret accept everything from everybody"`
	StopBudget    time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"10s" desc:"how long webhooks may take to end when the service is stopped"`

	// Mount takes the handler in place of a listener on Addr, for a process that serves it itself.
	Mount func(http.Handler) `ignored:"true"`
	// Listener is used in place of Addr where it is set.
	Listener net.Listener `ignored:"true"`
	// OnListen is called with the address once the server listens.
	OnListen func(addr string) `ignored:"true"`
}

// maxBodyKB keeps a webhook, which grows by a third on its way, within what the bus takes in one message.
const maxBodyKB = 5120

func (c Config) validate() error {
	if c.MaxBodyKB <= 0 || c.MaxBodyKB > maxBodyKB {
		return fault.New(fault.Invalid, "AGNES_JIRA_WEBHOOK_MAX_KB must be from 1 to %d", maxBodyKB)
	}
	if c.Patience <= 0 {
		return fault.New(fault.Invalid, "AGNES_JIRA_WEBHOOK_PATIENCE must be longer than nothing")
	}
	return nil
}

// Run takes in webhooks until ctx ends; those that are under way have the stop budget to finish. It
// answers before the bus does: with 503, so that Jira comes again.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	instance, err := service.LoadInstance(cfg.ConfigDir, cfg.DataDir)
	if err != nil {
		return err
	}
	proxies, err := service.ParseNetworks("AGNES_TRUSTED_PROXIES", cfg.Proxies)
	if err != nil {
		return err
	}
	metrics := cfg.Registry()
	i := newIntake(cfg, sitesOf(ctx, instance, cfg.AllowUnsigned), proxies, newMetrics(metrics), *zerolog.Ctx(ctx))
	stopHealth, err := service.ServeHealth(ctx, cfg.HealthAddr, i.ready, metrics)
	if err != nil {
		return err
	}
	defer stopHealth()
	door := cfg.door()
	if err := door.Open(ctx, i.handler()); err != nil {
		return err
	}
	bus, disconnect, err := cfg.Connect(ctx, name)
	if err != nil {
		i.close(0)
		if ctx.Err() != nil {
			err = nil // it was stopped while it waited
		}
		return errors.Join(err, door.Close(0))
	}
	defer disconnect()
	i.use(bus)
	level := zerolog.InfoLevel
	if len(i.sites.list) == 0 {
		level = zerolog.DebugLevel // nobody who has no Jira has to read of it
	}
	zerolog.Ctx(ctx).WithLevel(level).Str("address", door.Address()).Int("sources", len(i.sites.list)).Msg("webhooks are taken in")
	door.Wait(ctx)
	return door.Close(i.close(cfg.StopBudget))
}
