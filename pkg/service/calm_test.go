package service

import (
	"context"
	"testing"
	"time"
)

func TestCalmComesAfterABurstOrItsPatience(t *testing.T) {
	t.Parallel()
	again := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if !Calm(ctx, again, time.Millisecond, time.Hour) {
		t.Error("a quiet channel is not calm")
	}
	steady := make(chan struct{})
	go func() {
		defer close(steady)
		for {
			select {
			case again <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	began := time.Now()
	if !Calm(ctx, again, time.Hour, 30*time.Millisecond) || time.Since(began) < 30*time.Millisecond {
		t.Errorf("a steady one was given up after %v", time.Since(began))
	}
	cancel()
	<-steady
	if Calm(ctx, again, time.Hour, time.Hour) {
		t.Error("the end of the context is no calm")
	}
}
