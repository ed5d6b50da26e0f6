package answer

import (
	"context"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// sessions keeps open sessions by what they show. One that nobody uses is closed when there are too
// many; one that DuckDB broke is closed when nobody uses it any more.
type sessions struct {
	cfg Config

	mu     sync.Mutex
	open   map[string]*shared
	made   int           // for the names of folders
	clock  int           // counts uses
	blank  *lake.Session // for whoever comes next
	closed bool
}

// shared is one session with those who use it.
type shared struct {
	ready   chan struct{} // closed when session or err is set
	session *lake.Session
	err     error
	users   int
	used    int
	dropped bool
}

func newSessions(cfg Config) *sessions {
	return &sessions{cfg: cfg, open: make(map[string]*shared)}
}

// take gives a session with the views, opened by the first who asks. done gives it back, with the
// error that its query ended with.
func (s *sessions) take(ctx context.Context, scope *Scope, chosen selection) (session *lake.Session, done func(error), err error) {
	key := scope.key(chosen)
	s.mu.Lock()
	if !chosen.plan && s.open[scope.Fingerprint] != nil {
		key = scope.Fingerprint // with everything
	}
	entry := s.open[key]
	first := entry == nil
	if first {
		entry = &shared{ready: make(chan struct{})}
		s.open[key] = entry
		s.made++
	}
	number := s.made
	s.clock++
	entry.used = s.clock
	entry.users++
	s.mu.Unlock()
	done = func(failed error) { s.giveBack(key, entry, failed) }
	if first {
		s.start(entry, scope.show(chosen), chosen.plan, number)
	}
	select {
	case <-entry.ready:
	case <-ctx.Done():
		done(nil)
		return nil, nil, context.Cause(ctx)
	}
	if entry.err != nil {
		done(entry.err)
		return nil, nil, entry.err
	}
	return entry.session, done, nil
}

// prepare opens a session ahead of whoever asks next.
func (s *sessions) prepare() error {
	s.mu.Lock()
	waits := s.blank != nil || s.closed
	s.made++
	number := s.made
	s.mu.Unlock()
	if waits {
		return nil
	}
	blank, err := lake.OpenBlank(s.options(number))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blank != nil || s.closed {
		blank.Close()
		return nil
	}
	s.blank = blank
	return nil
}

// options of the session of that number.
func (s *sessions) options(number int) lake.SessionOptions {
	o := lake.SessionOptions{MemoryBytes: s.cfg.MemoryBytes, Threads: s.cfg.Threads, TempBytes: s.cfg.TempBytes}
	if s.cfg.Dir != "" {
		o.TempDir = filepath.Join(s.cfg.Dir, strconv.Itoa(number))
	}
	return o
}

// start opens the session. It goes on when the one who asked first gives up, for others wait too.
func (s *sessions) start(entry *shared, views []lake.View, plan bool, number int) {
	var blank *lake.Session
	if !plan {
		s.mu.Lock()
		blank, s.blank = s.blank, nil
		s.mu.Unlock()
	}
	go func() {
		defer close(entry.ready)
		if blank != nil {
			if entry.err = blank.Show(context.Background(), views); entry.err == nil {
				entry.session = blank
			}
			return
		}
		o := s.options(number)
		o.Views, o.Plan = views, plan
		entry.session, entry.err = lake.OpenSession(context.Background(), o)
	}()
}

func (s *sessions) giveBack(key string, entry *shared, failed error) {
	class := lake.ClassOf(failed)
	broken := entry.isBroken() || class == lake.ClassFatal || class == lake.ClassInternal || class == lake.ClassIO
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.users--
	if broken && s.open[key] == entry {
		delete(s.open, key)
		entry.dropped = true
	}
	if entry.users == 0 && (entry.dropped || s.closed) {
		entry.close()
	}
	for len(s.open) > s.cfg.Sessions && s.evict() {
	}
}

// isBroken tells whether a session could not be opened, or shows a table that cannot be read: the
// next one may be better.
func (e *shared) isBroken() bool {
	select {
	case <-e.ready:
		return e.err != nil || len(e.session.Problems()) > 0
	default:
		return false
	}
}

// evict closes the session that was unused for the longest time. s.mu is held.
func (s *sessions) evict() bool {
	oldest := ""
	for key, e := range s.open {
		if e.users == 0 && (oldest == "" || e.used < s.open[oldest].used) {
			oldest = key
		}
	}
	if oldest == "" {
		return false
	}
	s.open[oldest].close()
	delete(s.open, oldest)
	return true
}

// close closes the session once it is open.
func (e *shared) close() {
	select {
	case <-e.ready:
		if e.session != nil {
			e.session.Close()
		}
	default:
		go func() {
			<-e.ready
			if e.session != nil {
				e.session.Close()
			}
		}()
	}
}

func (s *sessions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.evict() {
	}
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.blank != nil {
		s.blank.Close()
		s.blank = nil
	}
	for s.evict() {
	}
}
