package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// The site that the goals are about.
const (
	jiraIssues  = 50_000
	jiraMonths  = 36
	jiraLatency = 20 * time.Millisecond
	jiraRate    = 20 // events a second
	jiraEvents  = 600
	burstEvents = 5_000
	burstIssues = 2_000
)

// jiraServer is an agnes that keeps a site.
type jiraServer struct {
	*server
	site *jiratest.Site
}

func startJira(ctx context.Context, w *workplace, name string, site *jiratest.Site, more string) (*jiraServer, error) {
	instance := fmt.Sprintf("sources:\n  - {name: jira, type: jira, site: %q, webhook_secret: %s, reconcile_every: off, sla_every: off%s}\n", site.URL, jiratest.DefaultSecret, more)
	s, err := w.startWith(ctx, name, instance)
	if err != nil {
		return nil, err
	}
	return &jiraServer{s, site}, nil
}

const jiraAccount = ", email: " + jiratest.DefaultEmail + ", api_token: " + jiratest.DefaultToken + ", concurrency: 16"

// backfill brings the whole site, and waits until it can be queried.
func (s *jiraServer) backfill(ctx context.Context, issues int) error {
	const base = "/api/admin/sources/jira/jira"
	if err := retry(ctx, 30*time.Second, func() error {
		return s.call(ctx, http.MethodPost, base+"/tasks", map[string]any{"name": "backfill"}, nil)
	}); err != nil {
		return err
	}
	if err := wait(ctx, 40*time.Minute, func() bool {
		var status struct {
			Tasks []struct {
				Name  string `json:"name"`
				State string `json:"state"`
			} `json:"tasks"`
		}
		time.Sleep(200 * time.Millisecond)
		if s.call(ctx, http.MethodGet, base+"/status", nil, &status) != nil {
			return false
		}
		for _, t := range status.Tasks {
			if t.Name == "backfill" && t.State == "done" {
				return true
			}
		}
		return false
	}); err != nil {
		return fmt.Errorf("the backfill does not end: %w", err)
	}
	return wait(ctx, 10*time.Minute, func() bool {
		n, err := s.number(ctx, "SELECT count(*) FROM jira.issues")
		return err == nil && n == issues
	})
}

func retry(ctx context.Context, limit time.Duration, do func() error) error {
	var err error
	werr := wait(ctx, limit, func() bool { err = do(); return err == nil })
	return errors.Join(werr, err)
}

// number asks for one number.
func (s *jiraServer) number(ctx context.Context, sql string) (int, error) {
	rows, err := s.rows(ctx, sql)
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return 0, errors.Join(err, errors.New("no single value"))
	}
	return strconv.Atoi(fmt.Sprint(rows[0][0]))
}

func (s *jiraServer) rows(ctx context.Context, sql string) ([][]any, error) {
	var answer struct {
		Rows [][]any `json:"rows"`
	}
	err := s.call(ctx, http.MethodPost, "/api/query", map[string]any{"sql": sql, "limit": 20_000}, &answer)
	return answer.Rows, err
}

// post sends a delivery to the front door as Jira does.
func (s *jiraServer) post(ctx context.Context, d jiratest.Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/webhooks/jira", strings.NewReader(string(d.Body)))
	if err != nil {
		return err
	}
	r.Header = d.Header.Clone()
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New("a webhook was answered " + answer.Status)
	}
	return nil
}

