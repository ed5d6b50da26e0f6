package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/services/api/internal/query"
)

// queryMetrics shows the processes of queries, and what holds them, as they are when somebody looks.
type queryMetrics struct {
	engine  *query.Engine
	fetched *federation.Store
}

var (
	confinementMetric = prometheus.NewDesc("agnes_query_confinement", "1 where the layer holds the processes of queries, 0 where the system does not offer it", []string{"layer"}, nil)
	processesMetric   = prometheus.NewDesc("agnes_query_processes", "Processes of queries, at work and waiting", nil, nil)
	killsMetric       = prometheus.NewDesc("agnes_query_kills_total", "Processes of queries that ended, by reason", []string{"reason"}, nil)

	fetchesMetric = prometheus.NewDesc("agnes_remote_fetches_total", "Scans of remote tables that statements needed, by where they came from", []string{"result"}, nil)
	fetchedRows   = prometheus.NewDesc("agnes_remote_fetched_rows_total", "Rows of remote tables that were fetched", nil, nil)
	fetchedBytes  = prometheus.NewDesc("agnes_remote_fetched_bytes_total", "Bytes of the files of what was fetched of remote tables", nil, nil)
	fetchSeconds  = prometheus.NewDesc("agnes_remote_fetch_seconds_total", "Time that fetching remote tables took", nil, nil)
)

// Describe is prometheus.Collector's.
func (queryMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- confinementMetric
	to <- processesMetric
	to <- killsMetric
	to <- fetchesMetric
	to <- fetchedRows
	to <- fetchedBytes
	to <- fetchSeconds
}

// Collect is prometheus.Collector's.
func (m queryMetrics) Collect(to chan<- prometheus.Metric) {
	for layer, holds := range m.engine.Confinement() {
		value := 0.0
		if holds {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(confinementMetric, prometheus.GaugeValue, value, layer)
	}
	to <- prometheus.MustNewConstMetric(processesMetric, prometheus.GaugeValue, float64(m.engine.Processes()))
	for reason, n := range m.engine.Kills() {
		to <- prometheus.MustNewConstMetric(killsMetric, prometheus.CounterValue, float64(n), reason)
	}
	stats := m.fetched.Stats()
	count := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	count(fetchesMetric, float64(stats.Hits), "kept")
	count(fetchesMetric, float64(stats.Failed), "failed")
	count(fetchesMetric, float64(stats.Fetches-stats.Failed), "fetched")
	count(fetchedRows, float64(stats.Rows))
	count(fetchedBytes, float64(stats.Bytes))
	count(fetchSeconds, stats.Took.Seconds())
}
