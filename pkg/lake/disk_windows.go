package lake

import (
	"fmt"

	"golang.org/x/sys/windows"
)

const quotaExceeded = windows.ERROR_DISK_FULL

// FreeBytes is how much a process may still write where dir is.
func FreeBytes(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(free), nil //nolint:gosec // no disk is that large
}
