package jirawebhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/jira"
)

// outcome is what became of a webhook.
type outcome string

const (
	outcomeStored        outcome = "stored"
	outcomeDuplicate     outcome = "duplicate"     // the stream had it already
	outcomeIgnored       outcome = "ignored"       // changes no table
	outcomeFiltered      outcome = "filtered"      // of a project that the source is not about
	outcomeBadSignature  outcome = "bad_signature" // or none
	outcomeLimited       outcome = "limited"       // too many of them from one address
	outcomeNotConfigured outcome = "not_configured"
	outcomeInvalid       outcome = "invalid"
	outcomeTooLarge      outcome = "too_large"
	outcomeUnread        outcome = "unread"      // the body did not come
	outcomeBusy          outcome = "busy"        // too many at once
	outcomeUnavailable   outcome = "unavailable" // the bus did not take it
)

var outcomes = []outcome{
	outcomeStored, outcomeDuplicate, outcomeIgnored, outcomeFiltered, outcomeBadSignature, outcomeLimited, outcomeNotConfigured, outcomeInvalid,
	outcomeTooLarge, outcomeUnread, outcomeBusy, outcomeUnavailable,
}

type metrics struct {
	webhooks *prometheus.CounterVec
	events   *prometheus.CounterVec
	previous *prometheus.CounterVec
	unsigned *prometheus.CounterVec
	seconds  prometheus.Histogram
	storing  prometheus.Histogram
	lost     prometheus.Counter
	inFlight prometheus.Gauge
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_jira_webhooks_total", Help: "Webhooks by what became of them; the source is empty where no signature says it.",
		}, []string{"source", "outcome"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_jira_webhook_events_total", Help: "Verified webhooks by what they are about.",
		}, []string{"source", "kind"}),
		previous: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_jira_webhook_previous_secret_total", Help: "Webhooks that were signed with another secret than the first.",
		}, []string{"source"}),
		unsigned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_jira_webhook_unsigned_total", Help: "Webhooks that were accepted without a signature (AGNES_JIRA_ALLOW_UNSIGNED).",
		}, []string{"source"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agnes_jira_webhook_seconds", Help: "Duration of answers to webhooks, whatever became of them.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		storing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agnes_jira_webhook_store_seconds", Help: "How long the bus took to write webhooks to its disk.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agnes_jira_webhook_audit_lost_total", Help: "Refusals that could not be recorded.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "agnes_jira_webhooks_in_flight", Help: "Webhooks that are being taken in."}),
	}
	r.MustRegister(m.webhooks, m.events, m.previous, m.unsigned, m.seconds, m.storing, m.lost, m.inFlight)
	for _, o := range outcomes {
		m.webhooks.WithLabelValues("", string(o)) // so that it is shown before it happens
	}
	return m
}

func (m *metrics) done(source string, o outcome, took time.Duration) {
	m.webhooks.WithLabelValues(source, string(o)).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) read(source string, kind jira.Kind) {
	m.events.WithLabelValues(source, string(kind)).Inc()
}
