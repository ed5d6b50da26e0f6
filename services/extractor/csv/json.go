package csv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/charset"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/shape"
)

// jsonLoad is what is known of the JSON files of a table.
type jsonLoad struct {
	*load
	shape    shape.Shape
	declared map[string]declared // by lower-case name
	paths    []string            // of the rewritten files
	files    []int64             // records per file
	bytes    int64
	longest  int
	// bad are the values that only DuckDB found not to fit: the name, by file and number of the record.
	bad map[int]map[int64]string
}

// json reads JSON. Every file is read from start to end and rewritten with one record to a line, so
// that the types hold all of it: DuckDB takes them from a sample, and leaves out what comes later.
func (l *load) json(ctx context.Context) error {
	for tries := 0; ; tries++ {
		j := &jsonLoad{load: l, declared: map[string]declared{}, shape: shape.Shape{Formats: l.reading.hints.Formats}}
		if l.lastJSON != nil {
			j.bad = l.lastJSON.bad
		}
		for name, columnType := range l.reading.columns {
			j.declared[name] = declare(columnType, &l.reading.hints.Formats)
		}
		for i := range l.inputs {
			if err := j.rewrite(ctx, i); err != nil {
				return err
			}
		}
		columns, read, err := j.columns()
		if err != nil {
			return err
		}
		err = l.write(ctx, j.query(columns, read), j.rowBytes(len(columns)))
		if err == nil || tries > 0 || !conversion(err) {
			return err
		}
		if err := j.findMisfits(ctx, read, err); err != nil {
			return err
		}
		l.lastJSON = j
		l.restart()
	}
}

// rewrite reads a file into scratch, without its bad records.
func (j *jsonLoad) rewrite(ctx context.Context, i int) error {
	in := j.inputs[i]
	r, err := openFile(ctx, in)
	if err != nil {
		return err
	}
	defer r.Close()
	text, encoding, err := j.decoded(r, in)
	if err != nil {
		return err
	}
	out, err := create(j.scratchFile(i, "ndjson"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	aside, err := j.rejects.start(i)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 256<<10)
	s := shape.NewScanner(encoding.Reader(text))
	var good, taken, before, bytesBefore int64
	for n := 1; s.Next(); n++ {
		raw, line := s.Record()
		column, reason := "", s.Problem()
		if reason == "" {
			column, reason = j.inspect(i, taken+1, raw)
			if reason == "" || column != "" && j.bad[i][taken+1] == column {
				taken++ // the number that DuckDB knows the record by
			}
		}
		if reason == "" {
			good++
		}
		if reason != "" {
			if err := aside.take(in.rel, records.Bad{Line: line, Column: column, Reason: reason, Raw: raw}); err != nil {
				return err
			}
		} else {
			j.longest = max(j.longest, len(raw))
			if _, err := w.Write(oneLine(raw)); err != nil {
				return fault.Wrap(err, fault.Unavailable, "the file cannot be written to scratch")
			}
			_ = w.WriteByte('\n')
		}
		if n%1024 == 0 {
			j.progress(good-before, r.count-bytesBefore)
			before, bytesBefore = good, r.count
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	j.progress(good-before, r.count-bytesBefore)
	if s.Err() != nil {
		return damaged(in, s.Err())
	}
	if err := errors.Join(w.Flush(), aside.close()); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be written to scratch")
	}
	sum, err := r.sum()
	if err != nil {
		return damaged(in, err)
	}
	j.tokens[i].SHA256 = sum
	j.paths = append(j.paths, out.Name())
	j.files = append(j.files, good)
	j.bytes += s.Read()
	return nil
}

// decoded tells the encoding of a file. JSON is Unicode: what is not is damage, unless `encoding` says
// otherwise.
func (j *jsonLoad) decoded(r io.Reader, in input) (io.Reader, charset.Encoding, error) {
	text := bufio.NewReaderSize(r, 64<<10)
	head, err := text.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, charset.Encoding{}, damaged(in, err)
	}
	if len(head) == 0 {
		return nil, charset.Encoding{}, fault.New(fault.Invalid, "%s: the file is empty: an empty table is []", in.rel)
	}
	if j.reading.encoding != nil {
		return text, j.reading.encoding.With(head), nil
	}
	return text, charset.DetectUnicode(head), nil
}

// oneLine takes the line breaks out of a record. Valid JSON has them between values only.
func oneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, raw)
}

// inspect tells why a record cannot be a row, and otherwise takes its shape. number is the one that
// the record had among those that were taken when DuckDB read them.
func (j *jsonLoad) inspect(file int, number int64, raw []byte) (column, reason string) {
	members, reason := shape.Members(raw)
	if reason != "" {
		return "", reason
	}
	misfitting, known := j.bad[file][number]
	for _, m := range members {
		d, found := j.declared[strings.ToLower(m.Name)]
		if !found || m.Null || d.fits == nil || len(m.Text) == 0 {
			continue
		}
		if reason := d.fits(m.Text); reason != "" {
			return m.Name, reason
		}
	}
	if !known {
		return "", j.shape.Add(raw)
	}
	if reason := (&shape.Shape{}).Add(raw); reason != "" {
		return "", reason
	}
	for _, m := range members {
		if m.Name == misfitting {
			return m.Name, misfit(m.Text, j.declared[strings.ToLower(m.Name)].columnType)
		}
	}
	return misfitting, misfit(raw, j.declared[strings.ToLower(misfitting)].columnType)
}

