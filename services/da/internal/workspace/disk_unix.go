//go:build unix

package workspace

import "golang.org/x/sys/unix"

// Free gives the bytes that this user can still write below dir; ok is false where the system does not
// tell.
func Free(dir string) (bytes int64, ok bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:gosec,unconvert // the types differ between systems
}
