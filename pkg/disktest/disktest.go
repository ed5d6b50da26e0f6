//go:build linux

// Package disktest gives tests a disk that can be filled.
package disktest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// Mount makes dir a file system of so many bytes, such as "64m", until the test ends. Where that is not allowed the
// test is skipped.
func Mount(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as a data directory is
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: a full disk needs a small file system of its own, and mounting one is refused here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// Small is a folder with a file system of so many bytes of its own.
func Small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	Mount(t, dir, size)
	return dir
}

// Fill leaves so many bytes free and gives the file that took the rest.
func Fill(t *testing.T, dir string, leave int64) string {
	t.Helper()
	free, err := lake.FreeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, fmt.Sprintf("ballast-%d", leave))
	if err := os.WriteFile(ballast, make([]byte, free-leave), 0o600); err != nil {
		t.Fatal(err)
	}
	return ballast
}
