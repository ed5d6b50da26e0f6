package csv

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
)

// watched starts the watcher and gives what it notifies of, in order.
func watched(t *testing.T, h *house) (next func(within time.Duration) []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan []string, 100)
	var done sync.WaitGroup
	done.Go(func() {
		if err := h.open().(extract.Watcher).Watch(ctx, func(tables ...string) { told <- tables }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return func(within time.Duration) []string {
		select {
		case tables := <-told:
			slices.Sort(tables)
			return tables
		case <-time.After(within):
			return nil
		}
	}
}

func TestWatchNoticesFilesAtRest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"path":["../files","../files/deep/**/*.csv"]}`)
	h.put("old.csv", "a\n1\n")
	h.put("deep/x/nested.csv", "a\n1\n")
	next := watched(t, h)
	const soon, never = 20 * time.Second, 1500 * time.Millisecond
	// At first everything, for what happened while nobody watched.
	if got := next(soon); !slices.Equal(got, []string{"nested", "old"}) {
		t.Fatalf("at the start: %v", got)
	}
	if got := next(never); got != nil {
		t.Fatalf("nothing changed: %v", got)
	}
	h.put("new.csv", "a\n1\n") // renamed into place
	if got := next(soon); !slices.Equal(got, []string{"new"}) {
		t.Fatalf("a new file: %v", got)
	}
	// A file that grows is left alone until it is at rest.
	f, err := os.OpenFile(h.file("old.csv"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := f.WriteString("2\n"); err != nil {
			t.Fatal(err)
		}
		if got := next(150 * time.Millisecond); got != nil {
			t.Fatalf("while it grows: %v", got)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := next(soon); !slices.Equal(got, []string{"old"}) {
		t.Fatalf("at rest: %v", got)
	}
	h.put("deep/y/z/other.csv", "a\n1\n") // in folders that were not there
	if got := next(soon); !slices.Equal(got, []string{"other"}) {
		t.Fatalf("in a new folder: %v", got)
	}
	// A folder that goes away and comes back is no change of its files.
	if err := os.Rename(h.file(""), h.dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if got := next(never); got != nil {
		t.Fatalf("away: %v", got)
	}
	if err := os.Rename(h.dir+"/away", h.file("")); err != nil {
		t.Fatal(err)
	}
	h.put("new.csv", "a\n2\n")
	if got := next(soon); !slices.Equal(got, []string{"new"}) {
		t.Fatalf("back again: %v", got)
	}
	// One that is deleted and comes back is new, even if it looks the same.
	if err := os.Remove(h.file("new.csv")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	h.put("new.csv", "a\n3\n")
	if got := next(soon); !slices.Equal(got, []string{"new"}) {
		t.Fatalf("deleted and put again: %v", got)
	}
}
