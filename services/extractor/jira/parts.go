package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// source is a site during one run.
type source struct {
	site  *site
	upto  int64 // the last change that the run includes
	stage *stage
}

// Discover lists the tables, which every site has.
func (s *source) Discover(context.Context) ([]extract.DiscoveredTable, error) {
	var found []extract.DiscoveredTable
	for _, name := range names(s.site.tables) {
		t := s.site.tables[name]
		found = append(found, extract.DiscoveredTable{
			Name: name, SourceTable: name, Description: t.Description, Columns: t.Columns, Rows: -1, SizeBytes: -1,
		})
	}
	return found, nil
}

// Close removes what the run staged.
func (s *source) Close() error { return s.stage.close() }

// token is what a table remembers of the version that stands.
type token struct {
	// Seq is the last change that it includes.
	Seq int64 `json:"seq"`
	// Layout is what its rows were made by: the field map, and the rules of this version of Agnes.
	Layout string `json:"layout"`
	// Months are those of its parts, in order; "" is that of a part without rows.
	Months []string `json:"months,omitempty"`
}

// catchUp is how many changes a table that has none of them lags behind before its token is moved on, so
// that what it stands at is remembered by the store.
const catchUp = 10_000

// Extract brings a table up to the last change: parts of months in which nothing changed are kept.
func (s *source) Extract(ctx context.Context, spec extract.TableSpec, w *extract.TableWriter) error {
	name := spec.SourceTable
	if name == "" {
		name = spec.Name
	}
	t, found := s.site.tables[name]
	if !found {
		return fault.New(fault.NotFound, "Jira has no table %q: there are %s", name, strings.Join(names(s.site.tables), ", "))
	}
	w.SetDescription(t.Description)
	last, usable := s.last(spec)
	if t.entities != 0 {
		return s.entities(ctx, t, last, usable, w)
	}
	p := plan{source: s, table: t, w: w, spec: spec, last: last}
	touched, known, err := s.site.store.Since(ctx, t.index, last.Seq, s.upto)
	if err != nil {
		return err
	}
	if !usable || !known {
		return p.all(ctx)
	}
	if len(touched) == 0 && s.upto-last.Seq < catchUp {
		return extract.ErrUnchanged
	}
	return p.some(ctx, touched)
}

// last reads the token of what stands; usable tells whether its parts can be built on.
func (s *source) last(spec extract.TableSpec) (last token, usable bool) {
	if spec.Previous == nil || json.Unmarshal([]byte(spec.Token), &last) != nil {
		return token{}, false
	}
	return last, last.Layout == s.site.layout && len(last.Months) == len(spec.Previous.Files)
}

// plan is the writing of one table whose rows belong to issues.
type plan struct {
	*source
	table table
	w     *extract.TableWriter
	spec  extract.TableSpec
	last  token
	next  token
	rows  int64           // that were written
	fresh map[string]bool // months of rows that wait in the temporary table
	// differences are those of months that were compared with their parts, by month.
	differences map[string]difference
}

// all writes every month anew.
func (p *plan) all(ctx context.Context) error {
	months, err := p.site.store.Months(ctx)
	if err != nil {
		return err
	}
	for _, month := range months {
		file, err := p.stage.month(ctx, p.table, month)
		if err != nil {
			return err
		}
		if err := p.write(ctx, month, selectFile(p.table.Columns, file)+" ORDER BY "+orderBy(p.table)); err != nil {
			return err
		}
	}
	return p.done(ctx)
}

// some writes the months in which issues changed, and keeps the others.
func (p *plan) some(ctx context.Context, touched store.Touched) error {
	standing := map[string]int{}
	for i, month := range p.last.Months {
		standing[month] = i
	}
	months := slices.Collect(maps.Keys(standing))
	for month := range touched {
		if _, found := standing[month]; !found {
			months = append(months, month)
		}
	}
	slices.Sort(months)
	if err := p.prepare(ctx, touched); err != nil {
		return err
	}
	if err := p.compare(ctx, touched, standing); err != nil {
		return err
	}
	for _, month := range months {
		at, stands := standing[month]
		if stands {
			if done, err := p.reuse(ctx, month, at, touched); err != nil || done {
				if err != nil {
					return err
				}
				continue
			}
		}
		previous := ""
		if stands {
			previous = p.spec.Previous.Files[at]
		}
		if err := p.month(ctx, month, touched[month], previous); err != nil {
			return err
		}
	}
	return p.done(ctx)
}

// Names of what prepare makes: the temporary table, and its column for the month of a row.
const (
	freshTable = "agnes_fresh"
	freshMonth = "agnes_month"
)

func readPart(file string) string {
	return "read_parquet(" + lake.QuoteLiteral(lake.LiteralPath(file)) + ")"
}

func quoteIDs(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return quoteAll(texts)
}

// prepare reads the rows of all issues that changed into a temporary table: DuckDB takes as long to begin
// with a file as with a part.
func (p *plan) prepare(ctx context.Context, touched store.Touched) error {
	scratch, err := p.w.ScratchDir()
	if err != nil {
		return err
	}
	columns := append(slices.Clone(p.table.Columns), catalog.Column{Name: freshMonth, Type: "VARCHAR"})
	out, err := newRowFile(filepath.Join(scratch, "fresh.ndjson"), columns)
	if err != nil {
		return err
	}
	p.fresh = map[string]bool{}
	err = p.gather(ctx, touched, out)
	written, cerr := out.close()
	if err = errors.Join(err, cerr); err != nil || len(p.fresh) == 0 {
		return err
	}
	return p.w.TempTable(ctx, freshTable, selectFile(columns, written))
}

