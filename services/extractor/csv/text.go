package csv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/charset"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
)

// headBytes is how much of a file tells its encoding, its dialect and its names.
const headBytes = 256 << 10

// textFile is a file of delimited text as it was found to be.
type textFile struct {
	input
	index    int
	encoding charset.Encoding
	// settled tells that all of the file was looked at for its encoding.
	settled  bool
	shape    records.Shape
	declared []declared // per column; no type where it is to be found
	// path and dialect are what DuckDB reads: the file itself, or what was made of it in scratch.
	path    string
	dialect records.Dialect
	res     *records.Result
	longest int
	// bad are the values that only DuckDB found not to fit: the column, by number of the record.
	bad map[int64]int
}

// direct tells that DuckDB reads the file where it lies.
func (f *textFile) direct() bool { return f.path == f.input.path }

// text reads delimited text. Every file is checked from start to end before DuckDB reads it: DuckDB
// takes types from a sample and then turns a later 1.5 into 2 and 00123 into 123, reads a cut-off
// gzip file as an empty one, and only the first frame of a zstd file.
func (l *load) text(ctx context.Context) error {
	files := make([]*textFile, len(l.inputs))
	for i := range l.inputs {
		f, err := l.lookAt(ctx, i)
		if err != nil {
			return err
		}
		if err := l.checkFile(ctx, f); err != nil {
			return err
		}
		files[i] = f
		l.tell(ctx, f)
	}
	for tries := 0; ; tries++ {
		columns, err := l.columns(files)
		if err != nil {
			return err
		}
		err = l.write(ctx, textQuery(files, columns), rowBytes(files))
		if err == nil || tries > 0 || !conversion(err) || !hasEngineTypes(files) {
			return err
		}
		if err := l.findMisfits(ctx, files, err); err != nil {
			return err
		}
	}
}

// tell logs what was assumed about a file, where it could be otherwise.
func (l *load) tell(ctx context.Context, f *textFile) {
	log := zerolog.Ctx(ctx)
	if l.reading.encoding == nil && !f.encoding.IsUTF8() {
		log.Info().Str("file", f.rel).Str("encoding", f.encoding.Name).Msg("read in the encoding that it seems to have; set `encoding` if it has another")
	}
	if f.shape.Headless {
		log.Info().Str("file", f.rel).Msg("the first line seems to be data: the columns are called column0 and so on; set `header` if it holds names")
	}
}

