package workspace

import "github.com/agnes-platform/agnes/pkg/lake"

// Free gives the bytes that this user can still write below dir; ok is false where the system does not
// tell.
func Free(dir string) (bytes int64, ok bool) {
	bytes, err := lake.FreeBytes(dir)
	return bytes, err == nil
}
