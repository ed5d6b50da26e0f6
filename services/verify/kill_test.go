//go:build verify

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type run struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Tables []struct {
		Table   string `json:"table"`
		Outcome string `json:"outcome"`
		Error   string `json:"error"`
	} `json:"tables"`
}

// trigger starts a run of everything and gives its id.
func (h *house) trigger() string {
	h.t.Helper()
	var answer struct {
		RunID string `json:"run_id"`
	}
	h.post("/api/sync/trigger", nil, &answer)
	return answer.RunID
}

// finished waits for a run and gives it; the services may be away for a while.
func (h *house) finished(id string, limit time.Duration) run {
	h.t.Helper()
	var r run
	eventually(h.t, limit, "run "+id, func() error {
		if err := h.call(http.MethodGet, "/api/sync/runs/"+id, nil, &r); err != nil {
			return err
		}
		if !slices.Contains([]string{"succeeded", "partial", "failed"}, r.Status) {
			return fmt.Errorf("status %s", r.Status)
		}
		return nil
	})
	return r
}

// orders writes the file of one table with n rows, put in place at once.
func (h *house) orders(n int) {
	h.t.Helper()
	var text strings.Builder
	text.WriteString("id,customer,amount\n")
	for i := range n {
		fmt.Fprintf(&text, "%d,customer %d,%d.50\n", i, i%977, i%1000)
	}
	h.write("aside/orders.csv", text.String())
	if err := os.MkdirAll(filepath.Join(h.dir, "files"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(h.dir, "aside", "orders.csv"), filepath.Join(h.dir, "files", "orders.csv")); err != nil {
		h.t.Fatal(err)
	}
}

// TestEachServiceIsKilledInMidWork kills every service in turn with -9 while a run is under way; after
// its restart the work completes, and what is published is whole.
func TestEachServiceIsKilledInMidWork(t *testing.T) {
	h := newHouse(t)
	const base = 400_000
	h.orders(base)
	h.start(mainJob...)
	h.login()
	h.mustDA("admin", "discover", "--register")
	h.mustDA("admin", "sync", "--wait")
	if err := h.expect("SELECT count(*) FROM shop.orders", fmt.Sprintf("[[%d]]", base)); err != nil {
		t.Fatal(err)
	}
	round := 0
	for _, service := range mainJob {
		for _, after := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond} {
			round++
			want := base + round*1000
			h.orders(want)
			id := h.trigger()
			time.Sleep(after)
			h.services[service].kill9()
			h.start(service)
			if r := h.finished(id, 90*time.Second); r.Status != "succeeded" {
				t.Fatalf("%s killed after %s: run ended as %+v", service, after, r)
			}
			eventually(t, 10*time.Second, fmt.Sprintf("%s killed after %s", service, after), func() error {
				return h.expect("SELECT count(*), count(DISTINCT id) FROM shop.orders", fmt.Sprintf("[[%d %d]]", want, want))
			})
		}
	}
	// The bus itself: what was asked for is done once it is back.
	for _, after := range []time.Duration{30 * time.Millisecond, 300 * time.Millisecond} {
		round++
		want := base + round*1000
		h.orders(want)
		id := h.trigger()
		time.Sleep(after)
		h.nats.kill9()
		h.startNATS()
		if r := h.finished(id, 90*time.Second); r.Status != "succeeded" {
			t.Fatalf("nats-server killed after %s: run ended as %+v", after, r)
		}
		if err := h.expect("SELECT count(*) FROM shop.orders", fmt.Sprintf("[[%d]]", want)); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing half-finished is left behind by all of that.
	h.services["agnes-extractor-csv"].stop()
	h.start("agnes-extractor-csv")
	eventually(t, 20*time.Second, "scratch swept", func() error {
		entries, err := os.ReadDir(filepath.Join(h.dir, "data", "tmp"))
		if err != nil {
			return err
		}
		var left []string
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if len(left) > len(mainJob) {
			return fmt.Errorf("left in tmp: %v", left)
		}
		return nil
	})
}

// TestStandaloneIsKilledAtAnyTime kills the all-in-one binary at random moments; each new start needs
// no repair and nothing that was answered is lost.
func TestStandaloneIsKilledAtAnyTime(t *testing.T) {
	h := &house{t: t, dir: t.TempDir(), apiAddr: freeAddr(t), services: map[string]*process{}, health: map[string]string{}}
	h.write("config/instance.yaml", "sources:\n  - {name: shop, type: csv, path: ../files, auto_register: true}\n")
	h.orders(20_000)
	start := func() time.Duration {
		began := time.Now()
		h.services["agnes"] = spawn(t, "agnes", slices.DeleteFunc(h.env("agnes"), func(v string) bool {
			return strings.HasPrefix(v, "AGNES_NATS") || strings.HasPrefix(v, "AGNES_HEALTH")
		}), filepath.Join(binaries, "agnes"))
		eventually(t, 20*time.Second, "agnes ready", func() error {
			if !h.services["agnes"].alive() {
				return errors.New("the process ended")
			}
			return get("http://" + h.apiAddr + "/readyz")
		})
		return time.Since(began)
	}
	first := start()
	t.Logf("ready after %s", first)
	h.login()
	eventually(t, 30*time.Second, "first rows", func() error { return h.expect("SELECT count(*) FROM orders", "[[20000]]") })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 15 {
		want := 20_000 + (round+1)*100
		h.orders(want)
		id := h.trigger()
		var token struct {
			ID string `json:"id"`
		}
		h.post("/auth/tokens", map[string]any{"name": fmt.Sprintf("round %d", round)}, &token)
		time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
		h.services["agnes"].kill9()
		took := start()
		if took > 5*time.Second {
			t.Errorf("round %d: ready only after %s", round, took)
		}
		if r := h.finished(id, 60*time.Second); r.Status != "succeeded" {
			t.Fatalf("round %d: %+v", round, r)
		}
		if err := h.expect("SELECT count(*) FROM orders", fmt.Sprintf("[[%d]]", want)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var tokens any
		if err := h.call(http.MethodGet, "/auth/tokens", nil, &tokens); err != nil || !strings.Contains(fmt.Sprint(tokens), token.ID) {
			t.Fatalf("round %d: the token that was answered is lost: %v", round, err)
		}
	}
	// One port only: nothing but the api listens.
	if c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", "127.0.0.1:4222"); err == nil {
		_ = c.Close()
		t.Error("something listens on 4222: the embedded bus must stay in the process")
	}
	h.services["agnes"].stop()
	if code := h.services["agnes"].cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("a clean stop exits with %d", code)
	}
}
