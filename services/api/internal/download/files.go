package download

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// File gives a file that rows of a table are about, by the id that they have: see extract.FilesDir. An id
// is digits, letters, '-' and '_' alone, so that none is a path.
func (w *Wholes) File(_ context.Context, source, table, id string) (Content, error) {
	missing := fault.New(fault.NotFound, "there is no file %.80q of this table, or it was not fetched", id)
	if id == "" || len(id) > 100 || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return Content{}, missing
	}
	dir := filepath.Join(extract.FilesDir(w.dataDir, source, table), id)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && (len(entries) != 1 || !entries[0].Type().IsRegular())) {
		return Content{}, missing
	}
	if err != nil {
		return Content{}, fault.Wrap(err, fault.Unavailable, "the file cannot be read at the moment")
	}
	path := filepath.Join(dir, entries[0].Name())
	digest, err := lake.HashFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Content{}, missing
	}
	if err != nil {
		return Content{}, fault.Wrap(err, fault.Unavailable, "the file cannot be read at the moment")
	}
	info, err := os.Stat(path)
	if err != nil {
		return Content{}, missing
	}
	return Content{
		Name: entries[0].Name(), SHA256: digest.SHA256, MD5: digest.MD5, Size: digest.Size, Modified: info.ModTime(),
		Open: func() (io.ReadSeekCloser, error) { return os.Open(path) },
	}, nil
}
