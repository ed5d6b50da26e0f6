package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// spool keeps entries on disk while the bus is away. Files are appended to and synced; one that is
// forwarded is closed first, and removed when the bus has all of it. An entry may be forwarded twice,
// under the same id.
type spool struct {
	dir  string
	most int64

	mu      sync.Mutex // what is written
	file    *os.File
	number  int
	written int64 // bytes of file
	held    int64 // bytes of all files

	syncing  sync.Mutex // one flush at a time; those who wait for it share it
	synced   int64      // bytes of file that are on disk
	syncFor  *os.File
	unsynced *os.File // closed, and its last flush failed

	draining sync.Mutex
}

// spooled is one line.
type spooled struct {
	ID    string          `json:"id"`
	Entry json.RawMessage `json:"entry"`
}

func openSpool(dir string, most int64) (*spool, error) {
	s := &spool{dir: filepath.Join(dir, "spool"), most: most}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool of the record: %w", err)
	}
	names, err := s.files()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			return nil, fmt.Errorf("look at the spool of the record: %w", err)
		}
		s.held += info.Size()
		_, _ = fmt.Sscanf(name, "%d", &s.number)
	}
	return s, nil
}

// files lists the spool, oldest first.
func (s *spool) files() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the spool of the record: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".ndjson") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *spool) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held == 0
}

// add returns when the entry is on disk. fault.Busy where the spool is full.
func (s *spool) add(id string, m *agnesv1.AuditRecorded) error {
	entry, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	line, err := json.Marshal(spooled{ID: id, Entry: entry})
	if err != nil {
		return err
	}
	file, end, err := s.write(append(line, '\n'))
	if err != nil {
		return err
	}
	return s.sync(file, end)
}

func (s *spool) write(line []byte) (*os.File, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held+int64(len(line)) > s.most {
		return nil, 0, fault.New(fault.Busy, "the spool of the record is full")
	}
	if s.file == nil {
		s.number++
		f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%08d.ndjson", s.number)), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, 0, fmt.Errorf("open the spool of the record: %w", err)
		}
		if err := syncDir(s.dir); err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		s.file, s.written = f, 0
	}
	n, err := s.file.Write(line)
	s.written += int64(n)
	s.held += int64(n)
	if err != nil {
		err = errors.Join(err, s.rotate()) // the torn line ends the file
		return nil, 0, fmt.Errorf("write to the spool of the record: %w", err)
	}
	return s.file, s.written, nil
}

// sync returns when the file is on disk up to end. Whoever waits meanwhile is served by one flush.
func (s *spool) sync(file *os.File, end int64) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.syncFor == file && s.synced >= end {
		return nil
	}
	s.mu.Lock()
	current, upTo, lost := s.file == file, s.written, s.unsynced == file
	s.mu.Unlock()
	if lost {
		return fault.New(fault.Unavailable, "the spool of the record could not be synced")
	}
	if !current {
		return nil // rotate syncs what it closes
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync the spool of the record: %w", err)
	}
	s.syncFor, s.synced = file, upTo
	return nil
}

// rotate closes the file that is written. The caller holds mu.
func (s *spool) rotate() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Sync()
	if err != nil {
		s.unsynced = s.file
	}
	err = errors.Join(err, s.file.Close())
	s.file = nil
	return err
}

// drain hands every entry to send, oldest first, and removes the files that were sent whole. It ends
// with the first that is not taken.
func (s *spool) drain(send func(id string, m *agnesv1.AuditRecorded) error) (sent int, err error) {
	s.draining.Lock()
	defer s.draining.Unlock()
	s.syncing.Lock()
	s.mu.Lock()
	err = s.rotate()
	last := s.number
	s.mu.Unlock()
	s.syncing.Unlock()
	if err != nil {
		return 0, err
	}
	names, err := s.files()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		var number int
		if _, err := fmt.Sscanf(name, "%d", &number); err != nil || number > last {
			continue // written to meanwhile
		}
		n, err := s.drainFile(filepath.Join(s.dir, name), send)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (s *spool) drainFile(path string, send func(id string, m *agnesv1.AuditRecorded) error) (sent int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read the spool of the record: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the spool of the record: %w", err)
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // a line without an end was never confirmed
		}
		if err != nil {
			return sent, fmt.Errorf("read the spool of the record: %w", err)
		}
		var one spooled
		var m agnesv1.AuditRecorded
		if json.Unmarshal(line, &one) != nil || protojson.Unmarshal(one.Entry, &m) != nil {
			continue // torn by a full disk, and never confirmed
		}
		if err := send(one.ID, &m); err != nil {
			return sent, err
		}
		sent++
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sent, fmt.Errorf("remove what was forwarded from the spool: %w", err)
	}
	s.mu.Lock()
	s.held = max(0, s.held-info.Size())
	s.mu.Unlock()
	return sent, nil
}

func (s *spool) close() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rotate()
}

// syncDir makes names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
