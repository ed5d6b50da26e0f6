package standalone

import (
	"net/http"
	"sync/atomic"
)

// mount is where one service serves what another one answers: the api's port has the webhooks too.
type mount struct{ handler atomic.Pointer[http.Handler] }

func (m *mount) set(h http.Handler) {
	if h == nil {
		m.handler.Store(nil)
		return
	}
	m.handler.Store(&h)
}

// ServeHTTP asks who sends something before the service has started, or after it has ended, to come again.
func (m *mount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := m.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"detail":"the service is not running: send it again"}`))
}
