package service

import (
	"context"
	"time"
)

// Calm waits until nothing came from again for a while, which is quiet, but no longer than patience: work
// that a burst asks for many times is done once. It is false where ctx ended.
func Calm(ctx context.Context, again <-chan struct{}, quiet, patience time.Duration) bool {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		pause := time.NewTimer(quiet)
		select {
		case <-ctx.Done():
			pause.Stop()
			return false
		case <-end.C:
			pause.Stop()
			return true
		case <-pause.C:
			return true
		case <-again:
			pause.Stop()
		}
	}
}
