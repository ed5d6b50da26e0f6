//go:build !unix

package extract

import "io/fs"

// inode is not known here; time and size have to do.
func inode(fs.FileInfo) uint64 { return 0 }
