package api

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/download"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/mail"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/query"
	"github.com/agnes-platform/agnes/services/api/internal/runs"
	"github.com/agnes-platform/agnes/services/api/internal/state"
	"github.com/agnes-platform/agnes/services/api/internal/uploads"
)

// house is the running service: what Run wires together.
type house struct {
	cfg      Config
	instance *service.Instance                // as it was at the start
	live     atomic.Pointer[service.Instance] // as it is configured now
	state    *state.Store
	bus      *event.Bus
	metrics  *prometheus.Registry

	published *published.Store
	identity  *identity.Service
	mail      *mail.Queue // nil where no mail is sent
	registry  *registry
	granting  *granting
	tickets   *tickets
	wholes    *download.Wholes
	tracker   *runs.Tracker
	engine    *query.Engine
	hybrids   *hybrids
	remotes   *remotes

	warehouses *warehouses
	server     *httpapi.Server
	audit      *auditing
	uploads    *uploads.Store

	changed       chan struct{} // holds a token while a snapshot waits to be settled
	subscriptions []*event.Subscription
	work          sync.WaitGroup
	quit          context.CancelFunc // ends the loops
	cut           context.CancelFunc // ends what does not end by itself
}

// build makes every part, in the order in which they need each other.
func (h *house) build(ctx context.Context) error {
	h.live.Store(h.instance)
	secret, err := identity.LoadSecret(h.cfg.DataDir, h.cfg.JWTSecret)
	if err != nil {
		return err
	}
	if len(secret) < identity.WeakSecret {
		zerolog.Ctx(ctx).Warn().Int("bytes", len(secret)).Int("wanted", identity.WeakSecret).Msg("JWT_SECRET_KEY is short enough to be guessed")
	}
	if err := h.openIdentity(secret); err != nil {
		return err
	}
	if h.tickets, err = newTickets(h.bus, secret); err != nil {
		return err
	}
	if h.audit, err = openAudit(ctx, h.cfg, h.state, h.bus); err != nil {
		return err
	}
	if err := h.identity.SeedAdmin(ctx, h.cfg.SeedEmail, h.cfg.SeedPassword); err != nil {
		return err
	}
	if h.published, err = published.Open(ctx, h.cfg.DataDir, h.instance.Aliases); err != nil {
		return err
	}
	h.registry = &registry{state: h.state, published: h.published, bus: h.bus}
	if err := h.registry.refresh(ctx); err != nil {
		return err
	}
	h.wholes, err = download.NewWholes(ctx, h.cfg.DataDir, filepath.Join(state.Dir(h.cfg.DataDir), "files"), h.state.Digests, joiner{tmp: h.cfg.tmpDir()})
	if err != nil {
		return err
	}
	h.tracker, err = runs.New(ctx, runs.Config{Store: h.state, Bus: h.bus, Sources: h.sources, DataDir: h.cfg.DataDir})
	if err != nil {
		return err
	}
	if err := h.openRemote(); err != nil {
		return err
	}
	h.engine, err = query.New(ctx, query.Config{
		Worker: h.cfg.process(WorkerArgument), DataDir: h.cfg.DataDir,
		TempRoot: h.cfg.tmpDir(), MemoryBytes: h.cfg.QueryMemory << 20, PerUser: h.cfg.QueryConcurrency, Timeout: h.cfg.QueryTimeout,
	})
	if err != nil {
		return err
	}
	h.hybrids.asking = &asking{engine: h.engine, dataDir: h.engine.DataDir(), remotes: h.remotes}
	if err := h.metrics.Register(queryMetrics{h.engine, h.remotes.store}); err != nil {
		return err
	}
	if h.uploads, err = h.cfg.openUploads(h.state); err != nil {
		return err
	}
	return h.buildServer(ctx)
}

// sources are the configured ones, for the runs.
func (h *house) sources() []runs.Configured {
	configured := h.live.Load().Sources
	list := make([]runs.Configured, len(configured))
	for i, s := range configured {
		list[i] = runs.Configured{Name: s.Name, Type: s.Type}
	}
	return list
}

