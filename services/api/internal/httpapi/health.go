package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// Version is what runs here.
type Version struct {
	Version       string    `json:"version" doc:"The version of Agnes." example:"1.4.0"`
	Channel       string    `json:"channel" doc:"The release channel." example:"stable"`
	ImageTag      string    `json:"image_tag" doc:"The tag of the container image; unknown where none." example:"1.4.0"`
	CommitSHA     string    `json:"commit_sha" doc:"The commit that it was built from; unknown where not recorded."`
	SchemaVersion int       `json:"schema_version" doc:"The schema version of the state." example:"8"`
	DeployedAt    time.Time `json:"deployed_at" doc:"When this process started."`
}

type versionAnswer struct{ Body Version }

// Health says how the server is. It always comes with status 200: /readyz is for machines.
type Health struct {
	Version
	Status    string         `json:"status" enum:"healthy,degraded,unhealthy" doc:"unhealthy where requests fail, degraded where data is old or a source has problems." example:"healthy"`
	Timestamp time.Time      `json:"timestamp" doc:"The clock of the server."`
	Services  map[string]any `json:"services" doc:"Each part with its status; with details for those who are signed in."`
}

type healthAnswer struct{ Body Health }

type healthQuestion struct {
	header credential
}

// Resolve notes the credential, for huma: the route is public, yet says more to those it knows.
func (q *healthQuestion) Resolve(ctx huma.Context) []error {
	_, r := echoOf(ctx)
	q.header = credentialOf(r)
	return nil
}

// checkTimeout bounds all checks together: a service that cannot answer in time is not ready.
const checkTimeout = 5 * time.Second

// stale is the age after which data counts as old.
const stale = 24 * time.Hour

func (s *Server) healthRoutes() {
	add(s, Public, op{
		method: http.MethodGet, path: "/api/health", id: "health", tag: tagOps, summary: "How the server is",
		text: "Always status 200. Who is signed in sees details; strangers see no names and no numbers.",
	}, s.health)
	add(s, Public, op{
		method: http.MethodGet, path: "/api/version", id: "version", tag: tagOps, summary: "What runs here", text: "Touches no state.",
	}, s.version)
	s.rawDoor(door{gate: Public, limit: LimitNone}, http.MethodGet, "/livez", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	}))
	s.rawDoor(door{gate: Public, limit: LimitNone}, http.MethodGet, "/readyz", http.HandlerFunc(s.readyz))
	// Strangers learn nothing from the front door; the health address serves the same to the monitor.
	s.raw(Admin, "/metrics", s.metricsHandler())
}

// Ready tells why the server cannot serve; nil where it can.
func (s *Server) Ready(ctx context.Context) error {
	var reasons []error
	for name, err := range s.check(ctx) {
		if err != nil {
			reasons = append(reasons, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(reasons...)
}

// check runs all checks side by side.
func (s *Server) check(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(s.checks))
	for _, c := range s.checks {
		go func() { results <- result{c.Name, c.Do(ctx)} }()
	}
	found := make(map[string]error, len(s.checks))
	for _, c := range s.checks {
		found[c.Name] = context.DeadlineExceeded
	}
	for range s.checks {
		select {
		case r := <-results:
			found[r.name] = r.err
		case <-ctx.Done():
			return found
		}
	}
	return found
}

// readyz names what is not ready, but not why: the reason may hold a path, and goes to the log.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var broken []string
	var reasons []error
	results := s.check(r.Context())
	for _, c := range s.checks {
		if err := results[c.Name]; err != nil {
			broken = append(broken, c.Name)
			reasons = append(reasons, fmt.Errorf("%s: %w", c.Name, err))
		}
	}
	if len(broken) > 0 {
		infoOf(r.Context()).failure = errors.Join(reasons...)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, "not ready: %s\n", strings.Join(broken, ", "))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (s *Server) versionNow() Version {
	return Version{
		Version: s.build.Version, Channel: s.build.Channel, ImageTag: s.build.ImageTag, CommitSHA: s.build.Commit,
		SchemaVersion: s.schema, DeployedAt: s.started,
	}
}

func (s *Server) version(context.Context, *none) (*versionAnswer, error) {
	return &versionAnswer{Body: s.versionNow()}, nil
}

// checkState is the name of the check of the state.
const checkState = "state"

const (
	stateOK       = "ok"
	stateWarning  = "warning"
	stateError    = "error"
	levelHealthy  = "healthy"
	levelDegraded = "degraded"
	levelBroken   = "unhealthy"
)

func (s *Server) health(ctx context.Context, in *healthQuestion) (*healthAnswer, error) {
	h := Health{Version: s.versionNow(), Status: levelHealthy, Timestamp: time.Now().UTC(), Services: map[string]any{}}
	for name, err := range s.check(ctx) {
		state := map[string]any{"status": stateOK}
		if err != nil {
			h.Status, state["status"] = levelBroken, stateError
			infoOf(ctx).failure = fmt.Errorf("%s: %w", name, err)
		}
		if name == checkState {
			name = "duckdb_state" // what the predecessor's monitors look for
		}
		h.Services[name] = state
	}
	snapshot := s.published.Current()
	data := map[string]any{"status": stateOK}
	if !fresh(snapshot) {
		data["status"] = stateWarning
		if h.Status == levelHealthy {
			h.Status = levelDegraded
		}
	}
	users := map[string]any{"status": stateOK}
	s.tellFriends(ctx, in.header, snapshot, data, users)
	h.Services["data"], h.Services["users"] = data, users
	return &healthAnswer{Body: h}, nil
}

func old(t *published.Table) bool {
	return t.Copied() && !t.ExtractedAt.IsZero() && time.Since(t.ExtractedAt) > stale
}

// fresh tells whether nothing published is old or has a problem.
func fresh(s *published.Snapshot) bool {
	return len(s.Problems()) == 0 && !slices.ContainsFunc(s.Tables(), old)
}

// tellFriends adds names and numbers for those who are signed in, of tables that are granted to them
// and no others. Who cannot be told who they are is a stranger.
func (s *Server) tellFriends(ctx context.Context, cred credential, snapshot *published.Snapshot, data, users map[string]any) {
	if cred.token == "" {
		return
	}
	caller, err := s.identity.Authenticate(ctx, cred.token, infoOf(ctx).remote)
	if err != nil {
		return
	}
	grants, err := s.access.Grants(ctx, caller, snapshot)
	if err != nil {
		return
	}
	tables, rows, staleTables := 0, int64(0), []string{}
	for _, t := range snapshot.Tables() {
		if !grants.Allows(t) {
			continue
		}
		tables++
		rows += t.Rows
		if old(t) {
			staleTables = append(staleTables, t.ID)
		}
	}
	data["tables"], data["total_rows"], data["stale_tables"] = tables, rows, staleTables
	if !caller.Admin() {
		return
	}
	data["problems"] = len(snapshot.Problems())
	if list, err := s.identity.Users(ctx); err == nil {
		users["count"] = len(list)
	}
}
