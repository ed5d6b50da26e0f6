package state

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// canaryAge is how long one result answers for others: whoever asks every millisecond must not make
// the state write every millisecond.
const canaryAge = time.Second

// probes lets everybody who asks at once share one write.
type probes struct {
	mu     sync.Mutex
	latest *probe
}

type probe struct {
	done chan struct{}
	err  error     // once done
	at   time.Time // when it was done
}

func (p *probe) usable(now time.Time) bool {
	select {
	case <-p.done:
		return p.err == nil && now.Sub(p.at) < canaryAge
	default:
		return true // somebody's is under way
	}
}

// Canary proves that the state takes writes and gives them back: it writes a row and reads it. A disk
// that hangs is not waited for longer than ctx; the result of the last second counts.
func (s *Store) Canary(ctx context.Context) error {
	p := s.probe()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Unavailable, "the state did not take a write in time")
	}
}

func (s *Store) probe() *probe {
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	if p := s.probes.latest; p != nil && p.usable(time.Now()) {
		return p
	}
	p := &probe{done: make(chan struct{})}
	if s.life.Err() != nil {
		p.err = errClosed
		close(p.done)
		return p
	}
	s.probes.latest = p
	s.work.Go(func() {
		p.err = s.writeCanary(s.life)
		p.at = time.Now()
		close(p.done)
	})
	return p
}

func (s *Store) writeCanary(ctx context.Context) error {
	value := uuid.NewString()
	err := s.write(ctx, touchesNothing|touchesTrifle, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO canary (id, value, written_at) VALUES (1, $1, $2)
			ON CONFLICT (id) DO UPDATE SET value = excluded.value, written_at = excluded.written_at`, value, s.now())
		return err
	})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state does not take writes: %s", fault.Message(err))
	}
	got, err := readOne(ctx, s, nil, scanString, "SELECT value FROM canary WHERE id = 1")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the state does not give back what was written: %s", fault.Message(err))
	}
	if got != value {
		return fault.New(fault.Unavailable, "the state does not give back what was written")
	}
	if s.cramped() {
		return errCramped
	}
	return nil
}
