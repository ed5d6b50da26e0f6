package bigquery

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
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
	if m.jobs, err = shared(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_bigquery_jobs_total", Help: "Query jobs by result: done, or the kind of the failure.",
	}, []string{"result"})); err != nil {
		return m, err
	}
	if m.billed, err = shared(registry, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agnes_bigquery_billed_bytes_total", Help: "Bytes that query jobs were billed for.",
	})); err != nil {
		return m, err
	}
	if m.resumed, err = shared(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_bigquery_streams_resumed_total", Help: "Read streams that were resumed at their offset, by why: stalled or cut.",
	}, []string{"why"})); err != nil {
		return m, err
	}
	m.rest, err = shared(registry, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agnes_bigquery_rest_reads_total", Help: "Results that came by REST, since read sessions were denied.",
	}))
	return m, err
}

// shared registers a collector, or gives that of another client in this process.
func shared[C prometheus.Collector](registry prometheus.Registerer, c C) (C, error) {
	err := registry.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if other, ok := already.ExistingCollector.(C); ok {
			return other, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register the metrics of BigQuery: %w", err)
	}
	return c, nil
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
