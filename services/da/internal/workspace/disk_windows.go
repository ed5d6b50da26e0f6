package workspace

import "golang.org/x/sys/windows"

// Free gives the bytes that this user can still write below dir; ok is false where the system does not
// tell.
func Free(dir string) (bytes int64, ok bool) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if windows.GetDiskFreeSpaceEx(path, &free, nil, nil) != nil {
		return 0, false
	}
	return int64(free), true //nolint:gosec // no disk is that large
}
