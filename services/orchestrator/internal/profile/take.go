package profile

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Limits of what is looked at.
const (
	sampleRows      = 500_000
	sampleCells     = 20_000_000 // wide tables: fewer rows
	detailedColumns = 300        // columns beyond get counts only
	chunkColumns    = 40         // columns per query
	topValues       = 10
	histogramBins   = 15
	maxQuarters     = 400
	shownRows       = 5
	shownValues     = 5
	shownChars      = 100
)

// Thresholds of alerts, in percent but for the counts of distinct values.
const (
	maxCategorical     = 50
	highMissingPct     = 30
	missingPct         = 5
	zerosAlertPct      = 50
	imbalancePct       = 60
	highCardinalityMin = 50
)

// Options say what to profile, and within which limits.
type Options struct {
	Table catalog.Table
	// Files are the paths of the table's parts, written so that no pattern is expanded.
	Files []string
	// TempDir is where DuckDB spills; MemoryBytes and Threads bound it.
	TempDir     string
	MemoryBytes int64
	Threads     int

	// What the registry knows; all may be empty.
	TableID      string
	PrimaryKey   []string
	SyncStrategy string
}

// taker takes one profile.
type taker struct {
	db   *lake.DB
	opts Options
	out  *Profile
	rows int64 // that are looked at
}

// work is the table of the rows that are looked at.
const work = "agnes_profile"

// Take takes the profile of a local table. A statistic that cannot be taken is left out and hides no
// other.
func Take(ctx context.Context, opts Options) (*Profile, error) {
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: opts.MemoryBytes, Threads: opts.Threads, TempDir: opts.TempDir})
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = db.Close() }()
	t := &taker{db: db, opts: opts, out: &Profile{
		TableID: opts.TableID, Description: opts.Table.Description, PrimaryKey: opts.PrimaryKey, SyncStrategy: opts.SyncStrategy,
		RowCount: opts.Table.Rows, ColumnCount: len(opts.Table.Columns), FileSizeMB: round2(float64(opts.Table.SizeBytes) / (1 << 20)),
		VariableTypes: map[string]int{}, Alerts: []TableAlert{}, Columns: []*Column{}, SampleRows: []map[string]*string{},
	}}
	if err := t.sample(ctx); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := t.columns(ctx); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	t.duplicates(ctx)
	t.shownRows(ctx)
	t.summary()
	return t.out, ctx.Err()
}

// sample copies the rows to look at: all of them, or as many as the limits allow. The same content
// gives the same sample.
func (t *taker) sample(ctx context.Context) error {
	limit := int64(sampleRows)
	if n := int64(len(t.opts.Table.Columns)); n > 0 {
		limit = max(1, min(limit, sampleCells/n))
	}
	from := "SELECT * FROM read_parquet(" + lake.QuoteList(t.opts.Files) + ", union_by_name = true, hive_partitioning = false)"
	if len(t.opts.Files) == 0 {
		columns := make([]string, len(t.opts.Table.Columns))
		for i, c := range t.opts.Table.Columns {
			columns[i] = "CAST(NULL AS " + c.Type + ") AS " + lake.QuoteIdent(c.Name)
		}
		from = "SELECT " + strings.Join(columns, ", ") + " WHERE false"
	}
	if t.opts.Table.Rows > limit {
		t.out.Sampled = true
		from += fmt.Sprintf(" USING SAMPLE reservoir(%d ROWS) REPEATABLE (1)", limit)
	}
	if _, err := t.db.ExecContext(ctx, "CREATE TABLE "+work+" AS "+from); err != nil {
		return lake.Scrub(err)
	}
	return t.row(ctx, "SELECT count(*) FROM "+work, &t.rows)
}

