package api

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/configure"
)

// configurer makes the service that changes the configuration.
func (h *house) configurer() (*configure.Service, error) {
	guard, err := configure.NewGuard(h.cfg.PrivateURLs)
	if err != nil {
		return nil, err
	}
	return configure.New(configure.Config{ConfigDir: h.cfg.ConfigDir, DataDir: h.cfg.DataDir, Guard: guard, Reload: h.reload}), nil
}

// reload takes over another configuration, and tells the other services.
func (h *house) reload(ctx context.Context, by string, i *service.Instance) error {
	h.live.Store(i)
	h.published.SetAliases(i.Aliases)
	err := h.server.Reconfigure(i)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer cancel()
	e := &agnesv1.RegistryChanged{Change: "configured", ChangedBy: by}
	if lost := event.Publish(ctx, h.bus, event.RegistryChanged, "", e); lost != nil {
		zerolog.Ctx(ctx).Warn().Err(lost).Msg("a change of the configuration could not be announced; others see it when they read it again")
		err = errors.Join(err, lost)
	}
	return err
}
