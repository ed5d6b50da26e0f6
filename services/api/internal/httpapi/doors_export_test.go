package httpapi

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// DoorOf is what a route's door says, for tests.
type DoorOf struct {
	Gate                Gate
	Scope               Scope
	Audit               string
	Limit               Class
	Session, Page, Form bool
}

// DoorsOf gives the door of every route of the router; the zero value where it has none.
func DoorsOf(t *testing.T, dir string) map[string]DoorOf {
	t.Helper()
	store, err := published.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := nothing{}
	s, err := New(Config{
		Log: zerolog.Nop(), Instance: &service.Instance{}, Metrics: prometheus.NewRegistry(), Published: store, Identity: n, Access: n,
		Registry: noRegistry{}, Runs: noRuns{}, Queries: n, Profiles: n, Wholes: n, Bus: n,
	})
	if err != nil {
		t.Fatal(err)
	}
	doors := map[string]DoorOf{}
	for _, r := range s.echo.Routes() {
		d := s.doors[r.Method+" "+r.Path]
		doors[r.Method+" "+r.Path] = DoorOf{Gate: d.gate, Scope: d.scope, Audit: d.audit, Limit: d.limit, Session: d.session, Page: d.page, Form: d.form}
	}
	return doors
}

// SafeNext is safeNext.
func SafeNext(next string) string { return safeNext(next) }
