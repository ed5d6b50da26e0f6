package extract

import (
	"context"
	"crypto/md5" //nolint:gosec // a checksum that clients of the predecessor verify, not a protection
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// placement is a finished file of scratch and the content name that it gets.
type placement struct {
	part  catalog.Part
	file  string // in scratch; empty where a part of that name stands already
	final string
}

// finished hashes the files of a complete table side by side, makes sure that they are on the disk,
// and says where they go: partPath gives the path relative to dataDir, with forward slashes.
func finished(ctx context.Context, dataDir string, partPath func(sha string) string, files []string, rows []int64) ([]placement, error) {
	placed := make([]placement, len(files))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for i, file := range files {
		group.Go(func() (err error) {
			if err := groupCtx.Err(); err != nil {
				return err
			}
			placed[i], err = finish(dataDir, partPath, file, rows[i])
			return err
		})
	}
	return placed, group.Wait()
}

func finish(dataDir string, partPath func(sha string) string, file string, rows int64) (placement, error) {
	var digest lake.Digest
	var both errgroup.Group
	both.Go(func() error { return syncFile(file) })
	both.Go(func() (err error) {
		digest, err = hashParallel(file)
		return err
	})
	if err := both.Wait(); err != nil {
		return placement{}, err
	}
	p := placement{file: file, part: catalog.Part{
		Path: partPath(digest.SHA256), SHA256: digest.SHA256, MD5: digest.MD5, SizeBytes: digest.Size, Rows: rows,
	}}
	p.final = filepath.Join(dataDir, filepath.FromSlash(p.part.Path))
	if info, err := os.Lstat(p.final); err == nil && info.Mode().IsRegular() && info.Size() == p.part.SizeBytes {
		p.file = ""
		return p, os.Remove(file)
	}
	if err := os.Chmod(file, partMode); err != nil {
		return p, fmt.Errorf("protect a part: %w", err)
	}
	return p, nil
}

// place renames finished files to their content names and syncs the folders that name them.
func place(placed []placement, step func(string)) error {
	folders := map[string]bool{}
	for _, p := range placed {
		if p.file == "" {
			continue
		}
		folder := filepath.Dir(p.final)
		if err := os.MkdirAll(folder, dirMode); err != nil {
			return fmt.Errorf("make the folder of a part: %w", err)
		}
		step("part")
		if err := os.Rename(p.file, p.final); err != nil {
			return fmt.Errorf("publish a part: %w", err)
		}
		folders[folder], folders[filepath.Dir(folder)] = true, true
	}
	for folder := range folders {
		if err := lake.SyncDir(folder); err != nil {
			return fmt.Errorf("publish a part: %w", err)
		}
	}
	return nil
}

func partsOf(placed []placement) []catalog.Part {
	parts := make([]catalog.Part, len(placed))
	for i, p := range placed {
		parts[i] = p.part
	}
	return parts
}

// hashParallel takes SHA-256 and MD5 of a file side by side: one alone is bound by one core.
func hashParallel(file string) (lake.Digest, error) {
	info, err := os.Stat(file)
	if err != nil {
		return lake.Digest{}, fmt.Errorf("hash: %w", err)
	}
	if info.Size() < 1<<20 {
		return lake.HashFile(file)
	}
	var d lake.Digest
	var both errgroup.Group
	both.Go(func() (err error) {
		d.SHA256, err = hashWith(file, sha256.New())
		return err
	})
	both.Go(func() (err error) {
		d.MD5, err = hashWith(file, md5.New()) //nolint:gosec // see the import
		return err
	})
	d.Size = info.Size()
	return d, both.Wait()
}

func hashWith(file string, h hash.Hash) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
