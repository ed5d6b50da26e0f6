//go:build verify

package verify_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// demoFiles writes the demo shop with the binary's own command and counts what it wrote.
func demoFiles(t *testing.T, h *house, size string) map[string]int64 {
	t.Helper()
	out, err := exec.Command(filepath.Join(binaries, "agnes"), "demo-data", "--size", size, "--seed", "3",
		"--dir", filepath.Join(h.dir, "files"), "--json").Output()
	if err != nil {
		t.Fatalf("demo-data: %v", err)
	}
	var summary struct {
		Rows map[string]int64 `json:"rows"`
	}
	if err := json.Unmarshal(out, &summary); err != nil {
		t.Fatal(err)
	}
	return summary.Rows
}

func TestMainJobAsSeparateProcesses(t *testing.T) {
	h := newHouse(t)
	rows := demoFiles(t, h, "s")
	watch := spawn(t, "nats sub", nil, tool(t, "nats"), "--server", "nats://"+busTokenURL(h), "sub", "agnes.>")
	h.start(mainJob...)
	h.login()

	h.mustDA("admin", "discover", "--register")
	h.mustDA("admin", "sync", "--wait")
	if err := h.expect("SELECT count(*) FROM shop.orders", fmt.Sprintf("[[%d]]", rows["orders"])); err != nil {
		t.Error(err)
	}
	h.mustDA("sync")

	// The payloads on the bus are readable with the official client.
	eventually(t, 5*time.Second, "events in nats sub", func() error {
		out := watch.output()
		for _, want := range []string{
			"agnes.v1.extract.requested.shop.csv", "agnes.v1.extract.ready.shop", "agnes.v1.analytics.published.shop",
			`"outcome":"updated"`, "ce-type:", "traceparent:",
		} {
			if !strings.Contains(strings.ReplaceAll(out, `": "`, `":"`), want) && !strings.Contains(strings.ToLower(out), want) {
				return fmt.Errorf("%s was not seen", want)
			}
		}
		return nil
	})

	// Offline: everything is stopped, the analyst goes on working.
	for _, s := range mainJob {
		h.services[s].stop()
	}
	h.nats.stop()
	for table, n := range rows {
		out := h.mustDA("query", "--format", "csv", "SELECT count(*) AS n FROM "+table)
		if got := strings.Fields(out); len(got) != 2 || got[1] != strconv.FormatInt(n, 10) {
			t.Errorf("%s offline: %q, want %d", table, out, n)
		}
	}
}

// busTokenURL is the address of the bus with its token, as the nats command line takes it.
func busTokenURL(h *house) string { return strings.ReplaceAll(busToken, " ", "%20") + "@" + h.natsAddr }

func TestForeignExtractWrittenInPythonIsPublished(t *testing.T) {
	python := tool(t, "python/bin/python")
	nats := tool(t, "nats")
	h := newHouse(t)
	h.start("agnes-api", "agnes-orchestrator")
	h.login()

	script := exec.Command(python, "testdata/foreign_extract.py", filepath.Join(h.dir, "data", "extracts", "thirdparty"))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	announce := exec.Command(nats, "--server", "nats://"+busTokenURL(h), "pub", "agnes.v1.extract.ready.thirdparty", "{}")
	if out, err := announce.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 20*time.Second, "the tables of the foreign extract", func() error {
		if err := h.expect(`SELECT sum(amount) FROM thirdparty."flat file"`, "[[60]]"); err != nil {
			return err
		}
		return h.expect("SELECT count(*) FROM thirdparty.inside", "[[1000]]")
	})
	// The same by the command of an operator, after a change.
	script = exec.Command(python, "testdata/foreign_extract.py", filepath.Join(h.dir, "data", "extracts", "thirdparty"), "2000")
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h.mustDA("admin", "rebuild", "thirdparty")
	eventually(t, 20*time.Second, "the changed table", func() error {
		return h.expect("SELECT count(*) FROM thirdparty.inside", "[[2000]]")
	})
	h.mustDA("sync")
	out := h.mustDA("query", "--format", "csv", "SELECT count(*) AS n FROM thirdparty.inside")
	if !strings.Contains(out, "2000") {
		t.Errorf("synced: %q", out)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "workspace", "data", "duckdb", "analytics.duckdb")); err != nil {
		t.Error(err)
	}
}
