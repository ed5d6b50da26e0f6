package bigquery_test

import (
	"testing"

	"github.com/agnes-platform/agnes/pkg/bigquery"
)

func TestLiteral(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, text, want string }{
		{"STRING", "it's", `'it\'s'`},
		{"STRING", "a\\b\nc\r`\"", "'a\\\\b\\nc\\r`\"'"},
		{"STRING", "') OR TRUE OR ('", `'\') OR TRUE OR (\''`},
		{"STRING", "a\x00b", ""},
		{"INTEGER", "-5", "-5"},
		{"INT64", "9223372036854775808", ""},
		{"INTEGER", "1 OR 1", ""},
		{"FLOAT", "1.5e3", "CAST('1.5e3' AS FLOAT64)"},
		{"FLOAT", "inf", ""},
		{"FLOAT64", "nan", ""},
		{"FLOAT64", "0x1p-2", ""},
		{"BOOLEAN", "true", "true"},
		{"BOOL", "TRUE OR 1=1", ""},
		{"NUMERIC", "12.5", "NUMERIC '12.5'"},
		{"NUMERIC", "0.1234567891", ""},
		{"BIGNUMERIC", "0.1234567891", "BIGNUMERIC '0.1234567891'"},
		{"DATE", "2026-01-31", "DATE '2026-01-31'"},
		{"DATE", "0000-01-31", ""},
		{"DATE", "2026-01-31' OR '1", ""},
		{"DATETIME", "2026-01-31 10:00:00.5", "DATETIME '2026-01-31 10:00:00.5'"},
		{"TIMESTAMP", "2026-01-31 10:00:00+00", "TIMESTAMP '2026-01-31 10:00:00+00'"},
		{"TIMESTAMP", "2026-01-31 10:00:00", ""},
		{"JSON", "{}", ""}, {"GEOGRAPHY", "POINT(1 1)", ""}, {"", "x", ""},
	} {
		got, ok := bigquery.Literal(c.kind, c.text)
		if !ok {
			got = ""
		}
		if got != c.want {
			t.Errorf("Literal(%s, %q) = %q, want %q", c.kind, c.text, got, c.want)
		}
	}
	if got := bigquery.QuoteName("a`b\\c"); got != "`a\\`b\\\\c`" {
		t.Errorf("a name is %s", got)
	}
}
