package csv

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// declared is a column whose type the configuration says.
type declared struct {
	columnType string
	// fits tells why a text cannot become the type, or "". It is nil for types that only DuckDB knows.
	fits func(value []byte) string
	// expr is the SQL that makes the type of a text; nil for a cast.
	expr func(ident string) string
}

var integers = map[string]struct {
	bits   uint
	signed bool
}{
	"TINYINT": {8, true}, "INT1": {8, true}, "SMALLINT": {16, true}, "INT2": {16, true}, "SHORT": {16, true},
	"INTEGER": {32, true}, "INT": {32, true}, "INT4": {32, true}, "SIGNED": {32, true},
	"BIGINT": {64, true}, "INT8": {64, true}, "LONG": {64, true}, "HUGEINT": {128, true}, "INT128": {128, true},
	"UTINYINT": {8, false}, "USMALLINT": {16, false}, "UINTEGER": {32, false}, "UBIGINT": {64, false}, "UHUGEINT": {128, false},
}

// declare makes a column of a declared type. DuckDB's casts are more generous than they should be:
// they round 1.5 to a whole number, cut the time off a date and the zone off a timestamp. Where that
// would happen the value does not fit.
func declare(columnType string, f *kind.Formats) declared {
	d := declared{columnType: columnType}
	name := strings.ToUpper(strings.Join(strings.Fields(columnType), " "))
	switch name {
	case "VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR":
		d.columnType = "VARCHAR"
		d.fits = func([]byte) string { return "" }
	case "DATE":
		d.moment(f, f.Date, kind.Date, kind.DateAs)
	case "TIMESTAMP", "DATETIME", "TIMESTAMP WITHOUT TIME ZONE":
		d.columnType = "TIMESTAMP"
		d.moment(f, unzoned(f.Stamp), kind.Stamp, kind.StampAs)
	case "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE":
		d.columnType = "TIMESTAMP WITH TIME ZONE"
		d.moment(f, zoned(f.Stamp), kind.StampTZ, kind.StampAs)
	default:
		if i, found := integers[name]; found {
			d.fits = wholeNumber(columnType, i.bits, i.signed)
		}
	}
	return d
}

func zoned(l *kind.Layout) *kind.Layout {
	if l != nil && l.Zoned {
		return l
	}
	return nil
}

func unzoned(l *kind.Layout) *kind.Layout {
	if l != nil && !l.Zoned {
		return l
	}
	return nil
}

// moment reads ISO texts, or those of the configured layout where there is one.
func (d *declared) moment(f *kind.Formats, layout *kind.Layout, iso, as kind.Set) {
	want := iso
	if layout != nil {
		want |= as
		d.expr = func(ident string) string {
			return fmt.Sprintf("CASE WHEN TRY_CAST(%s AS %s) IS NOT NULL THEN CAST(%s AS %s) ELSE %s END",
				ident, d.columnType, ident, d.columnType, strptime(ident, layout, d.columnType))
		}
		if iso == kind.Date { // 01/02/2024 is no ISO date, but 2024/01/02 may be meant by the layout
			d.expr = func(ident string) string { return strptime(ident, layout, d.columnType) }
			want = as
		}
	}
	columnType := d.columnType
	d.fits = func(v []byte) string {
		if f.Of(v, want) != 0 {
			return ""
		}
		hint := ""
		switch {
		case iso == kind.Stamp && f.Of(v, kind.StampTZ) != 0:
			hint = ": it has a zone, which TIMESTAMPTZ keeps"
		case iso == kind.StampTZ && f.Of(v, kind.Stamp) != 0:
			hint = ": it has no zone"
		case iso == kind.Date && f.Of(v, kind.Stamp|kind.StampTZ) != 0:
			hint = ": it has a time of day"
		case layout == nil:
			hint = ": dates are read as YYYY-MM-DD unless date_format or timestamp_format says otherwise"
		}
		return misfit(v, columnType) + hint
	}
}

// strptime is the SQL that reads a text in a layout.
func strptime(ident string, layout *kind.Layout, columnType string) string {
	return "CAST(strptime(trim(" + ident + "), " + quote(layout.String()) + ") AS " + columnType + ")"
}

// misfit says that a value does not fit, without quoting a novel.
func misfit(v []byte, columnType string) string {
	text := strings.ToValidUTF8(string(v), "?")
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "…"
	}
	article := "a"
	if strings.ContainsRune("AEIO", rune(strings.ToUpper(columnType)[0])) {
		article = "an"
	}
	return fmt.Sprintf("%q is not %s %s", text, article, columnType)
}

// wholeNumber accepts what DuckDB reads as the same number: digits, with a sign and leading zeros if
// need be.
func wholeNumber(columnType string, bits uint, signed bool) func([]byte) string {
	limit := new(big.Int).Lsh(big.NewInt(1), bits)
	low := new(big.Int)
	if signed {
		limit.Rsh(limit, 1)
		low.Neg(limit)
	}
	return func(v []byte) string {
		text := strings.Trim(string(v), " ")
		digits := strings.TrimLeft(text, "+-")
		if len(text)-len(digits) > 1 || digits == "" || strings.Trim(digits, "0123456789") != "" {
			return misfit(v, columnType)
		}
		if len(digits) <= 2 { // fits everything but the sign of an unsigned one
			if signed || text[0] != '-' {
				return ""
			}
		}
		n, ok := new(big.Int).SetString(text, 10)
		if !ok || n.Cmp(limit) >= 0 || n.Cmp(low) < 0 {
			return misfit(v, columnType) + ": it is out of range"
		}
		return ""
	}
}
