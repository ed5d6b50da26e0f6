package jirawebhook

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/service"
)

// The paths, the same in every process that serves them.
const (
	pathWebhook = "/webhooks/jira"
	pathSource  = pathWebhook + "/:source"
	pathHealth  = pathWebhook + "/health"
)

// handler is the HTTP layer.
func (i *intake) handler() http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		var refused *echo.HTTPError
		if !errors.As(err, &refused) {
			i.log.Error().Err(err).Msg("a webhook could not be answered")
			refused = echo.ErrInternalServerError
		}
		if !c.Response().Committed {
			_ = c.JSON(refused.Code, refusal{Detail: http.StatusText(refused.Code)}) // the client left otherwise
		}
	}
	e.POST(pathWebhook, i.webhook)
	e.POST(pathSource, i.webhook)
	e.GET(pathHealth, i.health)
	return e
}

// door is where webhooks come in.
func (c Config) door() *service.Door {
	return &service.Door{Variable: "AGNES_JIRA_WEBHOOK_ADDR", Addr: c.Addr, Mount: c.Mount, Listener: c.Listener, OnListen: c.OnListen}
}
