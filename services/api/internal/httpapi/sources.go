package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// What extractors are asked of their sources, beside what is there.

type byAnySource struct {
	Source string `path:"source" maxLength:"64" doc:"A configured source." example:"shop"`
}

// SourceTested is what the test of a source showed.
type SourceTested struct {
	Source   string   `json:"source" doc:"The source that was tested." example:"shop"`
	Findings []string `json:"findings" doc:"What was tried and what it showed: who the credentials are, what they may see."`
}

type sourceTestedAnswer struct{ Body SourceTested }

// PreviewBody says which table to show. It need not be registered.
type PreviewBody struct {
	Table       string `json:"table" minLength:"1" maxLength:"400" doc:"The table: its id or name in the registry, or the name that discovery proposes." example:"orders"`
	Bucket      string `json:"bucket,omitempty" maxLength:"300" doc:"With source_table: where the source has a table that nobody registered." example:"in.c-shop"`
	SourceTable string `json:"source_table,omitempty" maxLength:"1024" doc:"What the source calls the table; it is not looked for then." example:"orders"`
	Rows        int    `json:"rows,omitempty" minimum:"1" maximum:"20" default:"20" doc:"The most rows to show."`
}

type previewQuestion struct {
	Source string `path:"source" maxLength:"64" doc:"A configured source." example:"shop"`
	Body   PreviewBody
}

// TablePreview is the first rows of a table as the source has it.
type TablePreview struct {
	Table   string           `json:"table" doc:"The table that was asked for." example:"orders"`
	Columns []catalog.Column `json:"columns" doc:"The columns with their DuckDB types."`
	Rows    [][]*string      `json:"rows" doc:"A text for each column; null where there is no value."`
	Cut     bool             `json:"cut" doc:"Whether values were shortened, or rows left out because they are too large."`
}

type previewAnswer struct{ Body TablePreview }

// ColumnNote is what is said of a column.
type ColumnNote struct {
	Name        string `json:"name" minLength:"1" maxLength:"300" doc:"The column." example:"amount"`
	Type        string `json:"type,omitempty" maxLength:"300" doc:"Its DuckDB type; the source's is left as it is where empty." example:"DECIMAL(12,2)"`
	Description string `json:"description,omitempty" maxLength:"10000" doc:"What it holds; left as it is where empty." example:"Net, in EUR"`
}

// PushBody says what to write to a source about the columns of a table.
type PushBody struct {
	Columns []ColumnNote `json:"columns" minItems:"1" maxItems:"2000" doc:"What to write." example:"[{\"name\":\"amount\",\"description\":\"Net, in EUR\"}]"`
	DryRun  bool         `json:"dry_run,omitempty" doc:"Tell what would be written, and write nothing."`
}

type pushQuestion struct {
	ID   string `path:"id" maxLength:"400" doc:"The id of the table." example:"orders"`
	Body PushBody
}

// PushedNote is one entry that stands in the source now.
type PushedNote struct {
	Column string `json:"column" doc:"The column." example:"amount"`
	Key    string `json:"key" doc:"The source's name of the entry." example:"KBC.description"`
	Value  string `json:"value" doc:"What was written." example:"Net, in EUR"`
}

// MetadataPushed tells what was written to a source.
type MetadataPushed struct {
	Target   string       `json:"target" doc:"What the source calls the table." example:"in.c-shop.orders"`
	Pushed   []PushedNote `json:"pushed" doc:"What stands in the source now; in a dry run: what would."`
	Problems []string     `json:"problems" doc:"What was not written, and why. It held up nothing else."`
	DryRun   bool         `json:"dry_run" doc:"Whether nothing was written."`
}

type pushedAnswer struct{ Body MetadataPushed }

func (s *Server) sourceRoutes() {
	failures := []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusBadGateway}
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/sources/{source}/test", id: "testSource", audit: "source.test", tag: tagAdmin, summary: "Test the connection of a source",
		text: "By its extractor, with what is configured. A connection that does not work is an error that says what to do.", errors: failures,
	}, s.testSource)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/sources/{source}/preview", id: "previewTable", audit: "source.preview", tag: tagAdmin, summary: "Look at the first rows of a table of a source",
		text: "Before it is registered, or after. Long values are shortened.", errors: failures,
	}, s.previewTable)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/registry/{id}/push-metadata", id: "pushMetadata", audit: "registry.push_metadata", tag: tagAdmin, summary: "Write descriptions and types of columns to the source",
		text: "Where the connector of the source can.", errors: failures,
	}, s.pushMetadata)
}

