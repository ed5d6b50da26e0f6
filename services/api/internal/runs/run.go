// Package runs follows extractions: it asks the extractors for them, hears how far they are, and writes
// down how they ended. A run spans one source or several. What is under way is kept in memory and in
// the state, so that a restart forgets no run.
package runs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Status of a run, and of its part in one source.
const (
	Queued     = "queued"     // asked for; no extractor has begun
	Running    = "running"    // an extractor is at work
	Publishing = "publishing" // extracted; the orchestrator has not published it yet
	Succeeded  = "succeeded"
	Partial    = "partial" // some tables failed, the others are published
	Failed     = "failed"
)

// requested is the status in the state of a source whose request is not on the bus yet. To everybody
// else it is Queued.
const requested = "requested"

// Reasons of runs that nobody asked this api for.
const (
	ReasonManual    = "manual"
	ReasonAutomatic = "automatic" // an extractor began by itself, or was asked by the scheduler
	ReasonExternal  = "external"  // another program announced an extract
)

// Outcomes of a table, as extractors report them.
const (
	outcomeUpdated   = "updated"
	outcomeUnchanged = "unchanged"
	outcomeFailed    = "failed"
	outcomeHeldBack  = "held_back"
	outcomeRemoved   = "removed"
)

// Run is one run as it stands now.
type Run struct {
	ID          string
	Status      string
	Reason      string
	RequestedBy string
	Force       bool
	RequestedAt time.Time
	StartedAt   time.Time // zero before an extractor began
	FinishedAt  time.Time // zero before the end
	// Error is what went wrong, in a sentence for a user. A run that has given no sign of life for long
	// has one too, and may still finish.
	Error string
	// Stale tells that the run has given no sign of life for long.
	Stale   bool
	Sources []Source // ordered by name
}

// Source is a run's part in one source.
type Source struct {
	Source string
	Type   string // of the connector, where it is known
	Status string
	// Requested are the tables that were asked for; none means all.
	Requested   []string
	StartedAt   time.Time
	FinishedAt  time.Time
	Generation  uint64 // of the catalog that shows the result; 0 before
	Error       string
	ErrorKind   string
	TablesDone  int
	TablesTotal int     // 0 while unknown
	Tables      []Table // ordered by name
}

// Table is what became of a table, or how far it is.
type Table struct {
	Source       string
	Table        string
	Outcome      string // empty while it is being worked on
	Phase        string // empty once there is an outcome and nothing was heard before
	Rows         int64
	Bytes        int64
	BytesTotal   int64 // 0 where unknown
	Hash         string
	Duration     time.Duration
	Error        string
	ErrorKind    string
	RejectedRows int64
	PartsWritten int
	PartsReused  int
	// SchemaChanges are the columns that were different from the version before, or that a contract refused.
	SchemaChanges []state.SchemaChange
}

// Progress sums up a run.
type Progress struct {
	TablesDone, TablesTotal int
	Rows, Bytes             int64
}

// Finished tells whether the run has ended.
func (r Run) Finished() bool { return ended(r.Status) }

// Duration is from the start to the end, or to now; zero before the start.
func (r Run) Duration(now time.Time) time.Duration {
	switch {
	case r.StartedAt.IsZero():
		return 0
	case r.FinishedAt.IsZero():
		return max(0, now.Sub(r.StartedAt))
	}
	return max(0, r.FinishedAt.Sub(r.StartedAt))
}

// Progress sums up the tables of all sources.
func (r Run) Progress() Progress {
	var p Progress
	for _, s := range r.Sources {
		p.TablesDone += s.TablesDone
		p.TablesTotal += s.TablesTotal
		for _, t := range s.Tables {
			p.Rows += t.Rows
			p.Bytes += t.Bytes
		}
	}
	return p
}

// Tables gives the tables of all sources, ordered by source and name.
func (r Run) Tables() []Table {
	var all []Table
	for _, s := range r.Sources {
		all = append(all, s.Tables...)
	}
	return all
}

func ended(status string) bool { return status == Succeeded || status == Partial || status == Failed }

// verdict is how a source ended, by its tables.
func verdict(tables []state.RunTable) (status, message, kind string) {
	var bad []state.RunTable
	for _, t := range tables {
		if t.Outcome == outcomeFailed || t.Outcome == outcomeHeldBack {
			bad = append(bad, t)
		}
	}
	if len(bad) == 0 {
		return Succeeded, "", ""
	}
	status = Partial
	if len(bad) == len(tables) {
		status = Failed
	}
	if len(bad) == 1 {
		return status, fmt.Sprintf("table %s: %s", bad[0].Table, bad[0].Error), bad[0].ErrorKind
	}
	names := make([]string, 0, 5)
	for _, t := range bad[:min(len(bad), 5)] {
		names = append(names, t.Table)
	}
	more := ""
	if len(bad) > len(names) {
		more = ", …"
	}
	return status, fmt.Sprintf("%d of %d tables failed: %s%s", len(bad), len(tables), strings.Join(names, ", "), more), bad[0].ErrorKind
}

// settle derives what a run is from its sources.
func settle(r *state.Run) {
	r.Status, r.Error = statusOf(r.Sources), errorOf(r.Sources)
	r.StartedAt, r.FinishedAt = time.Time{}, time.Time{}
	for _, s := range r.Sources {
		if !s.StartedAt.IsZero() && (r.StartedAt.IsZero() || s.StartedAt.Before(r.StartedAt)) {
			r.StartedAt = s.StartedAt
		}
		if ended(r.Status) && s.FinishedAt.After(r.FinishedAt) {
			r.FinishedAt = s.FinishedAt
		}
	}
}

func statusOf(sources []state.RunSource) string {
	count := map[string]int{}
	over := 0
	for _, s := range sources {
		status := s.Status
		if status == requested {
			status = Queued
		}
		count[status]++
		if ended(status) {
			over++
		}
	}
	switch n := len(sources); {
	case over == n && count[Succeeded] == n:
		return Succeeded
	case over == n && count[Failed] == n:
		return Failed
	case over == n:
		return Partial
	case count[Queued] == n:
		return Queued
	case count[Running] > 0 || count[Queued] > 0:
		return Running
	}
	return Publishing
}

func errorOf(sources []state.RunSource) string {
	var all []string
	for _, s := range sources {
		switch {
		case s.Error == "":
		case len(sources) == 1:
			return s.Error
		default:
			all = append(all, s.Source+": "+s.Error)
		}
	}
	return strings.Join(all, "; ")
}

// part finds a source of a run, adding it where the run did not name it.
func part(r *state.Run, source string) *state.RunSource {
	at, found := slices.BinarySearchFunc(r.Sources, source, func(s state.RunSource, name string) int { return strings.Compare(s.Source, name) })
	if !found {
		r.Sources = slices.Insert(r.Sources, at, state.RunSource{Source: source, Status: Queued})
	}
	return &r.Sources[at]
}