// lookAt finds out how a file is written.
func (l *load) lookAt(ctx context.Context, i int) (*textFile, error) {
	in := l.inputs[i]
	r, err := openFile(ctx, in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f := &textFile{input: in, index: i, path: in.path}
	return f, l.describe(f, r)
}

// readHead reads the first bytes, and tells whether that is all there is.
func readHead(r io.Reader, head []byte) (n int, whole bool, err error) {
	for n < len(head) {
		m, err := r.Read(head[n:])
		n += m
		if err == io.EOF { // exactly: a compressed file that is cut off wraps it
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// describe tells encoding, dialect and names of a file by its start: by more of it where the header is long.
func (l *load) describe(f *textFile, r io.Reader) error {
	var head []byte
	for size := headBytes; ; size *= 4 {
		read := len(head)
		head = append(head, make([]byte, size-read)...)
		n, whole, err := readHead(r, head[read:])
		if err != nil {
			return damaged(f.input, err)
		}
		head = head[:read+n]
		if err := l.sniff(f, head, whole); err != nil {
			return err
		}
		if len(f.shape.Names) > 0 || whole || size > records.MaxRecord {
			return l.settleColumns(f)
		}
	}
}

func (l *load) sniff(f *textFile, head []byte, whole bool) error {
	if !f.settled {
		f.encoding = charset.Detect(head)
		if l.reading.encoding != nil {
			f.encoding = l.reading.encoding.With(head)
		}
	}
	text, err := io.ReadAll(f.encoding.Reader(bytes.NewReader(head)))
	if err != nil && whole {
		return damaged(f.input, err)
	}
	if len(text) == 0 && whole {
		return fault.New(fault.Invalid, "%s: the file is empty: there is not even a header", f.rel)
	}
	hints := l.reading.hints
	if hints.Delimiter == 0 && (l.reading.format == naming.TSV || l.reading.format == "" && f.format == naming.TSV) {
		hints.Delimiter = '\t'
	}
	f.shape = records.Sniff(text, whole, hints)
	return nil
}

// settleColumns checks what was found out, and looks up the declared types.
func (l *load) settleColumns(f *textFile) error {
	f.dialect = f.shape.Dialect
	if err := f.dialect.Validate(); err != nil {
		return fault.New(fault.Invalid, "%s: %s", f.rel, err)
	}
	if len(f.shape.Names) == 0 {
		return fault.New(fault.Invalid, "%s: there is no line with the names of the columns", f.rel)
	}
	f.declared = make([]declared, len(f.shape.Names))
	for i, name := range f.shape.Names {
		if t := l.reading.columns[strings.ToLower(name)]; t != "" {
			f.declared[i] = declare(t, &l.reading.hints.Formats)
		}
	}
	return nil
}

// errNotUTF8 tells that a file that seemed to be UTF-8 is not.
var errNotUTF8 = errors.New("not UTF-8")

// checkFile reads a file from start to end: a large plain one where it lies, by several workers, and
// all others into scratch, rewritten so that there is one way to understand them.
func (l *load) checkFile(ctx context.Context, f *textFile) error {
	var err error
	if l.canBeDirect(f) {
		var done bool
		if done, err = l.checkDirect(ctx, f); done {
			return nil
		}
	}
	if err == nil {
		err = l.rewrite(ctx, f)
	}
	if !errors.Is(err, errNotUTF8) {
		return err
	}
	l.restart()
	if err := l.recode(ctx, f); err != nil {
		return err
	}
	return l.rewrite(ctx, f)
}

func (l *load) canBeDirect(f *textFile) bool {
	return l.tokens[f.index].Size >= l.directFloor && f.compression == naming.Plain && f.encoding.IsUTF8() &&
		f.dialect.Newline == '\n' && f.dialect.Escape == f.dialect.Quote
}

// recode finds the encoding of a file that is not UTF-8 by all of it.
func (l *load) recode(ctx context.Context, f *textFile) error {
	r, err := openFile(ctx, f.input)
	if err != nil {
		return err
	}
	defer r.Close()
	var census charset.Census
	if _, err := io.Copy(&census, r); err != nil {
		return damaged(f.input, err)
	}
	f.encoding, f.settled = census.Encoding(), true
	if f.encoding.IsUTF8() {
		return nil // and the bytes that are not are bad rows
	}
	again, err := openFile(ctx, f.input)
	if err != nil {
		return err
	}
	defer again.Close()
	return l.describe(f, again)
}

// check is the check of a file.
func (l *load) check(f *textFile) *records.Check {
	c := &records.Check{Dialect: f.shape.Dialect, Formats: l.reading.hints.Formats, Names: f.shape.Names}
	c.Declared = make([]func([]byte) string, len(f.declared))
	for i, d := range f.declared {
		switch {
		case d.columnType == "":
		case d.fits != nil:
			c.Declared[i] = d.fits
		default:
			c.Declared[i] = func([]byte) string { return "" }
		}
	}
	return c
}

// checkDirect checks a file where it lies. It is not done where the file must be rewritten.
func (l *load) checkDirect(ctx context.Context, f *textFile) (done bool, err error) {
	file, err := os.Open(f.input.path)
	if err != nil {
		return false, cannotRead(f.input, err)
	}
	defer func() { _ = file.Close() }()
	c := l.check(f)
	c.Batch = l.batch()
	size, mark := l.tokens[f.index].Size, f.encoding.Mark()
	res, bad, err := c.RunParallel(ctx, io.NewSectionReader(file, mark, size-mark), size-mark, l.workers)
	switch {
	case err != nil:
		return false, damaged(f.input, err)
	case bad != nil && bad.Reason == records.ProblemEncoding && l.reading.encoding == nil:
		return false, errNotUTF8
	case bad != nil && !l.reading.reject:
		return false, errBad(f.rel, *bad)
	case bad != nil || res.Odd:
		l.restart()
		return false, nil
	}
	f.res, f.longest, f.path = res, res.Longest, f.input.path
	return true, nil
}

// batch reports progress; each call stands for one worker's next records.
func (l *load) batch() func(*records.Result) error {
	type seen struct{ rows, bytes int64 }
	last := map[*records.Result]seen{}
	return func(r *records.Result) error {
		l.mu.Lock()
		before := last[r]
		last[r] = seen{r.Records, r.Offset}
		l.mu.Unlock()
		l.progress(r.Records-before.rows, r.Offset-before.bytes)
		return nil
	}
}

// rewrite reads a file into scratch in the canonical dialect, without its bad rows.
func (l *load) rewrite(ctx context.Context, f *textFile) error {
	r, err := openFile(ctx, f.input)
	if err != nil {
		return err
	}
	defer r.Close()
	out, err := create(l.scratchFile(f.index, "csv"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	aside, err := l.rejects.start(f.index)
	if err != nil {
		return err
	}
	w := records.NewWriter(out)
	c := l.check(f)
	var bytesBefore, rowsBefore, good int64
	c.Batch = func(res *records.Result) error {
		l.progress(res.Records-rowsBefore, r.count-bytesBefore)
		rowsBefore, bytesBefore = res.Records, r.count
		return nil
	}
	c.Bad = func(b records.Bad) error {
		if b.Reason == records.ProblemEncoding && l.reading.encoding == nil && !f.settled {
			return errNotUTF8
		}
		return aside.take(f.rel, b)
	}
	c.Good = func(rec *records.Record) error {
		good++
		if i, found := f.bad[good]; found {
			v, _ := rec.Value(&f.shape.Dialect, i, nil)
			return aside.take(f.rel, records.Bad{Line: rec.Line, Column: f.shape.Names[i], Reason: misfit(v, f.declared[i].columnType), Raw: rec.Raw})
		}
		return w.Record(&f.shape.Dialect, rec)
	}
	res, err := c.Run(ctx, f.encoding.Reader(r))
	if errors.Is(err, errNotUTF8) {
		return err
	}
	if err != nil {
		return damaged(f.input, err)
	}
	if err := errors.Join(w.Flush(), aside.close()); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be written to scratch")
	}
	sum, err := r.sum()
	if err != nil {
		return damaged(f.input, err)
	}
	l.tokens[f.index].SHA256 = sum
	f.res, f.longest, f.path = res, w.Longest, out.Name()
	f.dialect = records.Canonical
	return nil
}

// merged is a column of the table over all its files.
type merged struct {
	name     string
	declared declared
	state    kind.Column
	files    int
}

// columns gives the columns of the table: those of the first file, and then what other files add.
func (l *load) columns(files []*textFile) ([]column, error) {
	var all []*merged
	byName := map[string]*merged{}
	for _, f := range files {
		for i, name := range f.shape.Names {
			key := strings.ToLower(name)
			m := byName[key]
			if m == nil {
				m = &merged{name: name, declared: f.declared[i], state: f.res.Columns[i]}
				byName[key] = m
				all = append(all, m)
			} else {
				m.state.Merge(f.res.Columns[i])
			}
			m.files++
		}
	}
	if !l.reading.union {
		if err := sameColumns(files); err != nil {
			return nil, err
		}
	}
	for _, name := range l.reading.required {
		if byName[strings.ToLower(name)] == nil {
			return nil, fault.New(fault.Invalid, "columns: there is no column %q in %s", name, files[0].rel)
		}
	}
	out := make([]column, len(all))
	for i, m := range all {
		out[i] = m.column(&l.reading.hints.Formats)
		if last := l.previous[strings.ToLower(m.name)]; last != "" && m.declared.columnType == "" && !m.state.Filled && !m.state.EmptyText {
			// A column without a value keeps the type that it had.
			out[i] = column{name: m.name, columnType: last, from: func(string) string { return "CAST(NULL AS " + last + ")" }}
		}
	}
	return out, nil
}

// sameColumns wants all files to have the columns of the first, whatever their order.
func sameColumns(files []*textFile) error {
	want := lowered(files[0].shape.Names)
	for _, f := range files[1:] {
		have := lowered(f.shape.Names)
		for _, name := range want {
			if !slices.Contains(have, name) {
				return fault.New(fault.Invalid, "%s: the column %s of %s is missing, and union_by_name is off", f.rel, name, files[0].rel)
			}
		}
		for _, name := range have {
			if !slices.Contains(want, name) {
				return fault.New(fault.Invalid, "%s: the column %s is not in %s, and union_by_name is off", f.rel, name, files[0].rel)
			}
		}
	}
	return nil
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

func quote(s string) string { return lake.QuoteLiteral(s) }

// column tells how the column is made of the text of the files. What is read as its type directly
// has no quoted empty text: DuckDB would fail on it.
func (m *merged) column(f *kind.Formats) column {
	c := column{name: m.name}
	k := m.state.Kind()
	text := func(ident string) string { return "nullif(" + ident + ", '')" }
	switch {
	case m.declared.columnType == "VARCHAR":
		c.columnType = "VARCHAR"
	case m.declared.columnType != "":
		c.columnType = m.declared.columnType
		if expr := m.declared.expr; expr != nil {
			c.from = func(ident string) string { return expr(text(ident)) }
		} else if m.state.EmptyText {
			c.from = func(ident string) string { return "CAST(" + text(ident) + " AS " + c.columnType + ")" }
		}
	case k == kind.DateAs, k == kind.StampAs:
		layout := f.Date
		if k == kind.StampAs {
			layout = f.Stamp
		}
		c.columnType = f.TypeOf(k)
		c.from = func(ident string) string { return strptime(text(ident), layout, c.columnType) }
	default:
		c.columnType = f.TypeOf(k)
		if k != 0 && m.state.EmptyText {
			c.from = func(ident string) string { return "CAST(" + text(ident) + " AS " + c.columnType + ")" }
		}
	}
	return c
}

// textColumn is a column as read_csv reads it.
type textColumn struct{ name, columnType string }

// readCSV is the SQL that reads files of one dialect and the same columns.
func readCSV(paths []string, d records.Dialect, columns []textColumn, multiline bool, longest int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "read_csv(%s, auto_detect = false, header = %t, skip = %d, delim = %s, quote = %s, escape = %s, "+
		"nullstr = %s, allow_quoted_nulls = false, strict_mode = true, null_padding = false, ignore_errors = false",
		literalPaths(paths), d.Header, d.Skip, quote(string(d.Delimiter)), char(d.Quote), char(d.Escape),
		lake.QuoteList(append([]string{""}, d.Nulls...)))
	if multiline {
		b.WriteString(", parallel = false")
	}
	if longest > 1_900_000 {
		size := longest + longest/8 + 1024
		fmt.Fprintf(&b, ", max_line_size = %d, buffer_size = %d", size, max(2*size, 32<<20))
	}
	b.WriteString(", columns = {")
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(c.name) + ": " + quote(c.columnType))
	}
	b.WriteString("})")
	return b.String()
}

func char(c byte) string {
	if c == 0 {
		return "''"
	}
	return quote(string(c))
}

// textQuery reads all files in their order. Neighbours that are alike are read together.
func textQuery(files []*textFile, columns []column) string {
	byName := make(map[string]column, len(columns))
	for _, c := range columns {
		byName[strings.ToLower(c.name)] = c
	}
	var selects []string
	for i := 0; i < len(files); {
		n := i + 1
		for n < len(files) && alike(files[i], files[n]) {
			n++
		}
		selects = append(selects, selectText(files[i:n], columns, byName))
		i = n
	}
	return strings.Join(selects, " UNION ALL ")
}

// alike tells that two files are read in one way.
func alike(a, b *textFile) bool {
	x, y := a.dialect, b.dialect
	return x.Delimiter == y.Delimiter && x.Quote == y.Quote && x.Escape == y.Escape && x.Header == y.Header && x.Skip == y.Skip &&
		slices.Equal(x.Nulls, y.Nulls) && slices.Equal(lowered(a.shape.Names), lowered(b.shape.Names)) && a.direct() == b.direct()
}

func selectText(files []*textFile, columns []column, byName map[string]column) string {
	paths := make([]string, len(files))
	multiline, longest := false, 0
	for i, f := range files {
		paths[i] = f.path
		multiline = multiline || f.res.Multiline
		longest = max(longest, f.longest)
	}
	has := map[string]bool{}
	read := make([]textColumn, len(files[0].shape.Names))
	for i, name := range files[0].shape.Names {
		c := byName[strings.ToLower(name)]
		has[strings.ToLower(name)] = true
		read[i] = textColumn{c.name, "VARCHAR"}
		if c.from == nil {
			read[i].columnType = c.columnType
		}
	}
	return "SELECT " + projection(columns, has) + " FROM " + readCSV(paths, files[0].dialect, read, multiline, longest)
}

// rowBytes estimates the width of a row.
func rowBytes(files []*textFile) int64 {
	var bytes, rows int64
	for _, f := range files {
		bytes += f.res.Bytes
		rows += f.res.Records
	}
	return max(bytes/max(rows, 1), 1) + int64(8*len(files[0].shape.Names))
}

// conversion tells that DuckDB could not turn a text into a type.
func conversion(err error) bool {
	class := lake.ClassOf(err)
	return class == "Conversion" || class == "Invalid Input" || class == "Out of Range"
}

func hasEngineTypes(files []*textFile) bool {
	for _, f := range files {
		for _, d := range f.declared {
			if d.columnType != "" && d.fits == nil {
				return true
			}
		}
	}
	return false
}

// findMisfits finds the values that only DuckDB can tell not to fit, and reads their files again: the
// first of them fails the table, or all of them are set aside.
func (l *load) findMisfits(ctx context.Context, files []*textFile, cause error) error {
	found := false
	l.restart()
	for _, f := range files {
		if err := l.misfits(ctx, f); err != nil {
			return err
		}
		if len(f.bad) == 0 {
			continue
		}
		found = true
		if err := l.rewrite(ctx, f); err != nil {
			return err
		}
	}
	if !found {
		return cause
	}
	return nil
}

// misfits asks DuckDB for the records of a file whose values do not fit.
func (l *load) misfits(ctx context.Context, f *textFile) error {
	read := make([]textColumn, len(f.shape.Names))
	var cases []string
	for i, name := range f.shape.Names {
		read[i] = textColumn{name, "VARCHAR"}
		if d := f.declared[i]; d.columnType != "" && d.fits == nil {
			ident := lake.QuoteIdent(name)
			cases = append(cases, fmt.Sprintf("WHEN nullif(%s, '') IS NOT NULL AND TRY_CAST(%s AS %s) IS NULL THEN %d", ident, ident, d.columnType, i))
		}
	}
	if len(cases) == 0 {
		return nil
	}
	limit := ""
	if !l.reading.reject {
		limit = " LIMIT 1"
	}
	query := fmt.Sprintf("SELECT n, i FROM (SELECT row_number() OVER () AS n, CASE %s END AS i FROM %s) WHERE i IS NOT NULL ORDER BY n%s",
		strings.Join(cases, " "), readCSV([]string{f.path}, f.dialect, read, true, f.longest), limit)
	f.bad = map[int64]int{}
	return l.Rows(ctx, query, func(scan func(...any) error) error {
		var n int64
		var i int
		if err := scan(&n, &i); err != nil {
			return err
		}
		f.bad[n] = i
		return nil
	})
}
