package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// outboxPiece is the size at which the outbox goes on in another file, which can then be removed once
// the bus has it: what a killed process sends again is about as much.
const outboxPiece = 1 << 20

// outbox keeps entries on disk until the bus has them. Those who add at once share one write and one
// flush. One goroutine forwards. An entry may be forwarded twice, under the same id.
type outbox struct {
	dir  string
	most int64

	mu     sync.Mutex
	next   *commit // gathers what is written next
	busy   bool    // somebody writes
	pieces []piece // oldest first; the last may still be written to
	held   int64   // bytes of all, and of what is being written
	unsent int     // entries that were added since the last time that everything was forwarded
	dirty  bool    // the last piece holds what was written and not synced

	file *os.File // of whoever is busy; the last piece

	forwarding sync.Mutex
	offset     int64 // what was forwarded of the first piece
}

type piece struct {
	number int
	size   int64 // of whole entries
	open   bool
}

// commit is what is written together.
type commit struct {
	lines []byte
	count int
	sync  bool // before it is confirmed
	err   error
	done  chan struct{}
	lead  chan struct{} // tells one of those who wait to write
}

func openOutbox(dir string, most int64) (*outbox, error) {
	o := &outbox{dir: filepath.Join(dir, "outbox"), most: most}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the outbox of the record: %w", err)
	}
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return nil, fmt.Errorf("list the outbox of the record: %w", err)
	}
	for _, e := range entries {
		var number int
		if _, err := fmt.Sscanf(e.Name(), "%d", &number); err != nil || !strings.HasSuffix(e.Name(), ".ndjson") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("look at the outbox of the record: %w", err)
		}
		o.pieces = append(o.pieces, piece{number: number, size: info.Size()})
		o.held += info.Size()
	}
	slices.SortFunc(o.pieces, func(a, b piece) int { return a.number - b.number })
	return o, nil
}

func (o *outbox) path(number int) string {
	return filepath.Join(o.dir, fmt.Sprintf("%08d.ndjson", number))
}

// add returns when the entry is in the file, synced to disk where sync asks for it, and how many wait to be
// forwarded. What is not synced outlives the process, and a power cut from when the bus has it or settle was
// called. fault.Busy where the outbox is full.
func (o *outbox) add(entry []byte, sync bool) (waiting int, err error) {
	o.mu.Lock()
	if o.held+int64(len(entry))+1 > o.most {
		o.mu.Unlock()
		return 0, fault.New(fault.Busy, "the outbox of the record is full")
	}
	o.held += int64(len(entry)) + 1
	if o.next == nil {
		o.next = &commit{done: make(chan struct{}), lead: make(chan struct{}, 1)}
	}
	c := o.next
	c.lines = append(append(c.lines, entry...), '\n')
	c.count++
	c.sync = c.sync || sync
	leads := !o.busy
	if leads {
		o.busy, o.next = true, nil
	}
	o.mu.Unlock()
	if !leads {
		select {
		case <-c.done:
			return o.waiting(), c.err
		case <-c.lead:
		}
	}
	o.commit(c)
	return o.waiting(), c.err
}

func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unsent
}

// commit writes c and lets somebody of the next ones write.
func (o *outbox) commit(c *commit) {
	err := o.write(c.lines, c.sync)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.unsent += c.count
	} else {
		o.held -= int64(len(c.lines))
		c.err = fmt.Errorf("write to the outbox of the record: %w", err)
	}
	close(c.done)
	if o.next == nil {
		o.busy = false
		return
	}
	o.next.lead <- struct{}{}
	o.next = nil
}

// write appends to the last piece and syncs it where that is asked for or the piece is full. A piece that
// could not be written is ended: what stands torn or unsynced in it was never confirmed.
func (o *outbox) write(lines []byte, sync bool) error {
	if o.file == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	n, err := o.file.Write(lines)
	o.mu.Lock()
	full := o.pieces[len(o.pieces)-1].size+int64(n) >= outboxPiece
	o.dirty = o.dirty || !sync
	o.mu.Unlock()
	if synced := sync || full; synced && err == nil {
		if err = o.file.Sync(); err == nil {
			o.mu.Lock()
			o.dirty = false // nobody else writes
			o.mu.Unlock()
		}
	}
	o.mu.Lock()
	last := &o.pieces[len(o.pieces)-1]
	if err == nil {
		last.size += int64(n) // together with open: a piece that is ended is forwarded up to its size, and removed
	}
	if err != nil || full {
		last.open = false
	}
	o.mu.Unlock()
	if err != nil || full {
		if err != nil {
			_ = o.file.Sync() // what was confirmed before without
		}
		closed := o.file.Close()
		o.file = nil
		if err == nil && closed != nil {
			err = closed
		}
	}
	return err
}