// sourceNames are those of the configured sources, for grants.
func (h *house) sourceNames() []string {
	configured := h.live.Load().Sources
	list := make([]string, len(configured))
	for i, s := range configured {
		list[i] = s.Name
	}
	return list
}

// knownSources names the configured sources and the published ones, for the registry.
func (h *house) knownSources() []string {
	list := h.sourceNames()
	for _, s := range h.published.Current().Sources() {
		list = append(list, s.Name)
	}
	return list
}

func (h *house) buildServer(ctx context.Context) error {
	proxies, err := service.ParseNetworks("AGNES_TRUSTED_PROXIES", h.cfg.Proxies)
	if err != nil {
		return err
	}
	upstreams, err := h.cfg.upstreams()
	if err != nil {
		return err
	}
	h.granting = &granting{rules: access.New(access.StoreOf(h.state)), state: h.state, published: h.published, sources: h.sourceNames}
	configurer, err := h.configurer()
	if err != nil {
		return err
	}
	h.server, err = httpapi.New(httpapi.Config{
		Log: *zerolog.Ctx(ctx), PublicURL: h.cfg.PublicURL, CORSOrigins: h.cfg.origins(), Proxies: proxies, Limits: h.cfg.limits(), Build: service.ReadBuild(),
		SchemaVersion: h.state.Version(), Instance: h.instance, Metrics: h.metrics, Published: h.published,
		Identity: people{h.identity, h.uploads}, SignIn: signingIn{h.identity}, Access: h.granting, Tickets: h.tickets,
		Registry: h.registry, Runs: &following{tracker: h.tracker, published: h.published}, Queries: h.hybrids.asking, Warehouse: h.hybrids, Profiles: profiles{h.state}, Wholes: h.wholes, Bus: wires{h.bus},
		Upstream: upstreams, Recorder: h.audit, AuditLog: h.audit, Groups: groups{state: h.state, granting: h.granting}, Preferences: preferences{state: h.state, granting: h.granting},
		Requests: &requests{state: h.state, granting: h.granting, bus: h.bus, background: h.work.Go, mail: h.mailNotices()},
		Limiter:  h.cfg.limiter(h.metrics),
		Uploads:  h.uploads, Configurer: configurer, Jira: jiraSites{h.bus},
		Checks: []httpapi.Check{
			{Name: "state", Do: h.state.Canary},
			{Name: "bus", Do: h.bus.Ready},
			{Name: "catalog", Do: func(context.Context) error { return h.published.Check() }},
		},
	})
	return err
}

func (c Config) upstreams() (httpapi.Proxies, error) {
	var p httpapi.Proxies
	webhooks, err := upstream("AGNES_JIRA_WEBHOOK_URL", c.JiraWebhookURL)
	if err != nil {
		return p, err
	}
	sockets, err := upstream("AGNES_WS_GATEWAY_URL", c.WSGatewayURL)
	if err != nil {
		return p, err
	}
	switch {
	case webhooks != nil:
		p.Webhooks = httpapi.Proxy(webhooks, "agnes-jira-webhook")
	case c.Webhooks != nil:
		p.Webhooks = httpapi.Handed(c.Webhooks)
	}
	switch {
	case sockets != nil:
		p.Sockets = httpapi.Proxy(sockets, "agnes-ws-gateway")
	case c.Sockets != nil:
		p.Sockets = httpapi.Handed(c.Sockets)
	}
	return p, nil
}

