// Package api is the front door of Agnes: REST, sign-in, the registry, queries, the manifest and
// downloads. It alone opens the state.
package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/schedule"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Config of the api.
type Config struct {
	service.Base
	Addr      string `envconfig:"AGNES_API_ADDR" default:"127.0.0.1:8000" desc:"address to listen on"`
	PublicURL string `envconfig:"AGNES_PUBLIC_URL" desc:"where people reach this installation; links are built from it only"`
	// Proxies are believed when they say whom they speak for.
	Proxies []string `envconfig:"AGNES_TRUSTED_PROXIES" desc:"networks whose X-Forwarded-For is believed, such as 10.0.0.0/8"`

	// CORSOrigins are closed by default: pages elsewhere may read nothing.
	CORSOrigins []string `envconfig:"AGNES_CORS_ORIGINS" desc:"origins whose pages may read answers, with a token and never with a cookie, such as https://app.example.com"`
	OldOrigins  []string `envconfig:"CORS_ORIGINS" desc:"the earlier name of AGNES_CORS_ORIGINS; both count"`

	JWTSecret     string        `envconfig:"JWT_SECRET_KEY" desc:"signs sessions and tokens; made at the first start if empty"`
	SeedEmail     string        `envconfig:"SEED_ADMIN_EMAIL" desc:"the first administrator, made at the first start"`
	SeedPassword  string        `envconfig:"SEED_ADMIN_PASSWORD" desc:"their password; one that is set already is never changed"`
	SessionTTL    time.Duration `envconfig:"AGNES_SESSION_TTL" default:"24h" desc:"how long a session lasts"`
	RestoreExport string        `envconfig:"AGNES_RESTORE_EXPORT" desc:"an export of state/exports to restore before the start"`

	QueryRows        int           `envconfig:"AGNES_QUERY_ROWS" default:"1000" desc:"rows of a JSON answer without a limit"`
	QueryMaxRows     int           `envconfig:"AGNES_QUERY_MAX_ROWS" default:"10000000" desc:"rows of an answer at most"`
	QueryTimeout     time.Duration `envconfig:"AGNES_QUERY_TIMEOUT" default:"5m" desc:"how long a query may run"`
	QueryMemory      int64         `envconfig:"AGNES_QUERY_MEMORY_MB" default:"2048" desc:"memory for all queries together in MB"`
	QueryConcurrency int           `envconfig:"AGNES_QUERY_CONCURRENCY" default:"0" desc:"queries that run at once; 0: one per core"`

	// Rates bound how often one account and one address may do what costs or can be guessed.
	Rates

	// WaysIn are the ways to sign in beyond a password.
	WaysIn
	UploadLimits
	// PrivateURLs are exceptions: what an administrator enters must not reach into the network of the server.
	PrivateURLs []string `envconfig:"AGNES_ALLOW_PRIVATE_URLS" desc:"hosts or networks inside private networks that configured URLs may name, such as keboola.example.internal or 10.1.0.0/16"`

	JiraWebhookURL string `envconfig:"AGNES_JIRA_WEBHOOK_URL" desc:"where /webhooks/jira is passed on to"`
	WSGatewayURL   string `envconfig:"AGNES_WS_GATEWAY_URL" desc:"where /ws is passed on to"`

	AuditKeep string `envconfig:"AGNES_AUDIT_KEEP" desc:"how long the audit record is kept, such as 365d; for ever if empty"`

	CatalogPoll time.Duration `envconfig:"AGNES_CATALOG_POLL" default:"2s" desc:"how often the published catalog is looked at, should an event be lost"`
	StopBudget  time.Duration `envconfig:"AGNES_STOP_BUDGET" default:"10s" desc:"how long requests may take to end when the service is stopped"`

	// Own is the command of this same binary, where it has Processes: Own(). Empty: queries run in this process.
	Own []string `ignored:"true"`
	// Webhooks answers /webhooks/jira in this process, where JiraWebhookURL names no other one.
	Webhooks http.Handler `ignored:"true"`
	// Sockets answers /ws in this process, where WSGatewayURL names no other one.
	Sockets http.Handler `ignored:"true"`
	// Listener is used in place of Addr where it is set.
	Listener net.Listener `ignored:"true"`
	// OnListen is called with the address once the server listens.
	OnListen func(addr string) `ignored:"true"`
}

