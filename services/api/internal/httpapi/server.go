// Package httpapi is the front door: every route of the HTTP API with its gate, its OpenAPI
// description, and the pages that show them.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// Limits bound what one request may ask for. All are positive.
type Limits struct {
	// MaxBody is the longest request body in bytes.
	MaxBody int64
	// BodyTimeout is how long a client may take to send a body.
	BodyTimeout time.Duration
	// DefaultRows and MaxRows are the row limits of a query: without one in the request, and at most.
	DefaultRows, MaxRows int
	// ManifestWait bounds how long a manifest waits for hashes that are being computed.
	ManifestWait time.Duration
	// DiscoverWait bounds how long a discovery may take.
	DiscoverWait time.Duration
}

// Config is everything the server needs. All fields are required unless they say otherwise.
type Config struct {
	Log zerolog.Logger
	// PublicURL is where people reach this installation; empty means that links are relative.
	PublicURL string
	// CORSOrigins are the origins whose pages may read answers, such as https://app.example.com; none by default.
	CORSOrigins []string
	// Proxies are the networks whose X-Forwarded-For is believed; none by default.
	Proxies service.Networks
	Limits  Limits
	Build   service.Build
	// SchemaVersion is that of the state.
	SchemaVersion int
	Instance      *service.Instance
	Metrics       *prometheus.Registry

	Published *published.Store
	Identity  Identity
	Access    Access
	Registry  Registry
	Runs      Runs
	Queries   Queries
	Warehouse Hybrid // nil where there is none
	Profiles  Profiles
	Wholes    Wholes
	Bus       Bus
	Checks    []Check
	Upstream  Proxies // optional

	// What follows is optional for tests of other things; api sets all of it.
	SignIn      SignIn
	Groups      Groups
	Requests    Requests
	Preferences Preferences
	Tickets     Tickets
	Uploads     Uploads
	Configurer  Configurer
	AuditLog    AuditLog
	Jira        Jira
	// Recorder writes down who did what; nil records nothing, for tests of other things.
	Recorder Recorder
	// Limiter counts requests; nil counts nothing, for tests of other things.
	Limiter Limiter
}

// Server answers HTTP.
type Server struct {
	log        zerolog.Logger
	publicURL  string
	publicHost string
	// publicOrigin is the scheme and host of the public URL; origins are those that CORS lets in.
	publicOrigin string
	origins      []string
	proxies      service.Networks
	limits       Limits
	build        service.Build
	schema       int
	configured   atomic.Pointer[service.Instance]
	started      time.Time
	registry     *prometheus.Registry
	metrics      metrics

	published *published.Store
	identity  Identity
	access    Access
	tables    Registry
	runs      Runs
	queries   Queries
	warehouse Hybrid
	profiles  Profiles
	wholes    Wholes
	bus       Bus
	checks    []Check
	upstream  Proxies
	recorder  Recorder
	limiter   Limiter

	signIn      SignIn
	groups      Groups
	requests    Requests
	preferences Preferences
	tickets     Tickets
	uploads     Uploads
	configurer  Configurer
	auditLog    AuditLog
	jira        Jira

	echo    *echo.Echo
	api     huma.API
	doors   map[string]door // "METHOD /pattern" of the router → its door
	handler http.Handler
	page    pages
	// templates are the pages that differ from request to request, by name.
	templates map[string]*template.Template
	landing   atomic.Pointer[document]
	start     atomic.Pointer[template.Template]
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(r *prometheus.Registry) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_http_requests_total", Help: "Answered requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agnes_http_request_seconds", Help: "Duration of requests, streamed bodies included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"route", "method"}),
	}
	r.MustRegister(m.requests, m.seconds)
	return m
}

