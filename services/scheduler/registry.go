package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/schedule"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	registryTimeout = 10 * time.Second
	// keepRows is how long the state of a table that is no longer registered is kept: a table that is
	// registered again goes on where it was.
	keepRows = 30 * 24 * time.Hour
)

// readRegistry asks the api for the tables and takes over those that have a schedule.
func (t *term) readRegistry(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	answer, err := event.Call(ctx, t.bus, event.ListRegistry, &agnesv1.ListRegistryRequest{})
	if err != nil {
		err = fmt.Errorf("read the registry: %w", err)
		t.health.set("registry", err)
		return err
	}
	t.health.set("registry", nil)
	tables := map[key]table{}
	registered := map[key]bool{}
	counts := map[string]int{"valid": 0, "none": 0, "invalid": 0}
	for _, r := range answer.GetTables() {
		scheduled, what := t.scheduled(ctx, r)
		counts[what]++
		registered[key{sourceOf(r), r.GetName()}] = true
		if what == "valid" {
			tables[scheduled.key] = scheduled
		}
	}
	for what, n := range counts {
		t.metrics.tables.WithLabelValues(what).Set(float64(n))
	}
	t.plan.tables = tables
	return t.forget(ctx, registered, now)
}

// sourceOf is the source of a table; rows from before sources had names have only a type.
func sourceOf(r *agnesv1.RegisteredTable) string {
	return cmp.Or(r.GetSource(), r.GetSourceType())
}

// scheduled reads one row of the registry. What cannot be scheduled is said once, and ignored.
func (t *term) scheduled(ctx context.Context, r *agnesv1.RegisteredTable) (table, string) {
	text := strings.TrimSpace(r.GetSyncSchedule())
	if text == "" {
		return table{}, "none"
	}
	k := key{sourceOf(r), r.GetName()}
	when, err := schedule.Parse(text)
	if err == nil {
		err = catalog.ValidSourceName(k.source)
	}
	if err == nil && (k.name == "" || r.GetSourceType() == "") {
		err = errors.New("the table has no name or no source type")
	}
	if err == nil {
		return table{key: k, connector: r.GetSourceType(), schedule: when}, "valid"
	}
	if t.complained[k] != text {
		t.complained[k] = text
		zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, k.source).Str(service.FieldTable, k.name).Msg("the table cannot be scheduled")
	}
	return table{}, "invalid"
}

// forget drops the state of tables that have been gone for long.
func (t *term) forget(ctx context.Context, registered map[key]bool, now time.Time) error {
	for k, r := range t.plan.rows {
		if registered[k] || r.Pending != nil || now.Sub(r.LastAttempt) < keepRows || now.Sub(r.LastSuccess) < keepRows {
			continue
		}
		if err := t.bucket.Delete(ctx, k.String()); err != nil {
			return fmt.Errorf("drop the state of %s: %w", k, err)
		}
		delete(t.plan.rows, k)
	}
	return nil
}
