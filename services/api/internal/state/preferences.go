package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// SyncSetting is a user's switch for a dataset: whether they want a copy of it.
type SyncSetting struct {
	UserID string
	// Dataset is what a grant can name; "*" stands for everything that no other setting names.
	Dataset string
	Enabled bool
	// TableMode is "all", or "explicit" for those of the dataset that Tables lists.
	TableMode string
	Tables    map[string]bool
	UpdatedAt time.Time
}

// maxSettings bounds what one user can store.
const maxSettings = 10_000

// Preferences are what users want to have synced.
type Preferences struct{ s *Store }

func scanSetting(r *sql.Rows) (SyncSetting, error) {
	v := SyncSetting{TableMode: "all"}
	var mode, tables string
	err := r.Scan(&v.UserID, &v.Dataset, flag{&v.Enabled}, text{&mode}, text{&tables}, moment{&v.UpdatedAt})
	if mode != "" {
		v.TableMode = mode
	}
	v.Tables = map[string]bool{}
	var list []string
	if json.Unmarshal([]byte(tables), &list) == nil { // a predecessor may have kept a list
		for _, t := range list {
			v.Tables[t] = true
		}
		return v, err
	}
	_ = json.Unmarshal([]byte(tables), &v.Tables) // what is neither names no tables
	return v, err
}

const selectSettings = "SELECT user_id, dataset, enabled, table_mode, CAST(tables AS VARCHAR), updated_at FROM user_sync_settings WHERE user_id = $1"

// List gives a user's settings, by dataset.
func (r *Preferences) List(ctx context.Context, userID string) ([]SyncSetting, error) {
	return readAll(ctx, r.s, scanSetting, selectSettings+" ORDER BY dataset", userID)
}

// Put stores settings of one user, all or none; those that stand for a dataset already are replaced.
func (r *Preferences) Put(ctx context.Context, userID string, settings []SyncSetting) error {
	if len(settings) == 0 {
		return nil
	}
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := one(ctx, tx, errNoUser, scanUser, selectUsers+" WHERE u.id = $1", userID); err != nil {
			return err
		}
		var rows [][]any
		for _, v := range settings {
			var tables any
			if len(v.Tables) > 0 {
				raw, err := json.Marshal(v.Tables)
				if err != nil {
					return err
				}
				tables = string(raw)
			}
			rows = append(rows, []any{userID, v.Dataset, v.Enabled, v.TableMode, tables, r.s.now()})
		}
		err := insertRows(ctx, tx, "INSERT INTO user_sync_settings (user_id, dataset, enabled, table_mode, tables, updated_at)", rows,
			`ON CONFLICT (user_id, dataset) DO UPDATE SET enabled = excluded.enabled, table_mode = excluded.table_mode, tables = excluded.tables, updated_at = excluded.updated_at`)
		if err != nil {
			return err
		}
		n, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM user_sync_settings WHERE user_id = $1", userID)
		if err == nil && n > maxSettings {
			return fault.New(fault.TooLarge, "these are more than %d settings", maxSettings)
		}
		return err
	})
}
