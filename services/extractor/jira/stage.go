package jira

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// stage holds the rows that one run works with, made once for all tables: those of issues that changed in
// memory, and those of whole months as files. All tables of a run so see an issue as of one moment.
type stage struct {
	site    *site
	scratch *lake.Scratch

	mu     sync.Mutex
	flat   *rows.Flattener
	issues map[int64]*rows.Rows
	months map[string]map[string]staged // by month and table
}

// staged is a file of rows.
type staged struct {
	path string
	// longest is the most bytes of a line.
	longest int
}

func newStage(s *site) (*stage, error) {
	scratch, err := s.scratch()
	if err != nil {
		return nil, err
	}
	return &stage{site: s, scratch: scratch, flat: s.flattener(), issues: map[int64]*rows.Rows{}, months: map[string]map[string]staged{}}, nil
}

func (st *stage) close() error { return st.scratch.Close() }

// rowsOf gives the rows of a table that issues have now; an issue that is set aside has none.
func (st *stage) rowsOf(ctx context.Context, t table, ids []int64) (out [][]any, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var missing []int64
	for _, id := range ids {
		if _, found := st.issues[id]; !found {
			missing = append(missing, id)
		}
	}
	err = st.site.store.Documents(ctx, missing, func(d store.Document) error {
		flat, err := st.flatten(ctx, d)
		st.issues[d.ID] = flat
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if flat := st.issues[id]; flat != nil {
			out = append(out, t.rowsOf(flat)...)
		}
	}
	return out, nil
}

// flatten makes the rows of a document. One that cannot be flattened is set aside and has none: it must
// not hold the others up.
func (st *stage) flatten(ctx context.Context, d store.Document) (*rows.Rows, error) {
	flat, err := st.flat.Flatten(d.JSON)
	if err == nil {
		return &flat, nil
	}
	return nil, st.site.setAside(ctx, aside{issue: strconv.FormatInt(d.ID, 10), key: d.Key, origin: originRows, body: d.JSON}, err)
}

// month gives the file with all rows of a table in a month, which is written with those of all others.
func (st *stage) month(ctx context.Context, t table, month string) (staged, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, written := st.months[month]; !written {
		files, err := st.writeMonth(ctx, month)
		if err != nil {
			return staged{}, err
		}
		st.months[month] = files
	}
	return st.months[month][t.Name], nil
}

func (st *stage) writeMonth(ctx context.Context, month string) (files map[string]staged, err error) {
	writers := map[string]*rowFile{}
	defer func() {
		files = map[string]staged{}
		for name, w := range writers {
			var cerr error
			files[name], cerr = w.close()
			err = errors.Join(err, cerr)
		}
	}()
	for name, t := range st.site.tables {
		if t.entities != 0 {
			continue
		}
		if writers[name], err = newRowFile(st.scratch.Path(name+"-"+month+".ndjson"), t.Columns); err != nil {
			return nil, err
		}
	}
	return nil, st.site.store.Month(ctx, month, func(d store.Document) error {
		flat, err := st.flatten(ctx, d)
		if err != nil || flat == nil {
			return err
		}
		for name, w := range writers {
			if err := w.write(st.site.tables[name].rowsOf(flat)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowFile is a file of rows as lines of JSON, which DuckDB reads by the types of their columns.
type rowFile struct {
	file    *os.File
	out     *bufio.Writer
	columns []catalog.Column
	names   [][]byte // of the columns, as JSON
	line    []byte
	longest int
}

func newRowFile(path string, columns []catalog.Column) (*rowFile, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write scratch: %w", err)
	}
	f := &rowFile{file: file, out: bufio.NewWriterSize(file, 1<<16), columns: columns}
	for _, c := range columns {
		f.names = append(f.names, append(appendText(nil, c.Name), ':'))
	}
	return f, nil
}

func (f *rowFile) write(all ...[]any) error {
	for _, row := range all {
		line := f.line[:0]
		line = append(line, '{')
		for i, v := range row {
			if v == nil {
				continue // a member that is missing is NULL
			}
			if len(line) > 1 {
				line = append(line, ',')
			}
			line = appendValue(append(line, f.names[i]...), f.columns[i].Type, v)
		}
		line = append(line, '}', '\n')
		f.line = line
		f.longest = max(f.longest, len(f.line))
		if _, err := f.out.Write(f.line); err != nil {
			return fmt.Errorf("write scratch: %w", err)
		}
	}
	return nil
}

// close ends the file.
func (f *rowFile) close() (staged, error) {
	return staged{f.file.Name(), f.longest}, errors.Join(f.out.Flush(), f.file.Close())
}

// appendValue writes a value as JSON that DuckDB reads back as the same value of the type.
func appendValue(to []byte, columnType string, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendText(to, v)
	case int64:
		return strconv.AppendInt(to, v, 10)
	case bool:
		return strconv.AppendBool(to, v)
	case float64:
		return strconv.AppendFloat(to, v, 'g', -1, 64)
	case time.Time:
		layout := `"2006-01-02T15:04:05.999999Z"`
		if columnType == "DATE" {
			layout = `"2006-01-02"`
		}
		return v.UTC().AppendFormat(to, layout)
	}
	return append(to, "null"...)
}

const hex = "0123456789abcdef"

// appendText writes a text as JSON. DuckDB ends a text at a NUL: it becomes U+FFFD.
func appendText(to []byte, s string) []byte {
	to = append(to, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		to = append(to, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c == 0 || c >= utf8.RuneSelf:
			to = append(to, "\uFFFD"...)
		default:
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(to, s[start:]...), '"')
}

// entityAttrs are the values of an entity's row as a text: equal rows are equal texts.
func entityAttrs(columns []catalog.Column, row []any) string {
	attrs := []byte{'{'}
	for i, v := range row {
		if v == nil {
			continue
		}
		if len(attrs) > 1 {
			attrs = append(attrs, ',')
		}
		attrs = append(appendText(attrs, columns[i].Name), ':')
		attrs = appendValue(attrs, columns[i].Type, v)
	}
	return string(append(attrs, '}'))
}

// writeLine writes a row that entityAttrs made.
func (f *rowFile) writeLine(attrs string) error {
	if !json.Valid([]byte(attrs)) {
		return fault.New(fault.Internal, "the store of Jira documents holds a row that cannot be read")
	}
	f.line = append(append(f.line[:0], attrs...), '\n')
	f.longest = max(f.longest, len(f.line))
	if _, err := f.out.Write(f.line); err != nil {
		return fmt.Errorf("write scratch: %w", err)
	}
	return nil
}
