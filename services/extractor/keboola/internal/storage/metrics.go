package storage

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/telemetry"
)

// metrics of a client; the zero value measures nothing.
type metrics struct {
	source   string
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer, source string) (metrics, error) {
	m := metrics{source: source}
	if registry == nil {
		return m, nil
	}
	var err error
	m.requests, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_keboola_requests_total", Help: "Calls to Keboola by source, route and status; 0 where there was no answer.",
	}, []string{"source", "route", "status"}), err)
	m.seconds, err = telemetry.Register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "agnes_keboola_request_seconds", Help: "Duration of calls to Keboola by source and route.", Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 9),
	}, []string{"source", "route"}), err)
	m.retries, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_keboola_retries_total", Help: "Calls to Keboola and reads of its files that were tried again, by source and status.",
	}, []string{"source", "status"}), err)
	m.bytes, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_keboola_read_bytes_total", Help: "Bytes of exported files that were read, by source, as they travel.",
	}, []string{"source"}), err)
	return m, err
}

func (m metrics) called(route string, status int, took time.Duration) {
	if m.requests != nil {
		m.requests.WithLabelValues(m.source, route, fmt.Sprint(status)).Inc()
		m.seconds.WithLabelValues(m.source, route).Observe(took.Seconds())
	}
}

func (m metrics) retried(status int) {
	if m.retries != nil {
		m.retries.WithLabelValues(m.source, fmt.Sprint(status)).Inc()
	}
}

func (m metrics) read(n int64) {
	if m.bytes != nil {
		m.bytes.WithLabelValues(m.source).Add(float64(n))
	}
}
