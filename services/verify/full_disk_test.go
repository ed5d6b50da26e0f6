//go:build verify && linux

package verify_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/disktest"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// TestAFullDiskKeepsWhatStands fills the disk of the data while a table grows: what stands stays and can be
// asked, the outcome names the disk, nothing is left of the attempt, and with room again the next run goes
// well. Then it fills the disk to the last byte: the api says why it is not ready, and recovers by itself.
func TestAFullDiskKeepsWhatStands(t *testing.T) {
	p := keboolatest.New(keboolatest.Config{SliceRows: 20_000})
	p.Put(ordersTable(), ordersOf("first", 1000)...)
	h := newHouse(t)
	data := filepath.Join(h.dir, "data")
	disktest.Mount(t, data, "64m")
	h.keboola(map[string]*keboolatest.Project{"crm": p})
	table := &project{h, p, "crm"}
	table.holds("first", 1000)
	before := h.parts("crm")

	ballast := disktest.Fill(t, data, 3<<20)
	p.Put(ordersTable(), ordersOf("larger", 400_000)...)
	table.want("failed", "the disk of the data directory")
	table.holds("first", 1000)
	if now := h.parts("crm"); !maps.Equal(now, before) {
		t.Errorf("the parts were %v and are %v", before, now)
	}
	left, err := filepath.Glob(filepath.Join(data, "tmp", "*", "table-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in scratch: %v, %v", left, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	table.want("updated", "")
	table.counts(400_000)

	ballast = disktest.Fill(t, data, 0)
	eventually(t, time.Minute, "the api to say that the disk is full", func() error {
		status, text := h.readiness("agnes-api")
		if status != http.StatusServiceUnavailable || !strings.Contains(text, "disk of the data directory is full") {
			return fmt.Errorf("%d: %s", status, text)
		}
		return nil
	})
	table.counts(400_000)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the api to be ready again", func() error {
		if status, text := h.readiness("agnes-api"); status != http.StatusOK {
			return errors.New(text)
		}
		return nil
	})
	p.Put(ordersTable(), ordersOf("last", 3_000)...)
	if outcome, why := table.sync(); outcome != "held_back" { // of 400,000 rows 3,000 are left: the state works, and so does the guard
		t.Errorf("%s: %s", outcome, why)
	}
}

// counts waits for so many rows.
func (p *project) counts(rows int) {
	p.t.Helper()
	eventually(p.t, time.Minute, "the rows", func() error {
		return p.expect("SELECT count(*) FROM "+p.source+".crm_orders", fmt.Sprintf("[[%d]]", rows))
	})
}

// parts gives the hashes of the files of a source's parts.
func (h *house) parts(source string) map[string]string {
	h.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(h.dir, "data", "extracts", source), func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".parquet" {
			return err
		}
		digest, err := lake.HashFile(path)
		found[path] = digest.SHA256
		return err
	})
	if err != nil || len(found) == 0 {
		h.t.Fatalf("the parts of %s: %v, %v", source, found, err)
	}
	return found
}

// readiness asks the health address of a service.
func (h *house) readiness(service string) (status int, text string) {
	answer, err := http.Get("http://" + h.health[service] + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(raw)
}
