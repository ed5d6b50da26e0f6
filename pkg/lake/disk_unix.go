//go:build unix

package lake

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const quotaExceeded = unix.EDQUOT

// FreeBytes is how much a process may still write where dir is.
func FreeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // of another type on other systems
}
