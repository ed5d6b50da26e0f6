package extract

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// What people ask of a source beside its tables. A source implements what it can.

// Tester is implemented by sources that can tell what their connection is worth.
type Tester interface {
	// Test tries the connection and says what that showed, in sentences without secrets: who the
	// credentials are, what they may see. A connection that does not work is an error.
	Test(ctx context.Context) (findings []string, err error)
}

// Previewer is implemented by sources that can show the first rows of a table at little cost.
type Previewer interface {
	// Preview gives at most so many rows. The table need not be registered.
	Preview(ctx context.Context, table TableSpec, rows int) (Preview, error)
}

// MetadataPusher is implemented by sources that keep descriptions and types of columns.
type MetadataPusher interface {
	// PushMetadata writes what the notes say, and tells what stands in the source now. Where dryRun is set
	// it tells what would, and writes nothing. A column that fails is a problem and holds up no other.
	PushMetadata(ctx context.Context, table TableSpec, notes []ColumnNote, dryRun bool) (PushedMetadata, error)
}

// Preview is the first rows of a table.
type Preview struct {
	Columns []catalog.Column
	// Rows have a value for each column, as text; nil for NULL.
	Rows [][]*string
}

// ColumnNote is what is said of a column; what is empty is left as it is. Type is one of DuckDB.
type ColumnNote struct{ Name, Type, Description string }

// PushedMetadata is what was written to a source.
type PushedMetadata struct {
	Target   string // what the source calls the table
	Pushed   []PushedNote
	Problems []string // what was not written, and why
}

// PushedNote is one entry, by the key that the source has for it.
type PushedNote struct{ Column, Key, Value string }

// Bounds of a preview: an answer is one message of the bus.
const (
	maxPreviewRows  = 20
	maxPreviewValue = 2_000     // bytes
	maxPreviewBytes = 512 << 10 // of all values
)

// answer serves what is asked of the source. The caller stops what it gives, also beside an error.
func (q *queue) answer(ctx context.Context) (subs []*event.Subscription, err error) {
	add := func(s *event.Subscription, serveErr error) {
		if serveErr == nil {
			subs = append(subs, s)
		} else if err == nil {
			err = serveErr
		}
	}
	bus, name := q.rt.cfg.Bus, q.source.Name
	add(event.Serve(ctx, bus, event.Discover(name), q.discover))
	add(event.Serve(ctx, bus, event.TestSource(name), q.test))
	add(event.Serve(ctx, bus, event.PreviewTable(name), q.preview))
	add(event.Serve(ctx, bus, event.PushMetadata(name), q.push))
	return subs, err
}

func (q *queue) cannot(what string) error {
	return fault.New(fault.Invalid, "the connector %s of the source %s cannot %s", q.rt.cfg.Connector.Type, q.source.Name, what)
}

// opened has a question answered by the source, which is open for it alone.
func opened[Answer any](ctx context.Context, q *queue, answer func(Source) (Answer, error)) (Answer, error) {
	src, err := q.rt.open(ctx, q.source)
	if err != nil {
		var none Answer
		return none, err
	}
	defer func() { _ = src.Close() }()
	return answer(src)
}

func (q *queue) test(ctx context.Context, _ *agnesv1.TestSourceRequest) (*agnesv1.TestSourceResponse, error) {
	return opened(ctx, q, func(src Source) (*agnesv1.TestSourceResponse, error) {
		if t, ok := src.(Tester); ok {
			findings, err := t.Test(ctx)
			return &agnesv1.TestSourceResponse{Findings: findings}, err
		}
		found, err := src.Discover(ctx)
		if err != nil {
			return nil, err
		}
		return &agnesv1.TestSourceResponse{Findings: []string{fmt.Sprintf("the source opens, and shows %d tables", len(found))}}, nil
	})
}

func (q *queue) preview(ctx context.Context, r *agnesv1.PreviewTableRequest) (*agnesv1.PreviewTableResponse, error) {
	spec, err := specOf(r.GetTable())
	if err != nil {
		return nil, err
	}
	rows := int(r.GetRows())
	if rows <= 0 || rows > maxPreviewRows {
		rows = maxPreviewRows
	}
	return opened(ctx, q, func(src Source) (*agnesv1.PreviewTableResponse, error) {
		p, ok := src.(Previewer)
		if !ok {
			return nil, q.cannot("show rows of a table before it is extracted")
		}
		shown, err := p.Preview(ctx, spec, rows)
		if err != nil {
			return nil, err
		}
		return bounded(shown, rows), nil
	})
}

// bounded is a preview as it fits a message.
func bounded(p Preview, most int) *agnesv1.PreviewTableResponse {
	answer := &agnesv1.PreviewTableResponse{}
	for _, c := range p.Columns {
		answer.Columns = append(answer.Columns, &agnesv1.DiscoveredColumn{Name: c.Name, Type: c.Type})
	}
	size := 0
	for _, row := range p.Rows[:min(most, len(p.Rows))] {
		out := &agnesv1.PreviewRow{}
		for _, text := range row {
			v := &agnesv1.PreviewValue{}
			if text != nil {
				short, cut := clipped(*text)
				v.Text, v.Cut = &short, cut
				size += len(short)
			}
			out.Values = append(out.Values, v)
			size += 16
		}
		if size > maxPreviewBytes && len(answer.GetRows()) > 0 {
			answer.Cut = true
			break
		}
		answer.Rows = append(answer.Rows, out)
	}
	return answer
}

// clipped cuts a text between two characters.
func clipped(text string) (string, bool) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxPreviewValue {
		return text, false
	}
	end := maxPreviewValue
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], true
}

func (q *queue) push(ctx context.Context, r *agnesv1.PushMetadataRequest) (*agnesv1.PushMetadataResponse, error) {
	spec, err := specOf(r.GetTable())
	if err != nil {
		return nil, err
	}
	var notes []ColumnNote
	for _, c := range r.GetColumns() {
		notes = append(notes, ColumnNote{Name: c.GetName(), Type: c.GetType(), Description: c.GetDescription()})
	}
	return opened(ctx, q, func(src Source) (*agnesv1.PushMetadataResponse, error) {
		p, ok := src.(MetadataPusher)
		if !ok {
			return nil, q.cannot("write descriptions of columns to the source")
		}
		done, err := p.PushMetadata(ctx, spec, notes, r.GetDryRun())
		if err != nil {
			return nil, err
		}
		answer := &agnesv1.PushMetadataResponse{Target: done.Target, Problems: done.Problems}
		for _, n := range done.Pushed {
			answer.Pushed = append(answer.Pushed, &agnesv1.PushedNote{Column: n.Column, Key: n.Key, Value: n.Value})
		}
		return answer, nil
	})
}
