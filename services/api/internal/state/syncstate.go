package state

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Status of a table in sync_state.
const (
	SyncOK       = "ok"
	SyncError    = "error"
	SyncHeldBack = "held_back"
)

// TableSync is how a table stands: the predecessor's sync_state.
type TableSync struct {
	// TableID is the table's name, or "source.name" where another source's table has that name.
	TableID string
	Source  string // empty in rows that only the predecessor wrote
	// LastSync is when the table was last extracted with success; zero for never.
	LastSync  time.Time
	Rows      int64
	SizeBytes int64
	Columns   int64
	Hash      string
	Status    string
	// Error is why the last extraction failed; empty after a success.
	Error string
}

// TableHistory is one extraction of a table: the predecessor's sync_history.
type TableHistory struct {
	ID       string
	TableID  string
	SyncedAt time.Time
	Rows     int64
	Duration time.Duration
	Status   string
	Error    string
}

// TableOutcome is what an extraction or a publication did to one table.
type TableOutcome struct {
	Table string
	// Status is one of the Sync constants, or SyncRemoved.
	Status    string
	Rows      int64
	SizeBytes int64
	Hash      string
	Duration  time.Duration
	Error     string
}

// SyncRemoved as the status of a TableOutcome takes the table out.
const SyncRemoved = "removed"

// historyPerTable is how many extractions of one table are remembered.
const historyPerTable = 100

// SyncState is how every table stands, and how it came to.
type SyncState struct{ s *Store }

const selectSync = `SELECT table_id, source, last_sync, rows, file_size_bytes, columns, hash, status, error FROM sync_state`

func scanSync(r *sql.Rows) (TableSync, error) {
	var t TableSync
	return t, r.Scan(&t.TableID, text{&t.Source}, moment{&t.LastSync}, number[int64]{&t.Rows}, number[int64]{&t.SizeBytes},
		number[int64]{&t.Columns}, text{&t.Hash}, text{&t.Status}, text{&t.Error})
}

// List gives all tables, ordered by id.
func (r *SyncState) List(ctx context.Context) ([]TableSync, error) {
	return readAll(ctx, r.s, scanSync, selectSync+" ORDER BY table_id")
}

// History gives the latest extractions of a table, newest first.
func (r *SyncState) History(ctx context.Context, tableID string, limit int) ([]TableHistory, error) {
	return readAll(ctx, r.s, func(row *sql.Rows) (TableHistory, error) {
		var h TableHistory
		var ms int64
		err := row.Scan(&h.ID, &h.TableID, moment{&h.SyncedAt}, number[int64]{&h.Rows}, number[int64]{&ms}, text{&h.Status}, text{&h.Error})
		h.Duration = time.Duration(ms) * time.Millisecond
		return h, err
	}, "SELECT id, table_id, synced_at, rows, duration_ms, status, error FROM sync_history WHERE table_id = $1 ORDER BY synced_at DESC, id LIMIT $2", tableID, limit)
}

// Record writes down what an event did to tables of a source, at a time. The same event written again
// changes nothing, and an older event does not undo a newer one. Only a success moves LastSync and
// clears the error.
func (r *SyncState) Record(ctx context.Context, eventID, source string, at time.Time, outcomes []TableOutcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		return recordSync(ctx, tx, eventID, source, at, outcomes)
	})
}

