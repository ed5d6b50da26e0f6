package federation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type fetcher func(ctx context.Context, s Scan, path string) (Amount, error)

func (f fetcher) Fetch(ctx context.Context, s Scan, _ Table, _ Limits, path string) (Amount, error) {
	return f(ctx, s, path)
}

func newStore(t *testing.T, o StoreOptions) *Store {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "fetched")
	s, err := NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var far = Table{ID: "crm.deals", Columns: deals}

func writes(_ context.Context, _ Scan, path string) (Amount, error) {
	return Amount{Rows: 1, Bytes: 10}, os.WriteFile(path, []byte("0123456789"), 0o600)
}

func TestStoreFetchesOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var mu sync.Mutex
	s := newStore(t, StoreOptions{TTL: time.Minute, now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow := fetcher(func(ctx context.Context, scan Scan, path string) (Amount, error) {
		close(begun)
		<-goOn
		return writes(ctx, scan, path)
	})
	scan := Scan{Table: "crm.deals", Columns: []string{"id"}}
	paths := make(chan string, 2)
	get := func(place string, f Fetcher) {
		path, release, err := s.Get(t.Context(), place, scan, far, f)
		if err != nil {
			t.Error(err)
			paths <- ""
			return
		}
		release()
		paths <- path
	}
	go get("a", slow)
	<-begun
	go get("a", fetcher(func(context.Context, Scan, string) (Amount, error) { return Amount{}, errors.New("a second fetch") }))
	close(goOn)
	first, second := <-paths, <-paths
	if first == "" || first != second {
		t.Errorf("equal scans gave %s and %s", first, second)
	}
	get("b", fetcher(writes))
	if other := <-paths; filepath.Dir(other) == filepath.Dir(first) {
		t.Error("two places share a folder")
	}
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	get("a", fetcher(writes))
	if third := <-paths; third == first {
		t.Error("an old file answered")
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Errorf("the old file stands: %v", err)
	}
}

func TestStoreFailureIsNotKept(t *testing.T) {
	t.Parallel()
	s := newStore(t, StoreOptions{})
	scan := Scan{Table: "crm.deals", Columns: []string{"id"}}
	refused := fault.New(fault.Unavailable, "the table crm.deals cannot be reached at the moment")
	if _, _, err := s.Get(t.Context(), "a", scan, far, fetcher(func(context.Context, Scan, string) (Amount, error) { return Amount{}, refused })); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	_, release, err := s.Get(t.Context(), "a", scan, far, fetcher(writes))
	if err != nil {
		t.Fatal(err)
	}
	release()
	if st := s.Stats(); st.Fetches != 2 || st.Failed != 1 || st.Bytes != 10 {
		t.Errorf("counted %+v", st)
	}
}

// Nobody waits any more: the fetch ends.
func TestStoreCancels(t *testing.T) {
	t.Parallel()
	s := newStore(t, StoreOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	f := fetcher(func(ctx context.Context, _ Scan, _ string) (Amount, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return Amount{}, ctx.Err()
	})
	go func() {
		<-begun
		cancel()
	}()
	if _, _, err := s.Get(ctx, "a", Scan{Table: "crm.deals", Columns: []string{"id"}}, far, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended
}

func TestStoreShrinks(t *testing.T) {
	t.Parallel()
	s := newStore(t, StoreOptions{Bytes: 15})
	var paths []string
	var releases []func()
	for _, c := range []string{"id", "name"} {
		path, release, err := s.Get(t.Context(), "a", Scan{Table: "crm.deals", Columns: []string{c}}, far, fetcher(writes))
		if err != nil {
			t.Fatal(err)
		}
		paths, releases = append(paths, path), append(releases, release)
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("a file in use is gone: %v", err)
		}
	}
	for _, release := range releases {
		release()
	}
	if _, err := os.Stat(paths[0]); !os.IsNotExist(err) {
		t.Errorf("the oldest file stands: %v", err)
	}
	if _, err := os.Stat(paths[1]); err != nil {
		t.Errorf("the newest file is gone: %v", err)
	}
}

func TestStoreSweepsPlacesThatRest(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newStore(t, StoreOptions{TTL: 2 * time.Hour, now: func() time.Time { return now }})
	scan := Scan{Table: "crm.deals", Columns: []string{"id"}}
	folder := func(place string) string {
		path, release, err := s.Get(t.Context(), place, scan, far, fetcher(writes))
		if err != nil {
			t.Fatal(err)
		}
		release()
		return filepath.Dir(path)
	}
	ann, ben := folder("ann"), folder("ben")
	now = now.Add(90 * time.Minute)
	if again := folder("ben"); again != ben {
		t.Fatal("a place has two folders")
	}
	now = now.Add(45 * time.Minute) // what was fetched first is too old
	s.Sweep()
	for _, dir := range []string{ann, ben} {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			t.Errorf("files are left: %v", entries)
		}
	}
	now = now.Add(2 * time.Hour)
	s.Sweep()
	if entries, err := os.ReadDir(s.opts.Dir); err != nil || len(entries) != 0 {
		t.Errorf("folders are left: %v, %v", entries, err)
	}
	if folder("ann") != ann {
		t.Error("a place that comes back has another folder")
	}
}
