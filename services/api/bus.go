package api

import (
	"context"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// wires is what the HTTP handlers need of the bus.
type wires struct {
	*event.Bus
}

// Discover asks the extractor that owns the source.
func (w wires) Discover(ctx context.Context, source string) ([]httpapi.DiscoveredTable, error) {
	answer, err := event.Call(ctx, w.Bus, event.Discover(source), &agnesv1.DiscoverRequest{Source: source})
	if err != nil {
		return nil, err
	}
	found := make([]httpapi.DiscoveredTable, 0, len(answer.GetTables()))
	for _, t := range answer.GetTables() {
		d := httpapi.DiscoveredTable{
			Name: t.GetName(), Bucket: t.GetBucket(), SourceTable: t.GetSourceTable(), Rows: t.GetRows(), SizeBytes: t.GetSizeBytes(),
			Problem: t.GetProblem(), PrimaryKey: t.GetPrimaryKey(), Description: t.GetDescription(), QueryMode: t.GetQueryMode(),
		}
		for _, c := range t.GetColumns() {
			d.Columns = append(d.Columns, catalog.Column{Name: c.GetName(), Type: c.GetType()})
		}
		if d.QueryMode == "" {
			d.QueryMode = catalog.ModeLocal
		}
		d.ID = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(d.Name)), " ", "_") // what the registry makes of a name
		found = append(found, d)
	}
	slices.SortFunc(found, func(a, b httpapi.DiscoveredTable) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// Rebuild announces the extract of a source, as an extractor does when it is done.
func (w wires) Rebuild(ctx context.Context, source string) error {
	return event.Publish(ctx, w.Bus, event.ExtractReady, source, &agnesv1.ExtractReady{})
}
