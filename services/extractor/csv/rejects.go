package csv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
)

// maxRaw bounds what is kept of a bad row, in bytes.
const maxRaw = 64 << 10

// rejects gathers the bad rows of a table in scratch, a file for each file of the table. With
// nothing to gather in, the first bad row fails the table.
type rejects struct {
	scratch string
	on      bool
	files   map[int]*rejectFile
}

// rejectFile holds the bad rows of one file.
type rejectFile struct {
	path  string
	file  *os.File
	w     *records.Writer
	count int64
}

// start forgets the bad rows of a file, which is about to be read.
func (r *rejects) start(index int) (*rejectFile, error) {
	f := &rejectFile{}
	if !r.on {
		return f, nil
	}
	f.path = filepath.Join(r.scratch, fmt.Sprintf("rejects-%d.csv", index))
	out, err := create(f.path)
	if err != nil {
		return nil, err
	}
	f.file, f.w = out, records.NewWriter(out)
	if r.files == nil {
		r.files = map[int]*rejectFile{}
	}
	r.files[index] = f
	return f, nil
}

// take sets a row aside, or fails because of it.
func (f *rejectFile) take(file string, b records.Bad) error {
	if f.w == nil {
		return errBad(file, b)
	}
	raw := b.Raw
	if len(raw) > maxRaw {
		raw = append(append([]byte(nil), raw[:maxRaw]...), "…"...)
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(raw), "\uFFFD"), "\x00", "␀")
	var column []byte
	if b.Column != "" {
		column = []byte(b.Column)
	}
	f.count++
	return f.w.Values([]byte(file), strconv.AppendInt(nil, b.Line, 10), column, []byte(b.Reason), []byte(text))
}

// errBad is the failure of a table because of a row.
func errBad(file string, b records.Bad) error {
	return fault.New(fault.Invalid, "%s: %s", place(file, b.Line, b.Column), b.Reason)
}

// close ends the writing; what was written stays.
func (f *rejectFile) close() error {
	if f.w == nil {
		return nil
	}
	return errors.Join(f.w.Flush(), f.file.Close())
}

// count is how many rows were set aside.
func (r *rejects) count() (n int64) {
	for _, f := range r.files {
		n += f.count
	}
	return n
}

var rejectColumns = []textColumn{{"file", "VARCHAR"}, {"line", "BIGINT"}, {"column_name", "VARCHAR"}, {"reason", "VARCHAR"}, {"raw", "VARCHAR"}}

// publish writes the bad rows into the companion table.
func (r *rejects) publish(ctx context.Context, to engine) error {
	var paths []string
	longest := 0
	for i, f := range r.files {
		if f.count > 0 {
			paths = append(paths, r.files[i].path)
			longest = max(longest, f.w.Longest)
		}
	}
	slices.Sort(paths)
	query := "SELECT * FROM " + readCSV(paths, records.Canonical, rejectColumns, true, longest) + " ORDER BY file, line"
	if err := to.Query(ctx, query, 256); err != nil {
		return fmt.Errorf("write the bad rows: %w", err)
	}
	return nil
}
