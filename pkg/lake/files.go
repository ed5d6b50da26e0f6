package lake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// SyncDir makes renames and removals in a folder survive a power cut. Windows has no such call.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return syncPath(dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// SwapFile gives a finished file its name: it syncs the file, renames it over final and syncs the
// folder, which is made where it is missing. Readers see the old file or the new one, whole. tmp must
// be on the file system of final; on an error before the rename it is still there and final is what
// it was. A database beside which a write-ahead log stands is refused: without it, the rename would
// lose commits. A log that a crashed writer left beside final belongs to the file that goes away, and
// goes first.
func SwapFile(tmp, final string) error {
	if err := swapFile(tmp, final); err != nil {
		return fmt.Errorf("publish %s: %w", filepath.Base(final), err)
	}
	return nil
}

func swapFile(tmp, final string) error {
	if _, err := os.Lstat(tmp + ".wal"); err == nil {
		return fault.New(fault.Internal, "the database was not closed before it was published")
	}
	if err := os.Remove(final + ".wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncPath(tmp); err != nil {
		return err
	}
	dir := filepath.Dir(final)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	return SyncDir(dir)
}

// WriteFileAtomic publishes data as path with the mode: readers see what was there before or all of
// data, and it is on the disk when this returns. The half-finished file is a hidden one in the same
// folder, which is made where it is missing.
func WriteFileAtomic(path string, data []byte, mode fs.FileMode) error {
	if err := writeFileAtomic(path, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

func writeFileAtomic(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = swapFile(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// ParquetFormat are the options of COPY with which parquet files of ours are written: the least effort of zstd packs what
// parquet's encodings leave as tightly as its standard, in three quarters of the time.
const ParquetFormat = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
