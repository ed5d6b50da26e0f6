package keboola

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
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
	r.tables = append(r.tables, q.GetTables()...)
	return &agnesv1.RegisterTablesResponse{}, nil
}

// TestRunExtractsAProjectOverTheBus starts the service with nothing but the predecessor's block and its
// variable: it discovers, registers, extracts and announces, and does so again when asked.
func TestRunExtractsAProjectOverTheBus(t *testing.T) {
	p := keboolatest.New(keboolatest.Config{Cloud: keboolatest.GCP, SliceRows: 10})
	defer p.Close()
	p.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}}, contacts(0, 25, "a")...)
	dir := t.TempDir()
	t.Setenv("AGNES_TEST_KEBOOLA_TOKEN", keboolatest.DefaultToken)
	text := fmt.Sprintf("data_source: {type: keboola, keboola: {stack_url: %q, token_env: AGNES_TEST_KEBOOLA_TOKEN, auto_register: true}}\n", p.URL)
	if err := os.WriteFile(filepath.Join(dir, service.InstanceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bus := eventtest.Bus(t)
	var api registry
	list, err := event.Serve(t.Context(), bus, event.ListRegistry, api.list)
	if err != nil {
		t.Fatal(err)
	}
	register, err := event.Serve(t.Context(), bus, event.RegisterTables, api.register)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan *agnesv1.ExtractReady, 100)
	sub, err := event.Listen(t.Context(), bus, event.ExtractReady, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.ExtractReady]) error {
		ready <- e.Payload
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = event.StopAll(time.Second, sub, list, register) }()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Base: service.Base{DataDir: filepath.Join(dir, "data"), ConfigDir: dir, Bus: bus}, ParallelTables: 8, StopBudget: 5 * time.Second})
	}()
	rows := func(want int64) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			select {
			case r := <-ready:
				for _, o := range r.GetTables() {
					if o.GetTable() == "crm_orders" && o.GetOutcome() == extract.OutcomeUpdated && o.GetRows() == want {
						return
					}
				}
			case err := <-ended:
				t.Fatalf("the service ended: %v", err)
			case <-deadline:
				t.Fatalf("no %d rows", want)
			}
		}
	}
	rows(25)
	p.Import(orders, contacts(20, 30, "b")...)
	if err := event.Publish(t.Context(), bus, event.ExtractRequested, Type, &agnesv1.ExtractRequested{Reason: "test"}, event.Key(Type)); err != nil {
		t.Fatal(err)
	}
	rows(30)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a stop is no error: %v", err)
	}
}

func TestRunRefusesAConfigurationThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, service.InstanceFile), []byte("sources: [{type: keboola}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), Config{Base: service.Base{DataDir: dir, ConfigDir: dir}}); err == nil {
		t.Error("no error")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Setenv("KEBOOLA_STORAGE_TOKEN", "")
	t.Setenv("KEBOOLA_STACK_URL", "")
	t.Setenv("KBC_STORAGE_TOKEN", "of-the-other-name")
	t.Setenv("KBC_STACK_URL", "https://connection.example.com")
	read := func(options map[string]any) (options, error) {
		return readOptions(extract.SourceConfig{Name: "crm", Options: options})
	}
	o, err := read(map[string]any{"project_id": 7})
	if err != nil || o.Token != "of-the-other-name" || o.StackURL != "https://connection.example.com" {
		t.Errorf("%+v: %v", o, err)
	}
	t.Setenv("KEBOOLA_STORAGE_TOKEN", "of-the-first-name")
	if o, err = read(map[string]any{"url": "connection.example.org"}); err != nil || o.Token != "of-the-first-name" || o.StackURL != "connection.example.org" {
		t.Errorf("%+v: %v", o, err)
	}
	for want, given := range map[string]map[string]any{
		"is not set": {"token_env": "AGNES_TEST_NOT_SET"}, "names": {"names": "short"}, "format": {"format": "orc"}, "with its stage": {"buckets": []any{"crm"}}, "cannot be used": {"stack": "x"},
	} {
		if _, err := read(given); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", given, err)
		}
	}
}
