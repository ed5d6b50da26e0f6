package uploads

import (
	"os"
	"sync"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// taken is what a user's files take.
type taken struct {
	files int
	bytes int64
}

// quotas keeps uploads that run at once within what their user may store. What a user has stored is
// read from the disk when the first of them begins, and forgotten when the last one ends.
type quotas struct {
	maxBytes int64
	maxFiles int

	mu     sync.Mutex
	byUser map[string]*ledger
}

// ledger is what a user has stored and is storing.
type ledger struct {
	uploads   int // under way
	taken     taken
	replacing map[string]bool // paths whose old file is counted for an upload that replaces it
}

// room is what one upload has reserved.
type room struct {
	quotas *quotas
	user   string
	path   string
	ledger *ledger
	// file tells that a file was reserved: there was none of the name.
	file bool
	// reserved bytes, and the credit for the file that is replaced.
	reserved, credit int64
	credited         bool
	settled          bool
}

// enter reserves a file at the path.
func (q *quotas) enter(user string, read func() (taken, error), path string) (*room, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.byUser[user]
	if l == nil {
		t, err := read()
		if err != nil {
			return nil, err
		}
		l = &ledger{taken: t, replacing: map[string]bool{}}
	}
	r := &room{quotas: q, user: user, path: path, ledger: l}
	if !l.replacing[path] {
		info, err := os.Lstat(path)
		if r.file = err != nil; err == nil {
			r.credit = info.Size()
		}
		if r.file && l.taken.files >= q.maxFiles {
			return nil, fault.New(fault.TooLarge, "you have %d uploads, the most there may be: delete some with DELETE /api/uploads/{kind}/{filename}", l.taken.files)
		}
		r.credited = true
		l.replacing[path] = true
	}
	if r.file {
		l.taken.files++
	}
	l.uploads++
	q.byUser[user] = l
	return r, nil
}

// take reserves n more bytes.
func (r *room) take(n int64) error {
	q := r.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.ledger.taken.bytes+n > q.maxBytes+r.credit {
		return fault.New(fault.TooLarge, "your uploads take up their quota of %s: delete some with DELETE /api/uploads/{kind}/{filename}", megabytes(q.maxBytes))
	}
	r.ledger.taken.bytes += n
	r.reserved += n
	return nil
}

// settle puts the file in place, in the moment in which what it replaces stops to count.
func (r *room) settle(place func() error) error {
	q := r.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	var old int64
	info, err := os.Lstat(r.path)
	if err == nil {
		old = info.Size()
	}
	if err := place(); err != nil {
		return err
	}
	r.ledger.taken.bytes -= old
	r.settled = true
	return nil
}

// leave gives back what was not used.
func (r *room) leave() {
	q := r.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	l := r.ledger
	if !r.settled {
		l.taken.bytes -= r.reserved
		if r.file {
			l.taken.files--
		}
	}
	if r.credited {
		delete(l.replacing, r.path)
	}
	if l.uploads--; l.uploads == 0 {
		delete(q.byUser, r.user)
	}
}

// remove deletes a file and counts it out where uploads are under way.
func (q *quotas) remove(user string, do func() (int64, error)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	size, err := do()
	if l := q.byUser[user]; l != nil && err == nil {
		l.taken.bytes -= size
		l.taken.files--
	}
	return err
}
