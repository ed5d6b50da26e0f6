package mirror_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// crash is the panic of a process that ends in the middle of its work.
type crash struct{}

// crashing ends the process just before or just after the views are published.
type crashing struct {
	mirror.Views
	after bool
}

func (c crashing) Publish(ctx context.Context, tables map[string]workspace.Table) (mirror.Published, error) {
	if c.after {
		_, _ = c.Views.Publish(ctx, tables)
	}
	panic(crash{})
}

// history is a workspace, its server, and what the server ever published.
type history struct {
	*bench
	// ever are the versions of each table, as the text of its rows.
	ever map[string]map[string]bool
	last map[string]string
	own  bool
	// damaged: something was lost on disk since the last sync that succeeded.
	damaged bool
}

// publish makes a new version of everything at random.
func (h *history) publish(t *rapid.T) {
	h.last = map[string]string{}
	var tables []clienttest.Table
	for _, name := range []string{"orders", "customers", "order", "Ünï"} {
		if !rapid.Bool().Draw(t, "has "+name) {
			continue
		}
		files := rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 1, 3, rapid.ID).Draw(t, "files of "+name)
		for i := range files {
			files[i] *= 2 // parts of one table have the same columns
		}
		tables = append(tables, table(name, files...))
		slices.Sort(files)
		text := strings.ReplaceAll(fmt.Sprint(files), " ", ", ")
		h.last[name] = text
		if h.ever[name] == nil {
			h.ever[name] = map[string]bool{}
		}
		h.ever[name][text] = true
	}
	h.api.Publish(tables...)
	if rapid.Bool().Draw(t, "old parts are collected") {
		h.api.Forget()
	}
}

// hurt makes the network, the server or the disk misbehave.
func (h *history) hurt(t *rapid.T) {
	f := clienttest.Fault{Path: "/download", Times: rapid.IntRange(1, 6).Draw(t, "times"), After: rapid.IntRange(0, 3).Draw(t, "after")}
	switch rapid.IntRange(0, 8).Draw(t, "fault") {
	case 0:
		f.Cut = clienttest.Bytes(rapid.IntRange(0, 300).Draw(t, "bytes"))
	case 1:
		f.Status = rapid.SampledFrom([]int{403, 404, 412, 429, 500, 503}).Draw(t, "status")
	case 2:
		f.Flip = true
	case 3:
		f.DropQuery = true
	case 4:
		f.Path, f.Cut, f.After = "/manifest", clienttest.Bytes(rapid.IntRange(0, 300).Draw(t, "bytes")), 0
	case 5:
		f.Path, f.Status, f.After = "/catalog", 500, 0
	case 6:
		h.damage(t)
		return
	case 7:
		f.Do = func() { h.api.Publish(table("orders", 10)) }
		f.Times = 1
		h.ever["orders"] = maps.Clone(h.ever["orders"])
		if h.ever["orders"] == nil {
			h.ever["orders"] = map[string]bool{}
		}
		h.ever["orders"]["[10]"] = true
	case 8:
		f.Page = true
	}
	h.api.Inject(f)
}

// damage loses a file of the workspace.
func (h *history) damage(t *rapid.T) {
	var files []string
	for _, f := range h.files(t) {
		files = append(files, filepath.Join(h.ws.Parquet(), filepath.FromSlash(f)))
	}
	files = append(files, h.ws.StateFile())
	if !h.own {
		files = append(files, h.ws.Database())
	}
	h.damaged = true
	victim := rapid.SampledFrom(files).Draw(t, "victim")
	if rapid.Bool().Draw(t, "truncated") && victim != h.ws.Database() {
		_ = os.Truncate(victim, 7)
		return
	}
	_ = os.Remove(victim)
}

// sync syncs, perhaps only until something ends it.
func (h *history) sync(t *rapid.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var views mirror.Views = h.db
	switch rapid.IntRange(0, 5).Draw(t, "ends") {
	case 0:
		views = crashing{h.db, false}
	case 1:
		views = crashing{h.db, true}
	case 2:
		h.api.Inject(clienttest.Fault{Path: "/download", After: rapid.IntRange(0, 4).Draw(t, "cancelled after"), Times: 1, Do: cancel})
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
		}
	}()
	if _, err := mirror.New(h.client, views, h.ws, mirror.Options{Parallel: 2}).Sync(ctx); err == nil {
		h.damaged = false
	}
}

// shows gives what the analyst's database shows: the rows of each table.
func (h *history) shows(t *rapid.T) map[string]string {
	got := map[string]string{}
	if _, err := os.Stat(h.ws.Database()); err != nil {
		return got
	}
	for name := range h.ever {
		if rows := h.values(t, `shop."`+name+`"`); !strings.Contains(rows, "does not exist") {
			got[name] = rows
		}
	}
	return got
}

func TestWhateverHappensTheWorkspaceShowsWholeVersions(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		b, stop := setUp(t, filepath.Join(root, fmt.Sprint(n)))
		defer stop()
		h := &history{bench: b, ever: map[string]map[string]bool{}}
		h.publish(t)
		if err := h.ws.Create(); err != nil {
			t.Fatal(err)
		}
		if h.own = rapid.Bool().Draw(t, "the analyst has a table"); h.own {
			h.exec(t, "CREATE TABLE mine AS SELECT 5 AS v")
		}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				h.publish(t)
			case 1:
				h.hurt(t)
			default:
				h.sync(t)
			}
			for name, rows := range h.shows(t) {
				if !h.ever[name][rows] && (!h.damaged || !strings.HasPrefix(rows, "error: ")) {
					t.Fatalf("%s shows %s, which never was a version of it: %v", name, rows, h.ever[name])
				}
			}
		}
		h.api.Heal()
		h.publish(t)
		r, err := h.bench.sync(context.Background(), mirror.Options{})
		if err != nil {
			t.Fatalf("the last sync: %v\n%+v", err, r.Errors)
		}
		h.checkFinal(t)
		r, err = h.bench.sync(context.Background(), mirror.Options{Verify: true})
		if err != nil || len(r.Downloaded)+len(r.Removed) > 0 {
			t.Fatalf("the last sync left something to do: %+v, %v", r, err)
		}
	})
}

// checkFinal compares workspace and server when all is said and done.
func (h *history) checkFinal(t *rapid.T) {
	if got := h.shows(t); !maps.Equal(got, h.last) {
		t.Fatalf("shows %v, want %v", got, h.last)
	}
	if h.own {
		if got := h.values(t, "mine"); got != "[5]" {
			t.Fatalf("the analyst's table: %s", got)
		}
	}
	parts := 0
	for _, rows := range h.last {
		parts += strings.Count(rows, ",") + 1
	}
	if files := h.files(t); len(files) != parts {
		t.Fatalf("%d parts on disk, want %d: %v", len(files), parts, files)
	}
	if h.ws.LoadLastSync() == nil {
		t.Fatal("no last sync")
	}
}
