package keboola

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// overlap is how far back an incremental run looks beyond the last change that the run before it saw: rows
// that were read already change nothing.
const overlap = 5 * time.Minute

// tokenVersion changes when tables have to be read anew, whatever Keboola says.
const tokenVersion = 1

// token is what is kept of a table with its version.
type token struct {
	Version int       `json:"v"`
	Table   string    `json:"table"`
	Changed time.Time `json:"changed"` // as Keboola says, before the export began
	Columns string    `json:"columns"`
	// Failed tells that there were values which are not of their column's type: the next run expects some.
	Failed bool `json:"failed,omitempty"`
}

func parseToken(text string) token {
	var t token
	if json.Unmarshal([]byte(text), &t) != nil || t.Version != tokenVersion {
		return token{}
	}
	return t
}

func (t token) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return string(raw)
}

// tokenOf is the token of a table as it is in Keboola now.
func tokenOf(t storage.Table, columns []column) token {
	out := token{Version: tokenVersion, Table: t.ID, Changed: t.LastChange.UTC(), Columns: signature(columns)}
	if t.LastChange.IsZero() {
		out.Changed = t.LastImport.UTC()
	}
	return out
}

// same tells whether nothing that the rows depend on has changed. Where Keboola does not say when the table
// changed, it may have.
func (t token) same(o token) bool {
	return t.Version == o.Version && t.Table == o.Table && t.Columns == o.Columns && !t.Changed.IsZero() && t.Changed.Equal(o.Changed)
}

// Extract reads one table as its strategy says.
func (s *source) Extract(ctx context.Context, spec extract.TableSpec, w *extract.TableWriter) error {
	o, strategy, err := s.readTable(spec)
	if err != nil {
		return err
	}
	table, err := s.find(ctx, spec)
	if err != nil {
		return err
	}
	columns, err := columnsOf(table, o.Columns, s.TypeProviders)
	if err != nil {
		return err
	}
	w.SetDescription(description(table))
	if spec.QueryMode == catalog.ModeRemote {
		return s.remote(ctx, table, columns, w)
	}
	last, now := parseToken(spec.Token), tokenOf(table, columns)
	if last.same(now) && spec.Previous != nil {
		return extract.ErrUnchanged
	}
	l, err := newLoad(s, spec, o, table, columns, w)
	if err != nil {
		return err
	}
	defer l.close()
	l.try = last.Failed
	switch {
	case strategy == strategyPartitioned:
		err = l.partitioned(ctx)
	case strategy == strategyIncremental && spec.Previous != nil && last.Columns == now.Columns && last.Table == now.Table && !last.Changed.IsZero():
		err = l.incremental(ctx, last.Changed.Add(-overlap))
	default:
		err = l.full(ctx)
	}
	if err != nil {
		return err
	}
	if err := l.report(ctx); err != nil {
		return err
	}
	now.Failed = l.failedRows > 0 || (strategy == strategyIncremental && last.Failed)
	w.SetToken(now.String())
	return nil
}

// remote leaves the table in Keboola.
func (s *source) remote(ctx context.Context, table storage.Table, columns []column, w *extract.TableWriter) error {
	if !s.RemoteAttach {
		return fault.New(fault.Invalid, "the table %s is registered as remote: set `remote_attach: true` at the source, or register it as local", table.ID)
	}
	bucket, name := split(table.ID)
	return w.Remote(ctx, remoteAlias, bucket, name, catalogColumns(columns))
}

func catalogColumns(columns []column) []catalog.Column {
	out := make([]catalog.Column, len(columns))
	for i, c := range columns {
		out[i] = catalog.Column{Name: c.name, Type: c.columnType}
	}
	return out
}

// full reads the whole table.
func (l *load) full(ctx context.Context) error {
	if err := l.fetch(ctx, time.Time{}); err != nil {
		return err
	}
	return l.cast(ctx, func(query string) error { return l.w.Query(ctx, query, 0) })
}

// incremental reads the rows that were imported since, and puts them in the place of those of the same key.
// Keboola does not tell of rows that were deleted: where the table has more rows here than there, it is read
// whole.
func (l *load) incremental(ctx context.Context, since time.Time) error {
	if err := l.fetch(ctx, since); err != nil {
		return err
	}
	var done extract.Upserted
	err := l.cast(ctx, func(query string) (err error) {
		done, err = l.w.Upsert(ctx, query)
		return err
	})
	switch {
	case errors.Is(err, extract.ErrOtherColumns):
		l.again(ctx, "its columns are others now")
		return l.full(ctx)
	case err != nil:
		return err
	}
	fewer, err := l.fewer(ctx, done.Rows)
	if err != nil {
		return err
	}
	if fewer {
		l.w.Reset()
		l.again(ctx, "rows were deleted in Keboola")
		return l.full(ctx)
	}
	zerolog.Ctx(ctx).Debug().Str("table", l.spec.Name).Int64("changed", done.Given).Int64("inserted", done.Inserted).Int("parts", done.Touched).Msg("merged what changed")
	return nil
}

func (l *load) again(ctx context.Context, why string) {
	zerolog.Ctx(ctx).Info().Str("table", l.spec.Name).Msg("the whole table is read, not what changed: " + why)
}

// fewer tells whether Keboola has fewer rows than we. What it says may be older than the export, so it is
// asked again before it is believed. Of a part of the rows, and of an alias, it says nothing.
func (l *load) fewer(ctx context.Context, rows int64) (bool, error) {
	if len(l.options.Where) > 0 || l.table.Alias || l.table.Rows == nil || *l.table.Rows >= rows {
		return false, nil
	}
	now, err := l.source.client.Table(ctx, l.table.ID)
	if err != nil {
		return false, err
	}
	return now.Rows != nil && *now.Rows < rows, nil
}
