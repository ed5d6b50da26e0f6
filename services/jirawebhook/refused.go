package jirawebhook

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/audit/fold"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	// maxAddresses bounds the addresses whose wrong signatures are counted.
	maxAddresses = 10_000
	// maxWaiting bounds the records that wait for the bus.
	maxWaiting = 256
	auditPause = time.Second
	auditTime  = 10 * time.Second
)

// refusals counts wrong signatures per address and has them recorded. A signature is checked before it is
// counted: what strangers send must not cost Jira's own webhooks, which may come from the same proxy.
type refusals struct {
	mu        sync.Mutex
	addresses *ratelimit.Table // nil for no limit

	folds   *fold.Folder
	waiting chan *agnesv1.AuditRecorded
	metrics *metrics
	log     zerolog.Logger
}

func newRefusals(rate ratelimit.Rate, m *metrics, log zerolog.Logger) *refusals {
	r := &refusals{folds: fold.New(time.Now), waiting: make(chan *agnesv1.AuditRecorded, maxWaiting), metrics: m, log: log}
	if !rate.Off() {
		r.addresses = ratelimit.NewTable(rate, rate.Count, maxAddresses)
	}
	return r
}

// bad notes a webhook whose signature is wrong or missing, and gives the answer for it.
func (r *refusals) bad(request *http.Request, address, source string, cause error) *problem {
	if wait := r.take(ratelimit.Address(address)); wait > 0 {
		return &problem{
			status: http.StatusTooManyRequests, outcome: outcomeLimited, detail: "too many webhooks with a wrong signature", after: wait,
		}
	}
	r.log.Warn().Str("remote", address).Str("source", source).AnErr("cause", cause).Msg("a webhook was refused")
	r.record(&agnesv1.AuditRecorded{
		Action: "webhook.refused", Resource: resourceOf(source), Result: fold.Refused, Service: name,
		Params: &structpb.Struct{Fields: map[string]*structpb.Value{
			"error": structpb.NewStringValue(string(fault.Unauthenticated)), "reason": structpb.NewStringValue(cause.Error()),
		}},
		RemoteAddress: address, UserAgent: header(request, "User-Agent"), RequestId: header(request, "X-Request-Id"), RecordedAt: timestamppb.Now(),
	})
	return badSignature()
}

func (r *refusals) take(address string) time.Duration {
	if r.addresses == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	return ratelimit.Take(now, r.addresses.Bucket(now, address))
}

func resourceOf(source string) string {
	if source == "" {
		return "webhooks:jira"
	}
	return "source:" + source
}

// record has an entry written down, or counted where there are many; it never waits.
func (r *refusals) record(m *agnesv1.AuditRecorded) {
	if !r.folds.Takes(m) {
		r.queue(m)
	}
}

func (r *refusals) queue(m *agnesv1.AuditRecorded) {
	select {
	case r.waiting <- m:
	default:
		r.metrics.lost.Inc()
	}
}

// run hands entries to the bus until ctx ends, and then what is left.
func (r *refusals) run(ctx context.Context, bus *event.Bus) {
	tick := time.NewTicker(auditPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case m := <-r.waiting:
			r.publish(ctx, bus, m)
		case <-tick.C:
			if r.folds.Due() {
				r.flush()
			}
		}
	}
	r.flush()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for {
		select {
		case m := <-r.waiting:
			r.publish(last, bus, m)
		default:
			return
		}
	}
}

func (r *refusals) flush() {
	for _, m := range r.folds.Flush() {
		r.queue(m)
	}
}

func (r *refusals) publish(ctx context.Context, bus *event.Bus, m *agnesv1.AuditRecorded) {
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	if err := event.Publish(ctx, bus, event.AuditRecorded, "", m); err != nil {
		r.metrics.lost.Inc()
		r.log.Error().Err(err).Msg("a refused webhook could not be recorded")
	}
}

// header is a header as it may go into an event: text, and not long.
func header(r *http.Request, key string) string {
	const most = 256
	return strings.ToValidUTF8(clip(r.Header.Get(key), most), "?")
}

func clip(text string, most int) string {
	if len(text) > most {
		return text[:most]
	}
	return text
}
