package csv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/charset"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
)

// What to do with a bad row.
const (
	onErrorFail   = "fail"   // the table fails, and its last good version stays
	onErrorReject = "reject" // the row goes to <table>__rejects
)

// list is a text or a list of texts.
type list []string

// UnmarshalJSON takes both.
func (l *list) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*l = list{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return fmt.Errorf("a text or a list of texts is wanted, not %.40s", raw)
	}
	*l = many
	return nil
}

// tableOptions are how the files of a table are read. A source has them too, as defaults.
type tableOptions struct {
	Format          string            `json:"format"`
	Delimiter       *string           `json:"delimiter"`
	Quote           *string           `json:"quote"`
	Escape          *string           `json:"escape"`
	Header          *bool             `json:"header"`
	Skip            int               `json:"skip"`
	Encoding        string            `json:"encoding"`
	NullValues      list              `json:"null_values"`
	Columns         map[string]string `json:"columns"`
	DateFormat      string            `json:"date_format"`
	TimestampFormat string            `json:"timestamp_format"`
	OnError         string            `json:"on_error"`
	UnionByName     *bool             `json:"union_by_name"`

	// required are the columns that were named for the table itself, not as a default of the source:
	// they must be there.
	required []string
}

// configuredTable is an entry of `tables`.
type configuredTable struct {
	Path        list   `json:"path"`
	Description string `json:"description"`
	PrimaryKey  list   `json:"primary_key"`
	tableOptions
}

// sourceOptions are the options of a source.
type sourceOptions struct {
	Path   list                       `json:"path"`
	Tables map[string]json.RawMessage `json:"tables"`
	tableOptions

	tables map[string]configuredTable
}

// readOptions decodes and checks the options of a source.
func readOptions(cfg extract.SourceConfig) (*sourceOptions, error) {
	o := &sourceOptions{tables: map[string]configuredTable{}}
	if err := cfg.Decode(o); err != nil {
		return nil, err
	}
	if len(o.Path) == 0 && len(o.Tables) == 0 {
		return nil, fault.New(fault.Invalid, "the source %s needs a `path`: a folder, a glob or a list of them", cfg.Name)
	}
	if _, err := o.reading(); err != nil {
		return nil, fault.New(fault.Invalid, "the source %s: %s", cfg.Name, err)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Tables)) {
		t := configuredTable{tableOptions: o.inherited()}
		err := decodeStrictly(o.Tables[name], &t)
		t.require(o.Tables[name])
		if err == nil {
			_, err = t.reading()
		}
		if err == nil {
			err = naming.Valid(name)
		}
		if err != nil {
			return nil, fault.New(fault.Invalid, "the source %s: tables.%s: %s", cfg.Name, name, err)
		}
		o.tables[name] = t
	}
	return o, nil
}

// inherited copies the options, so that a table can change its own.
func (o tableOptions) inherited() tableOptions {
	o.Columns = maps.Clone(o.Columns)
	return o
}

// with gives the options after those that the registry has for the table.
func (o tableOptions) with(spec extract.TableSpec) (tableOptions, error) {
	o = o.inherited()
	if len(spec.Options) > 0 {
		if _, found := spec.Options["path"]; found {
			return o, fault.New(fault.Invalid, "the table %s: which files are read is set in instance.yaml only", spec.Name)
		}
		if err := spec.Decode(&o); err != nil {
			return o, err
		}
		raw, err := json.Marshal(spec.Options)
		if err != nil {
			return o, fmt.Errorf("options of the table %s: %w", spec.Name, err)
		}
		o.require(raw)
	}
	return o, nil
}

// require notes the columns that the options of a table name.
func (o *tableOptions) require(raw json.RawMessage) {
	var own struct {
		Columns map[string]string `json:"columns"`
	}
	if json.Unmarshal(raw, &own) != nil {
		return // the strict decoding tells
	}
	o.required = append(slices.Clone(o.required), slices.Sorted(maps.Keys(own.Columns))...)
}

