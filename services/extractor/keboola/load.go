package keboola

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

const (
	// slicesAtOnce of one table are downloaded side by side.
	slicesAtOnce = 4
	// maxValue bounds a row of CSV, in bytes: more than the longest text of Snowflake.
	maxValue = 32 << 20
	// failuresSuffix names the companion table of values that could not be cast.
	failuresSuffix = "__rejects"
	// largeExport is from how many bytes on, as they come, an export is worth all threads.
	largeExport = 4 << 20
	// maxFailures is how many different values of a column it holds.
	maxFailures = 1000
)

// load is one reading of a table.
type load struct {
	source  *source
	spec    extract.TableSpec
	options tableOptions
	table   storage.Table
	columns []column
	w       *extract.TableWriter
	dir     string

	// try expects values that are not of their column's type.
	try  bool
	from string // SQL of what was fetched

	failedRows int64 // rows with such a value
	failed     bool  // agnes_failures is there

	mu    sync.Mutex
	bytes int64
}

func newLoad(s *source, spec extract.TableSpec, o tableOptions, table storage.Table, columns []column, w *extract.TableWriter) (*load, error) {
	scratch, err := w.ScratchDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(scratch, "export-")
	if err != nil {
		return nil, noScratch(err)
	}
	return &load{source: s, spec: spec, options: o, table: table, columns: columns, w: w, dir: dir}, nil
}

func (l *load) close() { _ = os.RemoveAll(l.dir) }

func noScratch(err error) error {
	return fault.Wrap(err, fault.Unavailable, "there is no scratch space: is the disk full?")
}

// fetch exports the rows that were imported since (all where it is zero), and downloads them.
func (l *load) fetch(ctx context.Context, since time.Time) error {
	o := storage.ExportOptions{ChangedSince: since, Where: l.options.Where, Parquet: l.options.Format == formatParquet}
	if len(l.options.Columns) > 0 {
		for _, c := range l.columns {
			o.Columns = append(o.Columns, c.name)
		}
	}
	file, err := l.source.client.Export(ctx, l.table.ID, o)
	if err != nil {
		return err
	}
	if err := l.w.Room(file.Size); err != nil {
		return err
	}
	objects, err := file.Objects(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return noScratch(err)
	}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return noScratch(err)
	}
	paths := make([]string, len(objects))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(slicesAtOnce)
	for i, object := range objects {
		group.Go(func() (err error) {
			paths[i], err = l.download(groupCtx, file, object, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == "" })
	if l.bytes > largeExport {
		l.w.Large()
	}
	if o.Parquet {
		return l.readParquet(ctx, paths)
	}
	return l.readCSV(paths, file.Sliced)
}

// download copies one object into scratch. One without content has no path.
func (l *load) download(ctx context.Context, file *storage.File, object storage.Object, i int) (path string, err error) {
	path = filepath.Join(l.dir, fmt.Sprintf("slice-%05d", i))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", noScratch(err)
	}
	in := &slice{load: l, file: f, total: file.Size}
	n, err := file.Read(ctx, object, in)
	damaged, lost := in.close(err)
	if cerr := f.Close(); cerr != nil && lost == nil {
		lost = cerr
	}
	switch {
	case err != nil:
		return "", err
	case lost != nil:
		return "", noScratch(lost)
	case damaged != nil:
		return "", fault.Wrap(damaged, fault.Unavailable, "a file that Keboola exported for %s is damaged or cut off", l.table.ID)
	case n == 0:
		return "", nil
	}
	return path, nil
}

// slice is a file in scratch that is being written: gzip as it came, and CSV without it packed. Of what is
// packed DuckDB reads every file in one go, and notices a quote that does not end; of what is not it splits
// files in the middle of texts with line breaks, or overlooks such a quote.
type slice struct {
	load  *load
	file  *os.File
	total int64

	head  []byte // until it is known what it is
	known bool
	check *whole       // of gzip
	pack  *gzip.Writer // of CSV
}

func (s *slice) Write(b []byte) (int, error) {
	if err := s.write(b); err != nil {
		return 0, noScratch(err)
	}
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	s.load.bytes += int64(len(b))
	s.load.w.Progress(0, s.load.bytes, max(s.total, s.load.bytes))
	return len(b), nil
}

func (s *slice) write(b []byte) error {
	if !s.known {
		s.head = append(s.head, b...)
		if len(s.head) < len(gzipMagic) {
			return nil
		}
		if err := s.begin(); err != nil {
			return err
		}
		b, s.head = s.head, nil
	}
	if s.pack != nil {
		_, err := s.pack.Write(b)
		return err
	}
	if _, err := s.file.Write(b); err != nil {
		return err
	}
	if s.check != nil {
		s.check.write(b)
	}
	return nil
}

