// Package workspace is the folder that an analyst works in: where its files stand, what it remembers of
// the last sync, and who may change it at a time. It depends on no server and on no other workspace.
package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Workspace is the layout of one workspace. Its folder may not exist yet.
type Workspace struct {
	// Root is absolute, with symbolic links resolved where it exists.
	Root string
}

// Find gives the workspace at dir; where dir is empty, the nearest folder from here upwards that is a
// workspace, and else the present folder.
func Find(dir string) (*Workspace, error) {
	if dir != "" {
		return at(dir)
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the present folder cannot be read: use --workspace")
	}
	for up := here; ; up = filepath.Dir(up) {
		w := &Workspace{Root: up}
		if w.Exists() {
			return at(up)
		}
		if filepath.Dir(up) == up {
			return at(here)
		}
	}
}

func at(dir string) (*Workspace, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the workspace %s cannot be resolved", dir)
	}
	if resolved, err := filepath.EvalSymlinks(root); err == nil {
		root = resolved
	}
	return &Workspace{Root: root}, nil
}

// Exists tells whether a sync ever began here.
func (w *Workspace) Exists() bool {
	_, err := os.Stat(w.Metadata())
	return err == nil
}

// Metadata is the folder of what the workspace remembers.
func (w *Workspace) Metadata() string { return filepath.Join(w.Root, "data", "metadata") }

// Parquet is the folder of the tables' parts.
func (w *Workspace) Parquet() string { return filepath.Join(w.Root, "data", "parquet") }

// Database is the analyst's DuckDB file: our views, and whatever the analyst adds.
func (w *Workspace) Database() string {
	return filepath.Join(w.Root, "data", "duckdb", "analytics.duckdb")
}

// SchemaFile holds the server's catalog, for reading offline.
func (w *Workspace) SchemaFile() string { return filepath.Join(w.Metadata(), "schema.json") }

// Create makes the folders of the layout.
func (w *Workspace) Create() error {
	for _, dir := range []string{w.Metadata(), w.Parquet(), filepath.Dir(w.Database()),
		filepath.Join(w.Root, "user", "artifacts"), filepath.Join(w.Root, "user", "sessions")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the analyst's own files, with the analyst's umask
			return fault.Wrap(err, fault.Permanent, "the workspace folder %s cannot be made", dir)
		}
	}
	return nil
}

// Old describes what the predecessor's client left at root, in a layout of its own; empty where it
// left nothing.
func (w *Workspace) Old() []string {
	var found []string
	for _, p := range []string{"server/parquet", "user/duckdb/analytics.duckdb"} {
		if _, err := os.Stat(filepath.Join(w.Root, filepath.FromSlash(p))); err == nil {
			found = append(found, p)
		}
	}
	return found
}

var (
	safeID = regexp.MustCompile(`\A[a-z0-9_][a-z0-9_.-]{0,99}\z`)
	// device names are no file names on Windows, with any extension.
	device = regexp.MustCompile(`\A(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\z)`)
	unsafe = regexp.MustCompile(`[^a-z0-9_-]+`)
	sha    = regexp.MustCompile(`\A[0-9a-f]{64}\z`)
)

// FolderOf is the name of a table's folder in Parquet. Ids come from a server and are never paths: one
// that is not plainly a file name on every system gets a made-up name, and no two ids that differ only
// in case share a folder.
func FolderOf(id string) string {
	if safeID.MatchString(id) && !device.MatchString(id) && !strings.HasSuffix(id, ".") {
		return id
	}
	slug := strings.Trim(unsafe.ReplaceAllString(strings.ToLower(id), "-"), "-")
	sum := sha256.Sum256([]byte(id))
	return "t-" + slug[:min(len(slug), 60)] + "-" + hex.EncodeToString(sum[:])[:16]
}

// ValidSHA tells whether text is a SHA-256 in lower-case hex, and so safe as a file name.
func ValidSHA(text string) bool { return sha.MatchString(text) }

// PartExt ends the name of a whole part; PartialExt is added while it is being fetched.
const (
	PartExt    = ".parquet"
	PartialExt = ".partial"
)

// Part is where a part of a table stands. hash must be valid.
func (w *Workspace) Part(id, hash string) string {
	return filepath.Join(w.Parquet(), FolderOf(id), hash+PartExt)
}

// Inventory is what stands in Parquet: folder → file name → size. Only names that da gives are listed;
// what else lies there is the user's.
type Inventory map[string]map[string]int64

// Has tells whether a part is there with the right size.
func (i Inventory) Has(id, hash string, size int64) bool {
	got, ok := i[FolderOf(id)][hash+PartExt]
	return ok && got == size
}

// Take reads the inventory.
func (w *Workspace) Take() (Inventory, error) {
	inv := Inventory{}
	folders, err := os.ReadDir(w.Parquet())
	if errors.Is(err, fs.ErrNotExist) {
		return inv, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "%s cannot be read", w.Parquet())
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(w.Parquet(), folder.Name()))
		if err != nil {
			return nil, fault.Wrap(err, fault.Permanent, "%s cannot be read", filepath.Join(w.Parquet(), folder.Name()))
		}
		inv[folder.Name()] = map[string]int64{}
		for _, file := range files {
			if !ours(file.Name()) {
				continue
			}
			if info, err := file.Info(); err == nil && info.Mode().IsRegular() {
				inv[folder.Name()][file.Name()] = info.Size()
			}
		}
	}
	return inv, nil
}

func ours(name string) bool {
	hash, found := strings.CutSuffix(strings.TrimSuffix(name, PartialExt), PartExt)
	return found && ValidSHA(hash)
}

// Sweep deletes what the inventory lists and keep does not want, and folders that are empty then. It
// gives the bytes freed. A file that cannot be deleted is tried again by the next sweep.
func (w *Workspace) Sweep(inv Inventory, keep func(folder, file string) bool) int64 {
	var freed int64
	for folder, files := range inv {
		dir := filepath.Join(w.Parquet(), folder)
		swept := len(files) == 0
		for file, size := range files {
			if keep(folder, file) {
				continue
			}
			if os.Remove(filepath.Join(dir, file)) == nil {
				freed += size
				swept = true
			}
		}
		if swept {
			_ = os.Remove(dir) // refuses where something is left in it
		}
	}
	return freed
}
