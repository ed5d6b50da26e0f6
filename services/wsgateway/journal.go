package wsgateway

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/audience"
	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// entry is one thing that happened. It never changes, but for the frames that were made of it.
type entry struct {
	kind, source string
	at           time.Time
	topic        topics
	place        place  // its seq is 0 for what is not stored
	user         string // the only one it is for; empty for more
	payload      proto.Message

	mu     sync.Mutex
	frames map[*view]frame // an empty one: nothing of it is for them
	old    bool            // its frames are not kept
}

// entryOf is an event that stands at a place of the stream.
func entryOf(e event.Event[proto.Message], at place) *entry {
	made := &entry{kind: e.Kind, source: e.Source, at: e.Time, topic: topicOfKind(e.Kind), place: at, payload: e.Payload}
	if n, ok := e.Payload.(*agnesv1.NotificationRaised); ok {
		made.user = n.GetUserId()
	}
	return made
}

// view is what some people can read: those of one view get the same frames.
type view struct {
	fingerprint string
	admin       bool
	tables      tables
}

// tables are those that somebody can read, by source.
type tables map[string]map[string]struct{}

func tablesOf(list []*agnesv1.ReadableTables) tables {
	all := make(tables, len(list))
	for _, s := range list {
		of := make(map[string]struct{}, len(s.GetTables()))
		for _, t := range s.GetTables() {
			of[t] = struct{}{}
		}
		all[s.GetSource()] = of
	}
	return all
}

// Allows tells whether a table is among them.
func (t tables) Allows(source, table string) bool {
	_, ok := t[source][table]
	return ok
}

// Reaches tells whether any table of a source is.
func (t tables) Reaches(source string) bool { return len(t[source]) > 0 }

// everybody is the view of what is for all, whatever they can read.
var everybody = &view{}

// frameFor gives what somebody gets of an entry; ok is false where nothing of it is for them. The frame is made once
// for all of a view.
func (e *entry) frameFor(userID string, v *view) (f frame, ok bool, err error) {
	if e.user != "" && e.user != userID {
		return frame{}, false, nil
	}
	if rule, _ := audience.RuleOf(e.kind); rule == audience.Addressed || e.kind == kindHealth {
		v = everybody
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f, made := e.frames[v]; made {
		return f, f.raw != nil, nil
	}
	seen := e.payload
	if e.kind != kindHealth {
		seen = audience.Viewer{UserID: userID, Admin: v.admin, Tables: v.tables}.See(e.kind, e.source, e.payload)
	}
	if seen != nil {
		id := ""
		if e.place.seq > 0 {
			id = e.place.String()
		}
		if f, err = encode(e.kind, id, e.source, e.at, seen); err != nil {
			return frame{}, false, err
		}
	}
	if e.old {
		return f, f.raw != nil, nil
	}
	if e.frames == nil {
		e.frames = map[*view]frame{}
	}
	e.frames[v] = f
	return f, f.raw != nil, nil
}

// forget drops the frames of an entry that is no news any more: they are made again for who resumes.
func (e *entry) forget() {
	e.mu.Lock()
	e.frames, e.old = nil, true
	e.mu.Unlock()
}

// journal holds the last entries, in the order in which they came. Every client has a place in it, and reads on at
// its own pace: what a slow one has not read yet costs nothing.
type journal struct {
	mu    sync.RWMutex
	ring  []*entry
	next  uint64 // the number of the entry to come; numbers grow by one
	first uint64 // of the oldest one

	// base is the place behind which every stored event is here; entries of before its number are of another epoch.
	base     place
	baseFrom uint64
}

// warmFrames is of how many entries the frames are kept.
const warmFrames = 256

func newJournal(size int) *journal { return &journal{ring: make([]*entry, max(size, 2*warmFrames))} }

func (j *journal) append(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	size := uint64(len(j.ring))
	if last := j.ring[j.next%size]; last != nil && last.place.seq > 0 && last.place.epoch == j.base.epoch {
		j.base = last.place
	}
	j.ring[j.next%size] = e
	j.next++
	if j.next-j.first > size {
		j.first = j.next - size
	}
	if j.next-j.first > warmFrames {
		j.ring[(j.next-1-warmFrames)%size].forget()
	}
}

// since copies entries from a number on into some; gone tells that the first of them is not there any more.
func (j *journal) since(from uint64, some []*entry) (n int, gone bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if from < j.first {
		return 0, true
	}
	for n < len(some) && from < j.next {
		some[n] = j.ring[from%uint64(len(j.ring))]
		n, from = n+1, from+1
	}
	return n, false
}

// begin says that what is stored behind a place comes from now on.
func (j *journal) begin(base place) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.base, j.baseFrom = base, j.next
}

// now gives the number of the entry to come, and the place behind which it will be stored.
func (j *journal) now() (number uint64, at place) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for i := j.next; i > max(j.first, j.baseFrom); i-- {
		if e := j.ring[(i-1)%uint64(len(j.ring))]; e.place.seq > 0 {
			return j.next, e.place
		}
	}
	return j.next, j.base
}

// after gives the number of the first entry that is stored behind a place. base is the place from which on nothing
// is missing: where p is before it, or of another epoch, what lies between is not here.
func (j *journal) after(p place) (number uint64, base place) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	number = j.next
	for i := j.next; i > max(j.first, j.baseFrom); i-- {
		e := j.ring[(i-1)%uint64(len(j.ring))]
		if e.place.seq > 0 && e.place.seq <= p.seq {
			break
		}
		number = i - 1
	}
	return number, j.base
}
