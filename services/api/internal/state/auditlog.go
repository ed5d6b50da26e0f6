package state

import (
	"context"
	"database/sql"
	"time"
)

// AuditRow is a line of the predecessor's record of who did what.
type AuditRow struct {
	ID, UserID, Action, Resource, Result string
	// Params is JSON; empty for none.
	Params     string
	DurationMS int64
	Time       time.Time
}

func scanAuditRow(r *sql.Rows) (AuditRow, error) {
	var a AuditRow
	err := r.Scan(&a.ID, moment{&a.Time}, text{&a.UserID}, &a.Action, text{&a.Resource}, text{&a.Params}, text{&a.Result}, number[int64]{&a.DurationMS})
	return a, err
}

// AuditLog lists the predecessor's record, oldest first. Nothing is added to it any more.
func (s *Store) AuditLog(ctx context.Context) ([]AuditRow, error) {
	return readAll(ctx, s, scanAuditRow, `SELECT id, timestamp, user_id, action, resource, CAST(params AS VARCHAR), result, duration_ms
		FROM audit_log ORDER BY timestamp, id`)
}
