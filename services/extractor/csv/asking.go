package csv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/shape"
)

// previewRecords of JSON tell the types of a preview.
const previewRecords = 1000

// Test lists the files, and says of how many tables they are and which cannot be read.
func (s *source) Test(ctx context.Context) ([]string, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return nil, err
	}
	files, size := 0, int64(0)
	var problems []string
	for _, t := range tables {
		files += len(t.inputs)
		for _, in := range t.inputs {
			size += in.size
		}
		if t.problem != "" {
			problems = append(problems, fmt.Sprintf("the table %s cannot be read: %s", t.name, t.problem))
			continue
		}
		for _, in := range t.inputs {
			r, err := openFile(ctx, in)
			if err != nil {
				problems = append(problems, fmt.Sprintf("the table %s cannot be read: %s", t.name, fault.Message(err)))
				break
			}
			r.Close()
		}
	}
	return append([]string{fmt.Sprintf("the source shows %d tables in %d files of %d bytes", len(tables), files, size)}, problems...), nil
}

// Preview reads the start of a table's first file as an extraction would. Bad rows are left out, and types
// are those of what was read: of all of it they may be wider.
func (s *source) Preview(ctx context.Context, spec extract.TableSpec, rows int) (extract.Preview, error) {
	tables, err := s.tables(ctx)
	if err != nil {
		return extract.Preview{}, err
	}
	t, err := find(tables, spec.Name, spec.SourceTable)
	if err != nil {
		return extract.Preview{}, err
	}
	if t.problem != "" {
		return extract.Preview{}, fault.New(fault.Invalid, "%s", t.problem)
	}
	options, err := t.configured.with(spec)
	if err != nil {
		return extract.Preview{}, err
	}
	how, err := options.reading()
	if err != nil {
		return extract.Preview{}, fault.New(fault.Invalid, "the options of the table %s: %s", spec.Name, err)
	}
	scratch, err := lake.NewScratch(filepath.Join(s.cfg.DataDir, "tmp"), "preview")
	if err != nil {
		return extract.Preview{}, fault.Wrap(err, fault.Unavailable, "there is no scratch space")
	}
	defer func() { _ = scratch.Close() }()
	db, err := lake.Open(ctx, lake.Options{Threads: 1})
	if err != nil {
		return extract.Preview{}, fmt.Errorf("preview: %w", err)
	}
	defer func() { _ = db.Close() }()

	how.reject = true
	shown := &previewEngine{databaseEngine: databaseEngine{db}, rows: rows}
	l := &load{
		engine: shown, reading: how, inputs: t.inputs[:1], scratch: scratch.Dir, directFloor: directFloor, workers: 1,
		previous: map[string]string{}, rejects: rejects{scratch: scratch.Dir, on: true},
	}
	if err := l.shorten(ctx); err != nil {
		return extract.Preview{}, err
	}
	if l.tokens, err = look(ctx, l.inputs, token{}); err != nil {
		return extract.Preview{}, err
	}
	err = l.run(ctx)
	return shown.shown, err
}

// previewEngine shows the first rows of what a load would write.
type previewEngine struct {
	databaseEngine
	rows  int
	shown extract.Preview
}

func (e *previewEngine) Query(ctx context.Context, query string, _ int64) (err error) {
	e.shown, err = extract.PreviewQuery(ctx, e.db, query, e.rows)
	return err
}

// shorten puts the start of the only file into scratch, in its place. Parquet is read where it lies.
func (l *load) shorten(ctx context.Context) error {
	format, err := l.format()
	if err != nil || kindOf(format) == naming.Parquet {
		return err
	}
	in := l.inputs[0]
	head, err := l.head(ctx, in, kindOf(format))
	if err != nil {
		return err
	}
	short := filepath.Join(l.scratch, "head")
	if err := os.WriteFile(short, head, 0o600); err != nil {
		return fault.Wrap(err, fault.Unavailable, "there is no scratch space")
	}
	in.path, in.compression, in.size = short, "", int64(len(head))
	l.inputs = []input{in}
	l.reading.encoding = nil // it is UTF-8 now
	return nil
}

// head is the start of a file, without a record that is cut off, as UTF-8.
func (l *load) head(ctx context.Context, in input, kind string) ([]byte, error) {
	if kind == naming.JSON {
		return l.headOfJSON(ctx, in)
	}
	f, err := l.lookAt(ctx, 0)
	if err != nil {
		return nil, err
	}
	r, err := openFile(ctx, in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(f.encoding.Reader(r), peekBytes+1))
	if err != nil {
		return nil, damaged(in, err)
	}
	if len(text) > peekBytes {
		text = text[:bytes.LastIndexByte(text, f.dialect.Newline)+1]
	}
	return text, nil
}

func (l *load) headOfJSON(ctx context.Context, in input) ([]byte, error) {
	r, err := openFile(ctx, in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, encoding, err := (&jsonLoad{load: l}).decoded(r, in)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	s := shape.NewScanner(encoding.Reader(text))
	for n := 0; n < previewRecords && s.Read() <= peekBytes && s.Next(); n++ {
		if raw, _ := s.Record(); s.Problem() == "" {
			out.Write(oneLine(raw))
			out.WriteByte('\n')
		}
	}
	if s.Err() != nil {
		return nil, damaged(in, s.Err())
	}
	if out.Len() == 0 && s.IsArray() {
		return []byte("[]"), nil
	}
	return out.Bytes(), nil
}

var _ interface {
	extract.Tester
	extract.Previewer
} = (*source)(nil)
