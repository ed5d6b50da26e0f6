package service

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/agnes-platform/agnes/pkg/event"
)

// Base is the part of the configuration that every service has. Embed it in the service's Config.
type Base struct {
	DataDir    string `envconfig:"DATA_DIR" default:"./data" desc:"root of all data"`
	ConfigDir  string `envconfig:"CONFIG_DIR" default:"./config" desc:"folder of instance.yaml"`
	NATSURL    string `envconfig:"AGNES_NATS_URL" default:"nats://127.0.0.1:4222" desc:"the bus"`
	NATSCreds  string `envconfig:"AGNES_NATS_CREDS" desc:"file with NATS credentials"`
	NATSToken  string `envconfig:"AGNES_NATS_TOKEN" desc:"token for the bus, where it wants one"`
	LogLevel   string `envconfig:"LOG_LEVEL" default:"info" desc:"debug, info, warn or error"`
	LogFormat  string `envconfig:"LOG_FORMAT" desc:"json or console; console on a terminal"`
	HealthAddr string `envconfig:"AGNES_HEALTH_ADDR" desc:"address of /livez, /readyz and /metrics; none if empty"`

	// Bus is the connection to use; nil means that the service connects to NATSURL by itself.
	Bus *event.Bus `ignored:"true"`
	// Metrics is where the service registers its metrics; nil means a registry of its own.
	Metrics *prometheus.Registry `ignored:"true"`
}

// Connect gives the bus that was passed in, or a new connection named after the service. Call the
// returned function when done: it closes only what was opened here.
func (b Base) Connect(ctx context.Context, name string) (*event.Bus, func(), error) {
	if b.Bus != nil {
		return b.Bus, func() {}, nil
	}
	bus, err := event.Connect(ctx, event.Config{URL: b.NATSURL, Name: name, CredsFile: b.NATSCreds, Token: b.NATSToken})
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the bus at AGNES_NATS_URL=%s: %w", b.NATSURL, err)
	}
	return bus, bus.Close, nil
}

// Registry gives the metrics registry that was passed in, or a new one with the metrics of the Go
// runtime and of the process.
func (b Base) Registry() *prometheus.Registry {
	if b.Metrics != nil {
		return b.Metrics
	}
	return NewRegistry()
}

// NewRegistry makes a metrics registry with the metrics of the Go runtime and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