// askSource asks the extractor of a configured source, within the time of a discovery.
func (s *Server) askSource(ctx context.Context, source string, ask func(context.Context) error) error {
	if _, err := s.asked(source); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, s.limits.DiscoverWait)
	defer cancel()
	err := ask(asking)
	if errors.Is(err, event.ErrNobody) || err != nil && asking.Err() != nil && ctx.Err() == nil {
		return fault.Wrap(err, fault.Unavailable, "no extractor answers for source %q: start agnes-extractor-%s (agnes runs it by itself). %s",
			source, s.sourceType(source), fault.Message(err))
	}
	if fault.Is(err, fault.Unauthenticated) { // of the source, not of the caller
		return fault.Wrap(err, fault.Invalid, "%s", fault.Message(err))
	}
	return err
}

func (s *Server) testSource(ctx context.Context, in *byAnySource) (*sourceTestedAnswer, error) {
	noteResource(ctx, "source", in.Source)
	var findings []string
	err := s.askSource(ctx, in.Source, func(ctx context.Context) (err error) {
		findings, err = s.bus.TestSource(ctx, in.Source)
		return err
	})
	return &sourceTestedAnswer{Body: SourceTested{Source: in.Source, Findings: orEmpty(findings)}}, err
}

func (s *Server) previewTable(ctx context.Context, in *previewQuestion) (*previewAnswer, error) {
	noteResource(ctx, "source", in.Source)
	noteParam(ctx, "table", in.Body.Table)
	var shown TablePreview
	err := s.askSource(ctx, in.Source, func(asking context.Context) error {
		t, err := s.sourceTable(asking, in.Source, in.Body)
		if err == nil {
			shown, err = s.bus.Preview(asking, t, in.Body.Rows)
		}
		return err
	})
	shown.Table, shown.Columns = in.Body.Table, orEmpty(shown.Columns)
	if shown.Rows == nil {
		shown.Rows = [][]*string{}
	}
	return &previewAnswer{Body: shown}, err
}

// sourceTable finds the table that a preview means.
func (s *Server) sourceTable(ctx context.Context, source string, b PreviewBody) (RegisteredTable, error) {
	if b.SourceTable != "" {
		return RegisteredTable{Name: b.Table, Source: source, Bucket: b.Bucket, SourceTable: b.SourceTable}, nil
	}
	rows, err := s.tables.List(ctx, source)
	if err != nil {
		return RegisteredTable{}, err
	}
	for _, r := range rows {
		if r.ID == b.Table || r.Name == b.Table {
			return r, nil
		}
	}
	found, err := s.bus.Discover(ctx, source)
	if err != nil {
		return RegisteredTable{}, err
	}
	for _, t := range found {
		if t.Name == b.Table {
			return RegisteredTable{Name: t.Name, Source: source, Bucket: t.Bucket, SourceTable: t.SourceTable, QueryMode: t.QueryMode, PrimaryKey: t.PrimaryKey}, nil
		}
	}
	return RegisteredTable{}, fault.New(fault.NotFound, "the source %q has no table %q: discover lists what it has", source, b.Table)
}

func (s *Server) pushMetadata(ctx context.Context, in *pushQuestion) (*pushedAnswer, error) {
	noteResource(ctx, "table", in.ID)
	noteParam(ctx, "columns", len(in.Body.Columns))
	noteParam(ctx, "dry_run", in.Body.DryRun)
	t, err := s.tables.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var done MetadataPushed
	err = s.askSource(ctx, t.Source, func(ctx context.Context) (err error) {
		done, err = s.bus.PushMetadata(ctx, t, in.Body.Columns, in.Body.DryRun)
		return err
	})
	done.Pushed, done.Problems, done.DryRun = orEmpty(done.Pushed), orEmpty(done.Problems), in.Body.DryRun
	return &pushedAnswer{Body: done}, err
}
