package api_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api"
	"github.com/agnes-platform/agnes/services/api/internal/limit"
)

func TestWhatIsConfiguredHoldsAtOnceAndAfterARestart(t *testing.T) {
	fake := bigquerytest.New(t)
	fake.PutQuery("SELECT 1", bigquerytest.Table{Fields: bigquerytest.Fields("f0_", "INTEGER")})
	t.Setenv(bigquery.EnvEmulator, fake.Endpoint)
	s := newServer(t)
	heard := make(chan *agnesv1.RegistryChanged, 10)
	sub, err := event.Listen(t.Context(), s.bus, event.RegistryChanged, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.RegistryChanged]) error {
		heard <- e.Payload
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = event.StopAll(time.Second, sub) }()
	var done struct {
		Status, Connection string
		Changed            []string
	}
	s.ask("POST", "/api/admin/configure", s.admin, map[string]any{"instance_name": "Renamed <b>", "data_source": "bigquery", "bigquery_project": "example-project-1"}).into(t, &done)
	if done.Status != "ok" || done.Connection != "verified" || len(done.Changed) != 3 {
		t.Errorf("got %+v", done)
	}
	select {
	case e := <-heard:
		if e.GetChange() != "configured" || e.GetChangedBy() == "" {
			t.Errorf("announced: %v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody is told")
	}
	check := func() {
		t.Helper()
		if page := s.ask("GET", "/", "", nil).body; !strings.Contains(page, "Renamed &lt;b&gt;") {
			t.Error("the page has another name")
		}
		if list := s.ask("GET", "/api/admin/sources", s.admin, nil); !strings.Contains(list.body, `"bigquery"`) {
			t.Errorf("the sources are %s", list.body)
		}
		if now := s.ask("GET", "/api/admin/configure", s.admin, nil); !strings.Contains(now.body, "example-project-1") {
			t.Errorf("configured: %s", now.body)
		}
	}
	check()
	info, err := os.Stat(filepath.Join(s.dir, "state", service.InstanceFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	s.halt()
	s.start()
	check()
}

func TestConfiguringIsForAdministratorsAndPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ann, _ := s.analyst("ann@example.com")
	if got := s.ask("GET", "/api/admin/configure", ann, nil); got.status != http.StatusForbidden {
		t.Errorf("an analyst: %d", got.status)
	}
	got := s.ask("POST", "/api/admin/configure", s.admin, map[string]any{"data_source": "keboola", "keboola_url": "https://169.254.169.254", "keboola_token": "s3cret"})
	if got.status != http.StatusBadRequest || !strings.Contains(got.body, "private network") || strings.Contains(got.body, "s3cret") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestGuessedPasswordsAreRefusedByTheirAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *api.Config) { c.SignIn = ratelimit.Rate{Count: 1, Per: time.Minute} })
	var last answer
	for range limit.AddressFactor + 5 { // the harness has signed in once
		last = s.ask("POST", "/auth/token", "", map[string]string{"email": "nobody@example.com", "password": "a wrong password"})
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", last.status, last.header.Get("Retry-After"))
	}
	if got := s.ask("GET", "/api/catalog/tables", s.admin, nil); got.status != http.StatusOK {
		t.Errorf("who is signed in at the same address: %d", got.status)
	}
	if got := s.ask("GET", "/metrics", s.admin, nil); !strings.Contains(got.body, `agnes_limited_total{class="sign_in"}`) {
		t.Error("refusals are not counted")
	}
}