func decodeStrictly(raw json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		field := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
		return fmt.Errorf("%s: a %s is wanted, not a %s", field, wrong.Type, wrong.Value)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// reading is how files are read, checked.
type reading struct {
	format   string // empty: by the name of the file
	hints    records.Hints
	encoding *charset.Encoding // nil: to be found
	columns  map[string]string // declared types by lower-case name
	required []string          // columns that must be there
	reject   bool
	union    bool
}

var (
	typeName = regexp.MustCompile(`\A[A-Za-z][A-Za-z0-9_]*( [A-Za-z]+)*( ?\( ?[0-9]+( ?, ?[0-9]+)? ?\))?(\[[0-9]*\])*\z`)
	formats  = map[string]string{
		"": "", "csv": naming.CSV, "tsv": naming.TSV, "json": naming.JSON, "ndjson": naming.JSON, "jsonl": naming.JSON, "parquet": naming.Parquet,
	}
)

// reading checks the options.
func (o tableOptions) reading() (*reading, error) {
	r := &reading{columns: map[string]string{}, required: o.required, union: o.UnionByName == nil || *o.UnionByName}
	var known bool
	if r.format, known = formats[strings.ToLower(o.Format)]; !known {
		return nil, fmt.Errorf("format: %q is not one of csv, tsv, ndjson, json and parquet", o.Format)
	}
	switch o.OnError {
	case "", onErrorFail:
	case onErrorReject:
		r.reject = true
	default:
		return nil, fmt.Errorf("on_error: %q is neither fail nor reject", o.OnError)
	}
	if o.Encoding != "" {
		e, err := charset.Named(o.Encoding)
		if err != nil {
			return nil, fmt.Errorf("encoding: %w", err)
		}
		r.encoding = &e
	}
	for name, columnType := range o.Columns {
		if !typeName.MatchString(columnType) {
			return nil, fmt.Errorf("columns: %q is not the name of a type", columnType)
		}
		r.columns[strings.ToLower(name)] = columnType
	}
	return r, o.text(r)
}

// text checks the options of delimited text.
func (o tableOptions) text(r *reading) error {
	h := &r.hints
	h.Header, h.Skip, h.Nulls = o.Header, o.Skip, o.NullValues
	if o.Skip < 0 {
		return fmt.Errorf("skip: %d is less than no lines", o.Skip)
	}
	for name, c := range map[string]struct {
		option *string
		to     *byte
	}{"delimiter": {o.Delimiter, &h.Delimiter}, "quote": {o.Quote, &h.Quote}, "escape": {o.Escape, &h.Escape}} {
		if c.option == nil {
			continue
		}
		b, err := character(*c.option)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*c.to = b
	}
	h.NoQuote = o.Quote != nil && *o.Quote == ""
	if o.Delimiter != nil && h.Delimiter == 0 {
		return errors.New("delimiter: it is empty")
	}
	if o.Delimiter != nil {
		d := records.Dialect{Delimiter: h.Delimiter, Quote: h.Quote, Escape: h.Escape, Newline: '\n'}
		if !h.NoQuote && d.Quote == 0 {
			d.Quote = '"'
		}
		if err := d.Validate(); err != nil {
			return err
		}
	}
	var err error
	if o.DateFormat != "" {
		if h.Formats.Date, err = kind.ParseLayout(o.DateFormat); err != nil {
			return fmt.Errorf("date_format: %w", err)
		}
		if h.Formats.Date.HasTime {
			return fmt.Errorf("date_format: %q holds a time of day; that is a timestamp_format", o.DateFormat)
		}
	}
	if o.TimestampFormat != "" {
		if h.Formats.Stamp, err = kind.ParseLayout(o.TimestampFormat); err != nil {
			return fmt.Errorf("timestamp_format: %w", err)
		}
	}
	return nil
}

// character reads one ASCII character; a tab may be written as \t or tab.
func character(s string) (byte, error) {
	switch s {
	case `\t`, "tab":
		return '\t', nil
	case "":
		return 0, nil
	}
	if len(s) != 1 || s[0] >= 0x80 {
		return 0, fmt.Errorf("one ASCII character is wanted, not %q", s)
	}
	return s[0], nil
}
