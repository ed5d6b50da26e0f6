package identity

import (
	"fmt"
	"testing"
	"time"
)

func TestThrottleIsBoundedAndKeepsTheWorst(t *testing.T) {
	t.Parallel()
	tr, now := newThrottle(5, 0), time.Now()
	for range 6 {
		tr.begin("the one that is guessed", now)
	}
	for i := range 3 * maxTracked {
		tr.begin(fmt.Sprint(i), now)
	}
	if len(tr.by) > maxTracked {
		t.Errorf("%d accounts are tracked", len(tr.by))
	}
	if tr.begin("the one that is guessed", now) == 0 {
		t.Error("a flood of other accounts wiped the record of the one that is guessed")
	}
}