func recordSync(ctx context.Context, tx *sql.Tx, eventID, source string, at time.Time, outcomes []TableOutcome) error {
	ids, err := syncIDs(ctx, tx, source, outcomes)
	if err != nil {
		return err
	}
	var good, bad, history [][]any
	var removed []string
	for i, o := range outcomes {
		id := ids[i]
		switch o.Status {
		case SyncRemoved:
			removed = append(removed, id)
		case SyncOK:
			good = append(good, []any{id, source, timeOrNull(at), o.Rows, o.SizeBytes, orNull(o.Hash), SyncOK})
		default:
			bad = append(bad, []any{id, source, o.Status, o.Error})
		}
		if eventID != "" {
			key := uuid.NewSHA1(uuid.NameSpaceURL, []byte("agnes:sync:"+eventID+":"+id)).String()
			history = append(history, []any{key, id, timeOrNull(at), o.Rows, o.Duration.Milliseconds(), o.Status, orNull(o.Error)})
		}
	}
	err = insertRows(ctx, tx, "INSERT INTO sync_state (table_id, source, last_sync, rows, file_size_bytes, hash, status)", good,
		`ON CONFLICT (table_id) DO UPDATE SET source = excluded.source, last_sync = excluded.last_sync, rows = excluded.rows,
		 file_size_bytes = excluded.file_size_bytes, hash = excluded.hash, status = excluded.status, error = NULL
		 WHERE sync_state.last_sync IS NULL OR excluded.last_sync >= sync_state.last_sync`)
	if err != nil {
		return err
	}
	if err := recordBad(ctx, tx, at, bad); err != nil {
		return err
	}
	if err := deleteKeys(ctx, tx, "DELETE FROM sync_state WHERE table_id IN", removed); err != nil {
		return err
	}
	return recordHistory(ctx, tx, history, ids)
}

// recordBad notes failures: never over a success that came later.
func recordBad(ctx context.Context, tx *sql.Tx, at time.Time, rows [][]any) error {
	for chunk := range slices.Chunk(rows, rowsPerStatement) {
		args := append(slices.Concat(chunk...), timeOrNull(at))
		last := placeholders(len(args), 1)
		_, err := tx.ExecContext(ctx, "INSERT INTO sync_state (table_id, source, status, error) VALUES "+valueRows(len(chunk), 4)+
			` ON CONFLICT (table_id) DO UPDATE SET source = excluded.source, status = excluded.status, error = excluded.error
			WHERE sync_state.last_sync IS NULL OR sync_state.last_sync <= CAST(`+last+` AS TIMESTAMP)`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

func recordHistory(ctx context.Context, tx *sql.Tx, history [][]any, ids []string) error {
	if len(history) == 0 {
		return nil
	}
	err := insertRows(ctx, tx, "INSERT INTO sync_history (id, table_id, synced_at, rows, duration_ms, status, error)", history, "ON CONFLICT (id) DO NOTHING")
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(ids, rowsPerStatement) {
		args := append(anys(chunk), historyPerTable)
		_, err := tx.ExecContext(ctx, `DELETE FROM sync_history WHERE id IN (SELECT id FROM (
			SELECT id, row_number() OVER (PARTITION BY table_id ORDER BY synced_at DESC, id) AS place
			FROM sync_history WHERE table_id IN (`+placeholders(1, len(chunk))+`)) ranked WHERE place > `+placeholders(len(args), 1)+`)`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// syncIDs gives each table the id of its row: its name, as the predecessor wrote it, unless that is
// the row of another source's table.
func syncIDs(ctx context.Context, tx *sql.Tx, source string, outcomes []TableOutcome) ([]string, error) {
	names := make([]string, len(outcomes))
	for i, o := range outcomes {
		names[i] = o.Table
	}
	owners := map[string]string{}
	for chunk := range slices.Chunk(names, rowsPerStatement) {
		_, err := collect(ctx, tx, func(row *sql.Rows) (struct{}, error) {
			var id, owner string
			err := row.Scan(&id, text{&owner})
			owners[id] = owner
			return struct{}{}, err
		}, "SELECT table_id, source FROM sync_state WHERE table_id IN ("+placeholders(1, len(chunk))+")", anys(chunk)...)
		if err != nil {
			return nil, err
		}
	}
	for i, name := range names {
		if owner := owners[name]; owner != "" && owner != source {
			names[i] = catalog.TableID(source, name)
		}
	}
	return names, nil
}
