package extract

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// A table with a primary key is written sorted by it and cut into segments where the hash of a key is
// divisible by a power of two. A boundary depends on one key only, so that an insert, an update or a
// delete touches the segment it falls into and leaves the bytes of the others as they are.
const (
	segmentsAim     = 64       // the most segments that are expected; chance makes it up to about 100
	segmentBytes    = 16 << 20 // below this, uncompressed, a segment is not worth a file
	minSegmentRows  = 256
	maxSegmentFloor = 1 << 15
)

// modulus is what hashes are divided by for a table of so many rows of a width; 0 means one part.
// It is a power of two, so the boundaries of a larger table are among those of a smaller one.
func modulus(rows, rowBytes int64) int64 {
	m := floorPow2(min(max(segmentBytes/max(rowBytes, 1), minSegmentRows), maxSegmentFloor))
	if rows < 2*m {
		return 0
	}
	for rows/m > segmentsAim {
		m *= 2
	}
	return m
}

// keyColumns finds the columns of a primary key, whatever case the registry writes them in.
func keyColumns(columns []catalog.Column, key []string) ([]string, error) {
	out := make([]string, len(key))
	for i, name := range key {
		for _, c := range columns {
			if c.Name == name || (out[i] == "" && strings.EqualFold(c.Name, name)) {
				out[i] = lake.QuoteIdent(c.Name)
			}
		}
		if out[i] == "" {
			return nil, fault.New(fault.Invalid, "the primary key names the column %q, which the table does not have", name)
		}
	}
	return out, nil
}

func ascending(key []string) string {
	order := make([]string, len(key))
	for i, k := range key {
		order[i] = k + " ASC NULLS LAST"
	}
	return strings.Join(order, ", ")
}

// copySorted writes a query sorted by the table's primary key, in segments.
func (w *TableWriter) copySorted(ctx context.Context, columns []catalog.Column, from string) error {
	key, err := keyColumns(columns, w.spec.PrimaryKey)
	if err != nil {
		return err
	}
	s := w.table.session
	if err := s.stage(ctx); err != nil {
		return err
	}
	w.table.progress("reading", w.name, 0, 0, 0)
	sorted := stageTable("sorted_" + w.name)
	if err := s.exec(ctx, "CREATE TABLE "+sorted+" AS "+selectStored(columns, from)+" ORDER BY "+ascending(key)); err != nil {
		return err
	}
	plan, err := w.planSegments(ctx, key, sorted)
	if err != nil {
		return err
	}
	if err := w.writeSegments(ctx, plan); err != nil {
		return err
	}
	w.out.duplicates = plan.duplicates
	return s.exec(ctx, "DROP TABLE "+sorted)
}

// segments is how a sorted table is cut.
type segments struct {
	table      string
	order      string
	group      int64 // rows of a row group
	starts     []int64
	rows       int64
	duplicates int64 // rows whose key the row before has
}

func (w *TableWriter) planSegments(ctx context.Context, key []string, sorted string) (segments, error) {
	s := w.table.session
	p := segments{table: sorted, order: ascending(key)}
	columns, err := columnsOf(ctx, s.conn, "FROM "+sorted)
	if err != nil {
		return p, err
	}
	var width int64
	measure := "SELECT count(*), CAST(coalesce(avg(" + widthOf(columns) + "), 0) AS BIGINT) FROM " + sorted
	if err := s.rows(ctx, measure, func(scan func(...any) error) error { return scan(&p.rows, &width) }); err != nil {
		return p, err
	}
	p.group = groupRows(width)
	if p.duplicates, err = s.countDuplicates(ctx, key, sorted); err != nil {
		return p, err
	}
	if p.duplicates > 0 {
		// Rows of one key have no order of their own: the other columns give one, so that equal
		// input stays byte-equal.
		all := make([]string, len(columns))
		for i, c := range columns {
			all[i] = lake.QuoteIdent(c.Name)
		}
		p.order += ", " + ascending(all)
	}
	p.starts = []int64{0}
	m := modulus(p.rows, width)
	if m == 0 {
		return p, nil
	}
	keys := strings.Join(key, ", ")
	query := fmt.Sprintf("SELECT min(rowid) AS start FROM %s WHERE hash(%s) %% %d = 0 GROUP BY %s ORDER BY start", sorted, keys, m, keys)
	err = s.rows(ctx, query, func(scan func(...any) error) error {
		var start int64
		if err := scan(&start); err != nil {
			return err
		}
		if start > 0 {
			p.starts = append(p.starts, start)
		}
		return nil
	})
	return p, err
}

// countDuplicates counts the rows of a sorted table whose key the row before has too.
func (s *session) countDuplicates(ctx context.Context, key []string, sorted string) (int64, error) {
	same := make([]string, len(key))
	for i, k := range key {
		same[i] = fmt.Sprintf("%s IS NOT DISTINCT FROM lag(%s) OVER ()", k, k)
	}
	query := "SELECT count(*) FROM (SELECT " + strings.Join(same, " AND ") + " AS same, row_number() OVER () AS n FROM " + sorted + ") WHERE same AND n > 1"
	var count int64
	err := s.rows(ctx, query, func(scan func(...any) error) error { return scan(&count) })
	return count, err
}

// writeSegments copies the segments side by side, each on one thread: the bytes then depend on the
// rows alone.
func (w *TableWriter) writeSegments(ctx context.Context, p segments) error {
	s := w.table.session
	if err := s.exec(ctx, "SET GLOBAL threads = 1"); err != nil {
		return err
	}
	out := &output{files: make([]string, len(p.starts)), rows: make([]int64, len(p.starts))}
	group, copyCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.threads))
	for i, start := range p.starts {
		end := p.rows
		if i+1 < len(p.starts) {
			end = p.starts[i+1]
		}
		out.files[i] = filepath.Join(w.dir, fmt.Sprintf("segment-%d.parquet", i))
		query := fmt.Sprintf("SELECT * FROM %s WHERE rowid >= %d AND rowid < %d ORDER BY %s", p.table, start, end, p.order)
		group.Go(func() error {
			n, err := runCopy(copyCtx, s.instance.db, copyStatement(query, out.files[i], p.group))
			if err == nil && n != end-start {
				err = fault.New(fault.Internal, "a segment has %d rows instead of %d", n, end-start)
			}
			out.rows[i] = n
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.out = out
	return s.exec(ctx, fmt.Sprintf("SET GLOBAL threads = %d", max(1, s.threads)))
}
