package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestKindMessageAndRetrySurviveWrapping(t *testing.T) {
	t.Parallel()
	secret := errors.New("password=hunter2")
	busy := fault.New(fault.Busy, "the queue of %d is full", 3).After(2 * time.Second)
	for _, c := range []struct {
		name    string
		err     error
		kind    fault.Kind
		message string
		retry   bool
		after   time.Duration
	}{
		{"nil", nil, "", "", false, 0},
		{"own", fault.New(fault.NotFound, "no table %q", "x"), fault.NotFound, `no table "x"`, false, 0},
		{"wrapped twice", fmt.Errorf("load: %w", fmt.Errorf("read: %w", busy)), fault.Busy, "the queue of 3 is full", true, 2 * time.Second},
		{"cause is not shown", fault.Wrap(secret, fault.Invalid, "the token does not work"), fault.Invalid, "the token does not work", false, 0},
		{"outermost decides", fault.Wrap(fault.New(fault.Busy, "inner"), fault.Permanent, "outer"), fault.Permanent, "outer", false, 0},
		{"unknown", io.ErrUnexpectedEOF, fault.Internal, "an internal error; the log of the server has the details", true, 0},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), fault.Unavailable, "the deadline passed before the work was done", true, 0},
		{"cancelled", context.Canceled, fault.Unavailable, "the work was cancelled", true, 0},
	} {
		if got := fault.KindOf(c.err); got != c.kind {
			t.Errorf("%s: kind %q, want %q", c.name, got, c.kind)
		}
		if got := fault.Message(c.err); got != c.message {
			t.Errorf("%s: message %q, want %q", c.name, got, c.message)
		}
		if got := fault.Retryable(c.err); got != c.retry {
			t.Errorf("%s: retryable %v", c.name, got)
		}
		if got := fault.RetryAfter(c.err); got != c.after {
			t.Errorf("%s: retry after %v", c.name, got)
		}
	}
	if fault.Wrap(nil, fault.Invalid, "x") != nil {
		t.Error("wrapping nil gives an error")
	}
	if !errors.Is(fault.Wrap(secret, fault.Invalid, "x"), secret) {
		t.Error("the cause is lost")
	}
}
