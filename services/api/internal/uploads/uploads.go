// Package uploads keeps the files that users send: sessions and artifacts in a folder per user, and one
// file of notes per user. The layout is the predecessor's, so that what it kept is found:
//
//	user_sessions/<user id>/<name>
//	user_artifacts/<user id>/<name>
//	user_local_md/<e-mail address>.md
package uploads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// The kinds of uploads.
const (
	Sessions  = "sessions"
	Artifacts = "artifacts"
	LocalMD   = "local-md"
)

var folders = map[string]string{Sessions: "user_sessions", Artifacts: "user_artifacts", LocalMD: "user_local_md"}

// Config of a Store. All is required.
type Config struct {
	// DataDir is the root of all data.
	DataDir string
	// TmpDir holds half-finished files; it is on the file system of DataDir.
	TmpDir string
	// MaxBytes is the longest file; MaxUserBytes and MaxUserFiles bound all files of one user.
	MaxBytes, MaxUserBytes int64
	MaxUserFiles           int
	// EmailOf gives the e-mail address of a user; fault.NotFound where there is none.
	EmailOf func(ctx context.Context, userID string) (string, error)
}

// Store keeps uploads on disk. It is safe for concurrent use; one process at a time may have one.
type Store struct {
	cfg     Config
	scratch *lake.Scratch
	quotas  quotas
}

// New makes a Store. Close it.
func New(c Config) (*Store, error) {
	if c.MaxBytes <= 0 || c.MaxUserBytes <= 0 || c.MaxUserFiles <= 0 {
		return nil, fault.New(fault.Invalid, "the limits of uploads must be positive: AGNES_UPLOAD_MAX_MB, AGNES_UPLOAD_QUOTA_MB and AGNES_UPLOAD_MAX_FILES")
	}
	scratch, err := lake.NewScratch(c.TmpDir, "uploads")
	if err != nil {
		return nil, err
	}
	return &Store{cfg: c, scratch: scratch, quotas: quotas{byUser: map[string]*ledger{}, maxBytes: c.MaxUserBytes, maxFiles: c.MaxUserFiles}}, nil
}

// Close removes what is half-finished.
func (s *Store) Close() error { return s.scratch.Close() }

// MaxBytes is the longest file that is taken.
func (s *Store) MaxBytes() int64 { return s.cfg.MaxBytes }

// Save stores one file under a safe form of its name, in place of the one that had the name. It is
// written as it comes; one that does not come whole leaves nothing. fault.TooLarge beyond the size of
// one file or the quota of all.
func (s *Store) Save(ctx context.Context, c httpapi.Caller, kind, filename string, body io.Reader) (httpapi.Upload, error) {
	name := Name(filename)
	if kind == LocalMD {
		name = notesName(c.Email)
	}
	dir, err := s.dir(kind, c.UserID)
	if err != nil {
		return httpapi.Upload{}, err
	}
	room, err := s.quotas.enter(c.UserID, func() (taken, error) { return s.taken(c.UserID, c.Email) }, filepath.Join(dir, name))
	if err != nil {
		return httpapi.Upload{}, err
	}
	defer room.leave()
	aside, err := os.CreateTemp(s.scratch.Dir, "upload-*")
	if err != nil {
		return httpapi.Upload{}, stored(err)
	}
	defer func() {
		_ = aside.Close()
		_ = os.Remove(aside.Name()) // it has another name where all went well
	}()
	sum := sha256.New()
	size, err := s.copy(ctx, io.MultiWriter(aside, sum), body, room)
	if err == nil {
		err = stored(aside.Sync())
	}
	if err == nil {
		err = stored(aside.Close())
	}
	if err == nil {
		err = stored(os.MkdirAll(dir, 0o700))
	}
	if err == nil {
		err = stored(room.settle(func() error { return os.Rename(aside.Name(), filepath.Join(dir, name)) }))
	}
	if err == nil {
		err = stored(lake.SyncDir(dir)) // it has its name after a power cut, too
	}
	if err != nil {
		return httpapi.Upload{}, err
	}
	now := time.Now().UTC()
	return httpapi.Upload{Kind: kind, Filename: name, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil)), ModifiedAt: &now}, nil
}

// copy writes the body as long as there is room for it.
func (s *Store) copy(ctx context.Context, w io.Writer, body io.Reader, room *room) (int64, error) {
	buffer := make([]byte, 128<<10)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, err := body.Read(buffer)
		if size += int64(n); size > s.cfg.MaxBytes {
			return size, fault.New(fault.TooLarge, "the file is larger than %s, the most that is taken: split it, or compress it", megabytes(s.cfg.MaxBytes))
		}
		if err := room.take(int64(n)); err != nil {
			return size, err
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return size, stored(err)
		}
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// stored says what an error of the disk means to who uploads.
func stored(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Wrap(err, fault.Unavailable, "the disk of the server is full: nothing was stored; tell an administrator")
	}
	return fmt.Errorf("store an upload: %w", err)
}