func benchJira(ctx context.Context, w *workplace) ([]row, error) {
	site := jiratest.New(jiratest.Config{NoEcho: true})
	defer site.Close()
	site.Populate(jiraIssues, jiraMonths, 7)
	s, err := startJira(ctx, w, "jira", site, jiraAccount)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.backfill(ctx, jiraIssues); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.sync(ctx, true); err != nil {
		return nil, fmt.Errorf("full rebuild: %w", err)
	}
	rebuilt := time.Since(began)
	peak, err := memory(s.cmd.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	if err := s.rest(ctx); err != nil {
		return nil, err
	}
	site.SetLatency(jiraLatency)
	times, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	burst, most, err := s.burst(ctx)
	if err != nil {
		return nil, err
	}
	size := fmt.Sprintf("%d issues over %d months", jiraIssues, jiraMonths)
	return []row{
		below("a webhook becomes visible, p50", "ms", percentile(times, 0.5), 500, fmt.Sprintf("%s, %d events/s over issues by chance, refetch in 20 ms; seen by a query every 50 ms", size, jiraRate)),
		below("a webhook becomes visible, p99", "ms", percentile(times, 0.99), 1500, "the same"),
		below("a burst is visible", "s", burst.Seconds(), 15, fmt.Sprintf("%d events over %d issues, from 16 senders", burstEvents, burstIssues)),
		below("parts that a month and table had in the burst", "", most, 6, "new files of the table issues per month"),
		below("full rebuild of a site", "s", rebuilt.Seconds(), 60, size+", from the raw documents until published"),
		below("memory at its peak, backfill and rebuild", "MB", peak/1e6, 1000, "the whole agnes, without its query processes"),
	}, nil
}

// watch polls which summaries of a kind can be queried, until all are seen, and notes when each was first.
func (s *jiraServer) watch(ctx context.Context, prefix string, all int) (map[string]time.Time, error) {
	seen := map[string]time.Time{}
	query := "SELECT summary FROM jira.issues WHERE starts_with(summary, '" + prefix + "')"
	err := wait(ctx, 3*time.Minute, func() bool {
		time.Sleep(50 * time.Millisecond)
		rows, err := s.rows(ctx, query)
		now := time.Now()
		if err != nil {
			return false
		}
		for _, r := range rows {
			if name := fmt.Sprint(r[0]); seen[name].IsZero() {
				seen[name] = now
			}
		}
		return len(seen) >= all
	})
	if err != nil {
		return nil, fmt.Errorf("%d of %d changes are visible: %w", len(seen), all, err)
	}
	return seen, nil
}

// live changes issues at a steady rate, and measures from the delivery of the webhook until a query shows
// the change.
func (s *jiraServer) live(ctx context.Context) ([]time.Duration, error) {
	keys := s.site.Keys()
	random := rand.New(rand.NewPCG(3, 4))
	random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	sent := make([]time.Time, jiraEvents)
	errs := make(chan error, jiraEvents)
	var current int
	var posts sync.WaitGroup
	s.site.Hook(func(d jiratest.Delivery) {
		sent[current] = time.Now()
		posts.Go(func() { errs <- s.post(ctx, d) })
	}, jiratest.Disorder{})
	defer s.site.Unhook()
	type result struct {
		seen map[string]time.Time
		err  error
	}
	watched := make(chan result, 1)
	go func() {
		seen, err := s.watch(ctx, "live ", jiraEvents)
		watched <- result{seen, err}
	}()
	tick := time.NewTicker(time.Second / jiraRate)
	defer tick.Stop()
	for i := range jiraEvents {
		<-tick.C
		current = i
		s.site.Update(keys[i], jiratest.Set{"summary": fmt.Sprint("live ", i)})
	}
	posts.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return nil, err
		}
	}
	r := <-watched
	if r.err != nil {
		return nil, r.err
	}
	times := make([]time.Duration, jiraEvents)
	for i := range times {
		times[i] = r.seen[fmt.Sprint("live ", i)].Sub(sent[i])
	}
	return times, nil
}

// burst changes 2,000 issues 5,000 times at once, and measures until the last state of each is visible. most
// is how many parts a month of the table issues got meanwhile, on average.
func (s *jiraServer) burst(ctx context.Context) (took time.Duration, most float64, err error) {
	keys := s.site.Keys()
	random := rand.New(rand.NewPCG(5, 6))
	random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var deliveries []jiratest.Delivery
	s.site.Hook(func(d jiratest.Delivery) { deliveries = append(deliveries, d) }, jiratest.Disorder{})
	last := map[int]string{}
	for n := range burstEvents {
		i := n % burstIssues
		last[i] = fmt.Sprintf("burst %d %d", i, n)
		s.site.Update(keys[i], jiratest.Set{"summary": last[i]})
	}
	s.site.Unhook()
	before := countParts(s.dir, "issues")
	queue := make(chan jiratest.Delivery)
	errs := make(chan error, 16)
	began := time.Now()
	for range 16 {
		go func() {
			var first error
			for d := range queue {
				if err := s.post(ctx, d); err != nil && first == nil {
					first = err
				}
			}
			errs <- first
		}()
	}
	for _, d := range deliveries {
		queue <- d
	}
	close(queue)
	for range 16 {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return 0, 0, err
	}
	err = wait(ctx, 3*time.Minute, func() bool {
		time.Sleep(100 * time.Millisecond)
		rows, err := s.rows(ctx, "SELECT summary FROM jira.issues WHERE starts_with(summary, 'burst ')")
		if err != nil {
			return false
		}
		seen := map[string]bool{}
		for _, r := range rows {
			seen[fmt.Sprint(r[0])] = true
		}
		for _, want := range last {
			if !seen[want] {
				return false
			}
		}
		return true
	})
	return time.Since(began), float64(countParts(s.dir, "issues")-before) / jiraMonths, err
}

