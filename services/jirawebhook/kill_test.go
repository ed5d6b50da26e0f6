package jirawebhook

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
)

const childStore = "AGNES_TEST_WEBHOOK_STORE"

// takeInUntilKilled is a process with the service and an embedded bus; it prints its address.
func takeInUntilKilled(dir string) {
	ctx := zerolog.Nop().WithContext(context.Background())
	fail := func(what string, err error) { _, _ = fmt.Fprintln(os.Stderr, what, err) }
	server, err := embedded.Start(ctx, embedded.Config{StoreDir: dir, SyncAlways: true})
	if err != nil {
		fail("start the bus:", err)
		return
	}
	cfg := Config{Addr: "127.0.0.1:0", MaxBodyKB: 4096, Patience: 5 * time.Second, Refusals: ratelimit.Rate{}}
	cfg.ConfigDir, cfg.DataDir = os.Getenv("CONFIG_DIR"), dir
	cfg.OnListen = func(addr string) { _, _ = fmt.Fprintln(os.Stdout, addr) }
	if cfg.Bus, err = server.Connect(ctx, name); err != nil {
		fail("connect:", err)
		return
	}
	fail("it ended:", Run(ctx, cfg))
}

func TestWhatWasAnsweredSurvivesAKill(t *testing.T) {
	t.Parallel()
	h := &house{t: t}
	h.configure(oneSite)
	store := t.TempDir()
	accepted := map[string]bool{} // by body
	var mu sync.Mutex
	for round := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childStore+"="+store, "CONFIG_DIR="+h.config.ConfigDir)
		var complaints strings.Builder
		child.Stderr = &complaints
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %s", err, complaints.String())
		}
		url := "http://" + strings.TrimSpace(address) + pathWebhook
		answered := 0
		var senders sync.WaitGroup
		for sender := range 8 {
			senders.Go(func() {
				for n := 0; ; n++ {
					sent := body(jira.IssueUpdated, fmt.Sprintf("SUP-%d", n+1), round*1_000_000+sender*10_000+n)
					status, err := attempt(t, url, sent, fmt.Sprint(round, ".", sender, ".", n))
					if err != nil {
						return // it is dead
					}
					mu.Lock()
					if status == http.StatusOK {
						accepted[sent] = true
						if answered++; answered == 60*(round+1) {
							_ = child.Process.Kill() // kill -9, while others are being written
						}
					}
					mu.Unlock()
				}
			})
		}
		senders.Wait()
		_ = child.Wait()
		if complaints.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaints.String())
		}
	}
	server, err := embedded.Start(t.Context(), embedded.Config{StoreDir: store, SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	found := map[string]int{}
	for _, e := range stored(t, eventtest.Connect(t, server, "test")) {
		found[string(e.Payload.GetBody())]++
	}
	for sent := range accepted {
		if found[sent] != 1 {
			t.Errorf("%s was answered and is stored %d times", sent, found[sent])
		}
	}
	if len(accepted) < 5*60 {
		t.Errorf("only %d were answered", len(accepted))
	}
}

func attempt(t *testing.T, url, sent, identifier string) (int, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(sent))
	if err != nil {
		return 0, err
	}
	request.Header.Set(jira.HeaderSignature, jira.Sign([]byte(secret), []byte(sent)))
	request.Header.Set(jira.HeaderIdentifier, identifier)
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}
