package extract

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Bounds of what is written. A row group is bounded in rows and in bytes (trap E2): DuckDB holds a few
// of them in memory per thread, and a reader at least one.
const (
	maxGroupRows  = 122_880 // DuckDB's own; also the most that is certain to be one batch
	minGroupRows  = 2_048   // DuckDB's vector: it cannot cut finer
	maxGroupBytes = 64 << 20
	sampleRows    = 1_000
	// maxPartRows bounds a part of a table without a key; 10 million rows are one part.
	maxPartRows = 16 << 20
	// flushEvery is how often a growing file is measured, and pushed to the disk, while it is written.
	flushEvery = 500 * time.Millisecond
	flushBytes = 64 << 20
)

// groupRows is how many rows of a width fit a row group; a power of two below the maximum, so that
// it does not follow every small change of the width.
func groupRows(rowBytes int64) int64 {
	rows := int64(maxGroupBytes) / max(rowBytes, 1)
	if rows >= maxGroupRows {
		return maxGroupRows
	}
	return max(minGroupRows, floorPow2(rows))
}

func floorPow2(n int64) int64 {
	if n < 1 {
		return 1
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// wide matches the 128-bit integers in the name of a type. A field of a struct may bear such a name
// too; then a space and its type follow it.
var wide = regexp.MustCompile(`\bU?HUGEINT\b([^ ]|$)`)

// storedType is the type in which parquet keeps a column without losing meaning: DuckDB would write
// 128-bit integers as doubles and cannot write unions.
func storedType(columnType string) string {
	if strings.HasPrefix(columnType, "UNION(") {
		return "VARCHAR"
	}
	var b strings.Builder
	for rest := columnType; rest != ""; {
		end := strings.IndexAny(rest, "\"'")
		if end < 0 {
			end = len(rest)
		}
		b.WriteString(wide.ReplaceAllString(rest[:end], "DECIMAL(38,0)$1"))
		rest = rest[end:]
		if rest != "" {
			end = quotedEnd(rest)
			b.WriteString(rest[:end])
			rest = rest[end:]
		}
	}
	return b.String()
}

// quotedEnd is where the quoted text that s begins with ends; a doubled quote stands for itself.
func quotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] != s[0] {
			continue
		}
		if i+1 < len(s) && s[i+1] == s[0] {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

// selectStored gives the SELECT that reads the columns of a query in the types they are kept in.
func selectStored(columns []catalog.Column, from string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = lake.QuoteIdent(c.Name)
		if t := storedType(c.Type); t != c.Type {
			list[i] = "CAST(" + list[i] + " AS " + t + ") AS " + list[i]
		}
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + from
}

// widthOf is an SQL expression for the bytes of a row: what varies is measured, the rest is taken as 8.
func widthOf(columns []catalog.Column) string {
	fixed := 0
	var terms []string
	for _, c := range columns {
		name := lake.QuoteIdent(c.Name)
		switch {
		case c.Type == "VARCHAR" || c.Type == "JSON":
			terms = append(terms, "coalesce(strlen("+name+"), 0)")
		case c.Type == "BLOB":
			terms = append(terms, "coalesce(octet_length("+name+"), 0)")
		case strings.ContainsAny(c.Type, "[(") && !strings.HasPrefix(c.Type, "DECIMAL(") && !strings.HasPrefix(c.Type, "ENUM("):
			terms = append(terms, "coalesce(strlen(CAST("+name+" AS VARCHAR)), 0)")
		}
		fixed += 8
	}
	return strings.Join(append(terms, fmt.Sprint(fixed)), " + ")
}

func (s *session) width(ctx context.Context, columns []catalog.Column, from string) (int64, error) {
	var width int64
	err := s.rows(ctx, "SELECT CAST(coalesce(avg("+widthOf(columns)+"), 0) AS BIGINT) FROM "+from, func(scan func(...any) error) error {
		return scan(&width)
	})
	return width, err
}

// copyStatement writes a query in row groups of so many rows. Parquet's second encodings (differences of
// integers, lengths apart from texts) are smaller, and faster to write and to read. Texts are held twice for
// them, so wide rows, whose row groups are smaller, go without (trap E2).
func copyStatement(query, file string, rows int64) string {
	version := "v2"
	if rows < maxGroupRows {
		version = "v1"
	}
	return fmt.Sprintf("COPY (%s) TO %s (%s, PARQUET_VERSION %s, ROW_GROUP_SIZE %d)", query, lake.QuoteLiteral(file), lake.ParquetFormat, version, rows)
}

// runCopy runs a COPY and gives the rows it wrote.
func runCopy(ctx context.Context, q querier, statement string) (rows int64, err error) {
	err = queryRows(ctx, q, statement, func(scan func(...any) error) error { return scan(&rows) })
	return rows, err
}

// copyStream writes a query in its own order, in one streaming COPY.
func (w *TableWriter) copyStream(ctx context.Context, columns []catalog.Column, from string, rowBytes int64) error {
	if rowBytes <= 0 {
		var err error
		sample := fmt.Sprintf("(SELECT * FROM %s LIMIT %d)", from, sampleRows)
		if rowBytes, err = w.table.session.width(ctx, columns, sample); err != nil {
			return err
		}
	}
	file := filepath.Join(w.dir, "part.parquet")
	rows, err := w.copyOnce(ctx, selectStored(columns, from), file, groupRows(rowBytes))
	if lake.ClassOf(err) == lake.ClassOutOfMemory {
		// The first rows were not like the rest. Slower, with the least that DuckDB can hold.
		if err = w.table.session.exec(ctx, "SET threads = 1"); err == nil {
			rows, err = w.copyOnce(ctx, selectStored(columns, from), file, minGroupRows)
		}
	}
	if err != nil {
		return err
	}
	w.out = &output{files: []string{file}, rows: []int64{rows}}
	if rows > maxPartRows {
		return w.split(ctx, file, rows, groupRows(rowBytes))
	}
	return nil
}

func (w *TableWriter) copyOnce(ctx context.Context, query, file string, group int64) (int64, error) {
	conn, err := w.table.session.open(ctx)
	if err != nil {
		return 0, err
	}
	stop := w.follow(file)
	defer stop()
	return runCopy(ctx, conn, copyStatement(query, file, group))
}

// follow reports the growth of a file while it is written, and pushes it to the disk bit by bit, so
// that the fsync at the end has little left to do.
func (w *TableWriter) follow(file string) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		var flushed int64
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			info, err := os.Stat(file)
			if err != nil {
				continue
			}
			w.table.progress("writing", w.name, 0, info.Size(), 0)
			if info.Size()-flushed >= flushBytes {
				_ = syncFile(file) // the fsync that counts comes at the end
				flushed = info.Size()
			}
		}
	}()
	return func() {
		close(done)
		<-gone
	}
}

func syncFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// split cuts one large file into parts of equal row counts, so that what is appended to a huge table
// leaves its first parts alone.
func (w *TableWriter) split(ctx context.Context, file string, rows, group int64) error {
	out := &output{}
	from := "read_parquet(" + lake.QuoteLiteral(lake.LiteralPath(file)) + ", file_row_number = true)"
	for start := int64(0); start < rows; start += maxPartRows {
		part := filepath.Join(w.dir, fmt.Sprintf("split-%d.parquet", start/maxPartRows))
		query := fmt.Sprintf("SELECT * EXCLUDE (file_row_number) FROM %s WHERE file_row_number >= %d AND file_row_number < %d",
			from, start, start+maxPartRows)
		n, err := w.copyOnce(ctx, query, part, group)
		if err != nil {
			return err
		}
		out.files, out.rows = append(out.files, part), append(out.rows, n)
	}
	w.out = out
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("remove scratch: %w", err)
	}
	return nil
}

// sameRows tells whether two lists of parquet files hold the same rows, in whatever order and layout:
// a parallel COPY does not cut its row groups at the same place every time, and a source without a
// key promises no order. Rows are compared by the sum and the XOR of their 64-bit hashes.
func (s *session) sameRows(ctx context.Context, a, b []string) (bool, error) {
	sums := make([]string, 2)
	for i, files := range [][]string{a, b} {
		query := "SELECT concat_ws(' ', count(*), sum(hash(agnes_row)), bit_xor(hash(agnes_row))) FROM read_parquet(" + lake.QuoteList(literalGlobs(files)) + ") agnes_row"
		err := s.rows(ctx, query, func(scan func(...any) error) error { return scan(&sums[i]) })
		if err != nil {
			return false, err
		}
	}
	return sums[0] == sums[1], nil
}

// errNothing is the error of a connector that returned nil and wrote nothing (trap S2: nothing
// written is not the same as empty).
var errNothing = fault.New(fault.Internal, "the connector wrote nothing: an empty table must be declared with its columns")
