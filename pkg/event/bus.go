package event

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Config says where the bus is and who connects.
type Config struct {
	// URL of the server, or several separated by commas, such as "nats://127.0.0.1:4222".
	URL string
	// Name of the service. It is the Origin of what it publishes.
	Name string
	// CredsFile is a file with NATS credentials; empty for none.
	CredsFile string
	// Token is the secret of a server that wants one; empty for none.
	Token string
	// InProcess connects to a server in this process instead of URL; see package embedded.
	InProcess InProcess
	// Replicas of the streams that are created; 0 means 1. Streams that stand keep theirs.
	Replicas int
}

// InProcess is a server in this process.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Bus is a connection to the bus. It reconnects for ever and is safe for use by many goroutines.
type Bus struct {
	name     string
	replicas int
	conn     *nats.Conn
	js       jetstream.JetStream
	log      zerolog.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	reconnects chan struct{} // closed and renewed when the connection came back
}

const (
	dialTimeout   = 5 * time.Second
	reconnectWait = 500 * time.Millisecond
	ensureTimeout = 10 * time.Second
	readyTimeout  = 2 * time.Second
)

// Connect waits until the bus answers and its streams stand, however long that takes: ctx bounds it.
// A wrong URL, unreadable credentials and a refusal are errors at once. Once connected, a bus that goes
// away is waited for; only Close ends the connection. The logger is taken from ctx.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &Bus{
		name: cfg.Name, replicas: max(1, cfg.Replicas), log: *zerolog.Ctx(ctx),
		ctx: life, cancel: cancel, reconnects: make(chan struct{}),
	}
	err := b.dial(ctx, cfg)
	if err == nil {
		err = b.ensureUntil(ctx)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) options(cfg Config) []nats.Option {
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(200*time.Millisecond, time.Second),
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(3),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.ctx.Err() == nil {
				b.log.Warn().AnErr("cause", err).Msg("lost the bus, reconnecting")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.reconnected() }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			entry := b.log.Warn().Err(err)
			if sub != nil {
				entry = entry.Str("subject", sub.Subject)
			}
			entry.Msg("the bus reported an error")
		}),
	}
	if cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.Token != "" {
		opts = append(opts, nats.Token(cfg.Token))
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	return opts
}

func (b *Bus) dial(ctx context.Context, cfg Config) error {
	if cfg.CredsFile != "" {
		if _, err := os.ReadFile(cfg.CredsFile); err != nil {
			return fault.Wrap(err, fault.Invalid, "the file with the credentials for the bus cannot be read")
		}
	}
	opts := b.options(cfg)
	for attempt := 1; ; attempt++ {
		conn, err := nats.Connect(cfg.URL, opts...)
		if err == nil {
			b.conn = conn
			b.js, err = jetstream.New(conn)
			return err
		}
		if refused := refusal(err); refused != nil {
			return refused
		}
		if attempt == 1 {
			b.log.Warn().Err(err).Msg("the bus does not answer yet, waiting for it")
		}
		if !sleep(ctx, min(time.Duration(attempt)*100*time.Millisecond, 2*time.Second)) {
			return fault.Wrap(err, fault.Unavailable, "the bus does not answer")
		}
	}
}

// refusal is the error of a connection that waiting cannot mend; nil for every other.
func refusal(err error) error {
	var network net.Error
	var address *url.Error // is a net.Error too
	switch {
	case errors.As(err, &address):
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fault.Wrap(err, fault.Unauthenticated, "the bus refused the credentials")
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.As(err, &network):
		return nil
	}
	return fault.Wrap(err, fault.Invalid, "cannot use the address or the credentials of the bus")
}

// ensureUntil declares the streams, waiting for a server whose JetStream is not ready yet. What waiting
// cannot mend is an error.
func (b *Bus) ensureUntil(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		try, cancel := context.WithTimeout(ctx, ensureTimeout)
		err := b.ensure(try)
		cancel()
		switch {
		case err == nil:
			return nil
		case attempt >= 3 && !transient(err):
			return fault.Wrap(err, fault.Invalid, "the streams of the bus cannot be declared")
		case attempt == 3:
			b.log.Warn().Err(err).Msg("cannot declare the streams yet, trying on")
		}
		if !sleep(ctx, min(time.Duration(attempt)*100*time.Millisecond, 2*time.Second)) {
			return fault.Wrap(err, fault.Unavailable, "the streams of the bus cannot be declared")
		}
	}
}

// reconnected declares the streams again, for a bus that came back without its store, then wakes
// the consumers.
func (b *Bus) reconnected() {
	b.log.Info().Msg("the bus is back")
	b.spawn(func() {
		if err := b.ensureUntil(b.ctx); err != nil && b.ctx.Err() == nil {
			b.log.Error().Err(err).Msg("the bus came back, but its streams cannot be declared")
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		close(b.reconnects)
		b.reconnects = make(chan struct{})
	})
}

// spawn runs f in the background until Close, which waits for it; on a closed bus it runs nothing
// and answers false.
func (b *Bus) spawn(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Go(f)
	}
	return !b.closed
}

// awake is closed when the connection comes back the next time.
func (b *Bus) awake() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnects
}

// Name is the name of the service that connected.
func (b *Bus) Name() string { return b.name }

// Ready tells why the bus cannot be used right now; nil where it can: connected, and the streams
// answer.
func (b *Bus) Ready(ctx context.Context) error {
	if b.conn == nil || !b.conn.IsConnected() {
		return fault.New(fault.Unavailable, "not connected to the bus")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if _, err := b.js.Stream(ctx, streamEvents); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the streams of the bus do not answer")
	}
	return nil
}

// Close stops hard what still runs on the bus, sends what was published and ends the connection.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	ended := make(chan struct{})
	go func() {
		b.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(hardGrace):
		b.log.Warn().Msg("closing the bus under a handler that does not stop")
	}
	if b.conn != nil {
		if b.conn.IsConnected() {
			_ = b.conn.FlushTimeout(time.Second)
		}
		b.conn.Close()
	}
}

// sleep waits for d and tells whether it passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func errClosed() error { return fault.New(fault.Unavailable, "the connection to the bus was closed") }
