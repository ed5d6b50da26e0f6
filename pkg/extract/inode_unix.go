//go:build unix

package extract

import (
	"io/fs"
	"syscall"
)

// inode tells files apart that were renamed to one name within the clock's resolution.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino) //nolint:unconvert // 32 bits on some systems
	}
	return 0
}
