package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Store remembers digests of whole tables over restarts, by the fingerprint of the content.
type Store interface {
	// Get gives those that are known of the fingerprints, with one query.
	Get(ctx context.Context, fingerprints []string) (map[string]lake.Digest, error)
	Put(ctx context.Context, digests map[string]lake.Digest) error
	// Retain forgets all but those of the fingerprints.
	Retain(ctx context.Context, fingerprints []string) (int, error)
}

// File is a table as one file.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Joiner makes one parquet file of several.
type Joiner interface {
	// Stitch gives the files as one without copying their rows; fault.Conflict where their schemas differ.
	Stitch(files []string) (File, error)
	// Merge writes one file with the rows of the files, in order, under the columns; without files, an
	// empty one. Equal input gives equal bytes. It is in place only when it is complete.
	Merge(ctx context.Context, columns []catalog.Column, files []string, target string) error
}

// Wholes gives tables as single files with known hashes. Hashes are computed once per content.
type Wholes struct {
	dataDir, cacheDir string
	store             Store
	joiner            Joiner
	life              context.Context //nolint:containedctx // the work outlives the request that asked first
	stop              context.CancelFunc
	work              sync.WaitGroup
	slots             chan struct{} // bounds how many files are hashed at once

	mu     sync.Mutex
	known  map[string]lake.Digest
	failed map[string]error
	going  map[string]chan struct{}
	merged map[string]bool // fingerprints whose file had to be written to the cache
}

// hashing is how many files are hashed at once: the machine has other work.
const hashing = 2

// NewWholes returns a Wholes that caches files under cacheDir. Close it.
func NewWholes(ctx context.Context, dataDir, cacheDir string, store Store, joiner Joiner) (*Wholes, error) {
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for whole tables: %w", err)
	}
	w := &Wholes{
		dataDir: dataDir, cacheDir: cacheDir, store: store, joiner: joiner, slots: make(chan struct{}, hashing),
		known: map[string]lake.Digest{}, failed: map[string]error{}, going: map[string]chan struct{}{}, merged: map[string]bool{},
	}
	w.life, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	return w, nil
}

// Close ends the work that is under way.
func (w *Wholes) Close() {
	w.stop()
	w.work.Wait()
}

// Part gives one part of a table.
func (w *Wholes) Part(_ context.Context, p catalog.Part) (Content, error) {
	if !catalog.ValidPartPath(p.Path) {
		return Content{}, fault.New(fault.Internal, "a part has an unusable path")
	}
	path := w.pathOf(p)
	return Content{
		SHA256: p.SHA256, MD5: p.MD5, Size: p.SizeBytes,
		Open: func() (io.ReadSeekCloser, error) { return os.Open(path) },
	}, nil
}

func (w *Wholes) pathOf(p catalog.Part) string {
	return filepath.Join(w.dataDir, filepath.FromSlash(p.Path))
}

// single gives the only part of a table.
func single(t catalog.Table) (catalog.Part, bool) {
	if len(t.Parts) != 1 {
		return catalog.Part{}, false
	}
	return t.Parts[0], true
}

// Digests gives the digests of the tables as single files, in their order. It waits for those that are
// not known yet; fault.Unavailable where ctx ends first. A table that cannot be made one file has an
// empty digest.
func (w *Wholes) Digests(ctx context.Context, tables []catalog.Table) ([]lake.Digest, error) {
	if err := w.recall(ctx, tables); err != nil {
		return nil, err
	}
	digests := make([]lake.Digest, len(tables))
	for i, t := range tables {
		if p, ok := single(t); ok {
			digests[i] = lake.Digest{SHA256: p.SHA256, MD5: p.MD5, Size: p.SizeBytes}
			continue
		}
		d, err := w.await(ctx, t)
		if err != nil && ctx.Err() != nil {
			return nil, fault.Wrap(ctx.Err(), fault.Unavailable, "hashes are still being computed")
		}
		digests[i] = d
	}
	return digests, nil
}

// Prepare starts to compute what is not known of the tables, without waiting.
func (w *Wholes) Prepare(ctx context.Context, tables []catalog.Table) {
	if err := w.recall(ctx, tables); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the digests of tables cannot be read; they are computed anew")
	}
	for _, t := range tables {
		if _, ok := single(t); !ok {
			w.begin(t)
		}
	}
}

