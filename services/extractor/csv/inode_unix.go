//go:build unix

package csv

import (
	"io/fs"
	"syscall"
)

// inodeOf tells files apart that have the same name at different times.
func inodeOf(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino) //nolint:unconvert // of another width on other systems
	}
	return 0
}
