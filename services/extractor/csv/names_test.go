package csv

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTableName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"orders": "orders", "Orders": "orders", "order": "order", "My Orders.v2": "my_orders_v2", "orders-2026": "orders_2026",
		"  a  b ": "a_b", "žluťoučký kůň": "žluťoučký_kůň", "2026 sales": "t_2026_sales", "_meta": "meta", "---": "table", "": "table",
		"a__rejects": "a_rejects", "z\u030cx": "žx", "a\xffb": "a_b", "顧客": "顧客", "../up": "up",
	} {
		if got := tableName(in); got != want {
			t.Errorf("tableName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestGlobName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"orders-2026-*.csv": "orders", "*.csv": "", "**/*.parquet": "", "*": "", "2026-*.csv": "", "a/orders_*.csv.gz": "orders",
		"*_orders_2026.csv": "orders", "q1-sales-?.csv": "q1_sales", "orders[0-9]*.csv": "orders", "{a,b}-x-*.csv": "x",
		"**/orders*.{csv,csv.gz}": "orders", "orders*.*": "orders", "Web Leads *.tsv": "web_leads", "orders*": "orders",
	} {
		if got := globName(in); got != want {
			t.Errorf("globName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][3]string{
		"a.csv": {"a", formatCSV, ""}, "a.CSV.GZ": {"a", formatCSV, gzipFile}, "a.b.tsv.zst": {"a.b", formatTSV, zstdFile}, "a.ndjson": {"a", formatJSON, ""},
		"a.parquet": {"a", formatParquet, ""}, "a.xlsx": {"a.xlsx", "", ""}, "a": {"a", "", ""}, "a.gz": {"a", "", gzipFile}, ".csv": {"", formatCSV, ""},
	} {
		stem, format, compression := splitName(in)
		if got := [3]string{stem, format, compression}; got != want {
			t.Errorf("splitName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTableName(f *testing.F) {
	for _, s := range []string{"Orders 2026", "_meta", "\xff", strings.Repeat("ž", 300), "../..", "a\x00b", "ǅ", "İ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name := tableName(in)
		if err := validName(name); err != nil {
			t.Fatalf("tableName(%q): %v", in, err)
		}
		if !utf8.ValidString(name) {
			t.Fatalf("tableName(%q) = %q", in, name)
		}
		if again := tableName(name); again != name && len(name) < maxName-2 {
			t.Fatalf("tableName(%q) = %q, and of that %q", in, name, again)
		}
		_ = globName(in)
	})
}
