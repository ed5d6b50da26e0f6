//go:build verify

package verify_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/audit"
)

// TestNoAnsweredRequestLosesItsRecord kills the all-in-one binary at random moments while requests are
// answered: the id of each that was answered is in the verified record exactly once.
func TestNoAnsweredRequestLosesItsRecord(t *testing.T) {
	h := &house{t: t, dir: t.TempDir(), apiAddr: freeAddr(t), services: map[string]*process{}, health: map[string]string{}}
	h.write("config/instance.yaml", "sources:\n  - {name: shop, type: csv, path: ../files}\n")
	h.orders(10)
	start := func() {
		h.services["agnes"] = spawn(t, "agnes", slices.DeleteFunc(h.env("agnes"), func(v string) bool {
			return strings.HasPrefix(v, "AGNES_NATS") || strings.HasPrefix(v, "AGNES_HEALTH")
		}), filepath.Join(binaries, "agnes"))
		eventually(t, 20*time.Second, "agnes ready", func() error { return get("http://" + h.apiAddr + "/readyz") })
	}
	start()
	h.login()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	var answered []string
	for round := range 10 {
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for client := range 4 {
			clients.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("kill-%d-%d-%d", round, client, n)
					if h.asked(id, n%2 == 0) {
						mu.Lock()
						answered = append(answered, id)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(50*time.Millisecond + time.Duration(rng.Int64N(int64(400*time.Millisecond))))
		h.services["agnes"].kill9()
		close(stop)
		clients.Wait()
		start()
	}
	dir := filepath.Join(h.dir, "data", "state", "audit")
	eventually(t, 20*time.Second, "every answered request in the record", func() error { return onceEach(dir, answered) })
	h.services["agnes"].stop()
	report, err := audit.VerifyDir(t.Context(), dir, audit.Options{Closed: true})
	if err != nil || !report.OK {
		t.Fatalf("%v %+v", err, report)
	}
	if err := onceEach(dir, answered); err != nil || len(answered) < 20 {
		t.Errorf("%d answered: %v", len(answered), err)
	}
	t.Logf("%d answered requests, %d records", len(answered), report.Records)
}

// asked sends a query, or makes a token, and tells whether its whole answer came.
func (h *house) asked(id string, query bool) bool {
	path, body := "/auth/tokens", []byte(`{"name":"`+id+`"}`)
	if query {
		path, body = "/api/query", []byte(`{"sql":"SELECT 42"}`)
	}
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, "http://"+h.apiAddr+path, bytes.NewReader(body))
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("X-Request-Id", id)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = bufio.NewReader(resp.Body).WriteTo(discard{})
	return err == nil && resp.StatusCode/100 == 2
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// onceEach tells which request is not in the record exactly once.
func onceEach(dir string, ids []string) error {
	files, err := filepath.Glob(filepath.Join(dir, audit.SegmentsDir, "*.ndjson"))
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(raw) {
			var r audit.Record
			if json.Unmarshal(line, &r) == nil {
				seen[r.RequestID]++
			}
		}
	}
	for _, id := range ids {
		if seen[id] != 1 {
			return fmt.Errorf("%s is in the record %d times", id, seen[id])
		}
	}
	return nil
}
