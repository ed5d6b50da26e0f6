package download_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/download"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store that counts.
type memory struct {
	mu      sync.Mutex
	known   map[string]lake.Digest
	queries int
}

func (m *memory) Get(_ context.Context, fingerprints []string) (map[string]lake.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries++
	found := map[string]lake.Digest{}
	for _, f := range fingerprints {
		if d, ok := m.known[f]; ok {
			found[f] = d
		}
	}
	return found, nil
}

func (m *memory) Put(_ context.Context, digests map[string]lake.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f, d := range digests {
		m.known[f] = d
	}
	return nil
}

func (m *memory) Retain(_ context.Context, fingerprints []string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := map[string]lake.Digest{}
	for _, f := range fingerprints {
		if d, ok := m.known[f]; ok {
			kept[f] = d
		}
	}
	gone := len(m.known) - len(kept)
	m.known = kept
	return gone, nil
}

// glue joins files by appending them; what real files need is tested where they are joined.
type glue struct {
	hold     chan struct{} // where not nil, work waits for it
	conflict bool
	mu       sync.Mutex
	stitched int
	merges   int
	version  string
}

type joined struct{ *bytes.Reader }

func (joined) Close() error { return nil }

func (g *glue) Stitch(files []string) (download.File, error) {
	if g.hold != nil {
		<-g.hold
	}
	g.mu.Lock()
	g.stitched++
	g.mu.Unlock()
	if g.conflict {
		return nil, fault.New(fault.Conflict, "the schemas differ")
	}
	var all []byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all = append(all, raw...)
	}
	return joined{bytes.NewReader(all)}, nil
}

func (g *glue) Merge(_ context.Context, columns []catalog.Column, files []string, target string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.merges++
	text := "merged" + g.version
	for _, c := range columns {
		text += " " + c.Name
	}
	for _, f := range files {
		text += " " + filepath.Base(f)
	}
	return os.WriteFile(target, []byte(text), 0o600)
}

type bench struct {
	*download.Wholes
	dir    string
	memory *memory
	glue   *glue
}

func newBench(t *testing.T, g *glue) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), memory: &memory{known: map[string]lake.Digest{}}, glue: g}
	b.reopen(t)
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bench) reopen(t *testing.T) {
	t.Helper()
	if b.Wholes != nil {
		b.Close()
	}
	w, err := download.NewWholes(t.Context(), b.dir, filepath.Join(b.dir, "state", "files"), b.memory, b.glue)
	if err != nil {
		t.Fatal(err)
	}
	b.Wholes = w
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (b *bench) table(t *testing.T, name string, parts ...string) catalog.Table {
	t.Helper()
	table := catalog.Table{Name: name, Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}}}
	for _, content := range parts {
		p := catalog.Part{Path: name + "-" + hashOf(content)[:8], SHA256: hashOf(content), MD5: "md5", SizeBytes: int64(len(content))}
		if err := os.WriteFile(filepath.Join(b.dir, p.Path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		table.Parts = append(table.Parts, p)
	}
	table.Fingerprint = catalog.Fingerprint(table)
	return table
}

func read(t *testing.T, b *bench, table catalog.Table) (string, download.Content) {
	t.Helper()
	c, err := b.Content(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), c
}

func TestTrap_D2_HashAndBytesAreOfOneContent(t *testing.T) {
	t.Parallel()
	b := newBench(t, &glue{})
	one, many, none := b.table(t, "one", "aaa"), b.table(t, "many", "bbb", "ccc"), b.table(t, "none")
	digests, err := b.Digests(t.Context(), []catalog.Table{one, many, none})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		table catalog.Table
		want  string
	}{{one, "aaa"}, {many, "bbbccc"}, {none, "merged id"}} {
		got, content := read(t, b, c.table)
		if got != c.want || content.SHA256 != hashOf(got) || digests[i].SHA256 != content.SHA256 || digests[i].Size != int64(len(got)) {
			t.Errorf("%s: %q under %+v, digest %+v", c.table.Name, got, content, digests[i])
		}
	}
	if b.memory.queries != 1 {
		t.Errorf("%d queries of the state for one manifest", b.memory.queries)
	}
	stitched := b.glue.stitched
	b.reopen(t)
	again, err := b.Digests(t.Context(), []catalog.Table{one, many, none})
	if err != nil || again[1] != digests[1] || again[2] != digests[2] {
		t.Errorf("after a restart: %+v %v", again, err)
	}
	if b.glue.stitched != stitched {
		t.Error("a digest that was kept was computed again")
	}
}