// recall reads from the store what this process does not know yet, all at once.
func (w *Wholes) recall(ctx context.Context, tables []catalog.Table) error {
	var missing []string
	w.mu.Lock()
	for _, t := range tables {
		if _, ok := single(t); ok {
			continue
		}
		if _, ok := w.known[t.Fingerprint]; !ok && w.failed[t.Fingerprint] == nil && w.going[t.Fingerprint] == nil {
			missing = append(missing, t.Fingerprint)
		}
	}
	w.mu.Unlock()
	if len(missing) == 0 {
		return nil
	}
	found, err := w.store.Get(ctx, missing)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for fingerprint, d := range found {
		w.known[fingerprint] = d
	}
	return nil
}

// await gives the digest of a table of none or several parts.
func (w *Wholes) await(ctx context.Context, t catalog.Table) (lake.Digest, error) {
	for {
		done := w.begin(t)
		if done == nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.known[t.Fingerprint], w.failed[t.Fingerprint]
		}
		select {
		case <-done:
		case <-ctx.Done():
			return lake.Digest{}, fault.Wrap(ctx.Err(), fault.Unavailable, "hashes are still being computed")
		}
	}
}

// begin starts the work on a table unless it is done or under way; the channel is closed when it is
// done, and nil where it was.
func (w *Wholes) begin(t catalog.Table) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.known[t.Fingerprint]; ok || w.failed[t.Fingerprint] != nil {
		return nil
	}
	if done, ok := w.going[t.Fingerprint]; ok {
		return done
	}
	done := make(chan struct{})
	w.going[t.Fingerprint] = done
	w.work.Go(func() {
		d, err := w.compute(t)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.going, t.Fingerprint)
		close(done)
		if err == nil {
			w.known[t.Fingerprint] = d
			return
		}
		w.failed[t.Fingerprint] = err
	})
	return done
}

// compute makes the file and hashes it.
func (w *Wholes) compute(t catalog.Table) (lake.Digest, error) {
	select {
	case w.slots <- struct{}{}:
	case <-w.life.Done():
		return lake.Digest{}, w.life.Err()
	}
	defer func() { <-w.slots }()
	file, err := w.open(w.life, t)
	if err != nil {
		zerolog.Ctx(w.life).Error().Err(err).Str("table", t.Name).Msg("a table cannot be made one file; its parts can be fetched")
		return lake.Digest{}, err
	}
	defer func() { _ = file.Close() }()
	d, err := hash(w.life, file)
	if err != nil {
		return lake.Digest{}, err
	}
	if err := w.store.Put(w.life, map[string]lake.Digest{t.Fingerprint: d}); err != nil {
		zerolog.Ctx(w.life).Warn().Err(err).Str("table", t.Name).Msg("the digest of a table cannot be kept; it is computed again after a restart")
	}
	return d, nil
}

func hash(ctx context.Context, f File) (lake.Digest, error) {
	h := lake.NewHasher()
	if _, err := io.CopyBuffer(h, &cancelled{ctx, io.NewSectionReader(f, 0, f.Size())}, make([]byte, 1<<20)); err != nil {
		return lake.Digest{}, fmt.Errorf("hash a table: %w", err)
	}
	return h.Digest(), nil
}

