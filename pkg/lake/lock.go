package lake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const lockPoll = 20 * time.Millisecond

// TryLock takes the lock of a file, which is made where it is missing and never removed. ok is false
// where another holder, of this process or another, has it. The kernel releases the lock of a
// process that dies.
func TryLock(path string) (unlock func(), ok bool, err error) {
	f, ok, err := tryLock(path)
	if err != nil || !ok {
		return nil, false, err
	}
	return func() { _ = f.Close() }, true, nil // closing unlocks
}

// Lock waits for the lock of a file until ctx ends.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", filepath.Base(path), err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", filepath.Base(path), ctx.Err())
		case <-timer.C:
		}
		unlock, ok, err := TryLock(path)
		if err != nil || ok {
			return unlock, err
		}
		timer.Reset(lockPoll)
	}
}

func tryLock(path string) (*os.File, bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", filepath.Base(path), err)
	}
	ok, err := lockFile(f)
	if err != nil || !ok {
		_ = f.Close()
		if err != nil {
			err = fmt.Errorf("lock %s: %w", filepath.Base(path), err)
		}
		return nil, false, err
	}
	return f, true, nil
}
