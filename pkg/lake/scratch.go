package lake

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// looseAge is how old a file in a scratch root must be that belongs to no Scratch, such as one that
	// is about to be renamed to its place, before a sweep takes it away.
	looseAge = time.Hour
	// scratchLock is the suffix of the file that a Scratch holds locked as long as it lives.
	scratchLock = ".lock"
)

// Scratch is a folder for half-finished files that outlives its process by no more than the next
// SweepScratch.
type Scratch struct {
	// Dir is the folder.
	Dir  string
	lock *os.File
}

// NewScratch makes a scratch folder under root, such as $DATA_DIR/tmp, which is made where it is
// missing. The name of the service becomes a part of the folder's, for people. Close removes it.
func NewScratch(root, service string) (*Scratch, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("make scratch space: %w", err)
	}
	for {
		var random [8]byte
		_, _ = rand.Read(random[:]) // never fails
		dir := filepath.Join(root, service+"-"+hex.EncodeToString(random[:]))
		lock, ok, err := tryLock(dir + scratchLock)
		if err != nil {
			return nil, fmt.Errorf("make scratch space: %w", err)
		}
		if !ok || !stillNamed(lock) { // a sweep came between making the lock and taking it
			if ok {
				_ = lock.Close()
			}
			continue
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			_ = os.Remove(lock.Name())
			_ = lock.Close()
			return nil, fmt.Errorf("make scratch space: %w", err)
		}
		return &Scratch{Dir: dir, lock: lock}, nil
	}
}

// stillNamed tells whether the name of an open file still leads to it.
func stillNamed(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// Path is that of a file in the folder.
func (s *Scratch) Path(name string) string { return filepath.Join(s.Dir, name) }

// Close removes the folder and all in it. It may be called more than once.
func (s *Scratch) Close() error {
	err := os.RemoveAll(s.Dir)
	if err == nil {
		_ = os.Remove(s.Dir + scratchLock)
	}
	_ = s.lock.Close()
	if err != nil {
		return fmt.Errorf("remove scratch space: %w", err)
	}
	return nil
}

// SweepScratch removes what processes that are gone left under root, and loose files that are older
// than an hour. It leaves alone what belongs to a living process. A root that is not there is clean.
func SweepScratch(root string) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, sweepEntry(root, e))
	}
	if err != nil {
		return fmt.Errorf("sweep scratch space: %w", err)
	}
	return nil
}

func sweepEntry(root string, e fs.DirEntry) error {
	path := filepath.Join(root, e.Name())
	switch {
	case strings.HasSuffix(e.Name(), scratchLock):
		if _, err := os.Stat(strings.TrimSuffix(path, scratchLock)); err == nil {
			return nil // goes with its folder
		}
		return removeUnlocked(path, "")
	case e.IsDir():
		return removeUnlocked(path+scratchLock, path)
	}
	info, err := e.Info()
	if err != nil || time.Since(info.ModTime()) < looseAge {
		return nil //nolint:nilerr // it went away by itself
	}
	return ignoreMissing(os.Remove(path))
}

// removeUnlocked removes a folder, if one is named, and its lock, unless somebody holds the lock.
func removeUnlocked(lockPath, dir string) error {
	lock, ok, err := tryLock(lockPath)
	if err != nil || !ok {
		return err
	}
	defer func() { _ = lock.Close() }()
	if dir != "" {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return ignoreMissing(os.Remove(lockPath))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
