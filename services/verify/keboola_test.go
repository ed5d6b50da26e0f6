//go:build verify

package verify_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// project is a Keboola project whose files lie in a real store, and the house that reads it.
type project struct {
	*house
	*keboolatest.Project
	source string
}

const keboolaTable = "in.c-crm.orders"

// keboolaHouse starts the services over projects that are configured as sources; all their tables register
// themselves.
func keboolaHouse(t *testing.T, sources map[string]*keboolatest.Project) *house {
	t.Helper()
	h := newHouse(t)
	h.keboola(sources)
	return h
}

func (h *house) keboola(sources map[string]*keboolatest.Project) {
	h.t.Helper()
	var b strings.Builder
	b.WriteString("instance: {name: Verify}\nsources:\n")
	for name, p := range sources {
		h.t.Cleanup(p.Close)
		fmt.Fprintf(&b, "  - {name: %s, type: keboola, stack_url: %q, token_env: VERIFY_STORAGE_TOKEN, auto_register: true}\n", name, p.URL)
	}
	h.write("config/instance.yaml", b.String())
	h.more = []string{"VERIFY_STORAGE_TOKEN=" + keboolatest.DefaultToken}
	h.start("agnes-api", "agnes-orchestrator", "agnes-extractor-keboola")
	h.login()
}

// ordersOf are rows of the table, with texts that make CSV hard.
func ordersOf(note string, rows int) (out [][]*string) {
	for i := range rows {
		text := keboolatest.Text(fmt.Sprintf("%s \"%d\",\nsecond line", note, i))
		switch i % 10 {
		case 3:
			text = nil
		case 7:
			text = keboolatest.Text("")
		}
		out = append(out, []*string{keboolatest.Text(fmt.Sprint(i)), text, keboolatest.Text("2024-02-29 10:00:00")})
	}
	return out
}

func ordersTable() keboolatest.Table {
	typed := func(name string) []keboolatest.Metadata {
		return []keboolatest.Metadata{keboolatest.BaseType("user", name)}
	}
	return keboolatest.Table{
		ID: keboolaTable, Columns: []string{"id", "note", "at"}, PrimaryKey: []string{"id"},
		Metadata: map[string][]keboolatest.Metadata{"id": typed("INTEGER"), "at": typed("TIMESTAMP")},
	}
}

const ordersSum = "SELECT count(*), sum(id), count(note), count(*) FILTER (note = ''), count(*) FILTER (note LIKE '%s%%' AND contains(note, chr(10)))"

// holds waits for the rows with a note; for the first run registers the tables by itself.
func (p *project) holds(note string, rows int) {
	p.t.Helper()
	want := fmt.Sprintf("[[%d %d %d %d %d]]", rows, rows*(rows-1)/2, rows*9/10, rows/10, rows*8/10)
	eventually(p.t, time.Minute, "the rows of "+note, func() error {
		return p.expect(fmt.Sprintf(ordersSum, note)+" FROM "+p.source+".crm_orders", want)
	})
}

// sync reads the source, and gives what became of the table.
func (p *project) sync() (outcome, problem string) {
	p.t.Helper()
	var triggered struct {
		RunID string `json:"run_id"`
	}
	p.post("/api/sync/trigger", map[string]any{"source": p.source}, &triggered)
	var run struct {
		Status, Error string
		Tables        []struct{ Table, Outcome, Error string }
	}
	eventually(p.t, 2*time.Minute, "the run", func() error {
		if err := p.call(http.MethodGet, "/api/sync/runs/"+triggered.RunID, nil, &run); err != nil {
			return err
		}
		if run.Status != "succeeded" && run.Status != "partial" && run.Status != "failed" {
			return fmt.Errorf("it is %s", run.Status)
		}
		return nil
	})
	for _, t := range run.Tables {
		if t.Table == "crm_orders" {
			return t.Outcome, t.Error
		}
	}
	return run.Status, run.Error
}

