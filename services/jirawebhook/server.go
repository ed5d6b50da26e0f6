package jirawebhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
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

// server is the listener on a port of the service's own, or the place of another process's.
type server struct {
	cfg      Config
	listener net.Listener // nil where the handler is mounted elsewhere
	http     *http.Server
	ended    chan error
}

func open(ctx context.Context, cfg Config, h http.Handler) (*server, error) {
	s := &server{cfg: cfg, ended: make(chan error, 1)}
	if cfg.Mount != nil {
		cfg.Mount(h)
		return s, nil
	}
	s.listener = cfg.Listener
	if s.listener == nil {
		var err error
		if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "cannot listen on AGNES_JIRA_WEBHOOK_ADDR=%s", cfg.Addr)
		}
	}
	s.http = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	go func() { s.ended <- s.http.Serve(s.listener) }()
	if cfg.OnListen != nil {
		cfg.OnListen(s.address())
	}
	return s, nil
}

func (s *server) address() string {
	if s.listener == nil {
		return "of the process"
	}
	return s.listener.Addr().String()
}

// wait returns when ctx ends, or the server by itself.
func (s *server) wait(ctx context.Context) {
	select {
	case err := <-s.ended:
		s.ended <- err // for stop, which tells it
	case <-ctx.Done():
	}
}

// stop lets answers be sent for at most the budget. Its error is that of a server that ended by itself.
func (s *server) stop(budget time.Duration) error {
	if s.listener == nil {
		s.cfg.Mount(nil)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(budget, time.Second))
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve webhooks: %w", err)
	}
	return nil
}
