//go:build verify

package verify_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/jira"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const webhookSecret = "a secret of twenty-four."

// TestWebhooksSurviveKills sends webhooks through the api's port while the services and the bus behind it
// are killed with -9: what was answered 200 is in the stream, once.
func TestWebhooksSurviveKills(t *testing.T) {
	const rounds = 15
	h := newHouse(t)
	h.write("config/instance.yaml", "sources: [{name: jira, type: jira, site: https://example.atlassian.net, webhook_secret: '"+webhookSecret+"'}]")
	hook := freeAddr(t)
	h.more = []string{"AGNES_JIRA_WEBHOOK_ADDR=" + hook, "AGNES_JIRA_WEBHOOK_URL=http://" + hook, "AGNES_JIRA_WEBHOOK_PATIENCE=1s"}
	h.start("agnes-api", "agnes-jira-webhook")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	accepted, refused := sync.Map{}, atomic.Int64{}
	answered := atomic.Int64{}
	var senders sync.WaitGroup
	for sender := range 8 {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := fmt.Sprintf(`{"timestamp":%d,"webhookEvent":"jira:issue_updated","issue":{"id":"%d%06d","key":"SUP-%d"}}`, time.Now().UnixMilli(), sender+1, n, n+1)
				for try := 0; ctx.Err() == nil; try++ { // as Jira does, only sooner
					if status := sendWebhook(h.apiAddr, body, fmt.Sprint(sender, ".", n), try); status == http.StatusOK {
						accepted.Store(body, true)
						answered.Add(1)
						break
					} else if status == http.StatusUnauthorized || status == http.StatusBadRequest {
						t.Errorf("%d for %s", status, body)
						return
					}
					refused.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	for round := range rounds {
		before := answered.Load()
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		if round%3 == 2 {
			h.nats.kill9()
			h.startNATS()
		} else {
			h.services["agnes-jira-webhook"].kill9()
			h.start("agnes-jira-webhook")
		}
		eventually(t, 30*time.Second, "webhooks are taken in again", func() error {
			if now := answered.Load(); now <= before+20 {
				return fmt.Errorf("%d were answered, and %d before", now, before)
			}
			return nil
		})
	}
	stop()
	senders.Wait()

	bus, err := event.Connect(t.Context(), event.Config{URL: h.natsURL(), Name: "verify", Token: busToken})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	extent, err := event.ExtentOf(t.Context(), bus, event.JiraReceived)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	done := make(chan struct{})
	sub, err := event.Consume(t.Context(), bus, event.JiraReceived, event.Consumer{Name: "verify"}, func(_ context.Context, e event.Event[*agnesv1.JiraReceived]) error {
		if found[string(e.Payload.GetBody())]++; e.Sequence == extent.Newest {
			close(done)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%d of %d webhooks can be read", len(found), extent.Newest)
	}
	if err := event.StopAll(10*time.Second, sub); err != nil {
		t.Fatal(err)
	}
	n := 0
	accepted.Range(func(body, _ any) bool {
		if n++; found[body.(string)] != 1 {
			t.Errorf("%s was answered 200 and is stored %d times", body, found[body.(string)])
		}
		return true
	})
	t.Logf("%d webhooks answered 200 over %d kills, %d tries refused or cut", n, rounds, refused.Load())
	if n < rounds*20 {
		t.Errorf("only %d webhooks were answered", n)
	}
}

// sendWebhook sends one through the api and gives the status; 0 for no answer.
func sendWebhook(addr, body, identifier string, try int) int {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+addr+"/webhooks/jira", strings.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set(jira.HeaderSignature, jira.Sign([]byte(webhookSecret), []byte(body)))
	request.Header.Set(jira.HeaderIdentifier, identifier)
	request.Header.Set(jira.HeaderRetry, fmt.Sprint(try))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