// columns gives the columns of the table, and those that DuckDB reads of the files.
func (j *jsonLoad) columns() (columns []column, read []textColumn, err error) {
	if a, b := j.shape.Clash(); b != "" {
		return nil, nil, fault.New(fault.Invalid, "%s: the keys %q and %q differ only in case, and a table's columns cannot", j.inputs[0].rel, a, b)
	}
	formats := &j.reading.hints.Formats
	there := map[string]bool{}
	for _, f := range j.shape.Fields() {
		there[strings.ToLower(f.Name)] = true
		c := column{name: f.Name, columnType: f.Type(formats, lake.QuoteIdent)}
		r := textColumn{f.Name, c.columnType}
		d, isDeclared := j.declared[strings.ToLower(f.Name)]
		switch k := f.Kind(); {
		case isDeclared:
			r.columnType = "VARCHAR"
			if f.Nested() {
				r.columnType = "JSON"
			}
			c = declaredJSON(c, d)
		case k == kind.DateAs, k == kind.StampAs:
			layout := formats.Date
			if k == kind.StampAs {
				layout = formats.Stamp
			}
			r.columnType = "VARCHAR"
			c.from = func(ident string) string { return strptime(ident, layout, c.columnType) }
		case !f.Seen() && j.previous[strings.ToLower(f.Name)] != "":
			c.columnType = j.previous[strings.ToLower(f.Name)]
			c.from = func(string) string { return "CAST(NULL AS " + c.columnType + ")" }
		}
		columns, read = append(columns, c), append(read, r)
	}
	for _, name := range j.reading.required {
		if there[strings.ToLower(name)] {
			continue
		}
		if len(read) > 0 {
			return nil, nil, fault.New(fault.Invalid, "columns: there is no key %q in %s", name, j.inputs[0].rel)
		}
		columns = append(columns, column{name: name, columnType: j.declared[strings.ToLower(name)].columnType})
	}
	if len(columns) == 0 {
		for _, c := range j.previousColumns {
			columns = append(columns, column{name: c.Name, columnType: c.Type})
		}
	}
	if len(columns) == 0 {
		return nil, nil, fault.New(fault.Invalid, "%s: there is no record, so there are no columns: declare them with `columns`", j.inputs[0].rel)
	}
	return columns, read, nil
}

// declaredJSON makes a declared type of a value that is read as text.
func declaredJSON(c column, d declared) column {
	c.columnType = d.columnType
	text := func(ident string) string { return "nullif(CAST(" + ident + " AS VARCHAR), '')" }
	switch {
	case d.columnType == "VARCHAR":
		c.from = func(ident string) string { return "CAST(" + ident + " AS VARCHAR)" }
	case d.expr != nil:
		c.from = func(ident string) string { return d.expr(text(ident)) }
	default:
		c.from = func(ident string) string { return "CAST(" + text(ident) + " AS " + d.columnType + ")" }
	}
	return c
}

// from is the SQL that reads the rewritten files.
func (j *jsonLoad) from(paths []string, read []textColumn) string {
	list := make([]string, len(read))
	for i, c := range read {
		list[i] = quote(c.name) + ": " + quote(c.columnType)
	}
	return fmt.Sprintf("read_json(%s, format = 'newline_delimited', records = true, auto_detect = false, maximum_object_size = %d, columns = {%s})",
		literalPaths(paths), max(j.longest+1024, 16<<20), strings.Join(list, ", "))
}

func (j *jsonLoad) query(columns []column, read []textColumn) string {
	has := map[string]bool{}
	for _, r := range read {
		has[strings.ToLower(r.name)] = true
	}
	if len(read) == 0 {
		return "SELECT " + projection(columns, has) + " WHERE false"
	}
	return "SELECT " + projection(columns, has) + " FROM " + j.from(j.paths, read)
}

func (j *jsonLoad) rowBytes(columns int) int64 {
	var rows int64
	for _, n := range j.files {
		rows += n
	}
	return max(j.bytes/max(rows, 1), 1) + int64(8*columns)
}

// findMisfits finds the values that only DuckDB can tell not to fit.
func (j *jsonLoad) findMisfits(ctx context.Context, read []textColumn, cause error) error {
	var cases []string
	var texts []textColumn
	var names []string
	for _, r := range read {
		d, found := j.declared[strings.ToLower(r.name)]
		if !found || d.fits != nil {
			continue
		}
		texts = append(texts, r)
		ident := "nullif(CAST(" + lake.QuoteIdent(r.name) + " AS VARCHAR), '')"
		cases = append(cases, fmt.Sprintf("WHEN %s IS NOT NULL AND TRY_CAST(%s AS %s) IS NULL THEN %d", ident, ident, d.columnType, len(names)))
		names = append(names, r.name)
	}
	if len(cases) == 0 {
		return cause
	}
	found := false
	j.bad = map[int]map[int64]string{}
	for i, path := range j.paths {
		j.bad[i] = map[int64]string{}
		query := fmt.Sprintf("SELECT n, i FROM (SELECT row_number() OVER () AS n, CASE %s END AS i FROM %s) WHERE i IS NOT NULL ORDER BY n",
			strings.Join(cases, " "), j.from([]string{path}, texts))
		err := j.Rows(ctx, query, func(scan func(...any) error) error {
			var n int64
			var which int
			if err := scan(&n, &which); err != nil {
				return err
			}
			found = true
			j.bad[i][n] = names[which]
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return cause
	}
	return nil
}