// start begins to hear what others publish and to answer what they ask.
func (h *house) start(ctx context.Context) error {
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	loops, quit := context.WithCancel(work)
	h.cut, h.quit = cut, quit
	h.changed = make(chan struct{}, 1)
	h.published.OnChange(func(*published.Snapshot) { h.unsettle() })
	heard, err := event.Listen(work, h.bus, event.AnalyticsPublished, event.Listener{}, h.analyticsPublished)
	if err != nil {
		return err
	}
	h.subscriptions = append(h.subscriptions, heard)
	profiled, err := event.ConsumeBatch(work, h.bus, event.TableProfiled, event.Consumer{Name: name}, event.Batch{MaxCount: 500, MaxWait: 500 * time.Millisecond}, profiles{h.state}.tablesProfiled)
	if err != nil {
		return err
	}
	h.subscriptions = append(h.subscriptions, profiled)
	recorded, err := h.audit.start(work, h.bus)
	if err != nil {
		return err
	}
	h.subscriptions = append(h.subscriptions, recorded)
	h.work.Go(func() { h.audit.recorder.Run(loops) })
	h.work.Go(func() { h.audit.store.Run(loops) })
	h.audit.tell(work, "server.start")
	served, err := (&rpc{registry: h.registry, identity: people{h.identity, h.uploads}, granting: h.granting, tickets: h.tickets, audit: h.audit}).serve(work, h.bus)
	h.subscriptions = append(h.subscriptions, served...)
	if err != nil {
		return err
	}
	// What was published while nobody listened is read now, and hashed for the first manifest.
	if _, err := h.published.Scan(work); err != nil {
		return err
	}
	h.unsettle()
	h.work.Go(func() { h.settleLoop(loops) })
	h.work.Go(func() { h.remotes.run(loops) })
	h.work.Go(func() { h.published.Watch(loops, max(h.cfg.CatalogPoll, 10*time.Millisecond)) })
	h.work.Go(func() {
		if err := h.tracker.Run(loops); err != nil && loops.Err() == nil {
			zerolog.Ctx(work).Error().Err(err).Msg("runs are no longer followed")
		}
	})
	if h.mail != nil {
		h.work.Go(func() { _ = h.mail.Run(loops) }) // it logs what it cannot send
	}
	h.work.Go(func() {
		if err := h.identity.Run(loops); err != nil {
			zerolog.Ctx(work).Error().Err(err).Msg("last uses of credentials are no longer written down")
		}
	})
	return nil
}

// analyticsPublished reads the one source that was published.
func (h *house) analyticsPublished(ctx context.Context, e event.Event[*agnesv1.AnalyticsPublished]) error {
	if e.Source == "" {
		return nil
	}
	_, err := h.published.Refresh(ctx, e.Source)
	return err
}

// unsettle asks for the files of the newest snapshot to be prepared.
func (h *house) unsettle() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// keepEvery is how often files and hashes of contents that are gone are looked for.
const keepEvery = time.Minute

// How long publications are waited for that come one after the other: who asks meanwhile waits for what is
// not prepared.
const (
	settleQuiet    = 500 * time.Millisecond
	settlePatience = 30 * time.Second
)

// settleLoop prepares the files of new snapshots aside, so that the next manifest need not wait. A
// burst of publications is one piece of work.
func (h *house) settleLoop(ctx context.Context) {
	var kept time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
		}
		if !service.Calm(ctx, h.changed, settleQuiet, settlePatience) {
			return
		}
		var copied, past []catalog.Table
		s := h.published.Current()
		for _, t := range s.Tables() {
			if t.Copied() {
				copied = append(copied, t.Table)
				past = append(past, s.Versions(t)...)
			}
		}
		if time.Since(kept) > keepEvery {
			h.wholes.Keep(ctx, past)
			kept = time.Now()
		}
		h.wholes.Prepare(ctx, copied)
	}
}

// finish ends what start began, softly for at most the budget.
func (h *house) finish(budget time.Duration) error {
	if h.quit != nil {
		h.quit()
	}
	if len(h.subscriptions) > 0 && h.audit != nil {
		h.audit.end()
	}
	err := event.StopAll(budget, h.subscriptions...)
	h.subscriptions = nil
	if h.cut != nil {
		h.cut()
	}
	h.work.Wait()
	return err
}

// close ends what is left and frees what build took.
func (h *house) close() {
	_ = h.finish(time.Second) // nothing is left after an orderly end
	if h.wholes != nil {
		h.wholes.Close()
	}
	if h.audit != nil {
		h.audit.closeOrLog()
	}
	if h.uploads != nil {
		_ = h.uploads.Close() // what is left goes with the next sweep
	}
	if h.warehouses != nil {
		h.warehouses.close()
	}
	if h.engine != nil {
		_ = h.engine.Close() // memory goes, and scratch with the next sweep at the latest
	}
	if h.remotes != nil {
		_ = h.remotes.store.Close() // what is left goes with the next start
	}
}
