package keboola

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// providers are those of a column's metadata whose word on its type counts, the first one that has one;
// "storage" is Keboola itself, of tables that have types.
var providers = []string{"user", "ai-metadata-enrichment", "keboola.snowflake-transformation", "storage"}

// Keys of metadata.
const (
	keyBaseType    = "KBC.datatype.basetype"
	keyType        = "KBC.datatype.type"
	keyLength      = "KBC.datatype.length"
	keyDescription = "KBC.description"
)

// Types of DuckDB that columns become.
const (
	typeText      = "VARCHAR"
	typeInteger   = "BIGINT"
	typeDouble    = "DOUBLE"
	typeBoolean   = "BOOLEAN"
	typeDate      = "DATE"
	typeTimestamp = "TIMESTAMP"
	typeInstant   = "TIMESTAMP WITH TIME ZONE"
)

// words are the types of Keboola, of its basetypes and of the backends, without a length.
var words = map[string]string{
	"STRING": typeText, "VARCHAR": typeText, "TEXT": typeText, "CHAR": typeText,
	"INTEGER": typeInteger, "INT": typeInteger, "INT64": typeInteger, "BIGINT": typeInteger, "SMALLINT": typeInteger, "TINYINT": typeInteger,
	"NUMERIC": typeDouble, "DECIMAL": typeDouble, "NUMBER": typeDouble, "FLOAT": typeDouble, "FLOAT64": typeDouble, "DOUBLE": typeDouble, "REAL": typeDouble,
	"BOOLEAN": typeBoolean, "BOOL": typeBoolean, "DATE": typeDate,
	"TIMESTAMP": typeTimestamp, "TIMESTAMP_NTZ": typeTimestamp, "DATETIME": typeTimestamp,
	"TIMESTAMP_TZ": typeInstant, "TIMESTAMP_LTZ": typeInstant, "TIMESTAMPTZ": typeInstant,
}

// column is a column of a table.
type column struct {
	name       string
	columnType string
	typed      bool // what is read has the type already
}

func (c column) ident() string { return lake.QuoteIdent(c.name) }

// columnsOf gives the columns of a table, those that are selected (all where none are), and their types.
func columnsOf(t storage.Table, selected []string, order []string) ([]column, error) {
	metadata := t.ColumnMetadata
	if len(metadata) == 0 && t.Source != nil {
		metadata = t.Source.ColumnMetadata // an alias has none of its own
	}
	if len(selected) == 0 {
		selected = t.Columns
	}
	out := make([]column, len(selected))
	seen := map[string]bool{}
	for i, name := range selected {
		if !slices.Contains(t.Columns, name) {
			return nil, fault.New(fault.Invalid, "the table %s has no column %q in Keboola", t.ID, name)
		}
		lower := strings.ToLower(name)
		if seen[lower] {
			return nil, fault.New(fault.Invalid, "the table %s has two columns whose names differ in case only (%s): select one of them with `columns`", t.ID, name)
		}
		seen[lower] = true
		out[i] = column{name: name, columnType: typeOf(metadata[name], order)}
	}
	return out, nil
}

// typeOf is the type that metadata gives a column; text where nobody says otherwise (trap K2).
func typeOf(entries []storage.Metadata, order []string) string {
	for _, provider := range order {
		base, exact, length := value(entries, provider, keyBaseType), value(entries, provider, keyType), value(entries, provider, keyLength)
		if base == "" && exact == "" {
			continue
		}
		if base == "" {
			base = exact
		}
		base, length = splitLength(base, length)
		exact, length = splitLength(exact, length)
		t := words[base]
		switch {
		case t == typeTimestamp && words[exact] == typeInstant:
			return typeInstant // the basetype does not tell them apart
		case t == typeDouble && (base == "NUMERIC" || base == "DECIMAL" || base == "NUMBER"):
			return decimal(length)
		case t == "":
			return typeText
		}
		return t
	}
	return typeText
}

var lengthOf = regexp.MustCompile(`\A\s*(\d+)\s*(?:,\s*(\d+)\s*)?\z`)

// splitLength takes the length from a type such as NUMBER(12,2).
func splitLength(text, length string) (word, of string) {
	text = strings.ToUpper(strings.TrimSpace(text))
	word, rest, found := strings.Cut(text, "(")
	if found && length == "" {
		length = strings.TrimSuffix(rest, ")")
	}
	return strings.TrimSpace(word), length
}

// decimal is the type of exact numbers of a length; without one, or where DuckDB has none as long, DOUBLE.
func decimal(length string) string {
	m := lengthOf.FindStringSubmatch(length)
	if m == nil {
		return typeDouble
	}
	precision, _ := strconv.Atoi(m[1])
	scale, _ := strconv.Atoi(m[2])
	if precision < 1 || precision > 38 || scale > precision {
		return typeDouble
	}
	return fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)
}

func value(entries []storage.Metadata, provider, key string) string {
	for _, e := range entries {
		if e.Provider == provider && e.Key == key {
			return e.Value
		}
	}
	return ""
}

// signature tells two lists of columns apart.
func signature(columns []column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.ident() + " " + c.columnType
	}
	return strings.Join(list, ", ")
}

// cast is the SQL that makes a value of its text; try makes NULL of a text that is none of the type, where
// the query fails otherwise. An empty text, which files without types have for a missing value, is NULL.
func (c column) cast(try bool) string {
	to := "CAST"
	if try {
		to = "TRY_CAST"
	}
	text := "nullif(" + c.ident() + ", '')"
	switch {
	case c.columnType == typeText || c.typed:
		return c.ident()
	case c.columnType == typeInteger:
		// DuckDB rounds 1.5 to 2, which is another number.
		otherwise := "CAST(text || ' is no integer' AS BIGINT)"
		if try {
			otherwise = "NULL"
		}
		otherwise = strings.ReplaceAll(otherwise, "text", text)
		return fmt.Sprintf("CASE WHEN contains(%s, '.') AND TRY_CAST(%s AS DOUBLE) IS DISTINCT FROM TRY_CAST(%s AS BIGINT)::DOUBLE THEN %s ELSE %s(%s AS BIGINT) END",
			text, text, text, otherwise, to, text)
	case c.columnType == typeTimestamp:
		// An offset counts: what is left is the time in UTC.
		return fmt.Sprintf("CASE WHEN regexp_matches(%s, '%s') THEN %s(%s AS TIMESTAMPTZ) AT TIME ZONE 'UTC' ELSE %s(%s AS TIMESTAMP) END", text, offset, to, tight(text), to, text)
	case c.columnType == typeInstant:
		return to + "(" + tight(text) + " AS TIMESTAMPTZ)"
	}
	return to + "(" + text + " AS " + c.columnType + ")"
}

// offset matches a time with an offset to UTC at its end.
const offset = `[:.]\d+\s*(Z|[+-]\d\d(:?\d\d)?)$`

// tight writes the offset of a time as DuckDB reads it: 10:00:00 +0200, as Snowflake writes it, is 10:00:00+02:00.
func tight(text string) string {
	return "regexp_replace(" + text + `, '([:.]\d+)\s*([+-]\d\d):?(\d\d)$', '\1\2:\3')`
}

// failed is the SQL that tells whether a text is none of the column's type; empty for text.
func (c column) failed() string {
	if c.columnType == typeText || c.typed {
		return ""
	}
	return "(nullif(" + c.ident() + ", '') IS NOT NULL AND (" + c.cast(true) + ") IS NULL)"
}
