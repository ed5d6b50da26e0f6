//go:build verify

// Package verify runs the binaries of Agnes as an operator would: separate processes against a real
// nats-server, watched with the official nats command line, killed in mid-work, and read by programs
// in other languages. `make verify` installs the peers and runs it.
package verify_test

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
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery staple"
	busToken      = "token of the bus"
)

// binaries is where TestMain built everything.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "agnes-verify-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		build := exec.Command("go", "build", "-o", dir+"/", "../cmd/...")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the binaries:", err)
			return 1
		}
		binaries = dir
		return m.Run()
	}())
}

// tool finds a peer that make verify installed; a missing one is reported loudly as skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv("AGNES_VERIFY_TOOLS"), name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED PEER: %s is not installed; run make verify where the package registries can be reached", name)
	}
	return path
}

// process is one running program whose output is kept for the report of a failure.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func spawn(t *testing.T, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, done: make(chan struct{}), cmd: exec.Command(path, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("--- output of %s\n%s", name, tail(p.output(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// kill9 ends the process as a power cut would.
func (p *process) kill9() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.kill9()
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// eventually waits until check gives nil; after the limit its last error fails the test.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, limit, err)
}

// house is an installation of separate processes.
type house struct {
	t        *testing.T
	dir      string
	natsAddr string
	apiAddr  string
	nats     *process
	services map[string]*process
	health   map[string]string
	token    string
	// more are variables of a test's own, for every service.
	more []string
}

// services of the main job, in the order in which an operator would start them.
var mainJob = []string{"agnes-api", "agnes-orchestrator", "agnes-extractor-csv", "agnes-scheduler"}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{
		t: t, dir: t.TempDir(), natsAddr: freeAddr(t), apiAddr: freeAddr(t),
		services: map[string]*process{}, health: map[string]string{},
	}
	h.write("config/instance.yaml", `
instance: {name: Verify}
sources:
  - {name: shop, type: csv, path: ../files}
`)
	host, port, _ := net.SplitHostPort(h.natsAddr)
	h.write("nats.conf", fmt.Sprintf("host: %s\nport: %s\njetstream { store_dir: %q, sync_interval: always }\nauthorization { token: %q }\n",
		host, port, filepath.Join(h.dir, "nats"), busToken))
	h.startNATS()
	return h
}

func (h *house) startNATS() {
	h.t.Helper()
	h.nats = spawn(h.t, "nats-server", nil, tool(h.t, "nats-server"), "-c", filepath.Join(h.dir, "nats.conf"))
	eventually(h.t, 10*time.Second, "nats-server", func() error {
		c, err := net.Dial("tcp", h.natsAddr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (h *house) natsURL() string { return "nats://" + h.natsAddr }

func (h *house) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) env(service string) []string {
	if h.health[service] == "" {
		h.health[service] = freeAddr(h.t)
	}
	return append([]string{
		"DATA_DIR=" + filepath.Join(h.dir, "data"),
		"CONFIG_DIR=" + filepath.Join(h.dir, "config"),
		"AGNES_NATS_URL=" + h.natsURL(),
		"AGNES_NATS_TOKEN=" + busToken,
		"AGNES_API_ADDR=" + h.apiAddr,
		"AGNES_HEALTH_ADDR=" + h.health[service],
		"SEED_ADMIN_EMAIL=" + adminEmail,
		"SEED_ADMIN_PASSWORD=" + adminPassword,
		"LOG_LEVEL=debug",
	}, h.more...)
}

// start runs a service and waits until it says that it is ready.
func (h *house) start(services ...string) {
	h.t.Helper()
	for _, s := range services {
		h.services[s] = spawn(h.t, s, h.env(s), filepath.Join(binaries, s))
	}
	for _, s := range services {
		eventually(h.t, 30*time.Second, s+" ready", func() error {
			if !h.services[s].alive() {
				return errors.New("the process ended")
			}
			return get("http://" + h.health[s] + "/readyz")
		})
	}
}

func get(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s", answer.Status, body)
	}
	return nil
}

// da runs the command line of analysts and gives what it printed.
func (h *house) da(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "da"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(),
		"DA_SERVER=http://"+h.apiAddr, "DA_CONFIG_DIR="+filepath.Join(h.dir, "da"), "DA_LOCAL_DIR="+filepath.Join(h.dir, "workspace"))
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("da %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (h *house) mustDA(args ...string) string {
	h.t.Helper()
	out, errs, code := h.da(args...)
	if code != 0 {
		h.t.Fatalf("da %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func (h *house) login() {
	h.t.Helper()
	h.mustDA("login", "--email", adminEmail, "--password", adminPassword)
	var answer struct {
		Token string `json:"access_token"`
	}
	h.post("/auth/token", map[string]string{"email": adminEmail, "password": adminPassword}, &answer)
	h.token = answer.Token
}

// post sends JSON and decodes the answer; anything but a 2xx fails the test.
func (h *house) post(path string, body, into any) {
	h.t.Helper()
	if err := h.call(http.MethodPost, path, body, into); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) call(method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.apiAddr+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if h.token != "" {
		request.Header.Set("Authorization", "Bearer "+h.token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// query asks the api and gives the rows.
func (h *house) query(sql string) ([][]any, error) {
	var answer struct {
		Rows [][]any `json:"rows"`
	}
	err := h.call(http.MethodPost, "/api/query", map[string]any{"sql": sql}, &answer)
	return answer.Rows, err
}

func (h *house) expect(sql, want string) error {
	rows, err := h.query(sql)
	if err != nil {
		return err
	}
	if got := fmt.Sprint(rows); got != want {
		return fmt.Errorf("%s: got %s, want %s", sql, got, want)
	}
	return nil
}