// columns counts in every column, chunk by chunk, and looks closer at the first ones.
func (t *taker) columns(ctx context.Context) error {
	for i, c := range t.opts.Table.Columns {
		p := &Column{Name: c.Name, Type: c.Type, Category: category(c.Type), SampleValues: []string{}, Alerts: []string{}}
		for _, k := range t.opts.PrimaryKey {
			p.IsPrimaryKey = p.IsPrimaryKey || strings.EqualFold(k, c.Name)
		}
		t.out.VariableTypes[p.Category]++
		t.out.Columns = append(t.out.Columns, p)
		if i%chunkColumns == chunkColumns-1 || i == len(t.opts.Table.Columns)-1 {
			t.count(ctx, t.out.Columns[i/chunkColumns*chunkColumns:])
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, c := range t.out.Columns[:min(len(t.out.Columns), detailedColumns)] {
		t.detail(ctx, c)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, c := range t.out.Columns {
		t.alerts(c)
	}
	return nil
}

// count takes the counts of several columns with one query, or of each with its own where that fails.
func (t *taker) count(ctx context.Context, columns []*Column) {
	var list []string
	values := make([]int64, 2*len(columns))
	dest := make([]any, len(values))
	for i, c := range columns {
		q := lake.QuoteIdent(c.Name)
		list = append(list, "count("+q+")", "approx_count_distinct("+q+")")
		dest[2*i], dest[2*i+1] = &values[2*i], &values[2*i+1]
	}
	if err := t.row(ctx, "SELECT "+strings.Join(list, ", ")+" FROM "+work, dest...); err != nil {
		if len(columns) > 1 && ctx.Err() == nil {
			for i := range columns {
				t.count(ctx, columns[i:i+1])
			}
		}
		return
	}
	for i, c := range columns {
		present, distinct := values[2*i], min(values[2*i+1], values[2*i])
		c.NullCount = t.rows - present
		c.CompletenessPct = pct(present, t.rows)
		// The estimate is off by a few percent: where it decides whether a column is a key, count.
		if distinct > maxCategorical && float64(distinct) > 0.9*float64(present) {
			_ = t.row(ctx, "SELECT count(DISTINCT "+lake.QuoteIdent(c.Name)+") FROM "+work, &distinct)
		}
		c.UniqueCount, c.UniquePct = distinct, pct(distinct, present)
	}
}

// detail looks closer at one column. What fails is left out.
func (t *taker) detail(ctx context.Context, c *Column) {
	q := lake.QuoteIdent(c.Name)
	_ = t.each(ctx, fmt.Sprintf("SELECT DISTINCT left(v::VARCHAR, %d) FROM (SELECT %s AS v FROM %s WHERE v IS NOT NULL LIMIT 1000) ORDER BY 1 LIMIT %d",
		shownChars, q, work, shownValues), func(scan func(...any) error) error {
		var v string
		err := scan(&v)
		c.SampleValues = append(c.SampleValues, v)
		return err
	})
	switch c.Category {
	case Numeric:
		t.numeric(ctx, c, q)
	case Date, Timestamp:
		t.dates(ctx, c, q)
	case Boolean:
		t.booleans(ctx, c, q)
	default:
		t.texts(ctx, c, q)
	}
}

func (t *taker) numeric(ctx context.Context, c *Column, q string) {
	s := &NumericStats{}
	values := "(SELECT CASE WHEN isfinite(" + q + "::DOUBLE) THEN " + q + "::DOUBLE END AS v FROM " + work + ")"
	err := t.row(ctx, `SELECT min(v), max(v), avg(v), approx_quantile(v, 0.5), approx_quantile(v, 0.05), approx_quantile(v, 0.25),
		approx_quantile(v, 0.75), approx_quantile(v, 0.95), count(*) FILTER (v = 0), count(*) FILTER (v < 0) FROM `+values,
		&s.Min, &s.Max, &s.Mean, &s.Median, &s.P5, &s.P25, &s.P75, &s.P95, &s.Zeros, &s.Negative)
	if err != nil {
		return
	}
	_ = t.row(ctx, "SELECT stddev(v) FROM "+values, &s.Stddev) // overflows on very large values
	low, high := s.Min, s.Max
	for _, v := range []**float64{&s.Min, &s.Max, &s.Mean, &s.Median, &s.Stddev, &s.P5, &s.P25, &s.P75, &s.P95} {
		*v = finite(*v)
	}
	present := t.rows - c.NullCount
	s.ZerosPct, s.NegativePct = pct(s.Zeros, present), pct(s.Negative, present)
	c.Numeric = s
	if low != nil && high != nil && *high > *low {
		s.Histogram = t.histogram(ctx, values, *low, *high)
	}
}

// histogram counts per bin of equal width between the lowest and the highest value, both included.
func (t *taker) histogram(ctx context.Context, values string, low, high float64) *Histogram {
	width := high/histogramBins - low/histogramBins // the difference of two large values may overflow
	if width <= 0 {
		return nil
	}
	h := &Histogram{Counts: make([]int64, histogramBins)}
	for i := range histogramBins {
		h.Bins = append(h.Bins, short(low+float64(i)*width)+"-"+short(low+float64(i+1)*width))
	}
	err := t.each(ctx, fmt.Sprintf("SELECT least(greatest(floor(v / %[1]v - %[2]v / %[1]v), 0), %[3]d)::BIGINT, count(*) FROM %[4]s WHERE v IS NOT NULL GROUP BY 1",
		literal(width), literal(low), histogramBins-1, values), func(scan func(...any) error) error {
		var bin, n int64
		err := scan(&bin, &n)
		if err == nil {
			h.Counts[bin] = n
		}
		return err
	})
	if err != nil {
		return nil
	}
	return h
}

func (t *taker) texts(ctx context.Context, c *Column, q string) {
	s := &StringStats{}
	var shortest, longest sql.NullInt64
	var average sql.NullFloat64
	text := "(SELECT " + q + "::VARCHAR AS v FROM " + work + " WHERE " + q + " IS NOT NULL)"
	if t.row(ctx, "SELECT min(length(v)), max(length(v)), avg(length(v)) FROM "+text, &shortest, &longest, &average) != nil {
		return
	}
	s.MinLength, s.MaxLength, s.AvgLength = shortest.Int64, longest.Int64, round2(average.Float64)
	c.String = s
	if c.UniqueCount > maxCategorical {
		return
	}
	present := t.rows - c.NullCount
	_ = t.each(ctx, fmt.Sprintf("SELECT left(v, %d), count(*) AS n FROM %s GROUP BY v ORDER BY n DESC, v LIMIT %d", shownChars, text, topValues),
		func(scan func(...any) error) error {
			var v TopValue
			err := scan(&v.Value, &v.Count)
			v.Pct = pct(v.Count, present)
			s.TopValues = append(s.TopValues, v)
			return err
		})
}

func (t *taker) dates(ctx context.Context, c *Column, q string) {
	var first, last sql.NullString
	var days sql.NullInt64
	values := "(SELECT " + q + " AS v FROM " + work + " WHERE isfinite(" + q + "))"
	err := t.row(ctx, "SELECT min(v)::VARCHAR, max(v)::VARCHAR, date_diff('day', min(v), max(v)) FROM "+values, &first, &last, &days)
	if err != nil || !first.Valid {
		return
	}
	c.Date = &DateStats{Earliest: first.String, Latest: last.String, SpanDays: days.Int64}
	h := &Histogram{}
	err = t.each(ctx, fmt.Sprintf("SELECT year(v) || '-Q' || quarter(v) AS b, count(*) FROM %s GROUP BY b, year(v), quarter(v) ORDER BY year(v), quarter(v) LIMIT %d", values, maxQuarters),
		func(scan func(...any) error) error {
			var bin string
			var n int64
			err := scan(&bin, &n)
			h.Bins, h.Counts = append(h.Bins, bin), append(h.Counts, n)
			return err
		})
	if err == nil {
		c.Date.Histogram = h
	}
}

func (t *taker) booleans(ctx context.Context, c *Column, q string) {
	b := &BooleanStats{}
	if t.row(ctx, "SELECT count(*) FILTER ("+q+"), count(*) FILTER (NOT "+q+") FROM "+work, &b.TrueCount, &b.FalseCount) == nil {
		b.TruePct = pct(b.TrueCount, b.TrueCount+b.FalseCount)
		c.Boolean = b
	}
}

// duplicates counts the rows beyond the first of each primary key.
func (t *taker) duplicates(ctx context.Context) {
	if len(t.opts.PrimaryKey) == 0 {
		return
	}
	keys := make([]string, len(t.opts.PrimaryKey))
	for i, k := range t.opts.PrimaryKey {
		keys[i] = lake.QuoteIdent(k)
	}
	var n int64
	if t.row(ctx, "SELECT count(*) FROM (SELECT DISTINCT "+strings.Join(keys, ", ")+" FROM "+work+")", &n) == nil {
		t.out.DuplicateRows = t.rows - n
	}
}

func (t *taker) shownRows(ctx context.Context) {
	columns := t.out.Columns[:min(len(t.out.Columns), detailedColumns)]
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = fmt.Sprintf("left(%s::VARCHAR, %d)", lake.QuoteIdent(c.Name), shownChars)
	}
	if len(list) == 0 {
		return
	}
	_ = t.each(ctx, fmt.Sprintf("SELECT %s FROM %s LIMIT %d", strings.Join(list, ", "), work, shownRows), func(scan func(...any) error) error {
		values := make([]*string, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		err := scan(dest...)
		row := make(map[string]*string, len(columns))
		for i, c := range columns {
			row[c.Name] = values[i]
		}
		t.out.SampleRows = append(t.out.SampleRows, row)
		return err
	})
}

func (t *taker) summary() {
	var complete float64
	for _, c := range t.out.Columns {
		t.out.MissingCells += c.NullCount
		complete += c.CompletenessPct
		if t.out.DateRange == nil && c.Date != nil {
			t.out.DateRange = &DateRange{Column: c.Name, Earliest: c.Date.Earliest, Latest: c.Date.Latest, SpanDays: c.Date.SpanDays}
		}
	}
	if n := int64(len(t.out.Columns)); n > 0 {
		t.out.AvgCompleteness = round2(complete / float64(n))
		t.out.MissingCellsPct = pct(t.out.MissingCells, n*t.rows)
	}
}

// row scans the one row of a query.
func (t *taker) row(ctx context.Context, query string, dest ...any) error {
	return lake.Scrub(t.db.QueryRowContext(ctx, query).Scan(dest...))
}

func (t *taker) each(ctx context.Context, query string, one func(scan func(...any) error) error) error {
	rows, err := t.db.QueryContext(ctx, query)
	if err != nil {
		return lake.Scrub(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := one(rows.Scan); err != nil {
			return lake.Scrub(err)
		}
	}
	return lake.Scrub(rows.Err())
}
