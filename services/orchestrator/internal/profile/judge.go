package profile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Categories of types.
const (
	Boolean   = "BOOLEAN"
	Date      = "DATE"
	Timestamp = "TIMESTAMP"
	Numeric   = "NUMERIC"
	Text      = "STRING" // and everything that is none of the others
)

var numericTypes = map[string]bool{
	"TINYINT": true, "SMALLINT": true, "INTEGER": true, "BIGINT": true, "HUGEINT": true,
	"UTINYINT": true, "USMALLINT": true, "UINTEGER": true, "UBIGINT": true, "UHUGEINT": true,
	"FLOAT": true, "REAL": true, "DOUBLE": true, "DECIMAL": true, "NUMERIC": true,
}

// category is the class of a DuckDB type.
func category(duckType string) string {
	name := strings.ToUpper(duckType)
	base, params, _ := strings.Cut(name, "(")
	switch {
	case strings.HasSuffix(name, "]") || strings.Contains(params, "["): // lists and arrays
		return Text
	case name == "BOOLEAN":
		return Boolean
	case name == "DATE":
		return Date
	case strings.HasPrefix(name, "TIMESTAMP"):
		return Timestamp
	case numericTypes[strings.TrimSpace(base)]:
		return Numeric
	}
	return Text
}

// alerts judges one column.
func (t *taker) alerts(c *Column) {
	alert := func(kind, format string, args ...any) {
		c.Alerts = append(c.Alerts, kind)
		t.out.Alerts = append(t.out.Alerts, TableAlert{Column: c.Name, Type: kind, Message: fmt.Sprintf(format, args...)})
	}
	if t.rows == 0 {
		return
	}
	missing := 100 - c.CompletenessPct
	if c.UniqueCount == 1 && c.NullCount == 0 {
		alert("constant", "%s has the same value in every row", c.Name)
	}
	if c.UniqueCount == t.rows && c.NullCount == 0 {
		alert("unique", "%s has another value in every row", c.Name)
	}
	switch {
	case missing > highMissingPct:
		alert("high_missing", "%s is missing in %.1f %% of the rows", c.Name, missing)
	case missing > missingPct:
		alert("missing", "%s is missing in %.1f %% of the rows", c.Name, missing)
	}
	if c.Numeric != nil && c.Numeric.ZerosPct > zerosAlertPct {
		alert("zeros", "%s is zero in %.1f %% of its values", c.Name, c.Numeric.ZerosPct)
	}
	if c.Category != Text {
		return
	}
	if c.UniqueCount > highCardinalityMin {
		alert("high_cardinality", "%s has %d distinct values", c.Name, c.UniqueCount)
	} else if c.String != nil && len(c.String.TopValues) > 1 && c.String.TopValues[0].Pct > imbalancePct {
		alert("imbalance", "%s is %q in %.1f %% of its values", c.Name, c.String.TopValues[0].Value, c.String.TopValues[0].Pct)
	}
}

// short writes the border of a bin: 1.2K, 3.4M, 5B.
func short(v float64) string {
	for _, s := range []struct {
		at     float64
		suffix string
	}{{1e9, "B"}, {1e6, "M"}, {1e3, "K"}} {
		if math.Abs(v) >= s.at {
			return strconv.FormatFloat(math.Round(v/s.at*10)/10, 'f', -1, 64) + s.suffix
		}
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

// literal writes a number as a DOUBLE of SQL.
func literal(v float64) string {
	return "CAST('" + strconv.FormatFloat(v, 'g', -1, 64) + "' AS DOUBLE)"
}
