package csv

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
)

// engine is what a load needs of the session it runs in. *extract.TableWriter is one.
type engine interface {
	Query(ctx context.Context, query string, rowBytes int64) error
	Rows(ctx context.Context, query string, scan func(scan func(dest ...any) error) error) error
	Progress(rows, bytes, total int64)
}

// load is one reading of the files of a table.
type load struct {
	engine
	reading *reading
	inputs  []input
	tokens  []fileToken // of the inputs; their hashes are filled in
	scratch string      // a folder of its own
	rejects rejects
	workers int
	// previous are the types of the last good version by lower-case name, for columns without a value.
	previous        map[string]string
	previousColumns []catalog.Column
	lastJSON        *jsonLoad
	written         bool // the engine has the table: it cannot be written again
	// directFloor is the size from which a file is read where it lies.
	directFloor int64

	mu    sync.Mutex
	rows  int64
	bytes int64
	total int64
}

// format of all files; a table is made of one kind of file.
func (l *load) format() (string, error) {
	format := ""
	for _, in := range l.inputs {
		f := l.reading.format
		if f == "" {
			f = in.format
		}
		if f == "" {
			return "", fault.New(fault.Invalid, "%s: its name does not tell what it is: set `format`", in.rel)
		}
		if format == "" {
			format = f
		}
		if kindOf(f) != kindOf(format) {
			return "", fault.New(fault.Invalid, "%s is %s and %s is %s: a table is made of one kind of file", l.inputs[0].rel, format, in.rel, f)
		}
	}
	return format, nil
}

// kindOf takes CSV and TSV as one.
func kindOf(format string) string {
	if format == naming.TSV {
		return naming.CSV
	}
	return format
}

// run reads the files into the engine.
func (l *load) run(ctx context.Context) error {
	for _, t := range l.tokens {
		l.total += t.Size
	}
	format, err := l.format()
	if err != nil {
		return err
	}
	if err := l.knownTypes(ctx); err != nil {
		return err
	}
	switch kindOf(format) {
	case naming.CSV:
		return l.text(ctx)
	case naming.JSON:
		return l.json(ctx)
	}
	return l.parquet(ctx)
}

// knownTypes asks DuckDB for the declared types that only it knows.
func (l *load) knownTypes(ctx context.Context) error {
	for name, columnType := range l.reading.columns {
		if declare(columnType, &l.reading.hints.Formats).fits != nil {
			continue
		}
		err := l.Rows(ctx, "SELECT CAST(NULL AS "+columnType+")", func(func(...any) error) error { return nil })
		switch lake.ClassOf(err) {
		case "":
			if err != nil {
				return err
			}
		case lake.ClassCatalog, lake.ClassBinder, lake.ClassParser:
			return fault.New(fault.Invalid, "columns: %s: there is no type %s", name, columnType)
		default:
			return err
		}
	}
	return nil
}

// write runs the query that makes the table, while it hashes the files that were not hashed yet and
// watches that none of them changes.
func (l *load) write(ctx context.Context, query string, rowBytes int64) error {
	if err := verify(l.inputs, l.tokens); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	beside, stop := errgroup.WithContext(ctx)
	finished := make(chan struct{})
	beside.Go(func() error {
		for i := range l.inputs {
			if l.tokens[i].SHA256 != "" {
				continue
			}
			sum, err := hashFile(stop, l.inputs[i], l.tokens[i].stamp)
			if err != nil {
				cancel(err)
				return err
			}
			l.tokens[i].SHA256 = sum
		}
		return nil
	})
	beside.Go(func() error { return l.guard(stop, finished, cancel) })
	err := l.Query(ctx, query, rowBytes)
	cause := context.Cause(ctx)
	if err != nil {
		cancel(err) // nobody needs the hashes
	}
	close(finished)
	besideErr := beside.Wait()
	if err != nil {
		return cmp.Or(cause, err)
	}
	l.written = true
	if besideErr != nil {
		return besideErr
	}
	return verify(l.inputs, l.tokens)
}

// guard ends the work early when a file changes.
func (l *load) guard(ctx context.Context, finished <-chan struct{}, cancel context.CancelCauseFunc) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return nil
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := verify(l.inputs, l.tokens); err != nil {
			cancel(err)
			return err
		}
	}
}

// progress adds what was read since the last time. It may be called by several goroutines.
func (l *load) progress(rows, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows += rows
	l.bytes += bytes
	l.Progress(l.rows, min(l.bytes, l.total), l.total)
}

// restart forgets the progress, before the files are read again.
func (l *load) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows, l.bytes = 0, 0
}

// scratchFile names a new file in scratch.
func (l *load) scratchFile(i int, ext string) string {
	return filepath.Join(l.scratch, fmt.Sprintf("file-%d.%s", i, ext))
}

// create makes a scratch file.
func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "there is no scratch space")
	}
	return f, nil
}

// literalPaths writes paths so that DuckDB does not take them for patterns.
func literalPaths(paths []string) string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(p)
	}
	return lake.QuoteList(out)
}

// column is a column of the table.
type column struct {
	name       string
	columnType string
	// from gives the SQL that makes it of the column of a file; nil: the file's column as it is.
	from func(ident string) string
}

// projection lists the columns of the table as SQL over a file that has the given ones.
func projection(columns []column, has map[string]bool) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		ident := lake.QuoteIdent(c.name)
		switch {
		case !has[strings.ToLower(c.name)]:
			out[i] = "CAST(NULL AS " + c.columnType + ") AS " + ident
		case c.from != nil:
			out[i] = c.from(ident) + " AS " + ident
		default:
			out[i] = ident
		}
	}
	return strings.Join(out, ", ")
}