// gather writes the rows of issues that changed, each with its month.
func (p *plan) gather(ctx context.Context, touched store.Touched, out *rowFile) error {
	for _, month := range slices.Sorted(maps.Keys(touched)) {
		all, err := p.stage.rowsOf(ctx, p.table, touched[month])
		if err != nil {
			return err
		}
		for _, row := range all {
			if !p.inMonth(row, month) {
				continue // its document belongs to another month by now and has its rows there
			}
			p.fresh[month] = true
			if err := out.write(append(slices.Clone(row), month)); err != nil {
				return err
			}
		}
	}
	return nil
}

// month writes the part of a month: the rows of issues that did not change from the part that stands,
// and behind them those of the others. To sort them anew would take a third of the time.
func (p *plan) month(ctx context.Context, month string, ids []int64, previous string) error {
	var from []string
	if previous != "" {
		from = append(from, selectColumns(p.table.Columns)+" FROM "+readPart(previous)+" WHERE "+
			lake.QuoteIdent(rows.IssueIDColumn)+" NOT IN ("+quoteIDs(ids)+")")
	}
	if p.fresh[month] {
		from = append(from, selectColumns(p.table.Columns)+" FROM "+freshTable+" WHERE "+freshMonth+" = "+lake.QuoteLiteral(month))
	}
	if len(from) == 0 {
		return nil
	}
	return p.write(ctx, month, strings.Join(from, " UNION ALL "))
}

// inMonth tells whether a row belongs to a month now.
func (p *plan) inMonth(row []any, month string) bool {
	id, _ := row[position(p.table.Columns, rows.IssueIDColumn)].(string)
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return true
	}
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	flat := p.stage.issues[n]
	return flat == nil || flat.Month == month
}

func (p *plan) write(ctx context.Context, month, query string) error {
	n, err := p.w.WritePart(ctx, extract.PartQuery{SQL: query, Columns: p.table.Columns, RowBytes: p.table.width})
	if n > 0 {
		p.next.Months = append(p.next.Months, month)
		p.rows += n
		p.w.Progress(p.rows, 0, 0)
	}
	return err
}

// done completes the table: without any row it has one part that says its columns.
func (p *plan) done(ctx context.Context) error {
	if len(p.next.Months) == 0 {
		if _, err := p.w.WritePart(ctx, extract.PartQuery{SQL: selectNothing(p.table.Columns), Columns: p.table.Columns, RowBytes: p.table.width}); err != nil {
			return err
		}
		p.next.Months = []string{""}
	}
	p.next.Seq, p.next.Layout = p.upto, p.site.layout
	return setToken(p.w, p.next)
}

func setToken(w *extract.TableWriter, t token) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("remember what a table includes: %w", err)
	}
	w.SetToken(string(raw))
	return nil
}

// entities writes a table that lists what issues name, whole: it is small.
func (s *source) entities(ctx context.Context, t table, last token, usable bool, w *extract.TableWriter) (err error) {
	changed, err := s.site.store.EntitiesChanged(ctx, t.entities)
	if err != nil {
		return err
	}
	if usable && changed == last.Seq { // a store from a backup counts from an earlier one
		return extract.ErrUnchanged
	}
	scratch, err := w.ScratchDir()
	if err != nil {
		return err
	}
	out, err := newRowFile(filepath.Join(scratch, "entities.ndjson"), t.Columns)
	if err != nil {
		return err
	}
	query := selectNothing(t.Columns)
	err = s.site.store.Entities(ctx, t.entities, func(e store.Entity) error { return out.writeLine(e.Attrs) })
	written, cerr := out.close()
	if err = errors.Join(err, cerr); err != nil {
		return err
	}
	if written.longest > 0 {
		query = selectFile(t.Columns, written) + " ORDER BY " + orderBy(t)
	}
	if _, err := w.WritePart(ctx, extract.PartQuery{SQL: query, Columns: t.Columns, RowBytes: t.width}); err != nil {
		return err
	}
	// Changes of entities that came since belong to the next run: they have later numbers.
	return setToken(w, token{Seq: changed, Layout: s.site.layout, Months: []string{""}})
}

func selectColumns(columns []catalog.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = lake.QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(list, ", ")
}

// leastObject is the least that DuckDB's buffer for a line of JSON holds, in bytes.
const leastObject = 256 << 10

func selectFile(columns []catalog.Column, file staged) string {
	fields := make([]string, len(columns))
	for i, c := range columns {
		fields[i] = lake.QuoteLiteral(c.Name) + ": " + lake.QuoteLiteral(c.Type)
	}
	return selectColumns(columns) + " FROM read_json(" + lake.QuoteLiteral(lake.LiteralPath(file.path)) + ", format = 'newline_delimited', maximum_object_size = " +
		strconv.Itoa(max(file.longest, leastObject)) + ", columns = {" + strings.Join(fields, ", ") + "})"
}

// selectNothing is a query with the columns and no rows.
func selectNothing(columns []catalog.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = "CAST(NULL AS " + c.Type + ") AS " + lake.QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(list, ", ") + " WHERE false"
}

func orderBy(t table) string {
	terms := make([]string, len(t.OrderBy))
	for i, name := range t.OrderBy {
		terms[i] = lake.QuoteIdent(name) + " ASC NULLS LAST"
	}
	return strings.Join(terms, ", ")
}

func quoteAll(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = lake.QuoteLiteral(t)
	}
	return strings.Join(out, ", ")
}