func TestTrap_D5_NoHashBeforeItWasComputed(t *testing.T) {
	t.Parallel()
	g := &glue{hold: make(chan struct{})}
	b := newBench(t, g)
	many := b.table(t, "many", "bbb", "ccc")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d, err := b.Digests(ctx, []catalog.Table{many}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v %v, want to be asked to wait", d, err)
	}
	close(g.hold)
	// Many that wait share the work.
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if d, err := b.Digests(t.Context(), []catalog.Table{many}); err != nil || d[0].SHA256 != hashOf("bbbccc") {
				t.Errorf("%v %v", d, err)
			}
		})
	}
	wait.Wait()
	if g.stitched != 1 {
		t.Errorf("stitched %d times", g.stitched)
	}
}

func TestAFileThatIsMissingHidesNothingElse(t *testing.T) {
	t.Parallel()
	b := newBench(t, &glue{})
	fine, broken := b.table(t, "fine", "a", "b"), b.table(t, "broken", "c", "d")
	if err := os.Remove(filepath.Join(b.dir, broken.Parts[0].Path)); err != nil {
		t.Fatal(err)
	}
	digests, err := b.Digests(t.Context(), []catalog.Table{fine, broken})
	if err != nil || digests[0].SHA256 != hashOf("ab") || digests[1] != (lake.Digest{}) {
		t.Fatalf("%+v %v", digests, err)
	}
	if _, err := b.Content(t.Context(), broken); !fault.Is(err, fault.Unavailable) {
		t.Errorf("broken: %v", err)
	}
	// It is tried again after the next publication.
	if err := os.WriteFile(filepath.Join(b.dir, broken.Parts[0].Path), []byte("c"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Keep(t.Context(), []catalog.Table{fine, broken})
	if got, _ := read(t, b, broken); got != "cd" {
		t.Errorf("mended: %q", got)
	}
}

func TestDifferentSchemasAreMergedIntoTheCache(t *testing.T) {
	t.Parallel()
	b := newBench(t, &glue{conflict: true})
	many, gone := b.table(t, "many", "bbb", "ccc"), b.table(t, "gone", "x", "y")
	got, content := read(t, b, many)
	if !strings.HasPrefix(got, "merged id many-") || content.SHA256 != hashOf(got) {
		t.Errorf("%q under %s", got, content.SHA256)
	}
	if again, _ := read(t, b, many); again != got || b.glue.merges != 1 {
		t.Errorf("merged %d times", b.glue.merges)
	}
	_, _ = read(t, b, gone)
	b.Keep(t.Context(), []catalog.Table{many})
	entries, err := os.ReadDir(filepath.Join(b.dir, "state", "files"))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in the cache: %v", len(entries), err)
	}
	// A file that was lost is made again; where it comes out in other bytes, the hash follows.
	for _, e := range entries {
		if err := os.Remove(filepath.Join(b.dir, "state", "files", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	b.glue.version = " anew"
	if got, content := read(t, b, many); !strings.HasPrefix(got, "merged anew") || content.SHA256 != hashOf(got) {
		t.Errorf("%q under %s", got, content.SHA256)
	}
	if b.memory.known[many.Fingerprint].SHA256 != b.digest(t, many) {
		t.Error("the state keeps the hash of bytes that are gone")
	}
}

func (b *bench) digest(t *testing.T, table catalog.Table) string {
	t.Helper()
	d, err := b.Digests(t.Context(), []catalog.Table{table})
	if err != nil {
		t.Fatal(err)
	}
	return d[0].SHA256
}

func TestDisposition(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"orders.parquet":       `attachment; filename=orders.parquet`,
		"my orders.parquet":    `attachment; filename="my orders.parquet"`,
		"../../etc/passwd":     `attachment; filename=_.._etc_passwd`,
		"a\"b\r\nX: y.parquet": `attachment; filename="a_b__X_ y.parquet"`,
		"účty.parquet":         `attachment; filename*=utf-8''%C3%BA%C4%8Dty.parquet`,
	} {
		if got := download.Disposition(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	if got, ok := download.Named(`"` + sum + `"`); !ok || got != sum {
		t.Error(got, ok)
	}
	for _, header := range []string{"", "*", sum, `W/"` + sum + `"`, `"` + sum + `", "b"`, `"` + strings.Repeat("/", 64) + `"`} {
		if got, ok := download.Named(header); ok {
			t.Errorf("%s names %s", header, got)
		}
	}
}

func TestPartOutsideTheDataDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t, &glue{})
	for _, path := range []string{"../secret", "/etc/passwd", "a/../../b", ""} {
		if _, err := b.Part(t.Context(), catalog.Part{Path: path}); err == nil {
			t.Errorf("%q is served", path)
		}
	}
	c, err := b.Part(t.Context(), catalog.Part{Path: "missing", SHA256: "x", SizeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
