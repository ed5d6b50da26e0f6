package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Run is one extraction that was asked for, over one source or several, as it was last written down.
// Package runs says what its status means and what happens meanwhile.
type Run struct {
	ID          string
	Status      string
	Reason      string
	RequestedBy string
	Force       bool
	RequestedAt time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
	Error       string
	Sources     []RunSource // ordered by name
}

// RunSource is a run's part in one source.
type RunSource struct {
	Source string
	// Type is the connector's type, where it is known.
	Type   string
	Status string
	// Requested are the tables that were asked for; none means all.
	Requested   []string
	StartedAt   time.Time
	ExtractedAt time.Time // when the extractor was done
	FinishedAt  time.Time
	Generation  uint64 // of the source's catalog that shows the result
	// EventID is the last event that was written down, so that the same one again changes nothing.
	EventID   string
	Error     string
	ErrorKind string
	Tables    []RunTable // ordered by name
}

// RunTable is what became of one table.
type RunTable struct {
	Table        string
	Outcome      string
	Rows         int64
	SizeBytes    int64
	Hash         string
	Duration     time.Duration
	RejectedRows int64
	PartsWritten int
	PartsReused  int
	Error        string
	ErrorKind    string
	// SchemaChanges are the columns that were different from the version before, or that a contract refused.
	SchemaChanges []SchemaChange
}

// SchemaChange is one column that is different from what it was.
type SchemaChange struct {
	Column   string `json:"column"`
	Change   string `json:"change"` // added, removed, retyped or discarded
	FromType string `json:"from_type,omitempty"`
	ToType   string `json:"to_type,omitempty"`
}

// RunFilter says which runs to list. The zero value means all.
type RunFilter struct {
	Source   string
	Statuses []string
	Limit    int // 0 means 100
	// NoTables leaves the tables out.
	NoTables bool
}

// Runs are the extractions that were asked for.
type Runs struct{ s *Store }

var errNoRun = fault.New(fault.NotFound, "there is no such run, or it is too long ago")

const selectRuns = `SELECT r.id, r.status, r.reason, r.requested_by, r.forced, r.requested_at, r.started_at, r.finished_at, r.error FROM sync_runs r`

func scanRun(r *sql.Rows) (Run, error) {
	var v Run
	return v, r.Scan(&v.ID, &v.Status, text{&v.Reason}, text{&v.RequestedBy}, flag{&v.Force}, moment{&v.RequestedAt},
		moment{&v.StartedAt}, moment{&v.FinishedAt}, text{&v.Error})
}

// Get gives a run; fault.NotFound where there is none.
func (r *Runs) Get(ctx context.Context, id string) (Run, error) {
	var run Run
	err := r.s.read(ctx, func(ctx context.Context, q querier) error {
		found, err := one(ctx, q, errNoRun, scanRun, selectRuns+" WHERE r.id = $1", id)
		if err != nil {
			return err
		}
		list := []Run{found}
		if err := fillRuns(ctx, q, list, true); err != nil {
			return err
		}
		run = list[0]
		return nil
	})
	return run, err
}

