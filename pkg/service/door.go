package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Door is where a service is reached: a listener on a port of its own, or a place in another one's process.
type Door struct {
	// Variable names the address in errors, such as AGNES_JIRA_WEBHOOK_ADDR.
	Variable, Addr string
	// Mount takes the handler in place of a listener on Addr, and nil when the service ends.
	Mount func(http.Handler)
	// Listener is used in place of Addr where it is set.
	Listener net.Listener
	// OnListen is called with the address once the server listens.
	OnListen func(addr string)
	// Server is what listens, for its limits; its handler is that of Open. Nil for the usual ones.
	Server *http.Server

	ended chan error
}

// Open lets people in.
func (d *Door) Open(ctx context.Context, h http.Handler) error {
	d.ended = make(chan error, 1)
	if d.Mount != nil {
		d.Mount(h)
		return nil
	}
	if d.Listener == nil {
		var err error
		if d.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", d.Addr); err != nil {
			return fault.Wrap(err, fault.Invalid, "cannot listen on %s=%s", d.Variable, d.Addr)
		}
	}
	if d.Server == nil {
		d.Server = &http.Server{ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	}
	d.Server.Handler = h
	go func() { d.ended <- d.Server.Serve(d.Listener) }()
	if d.OnListen != nil {
		d.OnListen(d.Address())
	}
	return nil
}

// Address is where the service is reached.
func (d *Door) Address() string {
	if d.Mount != nil {
		return "of the process"
	}
	return d.Listener.Addr().String()
}

// Wait returns when ctx ends, or the server by itself.
func (d *Door) Wait(ctx context.Context) {
	select {
	case err := <-d.ended:
		d.ended <- err // for Close, which tells it
	case <-ctx.Done():
	}
}

// Close lets answers be sent for at most the budget. Its error is that of a server that ended by itself.
func (d *Door) Close(budget time.Duration) error {
	if d.Mount != nil {
		d.Mount(nil)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(budget, time.Second))
	defer cancel()
	if err := d.Server.Shutdown(ctx); err != nil {
		_ = d.Server.Close()
	}
	if err := <-d.ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", d.Variable, err)
	}
	return nil
}
