package csv

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// registry answers for the api.
type registry struct {
	mu     sync.Mutex
	tables []*agnesv1.RegisteredTable
}

func (r *registry) list(context.Context, *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &agnesv1.ListRegistryResponse{Tables: r.tables}, nil
}

func (r *registry) register(_ context.Context, q *agnesv1.RegisterTablesRequest) (*agnesv1.RegisterTablesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &agnesv1.RegisterTablesResponse{}
	for _, t := range q.GetTables() {
		r.tables = append(r.tables, t)
		answer.Registered = append(answer.Registered, t.GetName())
	}
	return answer, nil
}

func TestRunPicksUpAFileThatIsDroppedIntoTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config", "instance.yaml"), "sources:\n  - {name: shop, type: csv, path: ../files, watch: true, auto_register: true}\n  - {name: crm, type: keboola}\n")
	write(t, filepath.Join(dir, "files", "orders.csv"), "id,v\n1,x\n")
	write(t, filepath.Join(dir, "files", "broken.csv"), "id,v\n1\n")
	bus := eventtest.Bus(t)
	var api registry
	for _, serve := range []func() (*event.Subscription, error){
		func() (*event.Subscription, error) {
			return event.Serve(t.Context(), bus, event.ListRegistry, api.list)
		},
		func() (*event.Subscription, error) {
			return event.Serve(t.Context(), bus, event.RegisterTables, api.register)
		},
	} {
		if _, err := serve(); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	outcomes := map[string]string{}
	changed := make(chan struct{}, 1000)
	sub, err := event.Listen(t.Context(), bus, event.ExtractReady, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.ExtractReady]) error {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range e.Payload.GetTables() {
			if outcomes[o.GetTable()] == "" || o.GetOutcome() != "unchanged" {
				outcomes[o.GetTable()] = outcome(o)
			}
		}
		changed <- struct{}{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = event.StopAll(time.Second, sub) }()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Base: service.Base{DataDir: filepath.Join(dir, "data"), ConfigDir: filepath.Join(dir, "config"), Bus: bus}, StopBudget: 5 * time.Second})
	}()
	becomes := func(table, want string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			mu.Lock()
			got := outcomes[table]
			mu.Unlock()
			if got == want {
				return
			}
			select {
			case <-changed:
			case err := <-ended:
				t.Fatalf("the service ended: %v", err)
			case <-deadline:
				t.Fatalf("%s: %q, want %q", table, got, want)
			}
		}
	}
	becomes("orders", "updated")
	becomes("broken", "failed invalid: broken.csv, line 2: 1 value, but there are 2 columns")
	write(t, filepath.Join(dir, "files", "dropped.ndjson"), `{"a":1}`)
	becomes("dropped", "updated")
	write(t, filepath.Join(dir, "files", "broken.csv"), "id,v\n1,2\n")
	becomes("broken", "updated")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a stop is no error: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "extracts", "shop", "extract.duckdb")); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesAConfigurationThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "instance.yaml"), "sources: [{type: csv}]")
	if err := Run(context.Background(), Config{Base: service.Base{DataDir: dir, ConfigDir: dir}}); err == nil {
		t.Error("no error")
	}
}