// List gives runs, newest first, with three queries however many there are.
func (r *Runs) List(ctx context.Context, f RunFilter) ([]Run, error) {
	query, args := f.query()
	var list []Run
	err := r.s.read(ctx, func(ctx context.Context, q querier) (err error) {
		if list, err = collect(ctx, q, scanRun, query, args...); err != nil {
			return err
		}
		return fillRuns(ctx, q, list, !f.NoTables)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (f RunFilter) query() (string, []any) {
	query, args := selectRuns+" WHERE TRUE", []any{}
	if f.Source != "" {
		args = append(args, f.Source)
		query += " AND EXISTS (SELECT 1 FROM sync_run_sources x WHERE x.run_id = r.id AND x.source = " + placeholders(len(args), 1) + ")"
	}
	if len(f.Statuses) > 0 {
		query += " AND r.status IN (" + placeholders(len(args)+1, len(f.Statuses)) + ")"
		args = append(args, anys(f.Statuses)...)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	args = append(args, f.Limit)
	return query + " ORDER BY r.requested_at DESC, r.id LIMIT " + placeholders(len(args), 1), args
}

// fillRuns reads the sources and tables of runs.
func fillRuns(ctx context.Context, q querier, list []Run, tables bool) error {
	at := make(map[string]int, len(list))
	ids := make([]string, len(list))
	for i, run := range list {
		at[run.ID], ids[i] = i, run.ID
	}
	type place struct{ run, source string }
	sources := map[place]int{}
	for chunk := range slices.Chunk(ids, 1000) {
		in := " WHERE run_id IN (" + placeholders(1, len(chunk)) + ")"
		_, err := collect(ctx, q, func(row *sql.Rows) (struct{}, error) {
			id, s, err := scanRunSource(row)
			run := &list[at[id]]
			sources[place{id, s.Source}] = len(run.Sources)
			run.Sources = append(run.Sources, s)
			return struct{}{}, err
		}, `SELECT run_id, source, source_type, status, CAST(requested_tables AS VARCHAR), started_at, extracted_at, finished_at, generation, event_id, error, error_kind
			FROM sync_run_sources`+in+" ORDER BY run_id, source", anys(chunk)...)
		if err != nil {
			return err
		}
		if !tables {
			continue
		}
		_, err = collect(ctx, q, func(row *sql.Rows) (struct{}, error) {
			var id, source string
			var t RunTable
			err := scanRunTable(row, &t, &id, &source)
			if i, ok := sources[place{id, source}]; ok {
				s := &list[at[id]].Sources[i]
				s.Tables = append(s.Tables, t)
			}
			return struct{}{}, err
		}, "SELECT t.run_id, t.source, "+runTableColumns+" FROM sync_run_tables t"+in+" ORDER BY run_id, source, table_name", anys(chunk)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// runTableColumns are those of sync_run_tables that scanRunTable reads.
const runTableColumns = "t.table_name, t.outcome, t.row_count, t.size_bytes, t.hash, t.duration_ms, t.rejected_rows, t.parts_written, t.parts_reused, t.error, t.error_kind, t.schema_changes"

// scanRunTable reads a row of the others' columns and, after them, runTableColumns.
func scanRunTable(row *sql.Rows, t *RunTable, others ...any) error {
	var ms int64
	var changes string
	err := row.Scan(append(others, &t.Table, &t.Outcome, number[int64]{&t.Rows}, number[int64]{&t.SizeBytes}, text{&t.Hash}, number[int64]{&ms},
		number[int64]{&t.RejectedRows}, number[int]{&t.PartsWritten}, number[int]{&t.PartsReused}, text{&t.Error}, text{&t.ErrorKind}, text{&changes})...)
	t.Duration = time.Duration(ms) * time.Millisecond
	if err == nil && changes != "" {
		err = json.Unmarshal([]byte(changes), &t.SchemaChanges)
	}
	return err
}

func scanRunSource(row *sql.Rows) (string, RunSource, error) {
	var id, requested string
	var s RunSource
	err := row.Scan(&id, &s.Source, text{&s.Type}, &s.Status, text{&requested}, moment{&s.StartedAt}, moment{&s.ExtractedAt},
		moment{&s.FinishedAt}, number[uint64]{&s.Generation}, text{&s.EventID}, text{&s.Error}, text{&s.ErrorKind})
	if err == nil && requested != "" {
		err = json.Unmarshal([]byte(requested), &s.Requested)
	}
	return id, s, err
}

// Save writes runs down as they stand, in one transaction: their part in one source, or all parts
// where source is empty. What the event behind it did to tables goes with it.
func (r *Runs) Save(ctx context.Context, list []Run, source string, record Recorded) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		for _, run := range list {
			if err := saveRun(ctx, tx, run, source); err != nil {
				return err
			}
		}
		if len(record.Outcomes) == 0 {
			return nil
		}
		return recordSync(ctx, tx, record.EventID, record.Source, record.At, record.Outcomes)
	})
}

// Recorded is what an event did to tables; see SyncState.Record.
type Recorded struct {
	EventID  string
	Source   string
	At       time.Time
	Outcomes []TableOutcome
}

func saveRun(ctx context.Context, tx *sql.Tx, run Run, source string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO sync_runs (id, status, reason, requested_by, forced, requested_at, started_at, finished_at, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, started_at = excluded.started_at, finished_at = excluded.finished_at, error = excluded.error`,
		run.ID, run.Status, orNull(run.Reason), orNull(run.RequestedBy), run.Force, timeOrNull(run.RequestedAt), timeOrNull(run.StartedAt), timeOrNull(run.FinishedAt), orNull(run.Error))
	if err != nil {
		return err
	}
	for _, s := range run.Sources {
		if source != "" && s.Source != source {
			continue
		}
		if err := saveRunSource(ctx, tx, run.ID, s); err != nil {
			return err
		}
	}
	return nil
}

func saveRunSource(ctx context.Context, tx *sql.Tx, id string, s RunSource) error {
	requested, err := jsonOrNull(s.Requested)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO sync_run_sources (run_id, source, source_type, status, requested_tables, started_at, extracted_at, finished_at, generation, event_id, error, error_kind)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (run_id, source) DO UPDATE SET status = excluded.status, started_at = excluded.started_at, extracted_at = excluded.extracted_at,
		finished_at = excluded.finished_at, generation = excluded.generation, event_id = excluded.event_id, error = excluded.error, error_kind = excluded.error_kind`,
		id, s.Source, orNull(s.Type), s.Status, requested, timeOrNull(s.StartedAt), timeOrNull(s.ExtractedAt), timeOrNull(s.FinishedAt),
		int64(s.Generation), orNull(s.EventID), orNull(s.Error), orNull(s.ErrorKind)) //nolint:gosec // a counter of publications
	if err != nil {
		return err
	}
	rows := make([][]any, len(s.Tables))
	for i, t := range s.Tables {
		changes, err := jsonOrNull(t.SchemaChanges)
		if err != nil {
			return err
		}
		rows[i] = []any{
			id, s.Source, t.Table, t.Outcome, t.Rows, t.SizeBytes, orNull(t.Hash), t.Duration.Milliseconds(),
			t.RejectedRows, t.PartsWritten, t.PartsReused, orNull(t.Error), orNull(t.ErrorKind), changes,
		}
	}
	return insertRows(ctx, tx, `INSERT INTO sync_run_tables (run_id, source, table_name, outcome, row_count, size_bytes, hash, duration_ms, rejected_rows, parts_written, parts_reused, error, error_kind, schema_changes)`, rows,
		`ON CONFLICT (run_id, source, table_name) DO UPDATE SET outcome = excluded.outcome, row_count = excluded.row_count, size_bytes = excluded.size_bytes,
		hash = excluded.hash, duration_ms = excluded.duration_ms, rejected_rows = excluded.rejected_rows, parts_written = excluded.parts_written,
		parts_reused = excluded.parts_reused, error = excluded.error, error_kind = excluded.error_kind, schema_changes = excluded.schema_changes`)
}

// jsonOrNull writes a list as JSON, and none as NULL.
func jsonOrNull[T any](list []T) (any, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // a NULL
	}
	raw, err := json.Marshal(list)
	return string(raw), err
}

// TablePast is what became of one table in one run.
type TablePast struct {
	RunID, Reason string
	At            time.Time // when its source was extracted, or when the run was asked for
	RunTable
}

// History tells what became of a table in the runs that are remembered, newest first, at most limit of them.
func (r *Runs) History(ctx context.Context, source, table string, limit int) ([]TablePast, error) {
	return readAll(ctx, r.s, func(row *sql.Rows) (TablePast, error) {
		var p TablePast
		err := scanRunTable(row, &p.RunTable, &p.RunID, text{&p.Reason}, moment{&p.At})
		return p, err
	}, `SELECT t.run_id, r.reason, coalesce(s.extracted_at, r.requested_at) AS happened, `+runTableColumns+`
		FROM sync_run_tables t JOIN sync_runs r ON r.id = t.run_id JOIN sync_run_sources s ON s.run_id = t.run_id AND s.source = t.source
		WHERE t.source = $1 AND t.table_name = $2 ORDER BY happened DESC, t.run_id LIMIT $3`, source, table, limit)
}

// Prune forgets finished runs that are not among the latest keep of any of their sources, and
// unfinished ones older than giveUp. It tells how many it forgot.
func (r *Runs) Prune(ctx context.Context, keep int, giveUp time.Time) (int, error) {
	gone, err := readAll(ctx, r.s, scanString, `SELECT r.id FROM sync_runs r
		JOIN (SELECT x.run_id, min(x.place) AS place FROM (
			SELECT s.run_id, row_number() OVER (PARTITION BY s.source ORDER BY q.requested_at DESC, q.id) AS place
			FROM sync_run_sources s JOIN sync_runs q ON q.id = s.run_id) x GROUP BY x.run_id) best ON best.run_id = r.id
		WHERE best.place > $1 AND (r.finished_at IS NOT NULL OR r.requested_at < $2)`, keep, timeOrNull(giveUp))
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM sync_run_tables WHERE run_id IN", "DELETE FROM sync_run_sources WHERE run_id IN", "DELETE FROM sync_runs WHERE id IN",
		} {
			if err := deleteKeys(ctx, tx, statement, gone); err != nil {
				return err
			}
		}
		return nil
	})
}
