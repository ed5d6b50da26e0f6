package event

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// This file declares everything that Agnes stores on the bus. Whoever starts first creates it.

// The streams.
const (
	streamRequests = "AGNES_REQUESTS" // work queue: a message is gone when it is done
	streamEvents   = "AGNES_EVENTS"
	streamJira     = "AGNES_JIRA"  // cannot be fetched again: put it on a server with sync_interval always
	streamAudit    = "AGNES_AUDIT" // cannot be fetched again: put it on a server with sync_interval always
	streamDead     = "AGNES_DEAD"
)

// The buckets of JetStream key-value state.
const (
	// BucketScheduler holds the scheduler's state per table.
	BucketScheduler = "agnes_scheduler"
	// BucketLeases holds who leads; see Bus.Lease.
	BucketLeases = "agnes_leases"
	// BucketBudget counts, by day, what remote queries are billed for.
	BucketBudget = "agnes_budget"
	// BucketTickets holds what one-time tickets stand for.
	BucketTickets = "agnes_tickets"
)

// TicketTTL is how long a ticket can be used.
const TicketTTL = time.Minute

const (
	day = 24 * time.Hour
	// duplicates is how long a repeated publish of one id is recognized by the server.
	duplicates = 10 * time.Minute
	// jiraDuplicates is longer: Jira repeats a webhook whose answer was lost up to five times, each after at
	// most 15 minutes.
	jiraDuplicates = 2 * time.Hour
	// revision of the declarations below: raise it with every change. A service never takes back
	// what a newer version of it declared, and keeps what an operator changed by hand.
	revision = 2
	// revisionKey is where a stream's metadata holds it.
	revisionKey = "agnes-revision"
)

func declaredStreams() []jetstream.StreamConfig {
	limits := func(name, about string, age time.Duration, kinds ...string) jetstream.StreamConfig {
		c := jetstream.StreamConfig{
			Name: name, Description: about, Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage,
			MaxAge: age, Duplicates: duplicates, AllowDirect: true,
		}
		for _, kind := range kinds {
			c.Subjects = append(c.Subjects, subjectRoot+kind+".>")
		}
		return c
	}
	requests := limits(streamRequests, "work for extractors", 7*day, ExtractRequested.name)
	requests.Retention = jetstream.WorkQueuePolicy
	dead := limits(streamDead, "events that a consumer gave up", 365*day, deadLetterKind)
	dead.MaxMsgsPerSubject = 1 // one letter per consumer and event, however often it fails
	dead.AllowDirect = false   // a letter that was replayed or dropped is not listed again by a stale replica
	webhooks := limits(streamJira, "verified Jira webhooks", 30*day, JiraReceived.name)
	webhooks.Duplicates = jiraDuplicates
	return []jetstream.StreamConfig{
		requests,
		limits(streamEvents, "what happened", 7*day, ExtractReady.name, ExtractFailed.name, AnalyticsPublished.name,
			TableProfiled.name, RegistryChanged.name, NotificationRaised.name),
		webhooks,
		limits(streamAudit, "who did what", 90*day, AuditRecorded.name),
		dead,
	}
}

func declaredBuckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: BucketScheduler, Description: "when each table ran last and runs next", Storage: jetstream.FileStorage},
		{Bucket: BucketLeases, Description: "who leads", Storage: jetstream.FileStorage},
		{Bucket: BucketBudget, Description: "what remote queries are billed for, by day", Storage: jetstream.FileStorage, TTL: 40 * day},
		{Bucket: BucketTickets, Description: "what one-time tickets stand for, sealed", Storage: jetstream.FileStorage, TTL: TicketTTL},
	}
}

// ensure creates or updates every stream and bucket. Several processes may do so at once.
func (b *Bus) ensure(ctx context.Context) error {
	for _, c := range declaredStreams() {
		if err := b.ensureStream(ctx, c); err != nil {
			return fmt.Errorf("declare the stream %s: %w", c.Name, err)
		}
	}
	for _, c := range declaredBuckets() {
		c.Replicas = b.replicas
		_, err := b.js.CreateKeyValue(ctx, c)
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return fmt.Errorf("declare the bucket %s: %w", c.Bucket, err)
		}
	}
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	want.Replicas = b.replicas
	want.Metadata = map[string]string{revisionKey: strconv.Itoa(revision)}
	stream, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = b.js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		stream, err = b.js.Stream(ctx, want.Name) // another process was first, with other settings
	}
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	if stands, _ := strconv.Atoi(have.Metadata[revisionKey]); stands >= revision {
		return nil
	}
	want.Replicas, want.Placement = have.Replicas, have.Placement // the operator's
	_, err = b.js.UpdateStream(ctx, want)
	return err
}
