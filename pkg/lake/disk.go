package lake

import (
	"errors"
	"regexp"
	"strings"
	"syscall"
)

// fullDisk are the words of the systems for a disk, or a quota, that has no room left: DuckDB repeats
// them in its own errors, which keep no cause.
var fullDisk = []string{"no space left on device", "disk quota exceeded", "not enough space on the disk"}

// gaveUp begins what DuckDB says of a single database that it gave up, at the checkpoint and ever after.
var gaveUp = regexp.MustCompile(`\A(?:Checkpoint failed for database|Database) ".*has been invalidated`)

// DiskFull tells whether an error, of the system or of DuckDB, says that a disk has no room left.
func DiskFull(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, quotaExceeded) {
		return true
	}
	return says(err, fullDisk...)
}

// Invalidated tells whether DuckDB gave up a database, or the whole instance, because of an error after
// which it cannot vouch for what it holds in memory. What is on disk is whole; nothing but opening the
// file anew helps.
func Invalidated(err error) bool {
	if err == nil {
		return false
	}
	var e *Error
	if !errors.As(Scrub(err), &e) {
		return false
	}
	return e.Class == ClassFatal || gaveUp.MatchString(e.Message)
}

func says(err error, words ...string) bool {
	text := strings.ToLower(err.Error())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
