package extract

import (
	"context"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// telling is a source that can be asked.
type telling struct{ *scripted }

func (telling) Preview(_ context.Context, t TableSpec, rows int) (Preview, error) {
	long := strings.Repeat("é", maxPreviewValue)
	p := Preview{Columns: []catalog.Column{{Name: t.SourceTable, Type: "VARCHAR"}, {Name: "b", Type: "VARCHAR"}}}
	for range rows + 5 { // more than it was asked for
		p.Rows = append(p.Rows, []*string{nil, &long})
	}
	return p, nil
}

func (telling) PushMetadata(_ context.Context, _ TableSpec, notes []ColumnNote, dryRun bool) (PushedMetadata, error) {
	if dryRun {
		return PushedMetadata{Target: "dry"}, nil
	}
	return PushedMetadata{Target: "t", Pushed: []PushedNote{{notes[0].Name, "k", notes[0].Description}}, Problems: []string{"one"}}, nil
}

// asked starts a stage and waits until it answers: it has run once then.
func asked(t *testing.T, s *stage) {
	t.Helper()
	s.src.query("a", "SELECT 1 AS id")
	s.src.found = []DiscoveredTable{{Name: "a"}}
	s.cfg.Sources[0].Options = map[string]any{"auto_register": true}
	s.start()
	receive(t, s.ready, "the first run")
}

func TestSourcesAreAskedOverTheBus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	table := &agnesv1.RegisteredTable{Name: "x", SourceTable: "of"}
	s.cfg.Connector.Open = func(context.Context, SourceConfig) (Source, error) { return telling{s.src}, nil }
	asked(t, s)
	tested, err := event.Call(t.Context(), s.bus, event.TestSource("src"), &agnesv1.TestSourceRequest{})
	if err != nil || len(tested.GetFindings()) != 1 || !strings.Contains(tested.GetFindings()[0], "1 tables") {
		t.Errorf("test: %v %v", tested, err)
	}
	shown, err := event.Call(t.Context(), s.bus, event.PreviewTable("src"), &agnesv1.PreviewTableRequest{Table: table, Rows: 1000})
	if err != nil || len(shown.GetRows()) != maxPreviewRows || shown.GetColumns()[0].GetName() != "of" {
		t.Fatalf("preview: %v %v", shown, err)
	}
	if v := shown.GetRows()[0].GetValues(); v[0].Text != nil || !v[1].GetCut() || len(v[1].GetText()) > maxPreviewValue || !strings.HasSuffix(v[1].GetText(), "é") {
		t.Errorf("values %v", v)
	}
	notes := []*agnesv1.ColumnNote{{Name: "id", Description: "d"}}
	pushed, err := event.Call(t.Context(), s.bus, event.PushMetadata("src"), &agnesv1.PushMetadataRequest{Table: table, Columns: notes})
	if err != nil || pushed.GetPushed()[0].GetValue() != "d" || len(pushed.GetProblems()) != 1 {
		t.Errorf("push: %v %v", pushed, err)
	}
}

func TestWhatASourceCannotDoIsSaid(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	asked(t, s)
	table := &agnesv1.RegisteredTable{Name: "x"}
	if _, err := event.Call(t.Context(), s.bus, event.PreviewTable("src"), &agnesv1.PreviewTableRequest{Table: table}); !fault.Is(err, fault.Invalid) {
		t.Errorf("preview: %v", err)
	}
	if _, err := event.Call(t.Context(), s.bus, event.PushMetadata("src"), &agnesv1.PushMetadataRequest{Table: table}); !fault.Is(err, fault.Invalid) {
		t.Errorf("push: %v", err)
	}
}

// A table that is registered under another name is not registered again by what finds it.
func TestTrap_P1_AutoRegisterKeepsToTheNameThatIsThere(t *testing.T) {
	t.Parallel()
	s := newStage(t, "known")
	s.api.tables[0].Bucket, s.api.tables[0].SourceTable = "in.c-hr", "salaries"
	s.src.query("fresh", "SELECT 1 AS id")
	s.src.query("known", "SELECT 1 AS id")
	s.src.found = []DiscoveredTable{{Name: "hr_salaries", Bucket: "in.c-hr", SourceTable: "salaries"}, {Name: "fresh", Bucket: "in.c-hr", SourceTable: "other"}}
	s.cfg.Sources[0].Options = map[string]any{"auto_register": true}
	s.start()
	ready := receive(t, s.ready, "the run of what was new")
	if mustOutcome(t, ready, "fresh", OutcomeUpdated); len(ready.GetTables()) != 1 {
		t.Errorf("extracted %v", ready.GetTables())
	}
}
