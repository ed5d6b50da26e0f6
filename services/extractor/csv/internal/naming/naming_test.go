package naming

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"orders": "orders", "Orders": "orders", "order": "order", "My Orders.v2": "my_orders_v2", "orders-2026": "orders_2026",
		"  a  b ": "a_b", "žluťoučký kůň": "žluťoučký_kůň", "2026 sales": "t_2026_sales", "_meta": "meta", "---": "table", "": "table",
		"a__rejects": "a_rejects", "z\u030cx": "žx", "a\xffb": "a_b", "顧客": "顧客", "../up": "up",
	} {
		if got := Table(in); got != want {
			t.Errorf("Table(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"orders-2026-*.csv": "orders", "*.csv": "", "**/*.parquet": "", "*": "", "2026-*.csv": "", "a/orders_*.csv.gz": "orders",
		"*_orders_2026.csv": "orders", "q1-sales-?.csv": "q1_sales", "orders[0-9]*.csv": "orders", "{a,b}-x-*.csv": "x",
		"**/orders*.{csv,csv.gz}": "orders", "orders*.*": "orders", "Web Leads *.tsv": "web_leads", "orders*": "orders", "orders-*.csv*": "orders", "orders*.csv.*": "orders", "a*.{csv,tsv}.gz": "a",
	} {
		if got := Glob(in); got != want {
			t.Errorf("Glob(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][3]string{
		"a.csv": {"a", CSV, ""}, "a.CSV.GZ": {"a", CSV, Gzip}, "a.b.tsv.zst": {"a.b", TSV, Zstd}, "a.ndjson": {"a", JSON, ""},
		"a.parquet": {"a", Parquet, ""}, "a.xlsx": {"a.xlsx", "", ""}, "a": {"a", "", ""}, "a.gz": {"a", "", Gzip}, ".csv": {"", CSV, ""},
	} {
		stem, format, compression := Split(in)
		if got := [3]string{stem, format, compression}; got != want {
			t.Errorf("Split(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTable(f *testing.F) {
	for _, s := range []string{"Orders 2026", "_meta", "\xff", strings.Repeat("ž", 300), "../..", "a\x00b", "ǅ", "İ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name := Table(in)
		if err := Valid(name); err != nil {
			t.Fatalf("Table(%q): %v", in, err)
		}
		if !utf8.ValidString(name) {
			t.Fatalf("Table(%q) = %q", in, name)
		}
		if again := Table(name); again != name && len(name) < maxName-2 {
			t.Fatalf("Table(%q) = %q, and of that %q", in, name, again)
		}
		_ = Glob(in)
	})
}
