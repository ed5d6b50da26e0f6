package httpapi

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// nothing stands in for every dependency: routes are registered, never called.
type nothing struct {
	Identity
	Access
	Bus
	Wholes
	Profiles
	Queries
}

type noRegistry struct{ Registry }

type noRuns struct{ Runs }

// RoutesOf gives every route of the router with its gate; empty where it has none.
func RoutesOf(t *testing.T, dir string) map[string]Gate {
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
	routes := map[string]Gate{}
	for _, r := range s.echo.Routes() {
		routes[r.Method+" "+r.Path] = s.doors[r.Method+" "+r.Path].gate
	}
	return routes
}
