package orchestrator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

type metrics struct {
	rebuilds   *prometheus.CounterVec
	seconds    prometheus.Histogram
	problems   *prometheus.GaugeVec
	copied     prometheus.Counter
	collected  prometheus.Counter
	serverDB   prometheus.Histogram
	serverFail prometheus.Counter
	profiles   *prometheus.CounterVec
}

// Results of a rebuild, as the metric names them.
const (
	resultPublished = "published"
	resultUnchanged = "unchanged"
	resultRemoved   = "removed"
	resultFailed    = "failed"
)

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_orchestrator_rebuilds_total", Help: "Rebuilds of a source, by result.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agnes_orchestrator_rebuild_seconds", Help: "Duration of the rebuild of one source.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2.5, 12),
		}),
		problems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agnes_orchestrator_problems", Help: "What could not be published, by source and code.",
		}, []string{"source", "code"}),
		copied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agnes_orchestrator_copied_bytes_total", Help: "Bytes of parts written for tables of other programs.",
		}),
		collected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agnes_orchestrator_collected_parts_total", Help: "Generated parts removed after their grace period.",
		}),
		serverDB: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agnes_orchestrator_server_db_seconds", Help: "Duration of writing server.duckdb anew.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10),
		}),
		serverFail: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agnes_orchestrator_server_db_failures_total", Help: "Times that server.duckdb could not be written.",
		}),
		profiles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_orchestrator_profiles_total", Help: "Table profiles, by result.",
		}, []string{"result"}),
	}
	if r != nil {
		r.MustRegister(m.rebuilds, m.seconds, m.problems, m.copied, m.collected, m.serverDB, m.serverFail, m.profiles)
	}
	return m
}

// rebuilt records one rebuild.
func (m *metrics) rebuilt(started time.Time, result string) {
	m.rebuilds.WithLabelValues(result).Inc()
	m.seconds.Observe(time.Since(started).Seconds())
}

// problemsOf records the present problems of a source in place of the earlier ones.
func (m *metrics) problemsOf(source string, problems []catalog.Problem) {
	m.problems.DeletePartialMatch(prometheus.Labels{"source": source})
	for _, p := range problems {
		m.problems.WithLabelValues(source, p.Code).Inc()
	}
}
