package jira

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patienceOfTests = 3 * time.Minute

// registry is the part of the api that the runtime asks.
type registry struct {
	mu     sync.Mutex
	tables []*agnesv1.RegisteredTable
}

func (r *registry) list(_ context.Context, q *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &agnesv1.ListRegistryResponse{}
	for _, t := range r.tables {
		if q.GetSource() == "" || t.GetSource() == q.GetSource() {
			answer.Tables = append(answer.Tables, t)
		}
	}
	return answer, nil
}

func (r *registry) register(_ context.Context, q *agnesv1.RegisterTablesRequest) (*agnesv1.RegisterTablesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &agnesv1.RegisterTablesResponse{}
	for _, t := range q.GetTables() {
		if !slices.ContainsFunc(r.tables, func(o *agnesv1.RegisteredTable) bool {
			return o.GetName() == t.GetName() && o.GetSource() == t.GetSource()
		}) {
			r.tables = append(r.tables, t)
			answer.Registered = append(answer.Registered, t.GetName())
		}
	}
	return answer, nil
}

// house is an extractor at work beside a site of Jira.
type house struct {
	t       *testing.T
	site    *jiratest.Site
	server  *embedded.Server
	bus     *event.Bus
	dir     string
	options map[string]any
	stop    context.CancelFunc
	stopped chan error
}

// newHouse has a bus, a registry and a site, and no extractor yet.
func newHouse(t *testing.T, site *jiratest.Site) *house {
	t.Helper()
	h := &house{t: t, site: site, server: eventtest.Server(t), dir: t.TempDir()}
	h.bus = eventtest.Connect(t, h.server, "test")
	h.options = map[string]any{"site": site.URL, "email": jiratest.DefaultEmail, "api_token": jiratest.DefaultToken, "reconcile_every": "off", "sla_every": "off",
		"media_hosts": []any{strings.TrimPrefix(site.MediaURL, "http://")}}
	r := &registry{}
	var subs []*event.Subscription
	for _, serve := range []func() (*event.Subscription, error){
		func() (*event.Subscription, error) {
			return event.Serve(t.Context(), h.bus, event.ListRegistry, r.list)
		},
		func() (*event.Subscription, error) {
			return event.Serve(t.Context(), h.bus, event.RegisterTables, r.register)
		},
	} {
		sub, err := serve()
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	t.Cleanup(func() { _ = event.StopAll(time.Second, subs...) })
	return h
}

// start runs the extractor.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(zerolog.New(zerolog.NewTestWriter(h.t)).WithContext(context.Background()))
	h.stop, h.stopped = cancel, make(chan error, 1)
	bus := eventtest.Connect(h.t, h.server, name)
	go func() {
		h.stopped <- serve(ctx, bus, []extract.SourceConfig{{Name: "jira", Type: Type, Options: h.options, DataDir: h.dir}}, extract.RuntimeConfig{
			DataDir: h.dir, StopBudget: 5 * time.Second, Limits: extract.Limits{MemoryBytes: 512 << 20, Threads: 2},
		})
	}()
	h.t.Cleanup(h.end)
}

func (h *house) end() {
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	select {
	case err := <-h.stopped:
		if err != nil {
			h.t.Errorf("the extractor: %v", err)
		}
	case <-time.After(patienceOfTests):
		h.t.Error("the extractor does not stop")
	}
}

// deliver puts a webhook onto the bus as the intake does.
func (h *house) deliver(d jiratest.Delivery) {
	h.t.Helper()
	err := event.Publish(h.t.Context(), h.bus, event.JiraReceived, "jira", &agnesv1.JiraReceived{
		Headers: map[string]string{"X-Atlassian-Webhook-Identifier": d.ID}, Body: d.Body, ReceivedAt: timestamppb.Now(),
	}, event.ID(d.ID+"/"+d.Event))
	if err != nil {
		h.t.Fatal(err)
	}
}

// ask runs a query over what is extracted, and gives the rows as texts, one line each.
func (h *house) ask(query string) (string, error) {
	v, err := extract.OpenVersion(h.t.Context(), h.dir, "jira")
	if err != nil {
		return "", err
	}
	db, err := lake.Open(h.t.Context(), lake.Options{Threads: 1, MemoryBytes: 512 << 20})
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	for _, t := range v.Tables {
		files := make([]string, len(t.Files))
		copy(files, t.Files)
		if _, err := db.ExecContext(h.t.Context(), "CREATE VIEW "+lake.QuoteIdent(t.Name)+" AS SELECT * FROM read_parquet("+lake.QuoteList(files)+")"); err != nil {
			return "", err
		}
	}
	rows, err := db.QueryContext(h.t.Context(), query)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = fmt.Sprint(v)
		}
		lines = append(lines, strings.Join(words, " | "))
	}
	return strings.Join(lines, "\n"), rows.Err()
}

// expect waits until a query gives these lines.
func (h *house) expect(query, want string) {
	h.t.Helper()
	got, err := "", error(nil)
	for deadline := time.Now().Add(patienceOfTests); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got, err = h.ask(query); err == nil && got == want {
			return
		}
	}
	h.t.Fatalf("%s\ngot  %s\nwant %s\n%v", query, got, want, err)
}

// scratchIsEmpty tells whether runs left anything behind.
func (h *house) scratchIsEmpty() bool {
	left, _ := filepath.Glob(filepath.Join(h.dir, "tmp", "*"))
	return len(left) == 0
}

// openTestSite opens a site without an extractor around it. The app of its account is the site's own.
func openTestSite(t *testing.T, upstream *jiratest.Site, options map[string]any) *site {
	t.Helper()
	all := map[string]any{"site": upstream.URL, "email": jiratest.DefaultEmail, "api_token": jiratest.DefaultToken}
	for k, v := range options {
		all[k] = v
	}
	dir := t.TempDir()
	s, err := openSite(t.Context(), extract.SourceConfig{Name: "jira", Type: Type, Options: all, DataDir: dir, RawDir: filepath.Join(dir, "raw")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Close()
	if s.client, err = cloud.New(cloud.Config{
		Site: upstream.URL, Email: jiratest.DefaultEmail, Token: jiratest.DefaultToken,
		AppToken: func(context.Context) (string, error) { return jiratest.DefaultAppToken, nil },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// populated is a site of issues over months, and an extractor that answers for it.
func populated(t *testing.T, issues, months int, seed uint64) (*jiratest.Site, *house) {
	t.Helper()
	site := jiratest.New(jiratest.Config{})
	t.Cleanup(site.Close) // after the house, whose cleanup comes later
	site.Populate(issues, months, seed)
	h := newHouse(t, site)
	h.start()
	h.answers()
	return site, h
}
