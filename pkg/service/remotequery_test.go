package service_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

func TestRemoteQueryHasDefaultsAndTheLaterFileWinsKeyByKey(t *testing.T) {
	config, data := dirs(t, `
remote_query: {max_bq_registration_rows: 1000, max_memory_mb: 0, max_result_rows: 50, timeout_seconds: -1, default_format: table, output_dir: /tmp}
`, `
remote_query: {max_result_rows: 60, max_bytes_per_query: -1, price_per_tib: 5.5, extension_directory: /opt/ext, allow_install: true}
`)
	i, err := service.LoadInstance(config, data)
	if err != nil {
		t.Fatal(err)
	}
	want := service.DefaultRemoteQuery()
	want.MaxRegistrationRows, want.MaxResultRows, want.TimeoutSeconds = 1000, 60, service.Unlimited
	want.MaxBytesPerQuery, want.PricePerTiB, want.ExtensionDirectory, want.AllowInstall = service.Unlimited, 5.5, "/opt/ext", true
	if diff := cmp.Diff(want, i.RemoteQuery); diff != "" {
		t.Error(diff)
	}
	if i.RemoteQuery.Timeout() != 0 || service.DefaultRemoteQuery().Timeout() != 5*time.Minute {
		t.Error("timeouts", i.RemoteQuery.Timeout(), service.DefaultRemoteQuery().Timeout())
	}
	if got := i.RemoteQuery.Price(1 << 39); got != 2.75 {
		t.Error("price", got)
	}
}

func TestRemoteQueryOfTheExampleIsTheDefault(t *testing.T) {
	raw, err := os.ReadFile("../../config/instance.yaml.example")
	if err != nil {
		t.Fatal(err)
	}
	config, data := dirs(t, string(raw), "")
	i, err := service.LoadInstance(config, data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(service.DefaultRemoteQuery(), i.RemoteQuery); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(raw), "max_pushdown_keys: 10000") {
		t.Error("the example leaves the block out")
	}
}

func TestABadRemoteQueryIsRefusedByName(t *testing.T) {
	for _, block := range []string{"max_bytes_per_day: -2", "price_per_tib: .nan", "max_bytes_per_query: many"} {
		config, data := dirs(t, "remote_query: {"+block+"}", "")
		_, err := service.LoadInstance(config, data)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Message(err), "remote_query") {
			t.Errorf("%s: %v", block, err)
		}
	}
}
