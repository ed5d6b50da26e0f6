package scheduler

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// health is what stands in the way of scheduling right now.
type health struct {
	mu     sync.Mutex
	causes map[string]error
}

// set notes a cause, or that it is over.
func (h *health) set(what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.causes == nil {
		h.causes = map[string]error{}
	}
	if err == nil {
		delete(h.causes, what)
		return
	}
	h.causes[what] = err
}

func (h *health) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.causes = nil
}

func (h *health) problem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, err := range h.causes {
		return err
	}
	return nil
}

type metrics struct {
	leader   prometheus.Gauge
	tables   *prometheus.GaugeVec
	pending  prometheus.Gauge
	requests *prometheus.CounterVec
	outcomes *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		leader: prometheus.NewGauge(prometheus.GaugeOpts{Name: "agnes_scheduler_leader", Help: "1 where this process leads."}),
		tables: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agnes_scheduler_tables", Help: "Registered tables by what their schedule is: valid, none, invalid.",
		}, []string{"schedule"}),
		pending:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "agnes_scheduler_pending_tables", Help: "Tables whose request has no outcome yet."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agnes_scheduler_requests_total", Help: "Requests published."}, []string{"source", "reason"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agnes_scheduler_outcomes_total", Help: "Outcomes of tables: success, failure, timeout.",
		}, []string{"source", "outcome"}),
	}
	r.MustRegister(m.leader, m.tables, m.pending, m.requests, m.outcomes)
	return m
}
