package extract

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/telemetry"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// metrics of a runtime; the zero value measures nothing.
type metrics struct {
	runs    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	tables  *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) (metrics, error) {
	if registry == nil {
		return metrics{}, nil
	}
	var m metrics
	var err error
	m.runs, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_extract_runs_total", Help: "Runs by source and result: ready, or the kind of the failure.",
	}, []string{"source", "result"}), err)
	m.seconds, err = telemetry.Register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "agnes_extract_run_seconds", Help: "Duration of runs by source.", Buckets: prometheus.ExponentialBuckets(0.05, 4, 9),
	}, []string{"source"}), err)
	m.tables, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_extract_tables_total", Help: "Tables of runs by source and outcome.",
	}, []string{"source", "outcome"}), err)
	return m, err
}

// ran counts a run.
func (m metrics) ran(source string, took time.Duration, ready *agnesv1.ExtractReady, err error) {
	if m.runs == nil {
		return
	}
	result := "ready"
	if err != nil {
		result = string(fault.KindOf(err))
	}
	m.runs.WithLabelValues(source, result).Inc()
	m.seconds.WithLabelValues(source).Observe(took.Seconds())
	for _, t := range ready.GetTables() {
		m.tables.WithLabelValues(source, t.GetOutcome()).Inc()
	}
}
