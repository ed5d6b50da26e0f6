package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// readyTimeout bounds one check of readiness; a service that cannot answer in time is not ready.
const readyTimeout = 5 * time.Second

// HealthHandler serves /livez (200 while the process runs), /readyz (200, or 503 with the reason)
// and /metrics (Prometheus text).
func HealthHandler(ready func(context.Context) error, metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// ServeHealth serves HealthHandler on addr until the returned function is called, which waits for the
// server to end. An empty addr serves nothing; an address that cannot be opened is an error before
// anything else starts.
func ServeHealth(ctx context.Context, addr string, ready func(context.Context) error, metrics *prometheus.Registry) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open the health address AGNES_HEALTH_ADDR=%s: %w", addr, err)
	}
	server := &http.Server{Handler: HealthHandler(ready, metrics), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			zerolog.Ctx(ctx).Error().Err(err).Msg("the health server stopped")
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}

// healthcheck asks the service that runs in the same container whether it is ready: the image needs no
// HTTP client for its health check. It reads AGNES_HEALTH_ADDR, or AGNES_API_ADDR where that is unset.
func healthcheck(stderr io.Writer, name string) int {
	addr := env("AGNES_HEALTH_ADDR", os.Getenv("AGNES_API_ADDR"))
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s healthcheck: set AGNES_HEALTH_ADDR to the address to ask, such as :8080 (%v)\n", name, err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", port)+"/readyz", http.NoBody)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s healthcheck: %v\n", name, err)
		return 2
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s healthcheck: %v\n", name, err)
		return 1
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		_, _ = fmt.Fprintf(stderr, "%s is not ready: %s\n", name, reason)
		return 1
	}
	return 0
}
