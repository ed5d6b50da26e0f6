package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Profiles are what was found out about the columns of tables: the newest of each.
type Profiles struct{ s *Store }

// Profile is what was found out about a table, as JSON.
type Profile struct {
	JSON       json.RawMessage
	ProfiledAt time.Time
}

var errNoProfile = fault.New(fault.NotFound, "the table was not profiled yet")

func scanProfile(r *sql.Rows) (Profile, error) {
	var p Profile
	var raw string
	err := r.Scan(&raw, moment{&p.ProfiledAt})
	p.JSON = json.RawMessage(raw)
	return p, err
}

// Get gives the profile under a key; fault.NotFound where there is none. Ours are kept under
// "source.table", a predecessor's under the id of the registry.
func (r *Profiles) Get(ctx context.Context, key string) (Profile, error) {
	var p Profile
	err := r.s.read(ctx, func(ctx context.Context, q querier) (err error) {
		p, err = one(ctx, q, errNoProfile, scanProfile, "SELECT CAST(profile AS VARCHAR), profiled_at FROM table_profiles WHERE table_id = $1", key)
		return err
	})
	return p, err
}

// Put keeps profiles by their keys, each unless a newer one is there.
func (r *Profiles) Put(ctx context.Context, profiles map[string]Profile) error {
	if len(profiles) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(profiles))
	for key, p := range profiles {
		rows = append(rows, []any{key, string(p.JSON), p.ProfiledAt.UTC()})
	}
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		return insertRows(ctx, tx, "INSERT INTO table_profiles (table_id, profile, profiled_at)", rows,
			`ON CONFLICT (table_id) DO UPDATE SET profile = excluded.profile, profiled_at = excluded.profiled_at
			WHERE table_profiles.profiled_at IS NULL OR table_profiles.profiled_at <= excluded.profiled_at`)
	})
}
