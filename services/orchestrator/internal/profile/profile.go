// Package profile takes the profile of a table: what its columns hold, how complete they are and how
// their values are spread. The shape is that of the predecessor's profiles, so that its readers keep
// working; values that only the registry or the catalog of metrics know are left to the api.
package profile

import (
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/structpb"
)

// Profile of a table. Percentages and averages have two decimals. All figures but RowCount are over
// the rows that were looked at: a sample, where Sampled says so.
type Profile struct {
	TableID         string         `json:"table_id"`
	Description     string         `json:"description,omitempty"`
	PrimaryKey      []string       `json:"primary_key,omitempty"`
	SyncStrategy    string         `json:"sync_strategy,omitempty"`
	RowCount        int64          `json:"row_count"`
	ColumnCount     int            `json:"column_count"`
	FileSizeMB      float64        `json:"file_size_mb"`
	AvgCompleteness float64        `json:"avg_completeness"`
	MissingCells    int64          `json:"missing_cells"`
	MissingCellsPct float64        `json:"missing_cells_pct"`
	DuplicateRows   int64          `json:"duplicate_rows"`
	VariableTypes   map[string]int `json:"variable_types"`
	DateRange       *DateRange     `json:"date_range"`
	Alerts          []TableAlert   `json:"alerts"`
	Sampled         bool           `json:"sampled"`
	// Shortened says that details were left out, for the profile would not fit into an event.
	Shortened  bool                 `json:"shortened,omitempty"`
	Columns    []*Column            `json:"columns"`
	SampleRows []map[string]*string `json:"sample_rows"`
}

// DateRange is the span of the first date column.
type DateRange struct {
	Column   string `json:"column"`
	Earliest string `json:"earliest"`
	Latest   string `json:"latest"`
	SpanDays int64  `json:"span_days"`
}

// TableAlert is something about a column that a reader should know.
type TableAlert struct {
	Column  string `json:"column"`
	Type    string `json:"type"`
	Message string `json:"message"`
}

// Column is the profile of one column. UniqueCount is an estimate where it is large.
type Column struct {
	Name            string        `json:"name"`
	Type            string        `json:"type"`
	Category        string        `json:"type_category"`
	CompletenessPct float64       `json:"completeness_pct"`
	NullCount       int64         `json:"null_count"`
	UniqueCount     int64         `json:"unique_count"`
	UniquePct       float64       `json:"unique_pct"`
	SampleValues    []string      `json:"sample_values"`
	IsPrimaryKey    bool          `json:"is_primary_key"`
	Alerts          []string      `json:"alerts"`
	Numeric         *NumericStats `json:"numeric_stats,omitempty"`
	String          *StringStats  `json:"string_stats,omitempty"`
	Date            *DateStats    `json:"date_stats,omitempty"`
	Boolean         *BooleanStats `json:"boolean_stats,omitempty"`
}

// NumericStats are over the finite values. A figure that is none, such as the mean of nothing, is null.
type NumericStats struct {
	Min         *float64   `json:"min"`
	Max         *float64   `json:"max"`
	Mean        *float64   `json:"mean"`
	Median      *float64   `json:"median"`
	Stddev      *float64   `json:"stddev"`
	P5          *float64   `json:"p5"`
	P25         *float64   `json:"p25"`
	P75         *float64   `json:"p75"`
	P95         *float64   `json:"p95"`
	Zeros       int64      `json:"zeros"`
	ZerosPct    float64    `json:"zeros_pct"`
	Negative    int64      `json:"negative"`
	NegativePct float64    `json:"negative_pct"`
	Histogram   *Histogram `json:"histogram,omitempty"`
}

// Histogram counts values per bin, in order.
type Histogram struct {
	Bins   []string `json:"bins"`
	Counts []int64  `json:"counts"`
}

// StringStats are over the texts, in characters.
type StringStats struct {
	MinLength int64      `json:"min_length"`
	MaxLength int64      `json:"max_length"`
	AvgLength float64    `json:"avg_length"`
	TopValues []TopValue `json:"top_values,omitempty"`
}

// TopValue is a frequent value.
type TopValue struct {
	Value string  `json:"value"`
	Count int64   `json:"count"`
	Pct   float64 `json:"pct"`
}

// DateStats are over the finite dates; the histogram is by quarter.
type DateStats struct {
	Earliest  string     `json:"earliest"`
	Latest    string     `json:"latest"`
	SpanDays  int64      `json:"span_days"`
	Histogram *Histogram `json:"histogram,omitempty"`
}

// BooleanStats counts.
type BooleanStats struct {
	TrueCount  int64   `json:"true_count"`
	FalseCount int64   `json:"false_count"`
	TruePct    float64 `json:"true_pct"`
}

// maxBytes keeps an event below the payload that a NATS server accepts by default, 1 MiB.
const maxBytes = 768 << 10

// Struct gives the profile as an event carries it, with less detail where it would be too large.
func (p *Profile) Struct() (*structpb.Struct, error) {
	raw, err := json.Marshal(p)
	for step := 0; err == nil && len(raw) > maxBytes && step < len(shortenings); step++ {
		p.Shortened = true
		shortenings[step](p)
		raw, err = json.Marshal(p)
	}
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	out := &structpb.Struct{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	return out, nil
}

// shortenings are what is left out of a profile that is too large, least useful first.
var shortenings = []func(*Profile){
	func(p *Profile) { p.SampleRows = nil },
	func(p *Profile) {
		for _, c := range p.Columns {
			c.SampleValues = nil
			if c.String != nil {
				c.String.TopValues = nil
			}
		}
	},
	func(p *Profile) {
		for _, c := range p.Columns {
			if c.Numeric != nil {
				c.Numeric.Histogram = nil
			}
			if c.Date != nil {
				c.Date.Histogram = nil
			}
		}
	},
	func(p *Profile) { p.Alerts = nil },
	func(p *Profile) { p.Columns = p.Columns[:min(len(p.Columns), 1000)] },
}

// finite gives a figure with two decimals; nil for one that JSON cannot hold.
func finite(v *float64) *float64 {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return nil
	}
	r := round2(*v)
	return &r
}

func round2(v float64) float64 {
	if r := math.Round(v*100) / 100; !math.IsInf(r, 0) && !math.IsNaN(r) {
		return r
	}
	return v
}

func pct(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return round2(100 * float64(part) / float64(whole))
}
