package csv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/shape"
)

const (
	// peekBytes of text are read of a file to propose its columns.
	peekBytes = 8 << 20
	// peekFiles of a table of many files are looked at.
	peekFiles = 20
	// peekTables are looked at side by side.
	peekTables = 4
)

// Discover proposes a table for each file or group of files. Types are those of the start of each
// file; an extraction takes them from all of it.
func (s *source) Discover(ctx context.Context) ([]extract.DiscoveredTable, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	db, err := lake.Open(ctx, lake.Options{Threads: 1})
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	defer func() { _ = db.Close() }()
	out := make([]extract.DiscoveredTable, len(tables))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(peekTables)
	for i, t := range tables {
		group.Go(func() error {
			out[i] = s.propose(ctx, db, t)
			return ctx.Err()
		})
	}
	return out, group.Wait()
}

// propose looks at a table. What is wrong with it is told in its Problem.
func (s *source) propose(ctx context.Context, db *lake.DB, t table) extract.DiscoveredTable {
	d := extract.DiscoveredTable{
		Name: t.name, SourceTable: t.sourceTable, Description: t.configured.Description, Problem: t.problem,
		PrimaryKey: t.configured.PrimaryKey, Rows: -1, SizeBytes: -1,
	}
	if len(t.inputs) > 0 {
		d.SizeBytes = 0
	}
	for _, in := range t.inputs {
		d.SizeBytes += in.size
		if in.modified.After(d.ChangedAt) {
			d.ChangedAt = in.modified
		}
	}
	if d.Problem != "" {
		return d
	}
	how, err := t.configured.reading()
	if err == nil {
		p := &peek{load: &load{engine: &databaseEngine{db}, reading: how, inputs: t.inputs, tokens: make([]fileToken, len(t.inputs))}, table: t}
		err = p.look(ctx, &d)
	}
	if err != nil {
		d.Problem = fault.Message(err)
		if d.Problem == "" || fault.KindOf(err) == fault.Internal {
			d.Problem = err.Error()
		}
	}
	return d
}

// databaseEngine runs the queries of a peek, which writes nothing.
type databaseEngine struct{ db *lake.DB }

func (e *databaseEngine) Progress(int64, int64, int64) {}

func (e *databaseEngine) Query(context.Context, string, int64) error {
	return fault.New(fault.Internal, "a discovery writes nothing")
}

