package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/services/api/internal/query"
)

// queryMetrics shows the processes of queries, and what holds them, as they are when somebody looks.
type queryMetrics struct{ engine *query.Engine }

var (
	confinementMetric = prometheus.NewDesc("agnes_query_confinement", "1 where the layer holds the processes of queries, 0 where the system does not offer it", []string{"layer"}, nil)
	processesMetric   = prometheus.NewDesc("agnes_query_processes", "Processes of queries, at work and waiting", nil, nil)
	killsMetric       = prometheus.NewDesc("agnes_query_kills_total", "Processes of queries that ended, by reason", []string{"reason"}, nil)
)

// Describe is prometheus.Collector's.
func (queryMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- confinementMetric
	to <- processesMetric
	to <- killsMetric
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
}
