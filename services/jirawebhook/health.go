package jirawebhook

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type status struct {
	Status string `json:"status"`
}

// health answers strangers, and so says nothing of the site: neither its name nor whether it is
// configured. 200 means that a webhook could be stored right now.
func (i *intake) health(c echo.Context) error {
	if i.glance.look(c.Request().Context(), i.ready) != nil {
		return c.JSON(http.StatusServiceUnavailable, status{"unavailable"})
	}
	return c.JSON(http.StatusOK, status{"ok"})
}

// ready tells why webhooks cannot be stored; nil where they can.
func (i *intake) ready(ctx context.Context) error {
	bus := i.bus.Load()
	if bus == nil {
		return fault.New(fault.Unavailable, "not connected to the bus")
	}
	return bus.Ready(ctx)
}

// glance remembers an answer for a second, so that strangers do not keep the bus busy.
type glance struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (g *glance) look(ctx context.Context, at func(context.Context) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) > time.Second {
		g.err = at(context.WithoutCancel(ctx))
		g.at = time.Now()
	}
	return g.err
}
