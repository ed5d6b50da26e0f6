package main

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery staple"
)

// workplace is a temporary folder with the binaries; everything that is measured runs in it.
type workplace struct {
	dir string
	bin string
}

func newWorkplace(ctx context.Context) (*workplace, error) {
	dir, err := os.MkdirTemp("", "agnes-bench-")
	if err != nil {
		return nil, err
	}
	w := &workplace{dir: dir, bin: filepath.Join(dir, "bin")}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", w.bin+"/", "./cmd/...")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		w.close()
		return nil, fmt.Errorf("build the binaries (run this in services/): %w", err)
	}
	return w, nil
}

func (w *workplace) close() { _ = os.RemoveAll(w.dir) }

// server is one running agnes with its files and an admin who is signed in.
type server struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	dir   string
	addr  string
	token string
	ready time.Duration
	http  *http.Client
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// start runs agnes over files, a folder with the source's files; nothing is registered by itself.
func (w *workplace) start(ctx context.Context, name, files string) (*server, error) {
	return w.startWith(ctx, name, fmt.Sprintf("sources:\n  - {name: files, type: csv, path: %q}\n", files))
}

// startWith runs agnes with an instance.yaml.
func (w *workplace) startWith(ctx context.Context, name, instance string, env ...string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &server{dir: filepath.Join(w.dir, name), addr: addr, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	if err := os.MkdirAll(filepath.Join(s.dir, "config"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config", "instance.yaml"), []byte(instance), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, filepath.Join(w.bin, "agnes"))
	s.cmd.Env = append(os.Environ(),
		"DATA_DIR="+filepath.Join(s.dir, "data"), "CONFIG_DIR="+filepath.Join(s.dir, "config"),
		"AGNES_API_ADDR="+addr, "SEED_ADMIN_EMAIL="+adminEmail, "SEED_ADMIN_PASSWORD="+adminPassword, "LOG_LEVEL=warn",
		"AGNES_LIMIT_QUERIES=off") // one account asks as fast as it can here
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for {
		answer, err := s.http.Get("http://" + addr + "/readyz")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > 30*time.Second {
			s.stop()
			return nil, fmt.Errorf("agnes is not ready: %s", s.log.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.ready = time.Since(began)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := s.call(ctx, http.MethodPost, "/auth/token", map[string]string{"email": adminEmail, "password": adminPassword}, &answer); err != nil {
		s.stop()
		return nil, err
	}
	s.token = answer.Token
	return s, nil
}

func (s *server) stop() {
	if s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

func (s *server) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	return r, nil
}

func (s *server) call(ctx context.Context, method, path string, body, into any) error {
	r, err := s.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// query runs SQL as one media type and reads all of the answer.
func (s *server) query(ctx context.Context, sql, accept string) error {
	r, err := s.request(ctx, http.MethodPost, "/api/query", map[string]any{"sql": sql})
	if err != nil {
		return err
	}
	r.Header.Set("Accept", accept)
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("query: %s: %.300s", answer.Status, text)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// rest waits until the server has used next to nothing of a core for four seconds (profiles begin after
// two): what it does after its start is not what is measured. It gives up after two minutes, and what is
// measured then is a busy server.
func (s *server) rest(ctx context.Context) error {
	var before time.Duration
	quiet := 0
	for began := time.Now(); time.Since(began) < 2*time.Minute; {
		used, err := s.cpu()
		if err != nil {
			return err
		}
		if quiet++; before == 0 || used-before >= 50*time.Millisecond {
			quiet = 0
		}
		if quiet == 4 {
			return nil
		}
		before = used
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// fill registers what discovery finds, extracts it and waits until it is published.
func (s *server) fill(ctx context.Context) error {
	if err := s.call(ctx, http.MethodPost, "/api/admin/discover-and-register", map[string]string{"source": "files"}, nil); err != nil {
		return err
	}
	return s.sync(ctx, false)
}

// sync runs everything that is registered, read anew where force says so, and waits until it is published.
func (s *server) sync(ctx context.Context, force bool) error {
	return s.syncTables(ctx, force)
}

// syncTables is sync of some tables; of all where there are none.
func (s *server) syncTables(ctx context.Context, force bool, tables ...string) error {
	var trigger struct {
		RunID string `json:"run_id"`
	}
	body := map[string]any{"force": force}
	if len(tables) > 0 {
		body["tables"] = tables
	}
	if err := s.call(ctx, http.MethodPost, "/api/sync/trigger", body, &trigger); err != nil {
		return err
	}
	for {
		var run struct {
			Status string `json:"status"`
		}
		if err := s.call(ctx, http.MethodGet, "/api/sync/runs/"+trigger.RunID, nil, &run); err != nil {
			return err
		}
		switch run.Status {
		case "succeeded":
			return nil
		case "partial", "failed":
			return errors.New("the run ended as " + run.Status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// memory reads a figure of /proc/<pid>/status in bytes: "VmHWM" (peak) or "VmRSS" (now).
func memory(pid int, figure string) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", figure, pid)
}

// wholeMemory is what a process and its children take in bytes, each shared page divided among those who
// share it.
func wholeMemory(pid int) (float64, error) {
	pids := []string{strconv.Itoa(pid)}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		raw, err := os.ReadFile(task)
		if err != nil {
			continue // the thread ended since
		}
		pids = append(pids, strings.Fields(string(raw))...)
	}
	total := 0.0
	for _, p := range pids {
		raw, err := os.ReadFile("/proc/" + p + "/smaps_rollup")
		if err != nil {
			return 0, err
		}
		for _, line := range strings.Split(string(raw), "\n") {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				if err != nil {
					return 0, err
				}
				total += kb * 1024
			}
		}
	}
	return total, nil
}

// cpu is how much time of the cores the server has used.
func (s *server) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The fields 14 and 15 in ticks of 10 ms, counted behind the name, which ends with the last bracket.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// percentile of the durations, in milliseconds.
func percentile(of []time.Duration, p float64) float64 {
	slices.Sort(of)
	i := min(len(of)-1, int(float64(len(of))*p))
	return float64(of[i]) / float64(time.Millisecond)
}

// median of several runs of f, in seconds.
func median(runs int, f func() error) (float64, error) {
	var all []time.Duration
	for range runs {
		began := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(began))
	}
	return percentile(all, 0.5) / 1000, nil
}
