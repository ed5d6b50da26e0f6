package event_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestWhatCannotBeFetchedAgainHasAStreamOfItsOwn(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	eventtest.Connect(t, server, "test")
	js := rawJetStream(t, server)
	owner := map[string]string{}
	for info := range js.ListStreams(t.Context()).Info() {
		for _, subject := range info.Config.Subjects {
			owner[subject] = info.Config.Name
		}
		if info.Config.Storage != jetstream.FileStorage {
			t.Errorf("%s is not on disk", info.Config.Name)
		}
	}
	for subject, stream := range map[string]string{
		"agnes.v1.jira.received.>": "AGNES_JIRA", "agnes.v1.audit.recorded.>": "AGNES_AUDIT", "agnes.v1.extract.requested.>": "AGNES_REQUESTS",
		"agnes.v1.extract.ready.>": "AGNES_EVENTS", "agnes.v1.deadletter.recorded.>": "AGNES_DEAD",
	} {
		if owner[subject] != stream {
			t.Errorf("%s is in %q, want %s", subject, owner[subject], stream)
		}
	}
	for name, want := range map[string]struct {
		retention  jetstream.RetentionPolicy
		age        time.Duration
		duplicates time.Duration
	}{
		"AGNES_REQUESTS": {jetstream.WorkQueuePolicy, 7 * 24 * time.Hour, 10 * time.Minute},
		"AGNES_EVENTS":   {jetstream.LimitsPolicy, 7 * 24 * time.Hour, 10 * time.Minute},
		"AGNES_JIRA":     {jetstream.LimitsPolicy, 30 * 24 * time.Hour, 2 * time.Hour},
		"AGNES_DEAD":     {jetstream.LimitsPolicy, 365 * 24 * time.Hour, 10 * time.Minute},
	} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if c := stream.CachedInfo().Config; c.Retention != want.retention || c.MaxAge != want.age || c.Duplicates != want.duplicates {
			t.Errorf("%s has %s for %s, and knows what it had for %s", name, c.Retention, c.MaxAge, c.Duplicates)
		}
	}
}

func TestManyProcessesMayStartAtOnce(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			b, err := server.Connect(t.Context(), "test")
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			if err := b.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			sub, err := event.Consume(t.Context(), b, event.ExtractReady, event.Consumer{Name: "shared"}, into(nil))
			if err != nil {
				t.Error(err)
				return
			}
			_ = sub.Stop(t.Context())
		})
	}
	all.Wait()
}

func TestAnOlderDeclarationIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	js := rawJetStream(t, server)
	config := func(name string) jetstream.StreamConfig {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().Config
	}
	for _, c := range []jetstream.StreamConfig{
		// What an older version declared, without most of today's subjects.
		{Name: "AGNES_EVENTS", Subjects: []string{"agnes.v1.extract.ready.>"}, MaxAge: time.Hour},
		{Name: "AGNES_JIRA", Subjects: []string{"agnes.v1.jira.received.>"}, Duplicates: time.Minute, Metadata: map[string]string{"agnes-revision": "1"}},
		// What a newer version declared, which an older one that starts later must leave alone.
		{Name: "AGNES_AUDIT", Subjects: []string{"agnes.v1.audit.recorded.>", "agnes.v1.audit.sealed.>"}, Metadata: map[string]string{"agnes-revision": "1000"}},
	} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	eventtest.Connect(t, server, "test")
	if c := config("AGNES_EVENTS"); !slices.Contains(c.Subjects, "agnes.v1.analytics.published.>") || c.MaxAge != 7*24*time.Hour {
		t.Errorf("the older declaration stands: %+v", c)
	}
	if c := config("AGNES_JIRA"); c.Duplicates != 2*time.Hour {
		t.Errorf("the older declaration stands: %+v", c)
	}
	if c := config("AGNES_AUDIT"); len(c.Subjects) != 2 {
		t.Errorf("the newer declaration was taken back: %+v", c)
	}
	// What an operator changes by hand stays.
	changed := config("AGNES_EVENTS")
	changed.MaxAge = 30 * 24 * time.Hour
	if _, err := js.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	eventtest.Connect(t, server, "test")
	if c := config("AGNES_EVENTS"); c.MaxAge != changed.MaxAge {
		t.Errorf("the operator's change was taken back: %+v", c)
	}
}

func TestAStreamThatCannotBeBroughtUpToDateIsSaid(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	if _, err := rawJetStream(t, server).CreateStream(t.Context(), jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"agnes.v1.>"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventtest.Patience)
	defer cancel()
	if _, err := server.Connect(ctx, "test"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a foreign stream over our subjects gives %v", err)
	}
}