func megabytes(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

var userID = regexp.MustCompile(`\A[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\z`)

// dir is the folder of a kind and a user.
func (s *Store) dir(kind, id string) (string, error) {
	folder, known := folders[kind]
	if !known {
		return "", fault.New(fault.NotFound, "there are no uploads of the kind %.40q; there are sessions, artifacts and local-md", kind)
	}
	if !userID.MatchString(id) {
		return "", fault.New(fault.NotFound, "there is no such user")
	}
	if kind == LocalMD {
		return filepath.Join(s.cfg.DataDir, folder), nil
	}
	return filepath.Join(s.cfg.DataDir, folder, id), nil
}

// List gives the files of a user, by kind and name, and how much of the quota they take.
func (s *Store) List(ctx context.Context, id string) ([]httpapi.Upload, httpapi.Quota, error) {
	email, err := s.cfg.EmailOf(ctx, id)
	if err != nil {
		return nil, httpapi.Quota{}, err
	}
	list, err := s.list(id, email)
	if err != nil {
		return nil, httpapi.Quota{}, err
	}
	quota := httpapi.Quota{Files: len(list), MaxFiles: s.cfg.MaxUserFiles, MaxBytes: s.cfg.MaxUserBytes}
	for _, u := range list {
		quota.Bytes += u.Size
	}
	return list, quota, nil
}

func (s *Store) list(id, email string) ([]httpapi.Upload, error) {
	list := []httpapi.Upload{}
	for _, kind := range []string{Artifacts, LocalMD, Sessions} {
		dir, err := s.dir(kind, id)
		if err != nil {
			return nil, err
		}
		if kind == LocalMD {
			info, err := os.Lstat(filepath.Join(dir, notesName(email)))
			if err == nil && info.Mode().IsRegular() {
				list = append(list, describe(kind, info))
			}
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list uploads: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || !plain(e.Name()) {
				continue // it went away by itself, or is nothing that was uploaded
			}
			list = append(list, describe(kind, info))
		}
	}
	return list, nil
}

func describe(kind string, info fs.FileInfo) httpapi.Upload {
	modified := info.ModTime().UTC()
	return httpapi.Upload{Kind: kind, Filename: info.Name(), Size: info.Size(), ModifiedAt: &modified}
}

// taken adds up what a user has stored.
func (s *Store) taken(id, email string) (taken, error) {
	list, err := s.list(id, email)
	t := taken{files: len(list)}
	for _, u := range list {
		t.bytes += u.Size
	}
	return t, err
}

// Open gives one file back; fault.NotFound where there is none. Close it.
func (s *Store) Open(ctx context.Context, id, kind, filename string) (io.ReadSeekCloser, httpapi.Upload, error) {
	var none httpapi.Upload
	root, name, err := s.find(ctx, id, kind, filename)
	if err != nil {
		return nil, none, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(name)
	if err != nil {
		return nil, none, notThere(err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, none, fmt.Errorf("open an upload: %w", err)
	}
	return f, describe(kind, info), nil
}

// Delete removes one file; fault.NotFound where there is none.
func (s *Store) Delete(ctx context.Context, id, kind, filename string) error {
	root, name, err := s.find(ctx, id, kind, filename)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return s.quotas.remove(id, func() (int64, error) {
		info, err := root.Lstat(name)
		if err != nil {
			return 0, notThere(err)
		}
		if err := root.Remove(name); err != nil {
			return 0, notThere(err)
		}
		return info.Size(), lake.SyncDir(root.Name())
	})
}

// RemoveNotes removes the notes of a user who is gone: their file has the name of an address, which may
// become somebody else's.
func (s *Store) RemoveNotes(email string) error {
	dir := filepath.Join(s.cfg.DataDir, folders[LocalMD])
	err := os.Remove(filepath.Join(dir, notesName(email)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("remove the notes of a user: %w", err)
	}
	return lake.SyncDir(dir)
}

var errNotThere = fault.New(fault.NotFound, "there is no such upload; GET /api/uploads lists yours")

func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNotThere
	}
	return fmt.Errorf("open an upload: %w", err)
}

// find gives the folder of a regular file, from which nothing outside of it can be opened, and the
// file's name in it: the one that was asked for, or the form that it was stored under.
func (s *Store) find(ctx context.Context, id, kind, filename string) (*os.Root, string, error) {
	dir, err := s.dir(kind, id)
	if err != nil {
		return nil, "", err
	}
	names := []string{filename, norm.NFC.String(filename)}
	if kind == LocalMD {
		email, err := s.cfg.EmailOf(ctx, id)
		if err != nil {
			return nil, "", err
		}
		if own := notesName(email); !slices.Contains(names, own) && !strings.EqualFold(filename, email+".md") {
			return nil, "", errNotThere // the folder holds those of others, too
		}
		names = []string{notesName(email)}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", notThere(err)
	}
	for _, name := range names {
		if !plain(name) {
			continue
		}
		if info, err := root.Lstat(name); err == nil && info.Mode().IsRegular() {
			return root, name, nil
		}
	}
	_ = root.Close()
	return nil, "", errNotThere
}
