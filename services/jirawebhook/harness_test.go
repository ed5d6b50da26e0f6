package jirawebhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		takeInUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	secret  = "a secret of twenty-four."
	oneSite = "sources: [{name: jira, type: jira, site: https://example.atlassian.net, webhook_secret: '" + secret + "'}]"
	updated = `{"timestamp":1714979289123,"webhookEvent":"jira:issue_updated","issue":{"id":"10100","key":"SUP-7","fields":{"updated":"2024-05-06T09:08:09.123+0200"}}}`
)

// house is the service with what is around it.
type house struct {
	t      testing.TB
	url    string
	bus    *event.Bus // of the test's own
	log    *lines
	config Config
	stop   func() error
}

// lines is a log that tests read.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// start runs the service over a bus of its own with an instance.yaml.
func start(tb testing.TB, instance string, change ...func(*Config)) *house {
	tb.Helper()
	server := eventtest.Server(tb)
	h := &house{t: tb, bus: eventtest.Connect(tb, server, "test")}
	h.config.Bus = eventtest.Connect(tb, server, name)
	h.run(instance, change...)
	return h
}

// configure writes instance.yaml and fills in what the environment's defaults would be.
func (h *house) configure(instance string) {
	h.t.Helper()
	dir := h.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, service.InstanceFile), []byte(instance), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.config.ConfigDir, h.config.DataDir = dir, h.t.TempDir()
	h.config.MaxBodyKB, h.config.Patience, h.config.StopBudget = 4096, 5*time.Second, 5*time.Second
	h.config.Refusals = ratelimit.Rate{Count: 30, Per: time.Minute}
}

func (h *house) run(instance string, change ...func(*Config)) {
	h.t.Helper()
	if h.config.ConfigDir == "" {
		h.configure(instance)
	}
	cfg := h.config
	cfg.Metrics = prometheus.NewRegistry()
	listener, err := new(net.ListenConfig).Listen(h.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	cfg.Listener = listener
	listening := make(chan string, 1)
	cfg.OnListen = func(addr string) { listening <- addr }
	for _, c := range change {
		c(&cfg)
	}
	h.config = cfg
	h.log = &lines{}
	log := zerolog.New(h.log)
	ctx, cancel := context.WithCancel(log.WithContext(context.Background()))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	h.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("it does not stop")
		}
	})
	h.t.Cleanup(func() {
		if err := h.stop(); err != nil {
			h.t.Errorf("stopped with %v", err)
		}
	})
	select {
	case addr := <-listening:
		h.url = "http://" + addr
	case err := <-ended:
		h.t.Fatalf("it ended at once: %v", err)
	}
	if cfg.Bus != nil {
		h.until("the bus is in use", func() bool { return h.health() == http.StatusOK })
	}
}

func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(eventtest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %s; the log:\n%s", what, eventtest.Patience, h.log)
		}
	}
}

func (h *house) health() int {
	h.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, h.url+pathHealth, http.NoBody)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.do(request).status
}

// answer is what a webhook was answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// post sends a body to a path with headers, each "Name: value".
func (h *house) post(path, body string, headers ...string) answer {
	h.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		key, value, _ := strings.Cut(line, ": ")
		request.Header.Add(key, value)
	}
	return h.do(request)
}

func (h *house) do(request *http.Request) answer {
	h.t.Helper()
	response, err := client.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, strings.TrimSpace(string(raw))}
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}

func signature(key, body string) string {
	return jira.HeaderSignature + ": " + jira.Sign([]byte(key), []byte(body))
}

// send sends a body as the one site signs it.
func (h *house) send(body string, headers ...string) answer {
	h.t.Helper()
	return h.post(pathWebhook, body, append([]string{signature(secret, body)}, headers...)...)
}

// stored gives everything that is in the stream, in order.
func stored(tb testing.TB, bus *event.Bus) []event.Event[*agnesv1.JiraReceived] {
	tb.Helper()
	extent, err := event.ExtentOf(tb.Context(), bus, event.JiraReceived)
	if err != nil {
		tb.Fatal(err)
	}
	if extent.Newest == 0 {
		return nil
	}
	var all []event.Event[*agnesv1.JiraReceived]
	done := make(chan struct{})
	sub, err := event.Consume(tb.Context(), bus, event.JiraReceived, event.Consumer{Name: fmt.Sprint("reader-", time.Now().UnixNano())},
		func(_ context.Context, e event.Event[*agnesv1.JiraReceived]) error {
			all = append(all, e)
			if e.Sequence == extent.Newest {
				close(done)
			}
			return nil
		})
	if err != nil {
		tb.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(6 * eventtest.Patience):
		tb.Errorf("only a part of %d webhooks is in the stream", extent.Newest)
	}
	if err := event.StopAll(eventtest.Patience, sub); err != nil {
		tb.Error(err)
	}
	return all
}

// counted gives the outcomes that were counted, as "source/outcome".
func (h *house) counted() map[string]int {
	h.t.Helper()
	families, err := h.config.Metrics.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		if f.GetName() != "agnes_jira_webhooks_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if n := int(m.GetCounter().GetValue()); n > 0 {
				counts[labels["source"]+"/"+labels["outcome"]] = n
			}
		}
	}
	return counts
}

// restartable is a bus on a port that can be stopped and started again.
type restartable struct {
	t      *testing.T
	config embedded.Config
	server *embedded.Server
}

func newRestartable(t *testing.T) *restartable {
	t.Helper()
	r := &restartable{t: t, config: embedded.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", SyncAlways: true}}
	r.start()
	r.config.Listen = strings.TrimPrefix(r.server.URL(), "nats://")
	t.Cleanup(func() { r.server.Stop() })
	return r
}

func (r *restartable) start() {
	r.t.Helper()
	var err error
	for end := time.Now().Add(eventtest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if r.server, err = embedded.Start(context.WithoutCancel(r.t.Context()), r.config); err == nil {
			return
		}
	}
	r.t.Fatal(err)
}

// body is a webhook about an issue.
func body(eventName, key string, n int) string {
	raw, err := json.Marshal(map[string]any{
		"timestamp": 1714979289123 + n, "webhookEvent": eventName, "issue": map[string]any{"id": fmt.Sprint(10000 + n), "key": key},
	})
	if err != nil {
		panic(err)
	}
	return string(raw)
}