// want is sync with an outcome.
func (p *project) want(outcome, problem string) {
	p.t.Helper()
	if got, why := p.sync(); got != outcome || !strings.Contains(why, problem) {
		p.t.Errorf("%s: %s %q, want %s %q", p.source, got, why, outcome, problem)
	}
}

// TestTrap_K3_KeboolaFilesInRealStores lets the Storage API hand out files in stores that others wrote, with
// credentials that the stores check.
func TestTrap_K3_KeboolaFilesInRealStores(t *testing.T) {
	for name, start := range map[string]func(*testing.T) cloud{"S3": newS3, "GCS": newGCS, "Azure": newAzure} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, other := start(t), start(t)
			const rows = 1000
			sliced := keboolatest.New(keboolatest.Config{Cloud: store.Provider(), Store: store, SliceRows: 90, Polls: 1})
			whole := keboolatest.New(keboolatest.Config{Cloud: store.Provider(), Store: other, Unsliced: true})
			for _, p := range []*keboolatest.Project{sliced, whole} {
				p.Put(ordersTable(), ordersOf("first", rows)...)
			}
			h := keboolaHouse(t, map[string]*keboolatest.Project{"sliced": sliced, "whole": whole})
			(&project{h, whole, "whole"}).holds("first", rows)
			p := &project{h, sliced, "sliced"}
			p.holds("first", rows)
			if refused, _ := store.front().counts(); refused != 0 {
				t.Errorf("%d requests were refused where nothing was wrong", refused)
			}
			p.credentialsThatEnd(store, rows)
			p.streamsThatBreak(store, rows)
			p.slicesThatAreMissing(store, rows)
		})
	}
}

// credentialsThatEnd expire while slices are read: they are renewed. Then all that are handed out are
// worth nothing, which is an error, and keeps what stands.
func (p *project) credentialsThatEnd(store cloud, rows int) {
	p.t.Helper()
	p.Put(ordersTable(), ordersOf("renewed", rows)...)
	p.ResetCalls()
	front := store.front()
	var once sync.Once
	store.shorten()
	front.change(func(d *door) {
		d.before = func(r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "manifest") {
				once.Do(store.expire)
			}
		}
	})
	p.want("updated", "")
	p.holds("renewed", rows)
	if n := p.Calls()[keboolatest.RouteFile]; n < 2 {
		p.t.Errorf("credentials were asked for %d times", n)
	}
	refused, _ := front.counts()
	if refused == 0 {
		p.t.Error("the store refused nothing")
	}
	p.Put(ordersTable(), ordersOf("never", rows)...)
	front.change(func(d *door) {
		d.before = nil
		d.check = func(*http.Request) int { return http.StatusForbidden }
	})
	p.want("failed", "refuses the credentials")
	p.holds("renewed", rows)
	front.change(func(d *door) { d.check = d.own })
}

// streamsThatBreak go on where they broke.
func (p *project) streamsThatBreak(store cloud, rows int) {
	p.t.Helper()
	p.Put(ordersTable(), ordersOf("cut", rows)...)
	front := store.front()
	_, before := front.counts()
	front.change(func(d *door) { d.cut, d.cutAt = 3, 60 })
	p.want("updated", "")
	p.holds("cut", rows)
	if _, after := front.counts(); after-before < 3 {
		p.t.Errorf("%d answers were taken up again where they broke, want 3", after-before)
	}
}

// slicesThatAreMissing fail the table, which stays what it was, and the next run mends it.
func (p *project) slicesThatAreMissing(store cloud, rows int) {
	p.t.Helper()
	p.Put(ordersTable(), ordersOf("missing", rows)...)
	store.front().change(func(d *door) { d.lose = "_7_0.csv" })
	p.want("failed", "a slice of the exported file is missing")
	p.holds("cut", rows)
	store.front().change(func(d *door) { d.lose = "" })
	p.want("updated", "")
	p.holds("missing", rows)
}
