// Package embedded runs a NATS server with JetStream inside the process: for the standalone binary
// and for tests. Its store survives kill -9.
package embedded

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Config of an embedded server.
type Config struct {
	// StoreDir is where JetStream keeps its streams; required.
	StoreDir string
	// Listen is a TCP address for other processes, such as "127.0.0.1:4222"; port 0 takes a free one.
	// Empty means that only this process connects.
	Listen string
	// SyncAlways syncs every stored message to disk before it is acknowledged. Without it a power cut
	// (not a crash of the process) may lose acknowledged messages.
	SyncAlways bool
	// Token that TCP clients must present; empty for none.
	Token string
}

// Server is a running NATS server.
type Server struct {
	ns    *server.Server
	token string
}

const (
	readyTimeout = 30 * time.Second // a large store that was not closed is read again
	readyStep    = 100 * time.Millisecond
	maxPayload   = 8 << 20
)

// Start runs a server until Stop. It returns when clients can connect. The logger is taken from ctx.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.StoreDir == "" {
		return nil, fault.New(fault.Invalid, "the embedded server needs a folder for its store")
	}
	if err := os.MkdirAll(cfg.StoreDir, 0o750); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the folder of the embedded server cannot be made")
	}
	opts := &server.Options{
		ServerName: "agnes", DontListen: cfg.Listen == "", JetStream: true, StoreDir: cfg.StoreDir, SyncAlways: cfg.SyncAlways,
		NoSigs: true, MaxPayload: maxPayload, Authorization: cfg.Token,
	}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%q is no address to listen on, such as 127.0.0.1:4222", cfg.Listen)
		}
		opts.Host = host
		if opts.Port, err = net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%q is no port", port)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure the embedded server: %w", err)
	}
	log := zerolog.Ctx(ctx).With().Str("component", "nats").Logger()
	quiet := &quietLogger{log: log, fatal: make(chan struct{})}
	ns.SetLoggerV2(quiet, false, false, false)
	ns.Start()
	if !ready(ns, quiet) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, fault.New(fault.Unavailable, "the embedded server did not start: %s", quiet.last())
	}
	return &Server{ns: ns, token: cfg.Token}, nil
}

// ready waits until clients can connect, or the server gave up.
func ready(ns *server.Server, log *quietLogger) bool {
	for end := time.Now().Add(readyTimeout); time.Now().Before(end); {
		select {
		case <-log.fatal:
			return false
		default:
			if ns.ReadyForConnections(readyStep) {
				return ns.JetStreamEnabled()
			}
		}
	}
	return false
}

// Connect gives a connection within the process.
func (s *Server) Connect(ctx context.Context, name string) (*event.Bus, error) {
	return event.Connect(ctx, event.Config{Name: name, InProcess: s.ns, Token: s.token})
}

// InProcessConn makes one connection within the process; it makes a Server an event.InProcess.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// URL is where other processes connect; empty if the server does not listen.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return "nats://" + s.ns.Addr().String()
}

// Stop closes the server and its store, and waits for it.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

func clean(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