// settle syncs what was written without, for when the bus does not take it.
func (o *outbox) settle() error {
	o.mu.Lock()
	if !o.dirty || len(o.pieces) == 0 {
		o.mu.Unlock()
		return nil
	}
	o.dirty = false // what is written from here on is dirty again
	path := o.path(o.pieces[len(o.pieces)-1].number)
	o.mu.Unlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0) // a sync is of the file, whoever wrote
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the bus has it
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		o.mu.Lock()
		o.dirty = true
		o.mu.Unlock()
		return fmt.Errorf("sync the outbox of the record: %w", err)
	}
	return nil
}

func (o *outbox) begin() error {
	o.mu.Lock()
	number := 1
	if n := len(o.pieces); n > 0 {
		number = o.pieces[n-1].number + 1
	}
	o.mu.Unlock()
	f, err := os.OpenFile(o.path(number), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(o.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.file = f
	o.pieces = append(o.pieces, piece{number: number, open: true})
	return nil
}

// Bounds of what is forwarded at once.
const (
	mostRecords = 256
	mostBytes   = 256 << 10
)

// forward hands everything to send, oldest first, and removes what was sent whole. It ends with the
// first batch that is not taken.
func (o *outbox) forward(send func(entries []string) error) error {
	o.forwarding.Lock()
	defer o.forwarding.Unlock()
	for {
		o.mu.Lock()
		if len(o.pieces) == 0 {
			o.mu.Unlock()
			return nil
		}
		first := o.pieces[0]
		o.mu.Unlock()
		entries, read, err := o.read(first)
		if err != nil {
			return err
		}
		if read == 0 && first.open {
			return nil
		}
		if len(entries) > 0 {
			if err := send(entries); err != nil {
				return err
			}
		}
		o.offset += read
		o.mu.Lock()
		o.unsent = max(0, o.unsent-len(entries))
		o.mu.Unlock()
		if read == 0 {
			if err := o.drop(first); err != nil {
				return err
			}
		}
	}
}

// drop removes a piece that the bus has whole.
func (o *outbox) drop(p piece) error {
	if err := os.Remove(o.path(p.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was forwarded from the outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held, o.offset, o.pieces = max(0, o.held-p.size), 0, slices.Clone(o.pieces[1:])
	return nil
}

// read gives whole entries behind the offset, and how many bytes they take.
func (o *outbox) read(p piece) (entries []string, read int64, err error) {
	if o.offset >= p.size {
		return nil, 0, nil
	}
	f, err := os.Open(o.path(p.number))
	if err != nil {
		return nil, 0, fmt.Errorf("read the outbox of the record: %w", err)
	}
	defer func() { _ = f.Close() }()
	var buf []byte
	for most := int64(mostBytes); ; most *= 2 { // an entry is never longer than chain.MaxLine, but may be longer than a batch
		buf = make([]byte, min(p.size-o.offset, most))
		n, err := f.ReadAt(buf, o.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("read the outbox of the record: %w", err)
		}
		buf = buf[:n]
		if int64(n) < most || most > chain.MaxLine || bytes.IndexByte(buf, '\n') >= 0 {
			break
		}
	}
	for len(entries) < mostRecords {
		line, rest, whole := bytes.Cut(buf[read:], []byte("\n"))
		if !whole {
			if len(entries) == 0 {
				read = int64(len(buf)) // torn: never confirmed
			}
			break
		}
		read = int64(len(buf) - len(rest))
		entries = append(entries, string(line))
	}
	return entries, read, nil
}

// close closes the file; a piece that was forwarded whole is removed, so that it is not sent again.
func (o *outbox) close() error {
	o.forwarding.Lock()
	defer o.forwarding.Unlock()
	o.mu.Lock()
	var err error
	if o.file != nil {
		err = errors.Join(o.file.Sync(), o.file.Close())
		o.file = nil
		o.pieces[len(o.pieces)-1].open = false
	}
	var done *piece
	if len(o.pieces) == 1 && o.offset >= o.pieces[0].size {
		done = &o.pieces[0]
	}
	o.mu.Unlock()
	if done != nil {
		err = errors.Join(err, o.drop(*done))
	}
	return err
}

// syncDir makes names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