// countParts counts the files of a table; old ones outlive the measurement.
func countParts(dir, table string) int {
	entries, err := os.ReadDir(filepath.Join(dir, "data", "extracts", "jira", "data", table))
	if err != nil {
		return 0
	}
	return len(entries)
}

// benchJiraIntake sends webhooks as fast as sixteen senders can to an intake in a process of its own, over
// the bus of an agnes that syncs each to the disk and does not work on them meanwhile.
func benchJiraIntake(ctx context.Context, w *workplace) ([]row, error) {
	const webhooks = 10_000
	site := jiratest.New(jiratest.Config{NoEcho: true})
	defer site.Close()
	site.Populate(1_000, 6, 7)
	natsAddr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	bus, err := w.startWith(ctx, "jira-intake", "sources: []\n", "AGNES_NATS_LISTEN="+natsAddr)
	if err != nil {
		return nil, err
	}
	defer bus.stop()
	s, err := w.startIntake(ctx, site, natsAddr)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	var deliveries []jiratest.Delivery
	site.Hook(func(d jiratest.Delivery) { deliveries = append(deliveries, d) }, jiratest.Disorder{})
	keys := site.Keys()
	for n := range webhooks {
		site.Update(keys[n%len(keys)], jiratest.Set{"summary": fmt.Sprint("intake ", n)})
	}
	times := make([]time.Duration, len(deliveries))
	errs := make(chan error, 16)
	began := time.Now()
	for sender := range 16 {
		go func() {
			var first error
			for i := sender; i < len(deliveries); i += 16 {
				began := time.Now()
				if err := s.post(ctx, deliveries[i]); err != nil && first == nil {
					first = err
				}
				times[i] = time.Since(began)
			}
			errs <- first
		}()
	}
	for range 16 {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	rate := float64(len(deliveries)) / time.Since(began).Seconds()
	r := row{Name: "webhooks taken in", Unit: "1/s", Ours: rate, Ratio: rate, Goal: "≥ 1000 1/s", Met: rate >= 1000, Note: "16 senders on the same cores, each webhook on the disk before its answer"}
	return []row{r, below("webhooks taken in, p99", "ms", percentile(times, 0.99), 50, "the same")}, nil
}

// startIntake runs agnes-jira-webhook for a site.
func (w *workplace) startIntake(ctx context.Context, site *jiratest.Site, natsAddr string) (*jiraServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &jiraServer{&server{dir: filepath.Join(w.dir, "jira-webhook"), addr: addr, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}, site}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	instance := fmt.Sprintf("sources:\n  - {name: jira, type: jira, site: %q, webhook_secret: %s}\n", site.URL, jiratest.DefaultSecret)
	if err := os.WriteFile(filepath.Join(s.dir, "instance.yaml"), []byte(instance), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, filepath.Join(w.bin, "agnes-jira-webhook"))
	s.cmd.Env = append(os.Environ(), "DATA_DIR="+s.dir, "CONFIG_DIR="+s.dir, "AGNES_NATS_URL=nats://"+natsAddr, "AGNES_JIRA_WEBHOOK_ADDR="+addr, "LOG_LEVEL=warn")
	s.cmd.Stderr = &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, retry(ctx, 30*time.Second, func() error {
		answer, err := s.http.Get("http://" + addr + "/webhooks/jira/health")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
}

// benchJiraRest is what an extractor takes that has nothing to do and half a million issues.
func benchJiraRest(ctx context.Context, w *workplace) ([]row, error) {
	const issues = 500_000
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	site.Populate(issues, jiraMonths, 7)
	s, err := startJira(ctx, w, "jira-rest", site, jiraAccount+", remote_links: false")
	if err != nil {
		return nil, err
	}
	err = s.backfill(ctx, issues)
	s.stop()
	if err != nil {
		return nil, err
	}
	if s, err = startJira(ctx, w, "jira-rest", site, jiraAccount+", remote_links: false"); err != nil {
		return nil, err
	}
	defer s.stop()
	if _, err := s.number(ctx, "SELECT count(*) FROM jira.issues"); err != nil {
		return nil, err
	}
	if err := s.rest(ctx); err != nil { // what the start and the profiles of new tables took is given back
		return nil, err
	}
	now, err := memory(s.cmd.Process.Pid, "VmRSS")
	if err != nil {
		return nil, err
	}
	return []row{below("memory at rest with half a million issues", "MB", now/1e6, 300, "the whole agnes at rest after a start, without its query processes")}, nil
}
