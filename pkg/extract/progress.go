package extract

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// progressEvery is the least time between two reports of how far a table is.
const progressEvery = 250 * time.Millisecond

// tracker makes the progress of a run out of what its tables report.
type tracker struct {
	report func(*agnesv1.ExtractProgress)
	source string
	runIDs []string
	total  int

	mu   sync.Mutex
	done int
	last time.Time
}

func newTracker(report func(*agnesv1.ExtractProgress), source string, runIDs []string, total int) *tracker {
	if report == nil {
		report = func(*agnesv1.ExtractProgress) {}
	}
	return &tracker{report: report, source: source, runIDs: runIDs, total: total}
}

// phase reports a step of the run, or of one of its tables.
func (t *tracker) phase(phase, table string) { t.send(phase, table, 0, 0, 0, table == "") }

// table reports how far a table is.
func (t *tracker) table(phase, table string, rows, bytes, total int64) {
	t.send(phase, table, rows, bytes, total, false)
}

func (t *tracker) tableDone(table string) {
	t.mu.Lock()
	t.done++
	t.mu.Unlock()
	t.send("done", table, 0, 0, 0, false)
}

func (t *tracker) send(phase, table string, rows, bytes, total int64, always bool) {
	now := time.Now()
	t.mu.Lock()
	if !always && now.Sub(t.last) < progressEvery {
		t.mu.Unlock()
		return
	}
	t.last = now
	done := t.done
	t.mu.Unlock()
	t.report(&agnesv1.ExtractProgress{
		RunIds: t.runIDs, Source: t.source, Table: table, Phase: phase, Rows: rows, Bytes: bytes, BytesTotal: total,
		TablesDone: int32(done), TablesTotal: int32(t.total), At: timestamppb.New(now), //nolint:gosec // some thousands
	})
}
