package audit

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// VerifyArchive verifies a record that came as a tar.gz, such as that of GET /api/admin/audit/chain. It
// is unpacked into a folder inside tmp (empty for the system's) that is removed afterwards.
func VerifyArchive(ctx context.Context, r io.Reader, tmp string, o Options) (Report, error) {
	dir, err := os.MkdirTemp(tmp, "agnes-audit-")
	if err != nil {
		return Report{}, fault.Wrap(err, fault.Unavailable, "there is no room to unpack the record")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := unpack(ctx, r, dir); err != nil {
		return Report{}, err
	}
	o.Closed = true
	return VerifyDir(ctx, dir, o)
}

// unpack writes the files of a record, and no others, into dir.
func unpack(ctx context.Context, r io.Reader, dir string) error {
	broken := func(err error) error {
		return fault.Wrap(err, fault.Invalid, "this is no archive of the record, or it was cut off: fetch it again")
	}
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return broken(err)
	}
	if err := os.Mkdir(filepath.Join(dir, SegmentsDir), 0o700); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the record cannot be unpacked")
	}
	files := tar.NewReader(zipped)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return broken(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := strings.TrimPrefix(path.Clean(h.Name), "./")
		if h.Typeflag != tar.TypeReg || !isFileOfRecord(name) {
			return fault.New(fault.Invalid, "the archive holds %q, which is no part of a record", clip(h.Name))
		}
		if err := unpackFile(ctx, files, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, zipped); err != nil { // the checksum of gzip
		return broken(err)
	}
	return nil
}

func unpackFile(ctx context.Context, r io.Reader, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Invalid, "the archive holds %s twice", filepath.Base(file))
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the record cannot be unpacked")
	}
	_, err = io.Copy(f, &cancellable{ctx, r})
	if err := errors.Join(err, f.Close()); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the record cannot be unpacked")
	}
	return nil
}

func isFileOfRecord(name string) bool {
	switch name {
	case CheckpointsFile, BaseFile, PublicKeyFile:
		return true
	}
	folder, file := path.Split(name)
	_, ok := SegmentFirst(file)
	return ok && folder == SegmentsDir+"/"
}

// cancellable ends a copy with its context.
type cancellable struct {
	ctx context.Context //nolint:containedctx // that of the one copy
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