// cancelled is a reader that ends with a context.
type cancelled struct {
	ctx context.Context //nolint:containedctx // for the life of one read
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// open gives the table as one file: stitched from its parts where their schemas agree, otherwise
// written to the cache.
func (w *Wholes) open(ctx context.Context, t catalog.Table) (File, error) {
	files := make([]string, len(t.Parts))
	for i, p := range t.Parts {
		if !catalog.ValidPartPath(p.Path) {
			return nil, fault.New(fault.Internal, "a part has an unusable path")
		}
		files[i] = w.pathOf(p)
	}
	w.mu.Lock()
	merged := w.merged[t.Fingerprint] || len(files) == 0
	w.mu.Unlock()
	if !merged {
		file, err := w.joiner.Stitch(files)
		if !fault.Is(err, fault.Conflict) {
			return file, err
		}
		w.mu.Lock()
		w.merged[t.Fingerprint] = true
		w.mu.Unlock()
	}
	target := filepath.Join(w.cacheDir, cacheName(t))
	file, err := openDisk(target)
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if err := w.joiner.Merge(ctx, t.Columns, files, target); err != nil {
		return nil, fmt.Errorf("write table %s as one file: %w", t.Name, err)
	}
	if file, err = openDisk(target); err != nil {
		return nil, err
	}
	return file, w.confirm(ctx, t, file)
}

// confirm takes the digest of a file that was written anew: another version of the writer may have
// chosen other bytes than those whose digest was kept.
func (w *Wholes) confirm(ctx context.Context, t catalog.Table, file File) error {
	d, err := hash(ctx, file)
	if err != nil {
		return err
	}
	w.mu.Lock()
	before, known := w.known[t.Fingerprint]
	if known {
		w.known[t.Fingerprint] = d
	}
	w.mu.Unlock()
	if known && before != d {
		return w.store.Put(ctx, map[string]lake.Digest{t.Fingerprint: d})
	}
	return nil
}

// cacheName is a file name for a table's content, whatever its fingerprint holds.
func cacheName(t catalog.Table) string {
	sum := sha256.Sum256([]byte(t.Fingerprint))
	return hex.EncodeToString(sum[:]) + ".parquet"
}

// disk is a File on disk.
type disk struct {
	*os.File
	size int64
}

func openDisk(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &disk{File: f, size: info.Size()}, nil
}

// Size in bytes.
func (d *disk) Size() int64 { return d.size }

// Content gives a table as one file, waiting for its hash until ctx ends.
func (w *Wholes) Content(ctx context.Context, t catalog.Table) (Content, error) {
	if p, ok := single(t); ok {
		return w.Part(ctx, p)
	}
	if err := w.recall(ctx, []catalog.Table{t}); err != nil {
		return Content{}, err
	}
	d, err := w.await(ctx, t)
	if err == nil {
		d, err = w.standing(ctx, t, d)
	}
	if err != nil {
		if fault.KindOf(err) != fault.Internal {
			return Content{}, err
		}
		return Content{}, fault.Wrap(err, fault.Unavailable, "table %q cannot be sent as one file at the moment; fetch its parts", t.Name)
	}
	return Content{SHA256: d.SHA256, MD5: d.MD5, Size: d.Size, Open: func() (io.ReadSeekCloser, error) {
		file, err := w.open(w.life, t)
		if err != nil {
			return nil, err
		}
		if on, ok := file.(*disk); ok {
			return on.File, nil // the kernel sends it
		}
		return &section{SectionReader: io.NewSectionReader(file, 0, file.Size()), Closer: file}, nil
	}}, nil
}

// standing makes sure that a file of the cache stands, and gives the digest of the one that does.
func (w *Wholes) standing(ctx context.Context, t catalog.Table, d lake.Digest) (lake.Digest, error) {
	w.mu.Lock()
	cached := w.merged[t.Fingerprint] || len(t.Parts) == 0
	w.mu.Unlock()
	if !cached {
		return d, nil
	}
	file, err := w.open(ctx, t)
	if err != nil {
		return lake.Digest{}, err
	}
	_ = file.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[t.Fingerprint], nil
}

// section reads a File from a position.
type section struct {
	*io.SectionReader
	io.Closer
}

// Keep forgets everything about contents that are none of the tables, and removes their cached files.
// Failures are forgotten too, so that a table is tried again after the next publication.
func (w *Wholes) Keep(ctx context.Context, tables []catalog.Table) {
	wanted, files := map[string]bool{}, map[string]bool{}
	for _, t := range tables {
		wanted[t.Fingerprint] = true
		files[cacheName(t)] = true
	}
	if _, err := w.store.Retain(ctx, slices.Collect(maps.Keys(wanted))); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the digests of contents that are gone cannot be forgotten; they are, the next time")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for fingerprint := range w.known {
		if !wanted[fingerprint] {
			delete(w.known, fingerprint)
			delete(w.merged, fingerprint)
		}
	}
	clear(w.failed)
	entries, err := os.ReadDir(w.cacheDir)
	if err != nil {
		return // what is left over is removed the next time
	}
	for _, e := range entries {
		if !files[e.Name()] {
			_ = os.Remove(filepath.Join(w.cacheDir, e.Name()))
		}
	}
}
