package wsgateway

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	messages *prometheus.CounterVec
	dropped  *prometheus.CounterVec
}

func newMetrics(to *prometheus.Registry, h func() *hub) (*metrics, error) {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agnes_ws_messages_total", Help: "Messages that came, by topic; each is sent to whoever it is for."}, []string{"topic"}),
		dropped:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agnes_ws_dropped_total", Help: "Connections that the gateway ended, by close code: 4408 for clients that do not read."}, []string{"code"}),
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "agnes_ws_connections", Help: "Connections that are open."}, func() float64 {
		if hub := h(); hub != nil {
			return float64(hub.connections.Load())
		}
		return 0
	})
	for _, c := range []prometheus.Collector{m.messages, m.dropped, open} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
