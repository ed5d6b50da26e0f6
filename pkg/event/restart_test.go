package event_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// restartable is a server on a port that can be stopped and started again.
type restartable struct {
	t      *testing.T
	config embedded.Config
	server *embedded.Server
}

func startRestartable(t *testing.T) *restartable {
	t.Helper()
	r := &restartable{t: t, config: embedded.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}}
	r.start()
	r.config.Listen = r.server.URL()[len("nats://"):]
	t.Cleanup(func() { r.server.Stop() })
	return r
}

func (r *restartable) start() {
	r.t.Helper()
	eventually(r.t, "start the server", func() (err error) {
		r.server, err = embedded.Start(context.WithoutCancel(r.t.Context()), r.config)
		return err
	})
}

func (r *restartable) connect(name string) *event.Bus {
	r.t.Helper()
	b, err := event.Connect(r.t.Context(), event.Config{URL: r.server.URL(), Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(b.Close)
	return b
}

func TestEverythingGoesOnAfterTheBusWasAway(t *testing.T) {
	t.Parallel()
	for name, loseStore := range map[string]bool{"its store survived": false, "its store was lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRestartable(t)
			bus := r.connect("worker")
			got, heard, batches, progress := make(chan readyEv, 100), make(chan readyEv, 100), make(chan []readyEv, 100), make(chan int64, 100)
			consume(t, bus, quick("worker"), into(got))
			_, err := event.ConsumeBatch(t.Context(), bus, event.ExtractReady, quick("batch"), event.Batch{MaxCount: 1},
				func(_ context.Context, b []readyEv) error { batches <- b; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := event.Listen(t.Context(), bus, event.ExtractReady, event.Listener{}, into(heard)); err != nil {
				t.Fatal(err)
			}
			_, err = event.Listen(t.Context(), bus, event.ExtractProgress, event.Listener{},
				func(_ context.Context, e event.Event[*agnesv1.ExtractProgress]) error {
					progress <- e.Payload.GetRows()
					return nil
				})
			if err != nil {
				t.Fatal(err)
			}
			serve(t, bus, func(context.Context, *listRequest) (*listResponse, error) { return &listResponse{}, nil })
			bucket := bus.Bucket(event.BucketScheduler)
			if _, err := bucket.Put(t.Context(), "k", []byte("v")); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				publish(t, bus, "crm", event.ID(fmt.Sprint("before", n)))
				receive(t, got)
				receive(t, heard)
				receive(t, batches)
			}

			r.server.Stop()
			if err := bus.Ready(t.Context()); !fault.Is(err, fault.Unavailable) {
				t.Errorf("a bus without a server is ready: %v", err)
			}
			quickly, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := event.Publish(quickly, bus, event.ExtractReady, "crm", &ready{}); !fault.Is(err, fault.Unavailable) {
				t.Errorf("publishing without a server gives %v", err)
			}
			published := make(chan error, 1)
			go func() { // waits for the server
				published <- event.Publish(t.Context(), bus, event.ExtractReady, "crm", &ready{}, event.ID("during"))
			}()
			if loseStore {
				if err := os.RemoveAll(r.config.StoreDir); err != nil {
					t.Fatal(err)
				}
			}
			r.start()

			if err := receive(t, published); err != nil {
				t.Fatal(err)
			}
			if a, b, c := receive(t, got), receive(t, heard), receive(t, batches); a.ID != "during" || b.ID != "during" || c[0].ID != "during" {
				t.Errorf("got %s, %s, %s", a.ID, b.ID, c[0].ID)
			}
			publish(t, bus, "crm", event.ID("after"))
			if a, b, c := receive(t, got), receive(t, heard), receive(t, batches); a.ID != "after" || b.ID != "after" || c[0].ID != "after" {
				t.Errorf("got %s, %s, %s", a.ID, b.ID, c[0].ID)
			}
			if err := event.Publish(t.Context(), bus, event.ExtractProgress, "crm", &agnesv1.ExtractProgress{Rows: 7}); err != nil || receive(t, progress) != 7 {
				t.Error("progress is not heard", err)
			}
			if _, err := event.Call(t.Context(), bus, event.ListRegistry, &listRequest{}); err != nil {
				t.Errorf("requests are not served: %v", err)
			}
			_, err = bucket.Get(t.Context(), "k")
			if loseStore != fault.Is(err, fault.NotFound) || !loseStore && err != nil {
				t.Errorf("the bucket gives %v", err)
			}
			if err := bus.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestConsumersStopWhileTheBusIsAway stops an idle consumer after its server went away.
func TestConsumersStopWhileTheBusIsAway(t *testing.T) {
	t.Parallel()
	r := startRestartable(t)
	bus := r.connect("worker")
	sub, err := event.Consume(t.Context(), bus, event.ExtractReady, event.Consumer{Name: "worker"},
		func(context.Context, event.Event[*agnesv1.ExtractReady]) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	r.server.Stop()
	time.Sleep(3 * time.Second) // long enough that the pull of before is given up
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := sub.Stop(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("it does not stop softly: %v, %v", err, ctx.Err())
	}
}

func TestConnectWaitsForAServer(t *testing.T) {
	t.Parallel()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := event.Connect(short, event.Config{URL: "nats://" + address}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without a server: %v", err)
	}
	connected := make(chan error, 1)
	go func() {
		b, err := event.Connect(t.Context(), event.Config{URL: "nats://" + address})
		if err == nil {
			b.Close()
		}
		connected <- err
	}()
	none(t, connected, 150*time.Millisecond)
	r := &restartable{t: t, config: embedded.Config{StoreDir: t.TempDir(), Listen: address}}
	r.start()
	t.Cleanup(r.server.Stop)
	if err := receive(t, connected); err != nil {
		t.Error(err)
	}
}

func TestConnectRefusesAtOnceWhatWaitingCannotMend(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Token: "right"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for name, c := range map[string]struct {
		config event.Config
		kind   fault.Kind
	}{
		"no token":       {event.Config{URL: s.URL()}, fault.Unauthenticated},
		"wrong token":    {event.Config{URL: s.URL(), Token: "wrong"}, fault.Unauthenticated},
		"no such file":   {event.Config{URL: s.URL(), CredsFile: t.TempDir() + "/none"}, fault.Invalid},
		"no such scheme": {event.Config{URL: "nats://%zz"}, fault.Invalid},
	} {
		_, err := event.Connect(t.Context(), c.config)
		if !fault.Is(err, c.kind) || errors.Is(err, context.Canceled) {
			t.Errorf("%s gives %v (%s)", name, err, fault.KindOf(err))
		}
	}
	for _, connect := range []func() (*event.Bus, error){
		func() (*event.Bus, error) {
			return event.Connect(t.Context(), event.Config{URL: s.URL(), Token: "right"})
		},
		func() (*event.Bus, error) { return s.Connect(t.Context(), "inside") },
	} {
		b, err := connect()
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
}

func TestAWrongEmbeddedConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	taken := startRestartable(t)
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]embedded.Config{
		"no folder":    {},
		"a file":       {StoreDir: file},
		"no port":      {StoreDir: t.TempDir(), Listen: "localhost"},
		"no such port": {StoreDir: t.TempDir(), Listen: "localhost:nope"},
		"taken":        {StoreDir: t.TempDir(), Listen: taken.config.Listen},
	} {
		if s, err := embedded.Start(t.Context(), c); err == nil {
			s.Stop()
			t.Errorf("%s is accepted", name)
		}
	}
	if url := eventtest.Server(t).URL(); url != "" {
		t.Errorf("a server that does not listen has the address %s", url)
	}
}
