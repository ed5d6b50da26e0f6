//go:build verify

package verify_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childrenOf are the processes that a process started.
func childrenOf(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		raw, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(raw)) {
			child, _ := strconv.Atoi(field)
			found = append(found, child)
		}
	}
	return found
}

// pss is how much memory a process takes, each shared page divided among those who share it, in bytes.
func pss(pid int) int64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kilobytes, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// TestQueryWorkersGoWithTheServer kills the server in the midst of a query.
func TestQueryWorkersGoWithTheServer(t *testing.T) {
	s := newSingle(t)
	pid := s.agnes.cmd.Process.Pid
	workers := childrenOf(pid)
	if len(workers) == 0 {
		t.Fatal("queries do not run in processes of their own")
	}
	whole := pss(pid)
	for _, w := range workers {
		whole += pss(w)
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(environment), adminPassword) || strings.Contains(string(environment), "SEED_") {
			t.Errorf("a worker has the environment of the server: %q", environment)
		}
	}
	t.Logf("agnes with %d workers takes %d MB", len(workers), whole>>20)
	ann := s.signIn(adminEmail, adminPassword)
	go func() {
		// It is cut with the server, whatever comes of it.
		request, _ := http.NewRequest(http.MethodPost, s.url("/api/query"), strings.NewReader(`{"sql":"SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = -1"}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+ann.token)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	var busy []int
	eventually(t, 20*time.Second, "a worker at work", func() error {
		for _, w := range childrenOf(pid) {
			if fields := strings.Fields(read(fmt.Sprintf("/proc/%d/stat", w))); len(fields) > 13 {
				if ticks, _ := strconv.Atoi(fields[13]); ticks > 50 {
					busy = childrenOf(pid)
					return nil
				}
			}
		}
		return errors.New("none is")
	})
	s.agnes.kill9()
	eventually(t, 10*time.Second, "no worker left", func() error {
		for _, w := range busy {
			if strings.Contains(read(fmt.Sprintf("/proc/%d/cmdline", w)), "query-worker") {
				return fmt.Errorf("process %d is still there", w)
			}
		}
		return nil
	})
	s.start()
	if got := s.signIn(adminEmail, adminPassword).ask(http.MethodPost, "/api/query", map[string]string{"sql": "SELECT 41 + 1 AS n"}); got.status != http.StatusOK || !strings.Contains(got.body, "42") {
		t.Errorf("after the next start: %d %s", got.status, got.body)
	}
}

func read(path string) string {
	raw, _ := os.ReadFile(path)
	return string(raw)
}
