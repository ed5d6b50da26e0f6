package api

import (
	"context"
	"encoding/json"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// TestSource asks the extractor of a source whether its connection works.
func (w wires) TestSource(ctx context.Context, source string) ([]string, error) {
	a, err := event.Call(ctx, w.Bus, event.TestSource(source), &agnesv1.TestSourceRequest{})
	return a.GetFindings(), err
}

// asRegistered is a table as extractors are told of it.
func asRegistered(t httpapi.RegisteredTable) *agnesv1.RegisteredTable {
	r := &agnesv1.RegisteredTable{
		Id: t.ID, Name: t.Name, Source: t.Source, SourceType: t.SourceType, Bucket: t.Bucket, SourceTable: t.SourceTable,
		SyncStrategy: t.SyncStrategy, QueryMode: t.QueryMode, PrimaryKey: t.PrimaryKey, Description: t.Description, Folder: t.Folder,
	}
	if len(t.Options) > 0 {
		if raw, err := json.Marshal(t.Options); err == nil { // they came from JSON
			r.OptionsJson = string(raw)
		}
	}
	return r
}

// Preview asks for the first rows of a table.
func (w wires) Preview(ctx context.Context, t httpapi.RegisteredTable, rows int) (httpapi.TablePreview, error) {
	a, err := event.Call(ctx, w.Bus, event.PreviewTable(t.Source), &agnesv1.PreviewTableRequest{Table: asRegistered(t), Rows: int32(rows)}) //nolint:gosec // at most 20
	p := httpapi.TablePreview{Cut: a.GetCut()}
	for _, c := range a.GetColumns() {
		p.Columns = append(p.Columns, catalog.Column{Name: c.GetName(), Type: c.GetType()})
	}
	for _, r := range a.GetRows() {
		row := make([]*string, len(r.GetValues()))
		for i, v := range r.GetValues() {
			row[i], p.Cut = v.Text, p.Cut || v.GetCut()
		}
		p.Rows = append(p.Rows, row)
	}
	return p, err
}

// PushMetadata has an extractor write what is said of columns to the source.
func (w wires) PushMetadata(ctx context.Context, t httpapi.RegisteredTable, notes []httpapi.ColumnNote, dryRun bool) (httpapi.MetadataPushed, error) {
	q := &agnesv1.PushMetadataRequest{Table: asRegistered(t), DryRun: dryRun}
	for _, n := range notes {
		q.Columns = append(q.Columns, &agnesv1.ColumnNote{Name: n.Name, Type: n.Type, Description: n.Description})
	}
	a, err := event.Call(ctx, w.Bus, event.PushMetadata(t.Source), q)
	done := httpapi.MetadataPushed{Target: a.GetTarget(), Problems: a.GetProblems()}
	for _, n := range a.GetPushed() {
		done.Pushed = append(done.Pushed, httpapi.PushedNote{Column: n.GetColumn(), Key: n.GetKey(), Value: n.GetValue()})
	}
	return done, err
}
