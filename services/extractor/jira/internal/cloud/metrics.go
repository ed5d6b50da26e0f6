package cloud

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/telemetry"
)

// metrics of a client; the zero value measures nothing.
type metrics struct {
	source    string
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	throttled *prometheus.CounterVec
	places    *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer, source string) (metrics, error) {
	m := metrics{source: source}
	if registry == nil {
		return m, nil
	}
	var err error
	m.requests, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_jira_requests_total", Help: "Calls to Jira by source, route and status; 0 where there was no answer.",
	}, []string{"source", "route", "status"}), err)
	m.seconds, err = telemetry.Register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "agnes_jira_request_seconds", Help: "Duration of calls to Jira by source and route.", Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 9),
	}, []string{"source", "route"}), err)
	m.retries, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_jira_retries_total", Help: "Calls to Jira that were tried again, by source and reason.",
	}, []string{"source", "reason"}), err)
	m.throttled, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_jira_throttled_total", Help: "Answers 429 of Jira by source and priority.",
	}, []string{"source", "priority"}), err)
	m.places, err = telemetry.Register(registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "agnes_jira_places", Help: "Calls to Jira that may be under way at once, by source and priority.",
	}, []string{"source", "priority"}), err)
	return m, err
}

func (m metrics) called(route string, status int, took time.Duration) {
	if m.requests != nil {
		m.requests.WithLabelValues(m.source, route, fmt.Sprint(status)).Inc()
		m.seconds.WithLabelValues(m.source, route).Observe(took.Seconds())
	}
}

func (m metrics) retried(reason string) {
	if m.retries != nil {
		m.retries.WithLabelValues(m.source, reason).Inc()
	}
}

func (m metrics) limited(p priority) {
	if m.throttled != nil {
		m.throttled.WithLabelValues(m.source, p.String()).Inc()
	}
}

func (m metrics) setPlaces(p priority, places float64) {
	if m.places != nil {
		m.places.WithLabelValues(m.source, p.String()).Set(places)
	}
}