const name = "api"

const (
	manifestWait = 20 * time.Second
	discoverWait = 4 * time.Minute
	bodyTimeout  = time.Minute
	maxBody      = 4 << 20
)

// Run serves until ctx ends, then lets requests end for at most StopBudget.
func Run(ctx context.Context, cfg Config) (err error) {
	instance, err := service.LoadInstance(cfg.ConfigDir, cfg.DataDir)
	if err != nil {
		return err
	}
	listener, err := cfg.listen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	h := &house{cfg: cfg, instance: instance, metrics: cfg.Registry()}
	if h.state, err = cfg.openState(ctx, h.knownSources); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.state.Close()) }()
	bus, disconnect, err := cfg.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer disconnect()
	h.bus = bus
	if err := h.build(ctx); err != nil {
		h.close()
		return err
	}
	defer h.close()
	waitHealth, err := service.ServeHealth(ctx, cfg.HealthAddr, h.server.Ready, h.metrics)
	if err != nil {
		return err
	}
	defer waitHealth()
	if err := h.start(ctx); err != nil {
		return err
	}
	return h.serve(ctx, listener)
}

func (c Config) listen(ctx context.Context) (net.Listener, error) {
	if c.Listener != nil {
		return c.Listener, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cannot listen on AGNES_API_ADDR=%s", c.Addr)
	}
	return l, nil
}

// openState opens the state; sources names the sources that are known beyond its registry.
func (c Config) openState(ctx context.Context, sources func() []string) (*state.Store, error) {
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cannot make DATA_DIR %s", c.DataDir)
	}
	if err := lake.SweepScratch(c.tmpDir()); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot sweep scratch that a killed process left")
	}
	return state.Open(ctx, state.Options{
		DataDir: c.DataDir, Restore: c.RestoreExport, Sources: sources,
		ValidSchedule: func(text string) error {
			_, err := schedule.Parse(text)
			return err
		},
	})
}

func (c Config) tmpDir() string { return filepath.Join(c.DataDir, "tmp") }

// serve answers requests until ctx ends. Long downloads are not cut by a timeout: only headers have to
// come in time, and bodies, which each route bounds.
func (h *house) serve(ctx context.Context, listener net.Listener) error {
	log := zerolog.Ctx(ctx)
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler: h.server.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return hard },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	log.Info().Str("address", listener.Addr().String()).Int("tables", len(h.published.Current().Tables())).Msg("the api listens")
	if h.cfg.OnListen != nil {
		h.cfg.OnListen(listener.Addr().String())
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.StopBudget)
	defer cancel()
	if err := server.Shutdown(budget); err != nil {
		log.Warn().Msg("requests are still under way at the end of the budget; they are cut")
		cut()
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		log.Warn().Err(err).Msg("the server ended by itself")
	}
	if err := h.finish(h.cfg.StopBudget); err != nil {
		log.Warn().Err(err).Msg("not everything ended in time; what was left is done again at the next start")
	}
	return nil
}

// origins that CORS lets in, under either name.
func (c Config) origins() []string {
	var list []string
	for _, o := range slices.Concat(c.CORSOrigins, c.OldOrigins) {
		if o = strings.TrimRight(strings.TrimSpace(o), "/"); o != "" {
			list = append(list, o)
		}
	}
	return list
}

// limits of the routes.
func (c Config) limits() httpapi.Limits {
	return httpapi.Limits{
		MaxBody: maxBody, BodyTimeout: bodyTimeout, DefaultRows: c.QueryRows, MaxRows: c.QueryMaxRows,
		ManifestWait: manifestWait, DiscoverWait: discoverWait,
	}
}
