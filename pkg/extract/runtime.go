package extract

import (
	"context"
	"time"
)

// Outcomes of a table in a run.
const (
	OutcomeUpdated   = "updated"
	OutcomeUnchanged = "unchanged"
	OutcomeFailed    = "failed"    // the last good version stays
	OutcomeHeldBack  = "held_back" // the mass-drop guard: the last good version stays until `force`
	OutcomeRemoved   = "removed"   // a complete listing of the registry no longer has it
)

// RuntimeConfig is what Serve needs. Fields without a word about zero are required.
type RuntimeConfig struct {
	Connector Connector
	// Sources that this process owns: all of Connector.Type, with unique names.
	Sources []SourceConfig
	DataDir string
	// ParallelSources and ParallelTables bound the work; zero means 2 sources, and 2 tables each.
	ParallelSources, ParallelTables int
	// MemoryBytes bounds DuckDB, over all tables that are extracted at once; zero means 1 GiB.
	MemoryBytes int64
	// Threads of DuckDB per table; zero means one per core, at most 4.
	Threads int
	// Grace is how long a part stays on disk after nothing refers to it: longer than any query or
	// download. Zero means an hour.
	Grace time.Duration
}

// Serve runs the connector until ctx ends: a soft stop lets no new run start, and a running one is
// cancelled and leaves nothing. It returns nil after a stop, and an error for a configuration that
// cannot work.
func Serve(ctx context.Context, cfg RuntimeConfig) error { return errSkeleton }
