package bigquery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/telemetry"
)

// metrics of a client; the zero value measures nothing.
type metrics struct {
	jobs    *prometheus.CounterVec
	billed  prometheus.Counter
	resumed *prometheus.CounterVec
	rest    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (m metrics, err error) {
	if registry == nil {
		return m, nil
	}
	m.jobs, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_bigquery_jobs_total", Help: "Query jobs by result: done, or the kind of the failure.",
	}, []string{"result"}), err)
	m.billed, err = telemetry.Register(registry, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agnes_bigquery_billed_bytes_total", Help: "Bytes that query jobs were billed for.",
	}), err)
	m.resumed, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_bigquery_streams_resumed_total", Help: "Read streams that were resumed at their offset, by why: stalled or cut.",
	}, []string{"why"}), err)
	m.rest, err = telemetry.Register(registry, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agnes_bigquery_rest_reads_total", Help: "Results that came by REST, since read sessions were denied.",
	}), err)
	return m, err
}

func (m metrics) job(result string, billed int64) {
	if m.jobs != nil {
		m.jobs.WithLabelValues(result).Inc()
		m.billed.Add(float64(billed))
	}
}

func (m metrics) resume(why string) {
	if m.resumed != nil {
		m.resumed.WithLabelValues(why).Inc()
	}
}

func (m metrics) byREST() {
	if m.rest != nil {
		m.rest.Inc()
	}
}
