// Package wsgateway tells browsers and other clients what happens, each what they may know, and tells them again what
// they missed. See docs/realtime.md.
package wsgateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// name is that of the service on the bus.
const name = "ws-gateway"

// Config of the service.
type Config struct {
	service.Base
	Addr    string   `envconfig:"AGNES_WS_ADDR" default:"127.0.0.1:8765" desc:"address to listen on, where the service has a process of its own"`
	Origins []string `envconfig:"AGNES_WS_ORIGINS" desc:"pages that may connect beside those of the same host, such as https://app.example.com or *.example.com"`

	Connections  int           `envconfig:"AGNES_WS_CONNECTIONS" default:"20000" desc:"connections at most"`
	Pending      int           `envconfig:"AGNES_WS_PENDING" default:"1000" desc:"of these, that have not said yet who they are"`
	PerUser      int           `envconfig:"AGNES_WS_PER_USER" default:"20" desc:"connections of one user"`
	AuthTimeout  time.Duration `envconfig:"AGNES_WS_AUTH_TIMEOUT" default:"10s" desc:"how long a client may take to say who it is"`
	WriteTimeout time.Duration `envconfig:"AGNES_WS_WRITE_TIMEOUT" default:"10s" desc:"how long a client may take to read a message before it is dropped"`
	PingEvery    time.Duration `envconfig:"AGNES_WS_PING" default:"30s" desc:"how often clients are asked whether they are there; three unanswered ones end the connection"`
	Recheck      time.Duration `envconfig:"AGNES_WS_RECHECK" default:"15s" desc:"how often the api is asked whether who is connected is still let in"`
	History      int           `envconfig:"AGNES_WS_HISTORY" default:"10000" desc:"messages kept in memory for clients that come back; older ones are read from the bus"`
	StopBudget   time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"10s" desc:"how long connections may take to end when the service is stopped"`

	// Mount takes the handler in place of a listener on Addr, for a process that serves it itself.
	Mount func(http.Handler) `ignored:"true"`
	// Listener is used in place of Addr where it is set.
	Listener net.Listener `ignored:"true"`
	// OnListen is called with the address once the server listens.
	OnListen func(addr string) `ignored:"true"`

	log zerolog.Logger
}

func (c Config) validate() error {
	for variable, n := range map[string]int64{
		"AGNES_WS_CONNECTIONS": int64(c.Connections), "AGNES_WS_PENDING": int64(c.Pending), "AGNES_WS_PER_USER": int64(c.PerUser), "AGNES_WS_HISTORY": int64(c.History),
		"AGNES_WS_AUTH_TIMEOUT": int64(c.AuthTimeout), "AGNES_WS_WRITE_TIMEOUT": int64(c.WriteTimeout), "AGNES_WS_PING": int64(c.PingEvery), "AGNES_WS_RECHECK": int64(c.Recheck),
	} {
		if n <= 0 {
			return fault.New(fault.Invalid, "%s must be more than nothing", variable)
		}
	}
	for _, pattern := range c.Origins {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fault.New(fault.Invalid, "AGNES_WS_ORIGINS: %q is no pattern of an origin, such as https://app.example.com", pattern)
		}
	}
	return nil
}

// gateway is one running Run.
type gateway struct {
	cfg      Config
	hub      atomic.Pointer[hub] // nil until the bus is there
	stopping atomic.Bool
	hard     context.Context
	open     sync.WaitGroup // connections
}

// Run tells clients what happens until ctx ends. They are then told to come back.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	cfg.log = *zerolog.Ctx(ctx)
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	g := &gateway{cfg: cfg, hard: hard}
	registry := cfg.Registry()
	m, err := newMetrics(registry, g.hub.Load)
	if err != nil {
		return err
	}
	stopHealth, err := service.ServeHealth(ctx, cfg.HealthAddr, g.ready, registry)
	if err != nil {
		return err
	}
	defer stopHealth()
	door := &service.Door{Variable: "AGNES_WS_ADDR", Addr: cfg.Addr, Mount: cfg.Mount, Listener: cfg.Listener, OnListen: cfg.OnListen}
	if err := door.Open(ctx, g.handler()); err != nil {
		return err
	}
	bus, disconnect, err := cfg.Connect(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			err = nil // it was stopped while it waited
		}
		return errors.Join(err, door.Close(0))
	}
	defer disconnect()
	loops, quit := context.WithCancel(hard)
	var work sync.WaitGroup
	stopLoops := func() { quit(); work.Wait() }
	defer stopLoops()
	h := newHub(cfg, bus, m, max(2, runtime.GOMAXPROCS(0)))
	subs, err := h.start(hard)
	if err != nil {
		return errors.Join(err, event.StopAll(0, subs...), door.Close(0))
	}
	for _, s := range h.shards {
		work.Go(func() { h.work(loops, s) })
	}
	work.Go(func() { h.watch(loops) })
	work.Go(func() { h.recheck(loops) })
	g.hub.Store(h)
	zerolog.Ctx(ctx).Info().Str("address", door.Address()).Msg("clients are told what happens")
	door.Wait(ctx)
	g.stopping.Store(true)
	err = event.StopAll(cfg.StopBudget, subs...)
	h.dropAll(websocket.StatusGoingAway, "the gateway is stopped: connect again and resume")
	late := time.AfterFunc(max(cfg.StopBudget, time.Millisecond), cut)
	defer late.Stop()
	g.open.Wait()
	h.closing.Wait()
	return errors.Join(err, door.Close(cfg.StopBudget))
}

// ready tells why nothing can be told; nil where it can.
func (g *gateway) ready(ctx context.Context) error {
	h := g.hub.Load()
	if h == nil {
		return fault.New(fault.Unavailable, "not connected to the bus")
	}
	return h.bus.Ready(ctx)
}

// recheck asks again and again whether who is connected is still let in.
func (h *hub) recheck(ctx context.Context) {
	tick := time.NewTicker(h.cfg.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.people.recheck(ctx, "")
		}
	}
}
