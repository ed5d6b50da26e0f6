package telemetry_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/telemetry"
)

func counter(name string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: "Counts."})
}

func TestRegisterSharesWhatIsEqual(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	first, err := telemetry.Register(registry, counter("agnes_test_total"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := telemetry.Register(registry, counter("agnes_test_total"), nil); err != nil || second != first {
		t.Errorf("the second is another one: %v", err)
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "agnes_test_total", Help: "Counts."})
	if _, err := telemetry.Register(registry, gauge, nil); err == nil {
		t.Error("a gauge took the place of a counter")
	}
	before := errors.New("before")
	if _, err := telemetry.Register(registry, counter("agnes_other_total"), before); !errors.Is(err, before) {
		t.Error(err)
	}
	if err := registry.Register(counter("agnes_other_total")); err != nil {
		t.Errorf("after an error something was registered: %v", err)
	}
}