func (e *databaseEngine) Rows(ctx context.Context, query string, each func(scan func(dest ...any) error) error) error {
	rows, err := e.db.QueryContext(ctx, query)
	if err != nil {
		return lake.Scrub(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return lake.Scrub(rows.Err())
}

// peek looks at the start of the files of a table.
type peek struct {
	*load
	table table
}

func (p *peek) look(ctx context.Context, d *extract.DiscoveredTable) error {
	format, err := p.format()
	if err == nil {
		err = p.knownTypes(ctx)
	}
	if err != nil {
		return err
	}
	switch kindOf(format) {
	case naming.CSV:
		return p.text(ctx, d)
	case naming.JSON:
		return p.json(ctx, d)
	}
	return p.parquet(ctx, d)
}

// text proposes the columns of delimited text.
func (p *peek) text(ctx context.Context, d *extract.DiscoveredTable) error {
	var files []*textFile
	rows, whole := int64(0), len(p.inputs) <= peekFiles
	key := newKeyFinder(p.table)
	for i := range min(len(p.inputs), peekFiles) {
		f, err := p.lookAt(ctx, i)
		if err != nil {
			return err
		}
		all, err := p.peekText(ctx, f, key)
		if err != nil {
			return err
		}
		rows, whole = rows+f.res.Records, whole && all
		files = append(files, f)
	}
	columns, err := p.columns(files)
	if err != nil {
		return err
	}
	for _, c := range columns {
		d.Columns = append(d.Columns, catalog.Column{Name: c.name, Type: c.columnType})
	}
	if !whole {
		return nil
	}
	d.Rows = rows
	if len(d.PrimaryKey) == 0 && len(files) == 1 {
		d.PrimaryKey = key.found()
	}
	return nil
}

// peekText reads the start of a file, and tells whether that was all of it.
func (p *peek) peekText(ctx context.Context, f *textFile, key *keyFinder) (whole bool, err error) {
	r, err := openFile(ctx, f.input)
	if err != nil {
		return false, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(f.encoding.Reader(r), peekBytes+1))
	if err != nil {
		return false, damaged(f.input, err)
	}
	if whole = len(text) <= peekBytes; !whole {
		text = text[:bytes.LastIndexByte(text, f.dialect.Newline)+1]
	}
	c := p.check(f)
	c.Bad = func(records.Bad) error { return nil } // the extraction tells of bad rows
	key.start(f.shape.Names)
	c.Good = func(rec *records.Record) error {
		key.row(&f.shape.Dialect, rec)
		return nil
	}
	f.res, err = c.Run(ctx, bytes.NewReader(text))
	if err != nil {
		return false, damaged(f.input, err)
	}
	return whole && f.res.Rejected == 0, nil
}

// json proposes the columns of JSON.
func (p *peek) json(ctx context.Context, d *extract.DiscoveredTable) error {
	j := &jsonLoad{load: p.load, declared: map[string]declared{}, shape: shape.Shape{Formats: p.reading.hints.Formats}}
	for name, columnType := range p.reading.columns {
		j.declared[name] = declare(columnType, &p.reading.hints.Formats)
	}
	rows, whole := int64(0), len(p.inputs) <= peekFiles
	for i := range min(len(p.inputs), peekFiles) {
		n, all, err := p.peekJSON(ctx, j, i)
		if err != nil {
			return err
		}
		rows, whole = rows+n, whole && all
	}
	columns, _, err := j.columns()
	if err != nil {
		return err
	}
	for _, c := range columns {
		d.Columns = append(d.Columns, catalog.Column{Name: c.name, Type: c.columnType})
	}
	if whole {
		d.Rows = rows
	}
	return nil
}

func (p *peek) peekJSON(ctx context.Context, j *jsonLoad, i int) (rows int64, whole bool, err error) {
	r, err := openFile(ctx, p.inputs[i])
	if err != nil {
		return 0, false, err
	}
	defer r.Close()
	text, encoding, err := j.decoded(r, p.inputs[i])
	if err != nil {
		return 0, false, err
	}
	s := shape.NewScanner(encoding.Reader(text))
	for s.Read() <= peekBytes && s.Next() {
		raw, _ := s.Record()
		if s.Problem() != "" {
			continue
		}
		if _, reason := j.inspect(i, 0, raw); reason == "" {
			rows++
		}
	}
	if s.Err() != nil {
		return 0, false, damaged(p.inputs[i], s.Err())
	}
	return rows, s.Read() <= peekBytes, nil
}

// parquet proposes the columns that the files name.
func (p *peek) parquet(ctx context.Context, d *extract.DiscoveredTable) error {
	columns, err := p.parquetColumns(ctx)
	if err != nil {
		return err
	}
	for _, c := range columns {
		if t := p.reading.columns[strings.ToLower(c.Name)]; t != "" {
			c.Type = t
		}
		d.Columns = append(d.Columns, c)
	}
	paths := make([]string, len(p.inputs))
	for i, in := range p.inputs {
		paths[i] = in.path
	}
	query := "SELECT CAST(sum(num_rows) AS BIGINT) FROM parquet_file_metadata(" + literalPaths(paths) + ")"
	return p.parquetError(p.Rows(ctx, query, func(scan func(...any) error) error { return scan(&d.Rows) }))
}

// keyFinder looks for the primary key of a file that is read as a whole: a column that is called id,
// or after the table, without nulls and without two equal values. A wrong guess loses nothing: rows
// are sorted by the key, never merged by it.
type keyFinder struct {
	names  []string
	column int
	name   string
	seen   map[string]bool
}

// maxKeys bounds what a keyFinder remembers.
const maxKeys = 500_000

func newKeyFinder(t table) *keyFinder {
	one := strings.TrimSuffix(t.name, "s")
	if base, found := strings.CutSuffix(t.name, "ies"); found {
		one = base + "y"
	}
	return &keyFinder{names: []string{"id", t.name + "_id", one + "_id"}}
}

// start begins a file with these columns.
func (k *keyFinder) start(columns []string) {
	k.column, k.seen = -1, nil
	for _, want := range k.names {
		for i, c := range columns {
			if strings.EqualFold(c, want) {
				k.column, k.name, k.seen = i, c, map[string]bool{}
				return
			}
		}
	}
}

// row takes a row.
func (k *keyFinder) row(d *records.Dialect, rec *records.Record) {
	if k.seen == nil {
		return
	}
	v, null := rec.Value(d, k.column, nil)
	if null || len(v) == 0 || k.seen[string(v)] || len(k.seen) > maxKeys {
		k.seen = nil
		return
	}
	k.seen[string(v)] = true
}

// found gives the key, if there is one.
func (k *keyFinder) found() []string {
	if len(k.seen) == 0 {
		return nil
	}
	return []string{k.name}
}
