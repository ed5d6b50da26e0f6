package state

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// settingBootstrapClosed is there once the bootstrap is closed for good; its value says since when.
const settingBootstrapClosed = "bootstrap_closed"

// Settings are small facts about the instance, by key.
type Settings struct{ s *Store }

var errNoSetting = fault.New(fault.NotFound, "there is no such setting")

// Get gives a value; ok is false where there is none.
func (r *Settings) Get(ctx context.Context, key string) (value string, ok bool, err error) {
	value, err = readOne(ctx, r.s, errNoSetting, scanString, "SELECT value FROM settings WHERE key = $1", key)
	return value, err == nil, present(err)
}

// Put sets a value.
func (r *Settings) Put(ctx context.Context, key, value string) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		return putSetting(ctx, tx, key, value, r.s.now())
	})
}

// Delete removes a value; one that is not there is none already.
func (r *Settings) Delete(ctx context.Context, key string) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE key = $1", key)
		return err
	})
}

// present drops the error that says that there is none.
func present(err error) error {
	if errors.Is(err, errNoSetting) {
		return nil
	}
	return err
}

func putSetting(ctx context.Context, tx *sql.Tx, key, value string, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`, key, value, now)
	return err
}

func hasSetting(ctx context.Context, q querier, key string) (bool, error) {
	n, err := one(ctx, q, nil, scanInt, "SELECT count(*) FROM settings WHERE key = $1", key)
	return n > 0, err
}
