package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func withClock(clock clockwork.Clock) func(*cloud.Config) {
	return func(c *cloud.Config) { c.Clock = clock }
}

func TestTrap_J6_AThrottledBackfillDoesNotStallWebhooks(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s, c := start(t, jiratest.Config{}, withClock(clock), patience(time.Hour))
	s.Populate(200, 2, 1)
	s.Fail(jiratest.Fault{Route: jiratest.RouteBulkFetch, Times: 1, Status: 429, RetryAfter: 5 * time.Minute})
	done := make(chan error, 1)
	go func() {
		_, err := c.Background().BulkFetch(soon(t), []string{"10001", "10002"})
		done <- err
	}()
	// It waits for the pause to end.
	if err := clock.BlockUntilContext(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if _, err := c.Fetch(soon(t), fmt.Sprint(10_010+i)); err != nil {
			t.Fatalf("what follows a webhook waits too: %v", err)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("the backfill did not wait: %v", err)
	default:
	}
	clock.Advance(4*time.Minute + 59*time.Second)
	if n := s.Calls()[jiratest.RouteBulkFetch]; n != 1 {
		t.Errorf("%d calls within the pause", n)
	}
	clock.Advance(time.Minute)
	if err := <-done; err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestTrap_J6_ABackfillThatFillsItsPlacesLeavesSomeToWebhooks(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(1000, 2, 1)
	s.Fail(jiratest.Fault{Route: jiratest.RouteBulkFetch, Delay: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { _, _ = c.Background().BulkFetch(ctx, []string{"10001"}) })
	}
	began := time.Now()
	for i := range 10 {
		if _, err := c.Fetch(soon(t), fmt.Sprint(10_010+i)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("ten fetches took %v beside a slow backfill", took)
	}
	cancel()
	group.Wait()
	if n := s.Busiest(); n > 10 {
		t.Errorf("%d calls at once", n)
	}
}

func TestTrap_J6_RetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClock()
	s, c := start(t, jiratest.Config{}, withClock(clock), patience(time.Hour), func(c *cloud.Config) { c.SkipRemoteLinks = true })
	key := s.Create("SUP", nil)
	s.Fail(jiratest.Fault{Route: jiratest.RouteIssue, Times: 2, Status: 429, RetryAfter: 30 * time.Second})
	done := make(chan error, 1)
	go func() {
		_, err := c.Fetch(soon(t), key)
		done <- err
	}()
	for n := 1; n <= 2; n++ {
		if err := clock.BlockUntilContext(soon(t), 1); err != nil {
			t.Fatal(err)
		}
		if got := s.Calls()[jiratest.RouteIssue]; got != n {
			t.Fatalf("%d calls before pause %d", got, n)
		}
		clock.Advance(29 * time.Second)
		if got := s.Calls()[jiratest.RouteIssue]; got != n {
			t.Fatalf("%d calls within pause %d", got, n)
		}
		clock.Advance(10 * time.Second)
	}
	if err := <-done; err != nil {
		t.Errorf("after the pauses: %v", err)
	}
}

func TestAPauseBeyondPatienceIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, patience(10*time.Second))
	key := s.Create("SUP", nil)
	s.Fail(jiratest.Fault{Route: jiratest.RouteIssue, Times: 1, Status: 429, RetryAfter: time.Minute})
	began := time.Now()
	_, err := c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Busy)
	// And within the pause Jira is not even asked, by anybody.
	s.ResetCalls()
	for _, client := range []*cloud.Client{c, c.Background()} {
		_, err = client.Fetch(t.Context(), key)
		wantKind(t, err, fault.Busy)
		if after := fault.RetryAfter(err); after < 50*time.Second || after > 70*time.Second {
			t.Errorf("come again after %v", after)
		}
	}
	if len(s.Calls()) > 0 || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", s.Calls(), time.Since(began))
	}
}

func TestTheClientFindsTheRateThatJiraBears(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s, c := start(t, jiratest.Config{}, func(c *cloud.Config) { c.SkipRemoteLinks, c.Metrics = true, registry })
	s.Populate(300, 2, 1)
	s.Throttle(40, 10)
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			if _, err := c.Background().Fetch(soon(t), fmt.Sprint(10_001+i)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	calls := s.Calls()[jiratest.RouteIssue]
	if calls > 120 {
		t.Errorf("%d calls for 60 issues", calls)
	}
	t.Logf("%d calls for 60 issues", calls)
	if n, err := testutil.GatherAndCount(registry, "agnes_jira_requests_total", "agnes_jira_places", "agnes_jira_request_seconds"); err != nil || n < 3 {
		t.Errorf("%d metrics: %v", n, err)
	}
}

func TestACallerThatGivesUpWaitingTakesNoPlace(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, func(c *cloud.Config) { c.Concurrency, c.SkipRemoteLinks = 1, true })
	key := s.Create("SUP", nil)
	s.Fail(jiratest.Fault{Route: jiratest.RouteIssue, Times: 1, Delay: time.Minute})
	slow, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _, _ = c.Fetch(slow, key) })
	for s.Calls()[jiratest.RouteIssue] == 0 {
		if slow.Err() != nil {
			t.Fatal(slow.Err())
		}
	}
	var errs [20]error
	waiting, giveUp := context.WithCancel(t.Context())
	for i := range errs {
		group.Go(func() { _, errs[i] = c.Fetch(waiting, key) })
	}
	giveUp()
	stop()
	group.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	}
	if _, err := c.Fetch(soon(t), key); err != nil {
		t.Errorf("the place is lost: %v", err)
	}
}
