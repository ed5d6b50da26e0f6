package state

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// DuckDB gives a database up after an error that leaves it in doubt about what it holds in memory, such
// as a disk that is full in the middle of a checkpoint: from then on it refuses everything. File and log
// on disk are whole, so the state opens them anew, at the next operation or by the upkeep, whichever
// comes first. Nothing that was acknowledged is lost: it is in the log.

const (
	// reopenPause is how long a reopening that failed answers for the next ones.
	reopenPause = time.Second
	// checkpointRoom is the space that a checkpoint wants beside what the log holds: while the disk has
	// less, writes stay in the log and no checkpoint is tried, for each that fails costs the database.
	checkpointRoom = 4 << 20
)

// loss is why the database cannot be used before it is opened anew.
type loss struct {
	err   error
	tried time.Time // when opening it anew failed last; zero for never
}

// fault is what users are told meanwhile.
func (l *loss) fault() error {
	return fault.Wrap(l.err, fault.Unavailable, "the state cannot be used until its database can be opened anew: %s", reasonOf(l.err))
}

// reasonOf is what an operator can do about an error of the database.
func reasonOf(err error) string {
	if lake.DiskFull(err) {
		return "the disk of the data directory is full; free space on it, the rest follows by itself"
	}
	return "the log of the server has the reason"
}

// noteLoss looks at an error of the database, and remembers the one after which it takes nothing more.
// The caller has the writer's token or the gate, so that the error cannot be one of a former instance.
func (s *Store) noteLoss(err error) {
	if !lake.Invalidated(err) || !s.lost.CompareAndSwap(nil, &loss{err: lake.Scrub(err)}) {
		return
	}
	s.log.Error().Err(lake.Scrub(err)).Msg("the database of the state gave up after an error, and is opened anew")
	s.wake()
}

func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// usable sees to it that the database can be asked: one that was given up is opened anew.
func (s *Store) usable(ctx context.Context) error {
	if s.lost.Load() == nil {
		return nil
	}
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Busy, "the state is being opened anew")
	case <-s.life.Done():
		return errClosed
	}
	defer func() { <-s.writing }()
	return s.reopen()
}

// reopen opens a database anew that was given up. The caller has the writer's token; readers are waited
// for, and new ones wait.
func (s *Store) reopen() error {
	if s.life.Err() != nil {
		return errClosed
	}
	lost := s.lost.Load()
	if lost == nil {
		return nil
	}
	if time.Since(lost.tried) < reopenPause {
		return lost.fault()
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	_, _ = s.writer.Close(), s.db.Close() // what they have to say is known
	ctx, cancel := context.WithTimeout(s.life, writeTimeout)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		failed := &loss{err: errors.Join(lost.err, err), tried: time.Now()}
		s.lost.Store(failed)
		s.log.Warn().Err(err).Msg("the database of the state cannot be opened anew, trying again")
		return failed.fault()
	}
	s.lost.Store(nil)
	s.dirty.Store(true) // what was acknowledged may be in the log alone
	s.log.Info().Msg("the database of the state was opened anew")
	s.wake()
	return nil
}

// fullUp remembers whether the disk was full at a checkpoint.
func (s *Store) fullUp(err error) {
	if err == nil {
		s.full.Store(false)
	} else if lake.DiskFull(err) {
		s.full.Store(true)
	}
}

// cramped tells whether a checkpoint must wait for space on a disk that was full at an earlier one.
func (s *Store) cramped() bool {
	if !s.full.Load() {
		return false
	}
	free, err := lake.FreeBytes(s.dir)
	if err != nil {
		return false // then a checkpoint has to find out
	}
	want := int64(checkpointRoom)
	if info, err := os.Stat(s.path() + ".wal"); err == nil {
		want += 2 * info.Size()
	}
	return free < want
}

// errCramped is the state of a disk that takes the log but no checkpoint.
var errCramped = fault.New(fault.Unavailable, "the disk of the data directory is full: the state keeps its writes in its log until there is space again")
