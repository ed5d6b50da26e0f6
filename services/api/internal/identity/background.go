package identity

import (
	"context"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	backlog    = 512 // pieces of work that wait, at most
	jobTimeout = 30 * time.Second
)

// later does work after the answer was given; fault.Busy where too much waits.
func (s *Service) later(job func(ctx context.Context)) error {
	select {
	case s.jobs <- job:
		return nil
	default:
		return fault.New(fault.Busy, "too much is asked for at once; try again later").After(time.Minute)
	}
}

// workOff does what later was given until ctx ends, and what is left then.
func (s *Service) workOff(ctx context.Context) {
	rest := context.WithoutCancel(ctx)
	do := func(job func(ctx context.Context)) {
		bounded, cancel := context.WithTimeout(rest, jobTimeout)
		defer cancel()
		job(bounded)
	}
	for {
		select {
		case job := <-s.jobs:
			do(job)
			continue
		default:
		}
		select {
		case job := <-s.jobs:
			do(job)
		case <-ctx.Done():
			return
		}
	}
}