// New wires the routes. It refuses a configuration that lacks something, by name.
func New(c Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Instance": c.Instance == nil, "Metrics": c.Metrics == nil, "Published": c.Published == nil, "Identity": c.Identity == nil,
		"Access": c.Access == nil, "Registry": c.Registry == nil, "Runs": c.Runs == nil, "Queries": c.Queries == nil,
		"Profiles": c.Profiles == nil, "Wholes": c.Wholes == nil, "Bus": c.Bus == nil,
	} {
		if missing {
			return nil, fmt.Errorf("httpapi: %s is not set", name)
		}
	}
	s := &Server{
		log: c.Log, proxies: c.Proxies, limits: c.Limits, build: c.Build, schema: c.SchemaVersion,
		started: time.Now().UTC(), registry: c.Metrics, metrics: newMetrics(c.Metrics),
		published: c.Published, identity: c.Identity, access: c.Access, tables: c.Registry, runs: c.Runs, queries: c.Queries, warehouse: c.Warehouse,
		profiles: c.Profiles, wholes: c.Wholes, bus: c.Bus, checks: c.Checks, upstream: c.Upstream,
		doors:    map[string]door{},
		recorder: c.Recorder, limiter: c.Limiter, signIn: c.SignIn, groups: c.Groups, requests: c.Requests,
		preferences: c.Preferences, tickets: c.Tickets, uploads: c.Uploads, configurer: c.Configurer, auditLog: c.AuditLog, jira: c.Jira,
	}
	s.configured.Store(c.Instance)
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fault.New(fault.Invalid, "AGNES_PUBLIC_URL must be an address such as https://agnes.example.com")
		}
		s.publicURL, s.publicHost, s.publicOrigin = strings.TrimRight(c.PublicURL, "/"), u.Host, u.Scheme+"://"+u.Host
	}
	if err := checkOrigins(c.CORSOrigins); err != nil {
		return nil, err
	}
	s.origins = c.CORSOrigins
	s.echo = echo.New()
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) {
		switch {
		case c.Response().Committed:
		case infoOf(c.Request().Context()).door.html, strayed(c.Request()):
			s.writeFailure(c.Response(), c.Request(), err)
		default:
			writeProblem(c.Response(), c.Request(), err)
		}
	}
	s.echo.Use(s.gated)
	s.api = humaecho.New(s.echo, s.openAPI())
	s.routes()
	if err := s.renderPages(); err != nil {
		return nil, err
	}
	s.handler = s.outer(s.echo)
	return s, nil
}

// Reconfigure takes over another configuration of the installation, for requests that come from now on.
func (s *Server) Reconfigure(i *service.Instance) error {
	s.configured.Store(i)
	return s.renderLanding()
}

// instance is the configuration that holds now.
func (s *Server) instance() *service.Instance { return s.configured.Load() }

// Handler answers every request of the server.
func (s *Server) Handler() http.Handler { return s.handler }

// writeProblem answers with the problem that err is.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(r.Context(), err)
	note(r.Context(), p, err)
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	if err := jsonFormat.Marshal(w, p); err != nil {
		zerolog.Ctx(r.Context()).Debug().Err(err).Msg("a problem could not be sent; the client left")
	}
}

// note keeps the cause of what is not the client's doing for the access log.
func note(ctx context.Context, p *Problem, err error) {
	if p.Status >= http.StatusInternalServerError {
		infoOf(ctx).failure = err
	}
}

// answered wraps a handler so that every error is a Problem, and what came of it is recorded. An answer
// that is streamed is recorded by whoever streams it.
func answered[I, O any](s *Server, h func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		s.recordWithheld(ctx, err)
		if _, streams := any(out).(*streamed); !streams || err != nil {
			err = s.recorded(ctx, err)
		}
		if err == nil {
			return out, nil
		}
		p := problemOf(ctx, err)
		note(ctx, p, err)
		return nil, p
	}
}

// recorded writes the entry of the request that ctx belongs to, and gives the error to answer with:
// that of the handler, or that the entry could not be written.
func (s *Server) recorded(ctx context.Context, err error) error {
	info := infoOf(ctx)
	if lost := s.record(info, info.door, info.began, err); lost != nil {
		if err == nil {
			return fault.Wrap(lost, fault.Unavailable, "it was done, but could not be recorded; look before you repeat it")
		}
		zerolog.Ctx(ctx).Error().Err(lost).Msg("a refusal or failure could not be recorded")
	}
	return err
}

// humasProblems rewrites the errors that huma makes itself.
func humasProblems(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problemOf(ctx.Context(), model)
	note(ctx.Context(), p, errors.New(model.Detail))
	return p, nil
}

// metricsHandler serves Prometheus text.
func (s *Server) metricsHandler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}