// begin looks at the head of the file.
func (s *slice) begin() (err error) {
	s.known = true
	switch {
	case strings.HasPrefix(string(s.head), gzipMagic):
		s.check = newWhole()
	case s.load.options.Format == formatCSV:
		s.pack, err = gzip.NewWriterLevel(s.file, gzip.BestSpeed)
	}
	return err
}

// close ends the file, early where err is not nil. It tells what is wrong with what came, and with scratch.
func (s *slice) close(err error) (damaged, lost error) {
	if !s.known && len(s.head) > 0 {
		if lost = s.begin(); lost == nil {
			head := s.head
			s.head = nil
			lost = s.write(head)
		}
	}
	if s.check != nil {
		damaged = s.check.close(err)
	}
	if s.pack != nil && lost == nil {
		lost = s.pack.Close()
	}
	return damaged, lost
}

// whole unpacks a gzip file as it passes, to see that it is whole: DuckDB does not notice when one is cut
// off between two rows, and the rows behind would be gone.
type whole struct {
	pipe *io.PipeWriter
	done chan error
}

func newWhole() *whole {
	r, w := io.Pipe()
	c := &whole{pipe: w, done: make(chan error, 1)}
	go func() {
		z, err := gzip.NewReader(r)
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		_, _ = io.Copy(io.Discard, r) // whoever writes does not wait for us
		c.done <- err
	}()
	return c
}

const gzipMagic = "\x1f\x8b"

func (c *whole) write(b []byte) { _, _ = c.pipe.Write(b) }

// close tells what is wrong with the file; err is why it ends early, if it does.
func (c *whole) close(err error) error {
	_ = c.pipe.CloseWithError(err)
	return <-c.done
}

// nothing is a relation without rows.
func (l *load) nothing() string {
	list := make([]string, len(l.columns))
	for i, c := range l.columns {
		list[i] = "CAST(NULL AS VARCHAR) AS " + c.ident()
	}
	return "(SELECT " + strings.Join(list, ", ") + " WHERE false)"
}

// readCSV makes a relation of texts of files of CSV. Slices have no line that names the columns (trap K1); a
// file that is not sliced may.
func (l *load) readCSV(paths []string, sliced bool) error {
	if len(paths) == 0 {
		l.from = l.nothing()
		return nil
	}
	skip := 0
	if !sliced {
		header, err := l.header(paths[0])
		if err != nil {
			return err
		}
		if header {
			skip = 1
		}
	}
	l.from = l.csv(paths, skip)
	return nil
}

// csv is the relation of files of CSV. A quoted empty text is one; nothing at all is NULL (trap K7).
func (l *load) csv(paths []string, skip int) string {
	names := make([]string, len(l.columns))
	for i, c := range l.columns {
		names[i] = lake.QuoteLiteral(c.name) + ": 'VARCHAR'"
	}
	literal := make([]string, len(paths))
	for i, p := range paths {
		literal[i] = lake.LiteralPath(p)
	}
	return fmt.Sprintf(`read_csv(%s, auto_detect = false, header = false, skip = %d, delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false,
		strict_mode = true, new_line = '\n', compression = 'gzip', max_line_size = %d, buffer_size = %d, columns = {%s})`,
		lake.QuoteList(literal), skip, maxValue, maxValue, strings.Join(names, ", "))
}

// header tells whether the first line of a file names the columns.
func (l *load) header(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, noScratch(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return false, noScratch(err)
	}
	// Where there is no first line, DuckDB says what is wrong with the file.
	record, _ := csv.NewReader(io.LimitReader(z, 1<<20)).Read()
	return slices.EqualFunc(record, l.columns, func(value string, c column) bool { return value == c.name }), nil
}

// readParquet makes a relation of files of parquet, whose columns may have types.
func (l *load) readParquet(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		l.from = l.nothing()
		return nil
	}
	for i, p := range paths {
		paths[i] = lake.LiteralPath(p)
	}
	from := "read_parquet(" + lake.QuoteList(paths) + ", union_by_name = true)"
	types := map[string]string{}
	err := l.w.Rows(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+from+")", func(scan func(...any) error) error {
		var name, columnType string
		err := scan(&name, &columnType)
		types[strings.ToLower(name)] = columnType
		return err
	})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "a file that Keboola exported is no parquet")
	}
	list := make([]string, len(l.columns))
	for i, c := range l.columns {
		switch types[strings.ToLower(c.name)] {
		case "":
			return fault.New(fault.Unavailable, "the files that Keboola exported have no column %s", c.name)
		case c.columnType:
			l.columns[i].typed = true
			list[i] = c.ident()
		default:
			l.columns[i].typed = false
			list[i] = "CAST(" + c.ident() + " AS VARCHAR) AS " + c.ident()
		}
	}
	l.from = "(SELECT " + strings.Join(list, ", ") + " FROM " + from + ")"
	return nil
}

