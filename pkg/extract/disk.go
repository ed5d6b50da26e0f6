package extract

import (
	"fmt"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// fullDisk is what is said of a run or a table that met a full disk: what stands stays, and nobody but
// who runs the server can mend it.
const fullDisk = "the disk of the data directory is full, so the last version stays: free space on it, and the next run goes on by itself"

// Room tells whether the disk takes so many bytes more, before a source is asked for them: a clear error
// comes sooner than a full disk, and costs the other tables nothing. Where free space cannot be told, it
// is nil. Bytes are what will be written to scratch at least, not what the table will be.
func (w *TableWriter) Room(bytes int64) error {
	free, err := lake.FreeBytes(filepath.Dir(w.table.dir)) // the table's own folder may not be made yet
	if err != nil || free >= bytes {
		return nil //nolint:nilerr // the disk itself tells then
	}
	return fault.New(fault.Unavailable, "the disk of the data directory has no room for the table %s: it needs at least %s and %s are free, so the last version stays; free space on the disk, and sync again",
		w.name, inUnits(bytes), inUnits(free))
}

// inUnits is a size as people read it.
func inUnits(bytes int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= u.size {
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", bytes)
}
