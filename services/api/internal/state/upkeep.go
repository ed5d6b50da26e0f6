package state

import (
	"context"
	"time"

	"github.com/agnes-platform/agnes/pkg/lake"
)

const (
	// drainAfter is how long a checkpoint looks for a moment without readers before it makes new ones wait.
	drainAfter = 2 * time.Second
	drainPoll  = 2 * time.Millisecond
	// exportLook is how often the upkeep looks whether an export is due, at the longest.
	exportLook = time.Minute
)

// upkeep finishes checkpoints that readers or a full disk held up, opens a database anew that was given
// up, and exports the state on a timer.
func (s *Store) upkeep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-s.kick:
			s.finishCheckpoint()
		case <-timer.C:
			s.exportIfDue()
			timer.Reset(s.nextLook())
		}
	}
}

func (s *Store) nextLook() time.Duration {
	if every := s.opts.ExportEvery; every > 0 && every < exportLook {
		return every
	}
	return exportLook
}

// finishCheckpoint waits for a moment without readers. Should there be none for a while, it makes new
// readers wait until those that are there are done: otherwise the log would grow without end.
func (s *Store) finishCheckpoint() {
	for began := time.Now(); s.dirty.Load() || s.lost.Load() != nil; {
		select {
		case s.writing <- struct{}{}:
		case <-s.life.Done():
			return // Close does it
		}
		if s.reopen() != nil || s.cramped() {
			<-s.writing
			if !s.pause(reopenPause) {
				return
			}
			continue
		}
		if time.Since(began) > drainAfter {
			s.gate.Lock()
			s.checkpointAlone()
			s.gate.Unlock()
		} else if s.gate.TryLock() {
			s.checkpointAlone()
			s.gate.Unlock()
		}
		<-s.writing
		if s.dirty.Load() && !s.pause(drainPoll) {
			return
		}
	}
}

func (s *Store) checkpointAlone() {
	ctx, cancel := context.WithTimeout(s.life, writeTimeout)
	defer cancel()
	_, err := s.writer.ExecContext(ctx, "CHECKPOINT")
	s.fullUp(err)
	s.noteLoss(err)
	if err != nil {
		s.log.Warn().Err(lake.Scrub(err)).Msg("the state cannot be checkpointed, trying again")
		s.pause(time.Second)
		return
	}
	s.dirty.Store(false)
}

// pause waits and tells whether the store is still open.
func (s *Store) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.life.Done():
		return false
	case <-timer.C:
		return true
	}
}
