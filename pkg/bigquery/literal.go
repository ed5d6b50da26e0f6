package bigquery

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"cloud.google.com/go/bigquery"
)

// QuoteName quotes a name for GoogleSQL, in which a backslash escapes.
func QuoteName(name string) string {
	return "`" + strings.NewReplacer("`", "\\`", `\`, `\\`).Replace(name) + "`"
}

// FieldType is what BigQuery calls the type of a column, such as STRING or INTEGER; "" where it has no such column, or
// one whose values are no single ones.
func (t Table) FieldType(column string) string {
	for _, f := range t.schema {
		if f.Name == column && !f.Repeated && f.Type != bigquery.RecordFieldType && f.Type != "STRUCT" {
			return string(f.Type)
		}
	}
	return ""
}

var (
	digits      = regexp.MustCompile(`\A-?(\d+)(?:\.(\d+))?\z`)
	dateText    = regexp.MustCompile(`\A\d{4}-\d\d-\d\d\z`)
	timeText    = regexp.MustCompile(`\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\z`)
	instantText = regexp.MustCompile(`\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?\z`)
)

// Literal writes a value, in the text that DuckDB has for it, as a literal of a type of BigQuery (Table.FieldType). ok is
// false where the type has none of that value, or one that compares in another way there.
// See https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#literals.
func Literal(fieldType, text string) (sql string, ok bool) {
	switch bigquery.FieldType(fieldType) {
	case bigquery.BooleanFieldType, "BOOL":
		return text, text == "true" || text == "false"
	case bigquery.IntegerFieldType, "INT64":
		_, err := strconv.ParseInt(text, 10, 64)
		return text, err == nil
	case bigquery.FloatFieldType, "FLOAT64":
		f, err := strconv.ParseFloat(text, 64)
		return "CAST('" + text + "' AS FLOAT64)", err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && !strings.ContainsAny(text, "xX_'")
	case bigquery.NumericFieldType:
		return number("NUMERIC", text, 29, 9)
	case bigquery.BigNumericFieldType:
		return number("BIGNUMERIC", text, 38, 38)
	case bigquery.StringFieldType:
		return quoteText(text), !strings.ContainsRune(text, 0)
	case bigquery.DateFieldType:
		return moment("DATE", dateText, text)
	case bigquery.DateTimeFieldType:
		return moment("DATETIME", timeText, text)
	case bigquery.TimestampFieldType:
		return moment("TIMESTAMP", instantText, text)
	default:
		return "", false
	}
}

func number(kind, text string, whole, fraction int) (string, bool) {
	m := digits.FindStringSubmatch(text)
	return kind + " '" + text + "'", m != nil && len(m[1]) <= whole && len(m[2]) <= fraction
}

// moment writes one of the years 1 to 9999, which are those that BigQuery knows.
func moment(kind string, form *regexp.Regexp, text string) (string, bool) {
	return kind + " '" + text + "'", form.MatchString(text) && !strings.HasPrefix(text, "0000")
}

func quoteText(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(text) + "'"
}
