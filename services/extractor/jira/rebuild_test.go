package jira

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// rebuildConfig is the configuration of a call beside a house: of the sources of these names.
func rebuildConfig(t *testing.T, bus *event.Bus, sources ...string) Config {
	t.Helper()
	text := "sources:\n  - {name: shop, type: csv}\n"
	for _, s := range sources {
		text += "  - {name: " + s + ", type: jira, site: your.atlassian.net}\n"
	}
	cfg := Config{}
	cfg.ConfigDir, cfg.DataDir, cfg.Bus = t.TempDir(), t.TempDir(), bus
	if err := os.WriteFile(filepath.Join(cfg.ConfigDir, service.InstanceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestARebuildMakesAllTablesFromTheStore(t *testing.T) {
	t.Parallel()
	site, h := populated(t, 40, 2, 5)
	h.task(&agnesv1.JiraTaskRequest{Name: taskBackfill})
	h.expect("SELECT count(*) FROM issues", "40")
	// Nothing but the store is left.
	if err := os.RemoveAll(filepath.Join(h.dir, "extracts", "jira", "data")); err != nil {
		t.Fatal(err)
	}
	site.ResetCalls()
	var out bytes.Buffer
	if err := Rebuild(t.Context(), rebuildConfig(t, h.bus, "jira"), nil, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	fields, err := rows.NewFieldMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range tablesOf(fields) {
		if !strings.Contains(out.String(), "\n"+name+" ") {
			t.Errorf("nothing of %s:\n%s", name, out.String())
		}
	}
	h.expect("SELECT count(*) FROM issues", "40")
	if calls := site.Calls()[jiratest.RouteBulkFetch]; calls != 0 {
		t.Errorf("%d issues were fetched for a rebuild", calls)
	}
}

func TestARebuildTellsWhatDidNotBecome(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	call := func(args string, sources ...string) (string, error) {
		var out bytes.Buffer
		err := Rebuild(t.Context(), rebuildConfig(t, bus, sources...), strings.Fields(args), &out)
		return out.String(), err
	}
	if _, err := call("", "jira"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "start agnes-extractor-jira") {
		t.Errorf("nobody runs: %v", err)
	}
	for _, c := range []struct {
		args, want string
		sources    []string
		usage      bool
	}{
		{"", "JIRA_DOMAIN", nil, false},
		{"--source shop", "there are: jira", []string{"jira"}, false},
		{"", "--source: ops, support", []string{"ops", "support"}, true},
		{"all", "all", []string{"jira"}, true},
		{"--sauce jira", "sauce", []string{"jira"}, true},
	} {
		_, err := call(c.args, c.sources...)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, new(service.UsageError)) != c.usage {
			t.Errorf("%q over %v: %v", c.args, c.sources, err)
		}
	}
	if out, err := call("--help"); err != nil || !strings.Contains(out, "-source") {
		t.Errorf("help: %q, %v", out, err)
	}

	status, err := event.Serve(t.Context(), bus, event.JiraStatus("support"), func(context.Context, *agnesv1.JiraStatusRequest) (*agnesv1.JiraStatusResponse, error) {
		return &agnesv1.JiraStatusResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan *agnesv1.ExtractRequested, 3)
	answers := []func(run string) error{
		func(run string) error {
			return event.Publish(t.Context(), bus, event.ExtractReady, "support", &agnesv1.ExtractReady{RunIds: []string{"other", run}, Tables: []*agnesv1.TableOutcome{
				{Table: "issues", Outcome: extract.OutcomeUpdated, Rows: 7}, {Table: "comments", Outcome: extract.OutcomeFailed, Error: "the disk is full"},
			}})
		},
		func(run string) error {
			return event.Publish(t.Context(), bus, event.ExtractFailed, "support", &agnesv1.ExtractFailed{RunIds: []string{run}, Error: "the registry is away", ErrorKind: "unavailable"})
		},
		func(string) error {
			return event.Publish(t.Context(), bus, event.ExtractReady, "support", &agnesv1.ExtractReady{RunIds: []string{"other"}})
		},
	}
	played, err := event.Consume(t.Context(), bus, event.ExtractRequested, event.Consumer{Name: name, Key: Type}, func(_ context.Context, e event.Event[*agnesv1.ExtractRequested]) error {
		asked <- e.Payload
		next := answers[0]
		answers = answers[1:]
		return next(e.Payload.GetRunId())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = event.StopAll(time.Second, status, played) })
	out, err := call("--source support", "ops", "support")
	if err == nil || !strings.Contains(err.Error(), "not made anew: comments") || !strings.Contains(out, "the disk is full") || !strings.Contains(out, "7 rows") {
		t.Errorf("%v\n%s", err, out)
	}
	if q := <-asked; !q.GetForce() || len(q.GetTables()) != 0 || q.GetReason() != "manual" {
		t.Errorf("asked for %v", q)
	}
	if _, err := call("", "support"); fault.Message(err) != "the registry is away" {
		t.Errorf("%v", err)
	}
	if _, err := call("--timeout 300ms", "support"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "the run goes on") {
		t.Errorf("%v", err)
	}
}
