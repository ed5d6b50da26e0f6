// Package telemetry registers Prometheus collectors that several parts of one process share.
package telemetry

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers a collector, or gives the equal one that another part of this process has registered.
// Where before is an error it does nothing and gives that back, so that a row of collectors needs one check.
func Register[C prometheus.Collector](registry prometheus.Registerer, c C, before error) (C, error) {
	if before != nil {
		return c, before
	}
	err := registry.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if other, ok := already.ExistingCollector.(C); ok {
			return other, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register a metric: %w", err)
	}
	return c, nil
}
