package audit

import (
	"errors"
	"os"
	"testing"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestChangesAreSyncedBeforeTheyAreConfirmed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action, result string
		want           bool
	}{
		{"user.create", "ok", true},
		{"user.create", "failed", true}, // it may have done a part
		{"user.create", "refused", false},
		{"data.query", "ok", false},
		{"data.download", "failed", false},
	} {
		if got := changes(&agnesv1.AuditRecorded{Action: c.action, Result: c.result}); got != c.want {
			t.Errorf("%s %s: %v", c.action, c.result, got)
		}
	}
}

// TestTheOutboxSettlesWhatItDidNotSync adds entries of both kinds: dirty tells whether a power cut could
// take one.
func TestTheOutboxSettlesWhatItDidNotSync(t *testing.T) {
	t.Parallel()
	o, err := openOutbox(t.TempDir(), 4*outboxPiece)
	if err != nil {
		t.Fatal(err)
	}
	add := func(entry string, sync, dirty bool) {
		t.Helper()
		if _, err := o.add([]byte(entry), sync); err != nil || o.dirty != dirty {
			t.Errorf("%.20s: dirty %v, %v", entry, o.dirty, err)
		}
	}
	add(`{"id":"1"}`, false, true)
	add(`{"id":"2"}`, true, false)
	add(`{"id":"3"}`, false, true)
	if err := o.settle(); err != nil || o.dirty {
		t.Errorf("settled: dirty %v, %v", o.dirty, err)
	}
	add(`{"id":"4"}`, false, true)
	add(string(make([]byte, outboxPiece)), false, false) // a full piece is ended, and synced
	add(`{"id":"5"}`, false, true)
	var sent []string
	if err := o.forward(func(entries []string) error { sent = append(sent, entries...); return nil }); err != nil || len(sent) != 6 {
		t.Errorf("%d sent, %v", len(sent), err)
	}
	if err := errors.Join(o.settle(), o.close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(o.dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