// query is the SELECT of the table's columns in their types.
func (l *load) query(try bool) string {
	list := make([]string, len(l.columns))
	for i, c := range l.columns {
		list[i] = c.cast(try) + " AS " + c.ident()
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + l.from
}

// cast runs the query that casts every value. The first value that cannot be is found by that; then they
// are all counted, and the query is run again with NULL in their places.
func (l *load) cast(ctx context.Context, run func(query string) error) error {
	if !l.try {
		err := run(l.query(false))
		if err == nil {
			return nil
		}
		if lake.ClassOf(err) != lake.ClassConversion {
			return l.damaged(err)
		}
	}
	if err := l.count(ctx); err != nil {
		return l.damaged(err)
	}
	return l.damaged(run(l.query(true)))
}

// count finds the values that cannot be cast.
func (l *load) count(ctx context.Context) error {
	var cases []string
	for _, c := range l.columns {
		if failed := c.failed(); failed != "" {
			cases = append(cases, fmt.Sprintf("CASE WHEN %s THEN {'c': %s, 't': %s, 'v': %s} END", failed, lake.QuoteLiteral(c.name), lake.QuoteLiteral(c.columnType), c.ident()))
		}
	}
	if l.failed {
		if err := l.w.Exec(ctx, "DROP TABLE agnes_failures"); err != nil {
			return err
		}
		l.failed, l.failedRows = false, 0
	}
	if len(cases) == 0 {
		return nil
	}
	statement := `CREATE TABLE agnes_failures AS SELECT f.c AS column_name, f.t AS column_type, f.v AS value, count(*) AS rows, count(*) FILTER (n = 1) AS firsts
		FROM (SELECT unnest(list) AS f, generate_subscripts(list, 1) AS n
			FROM (SELECT list_filter([` + strings.Join(cases, ", ") + `], lambda x: x IS NOT NULL) AS list FROM ` + l.from + `) WHERE len(list) > 0) GROUP BY ALL`
	if err := l.w.Exec(ctx, statement); err != nil {
		return err
	}
	l.failed = true
	return l.w.Rows(ctx, "SELECT coalesce(sum(firsts), 0)::BIGINT FROM agnes_failures", func(scan func(...any) error) error { return scan(&l.failedRows) })
}

// report tells of the values that could not be cast: how many rows have one, and which they are, in a
// companion table.
func (l *load) report(ctx context.Context) error {
	if l.failedRows == 0 {
		return nil
	}
	l.w.SetRejected(l.failedRows)
	event := zerolog.Ctx(ctx).Warn().Str("table", l.spec.Name).Int64("rows", l.failedRows)
	err := l.w.Rows(ctx, "SELECT column_name || ' ' || any_value(column_type), sum(rows)::BIGINT FROM agnes_failures GROUP BY column_name ORDER BY column_name", func(scan func(...any) error) error {
		var column string
		var rows int64
		err := scan(&column, &rows)
		event = event.Int64(column, rows)
		return err
	})
	if err != nil {
		return err
	}
	event.Msg("values are not of the type that the metadata of their columns say, and became NULL")
	aside, err := l.w.Companion(failuresSuffix, "Values of "+l.spec.Name+" that are not of their column's type and became NULL, as the last run found them")
	if err != nil {
		return err
	}
	return aside.Query(ctx, fmt.Sprintf("SELECT column_name, column_type, value, rows FROM agnes_failures QUALIFY row_number() OVER (PARTITION BY column_name ORDER BY rows DESC, value) <= %d ORDER BY column_name, rows DESC, value", maxFailures), 0)
}

// partitioned reads the whole table, and writes a part for each stretch of time: those in which nothing
// changed keep their bytes.
func (l *load) partitioned(ctx context.Context) error {
	by := func(c column) bool { return strings.EqualFold(c.name, l.options.PartitionBy) }
	if !slices.ContainsFunc(l.columns, by) { // before anything is exported
		return fault.New(fault.Invalid, "partition_by: the table %s has no column %q, or it is not selected", l.spec.Name, l.options.PartitionBy)
	}
	if err := l.fetch(ctx, time.Time{}); err != nil {
		return err
	}
	return l.cast(ctx, func(query string) error {
		return l.w.Partition(ctx, query, catalogColumns(l.columns), l.options.PartitionBy, l.options.Partition)
	})
}

// damaged is the error of files that are not what they should be, without what is in them.
func (l *load) damaged(err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, extract.ErrOtherColumns) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if text := err.Error(); strings.Contains(text, "CSV Error") || strings.Contains(text, "gzip") || strings.Contains(text, "GZIP") {
		return fault.Wrap(err, fault.Permanent, "the files that Keboola exported for %s cannot be read: %s", l.table.ID, reason(text))
	}
	return err
}

// reason keeps of DuckDB's words on a file what is not its content, or a path.
func reason(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		for _, word := range []string{"Expected Number of Columns", "unterminated quote", "Invalid unicode", "Maximum line size", "CSV Error on Line"} {
			if strings.Contains(line, word) {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
	}
	if len(kept) == 0 {
		return "they are damaged"
	}
	return strings.Join(kept, "; ")
}
