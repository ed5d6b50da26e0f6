package orchestrator

import (
	"fmt"
	"os"
	"syscall"
)

// fileStamp identifies the content of a file by what the file system says of it: size, time of the
// last change and inode. Rewriting in place changes the time, replacing it changes the inode.
func fileStamp(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	var inode uint64
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%d-%d-%d", info.Size(), info.ModTime().UnixNano(), inode), nil
}
