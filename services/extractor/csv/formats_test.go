package csv

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func zstded(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

func utf16le(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}

// one is a table that one file makes, and what becomes of it.
type one struct {
	name, file, content, options string
	columns                      string
	rows                         []string
	outcome                      string // of a table that fails, or that has rejects
	rejects                      []string
}

// check runs the cases, each through scratch and where its file lies. Those without options share a
// source: none of them hinders another.
func check(t *testing.T, cases []one) {
	t.Helper()
	for floor, how := range map[int64]string{directFloor: "through scratch", 0: "where it lies"} {
		var shared []one
		for _, c := range cases {
			direct := strings.HasSuffix(c.file, ".csv") || strings.HasSuffix(c.file, ".tsv")
			switch {
			case floor == 0 && !direct:
			case c.options == "":
				shared = append(shared, c)
			default:
				t.Run(c.name+", "+how, func(t *testing.T) {
					t.Parallel()
					runTogether(t, c.options, floor, []one{c})
				})
			}
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			runTogether(t, "{}", floor, shared)
		})
	}
}

func runTogether(t *testing.T, options string, floor int64, cases []one) {
	t.Helper()
	h := newHouse(t, options)
	h.directFloor = floor
	h.put("good.csv", "a\n1\n")
	for i := range cases {
		c := &cases[i]
		if len(cases) > 1 { // a file of its own: t.csv becomes t7.csv
			stem, ext, _ := strings.Cut(c.file, ".")
			number := func(s string) string { return strings.ReplaceAll(s, c.file, fmt.Sprintf("%s%d.%s", stem, i, ext)) }
			c.outcome, c.rejects = number(c.outcome), slices.Clone(c.rejects)
			for k := range c.rejects {
				c.rejects[k] = number(c.rejects[k])
			}
			c.file = number(c.file)
		}
		h.put(c.file, c.content)
	}
	out := h.run()
	if got := outcome(out["good"]); got != "updated" {
		t.Errorf("the table that nothing is wrong with: %s", got)
	}
	for _, c := range cases {
		c.verify(t, h, out)
	}
}

func (c one) verify(t *testing.T, h *house, out map[string]*agnesv1.TableOutcome) {
	t.Helper()
	name, _, _ := strings.Cut(c.file, ".")
	want := c.outcome
	if want == "" {
		want = "updated"
	}
	start, open := strings.CutSuffix(want, "(…")
	if got := outcome(out[name]); got != want && (!open || !strings.HasPrefix(got, start)) {
		t.Errorf("%s: outcome\n got %s\nwant %s", c.name, got, want)
	}
	columns, rows := h.table(name)
	if columns != c.columns {
		t.Errorf("%s: columns\n got %s\nwant %s", c.name, columns, c.columns)
	}
	if d := cmp.Diff(c.rows, rows); d != "" {
		t.Errorf("%s: %s", c.name, d)
	}
	_, rejects := h.table(name + "__rejects")
	if d := cmp.Diff(c.rejects, rejects); d != "" {
		t.Errorf("%s: %s", c.name, d)
	}
}

func TestFormatsAndEncodings(t *testing.T) {
	t.Parallel()
	const text = "id,name\n1,Žluťoučký\n2,kůň\n"
	rows := []string{`{"id":1,"name":"Žluťoučký"}`, `{"id":2,"name":"kůň"}`}
	const columns = "id BIGINT, name VARCHAR"
	check(t, []one{
		{name: "csv", file: "t.csv", content: text, columns: columns, rows: rows},
		{name: "csv.gz", file: "t.csv.gz", content: gzipped(text), columns: columns, rows: rows},
		{name: "csv.gz in two members", file: "t.csv.gz", content: gzipped("id,name\n1,Žluťoučký\n") + gzipped("2,kůň\n"), columns: columns, rows: rows},
		{name: "csv.zst", file: "t.csv.zst", content: zstded(text), columns: columns, rows: rows},
		{name: "csv.zst in two frames", file: "t.csv.zst", content: zstded("id,name\n1,Žluťoučký\n") + zstded("2,kůň\n"), columns: columns, rows: rows},
		{name: "tsv", file: "t.tsv", content: strings.ReplaceAll(text, ",", "\t"), columns: columns, rows: rows},
		{name: "ndjson", file: "t.ndjson", content: `{"id":1,"name":"Žluťoučký"}` + "\n" + `{"id":2,"name":"kůň"}`, columns: columns, rows: rows},
		{name: "json array", file: "t.json", content: `[{"id":1,"name":"Žluťoučký"},` + "\n" + `{"id":2,"name":"kůň"}]`, columns: columns, rows: rows},
		{name: "json.gz", file: "t.json.gz", content: gzipped("{\"id\":1,\n\"name\":\"Žluťoučký\"}{\"id\":2,\"name\":\"kůň\"}"), columns: columns, rows: rows},
		{name: "jsonl.zst", file: "t.jsonl.zst", content: zstded("{\"id\":1,\"name\":\"Žluťoučký\"}\n{\"id\":2,\"name\":\"kůň\"}\n"), columns: columns, rows: rows},
		{name: "utf-8 with mark", file: "t.csv", content: "\xef\xbb\xbf" + text, columns: columns, rows: rows},
		{name: "utf-16le", file: "t.csv", content: "\xff\xfe" + utf16le(text), columns: columns, rows: rows},
		{name: "utf-16le without mark", file: "t.csv", content: utf16le(text), columns: columns, rows: rows},
		{name: "utf-16 json", file: "t.json", content: "\xff\xfe" + utf16le(`[{"id":1,"name":"Žluťoučký"},{"id":2,"name":"kůň"}]`), columns: columns, rows: rows},
		{name: "latin-1", file: "t.csv", content: "id,name\n1,\xe9t\xe9\n2,\x80\n", columns: columns, rows: []string{`{"id":1,"name":"été"}`, `{"id":2,"name":"€"}`}},
		{name: "latin-1 late in the file", file: "t.csv", content: "id,name\n" + strings.Repeat("", 0) + "1,x\n2,\xe9\n", columns: columns, rows: []string{`{"id":1,"name":"x"}`, `{"id":2,"name":"é"}`}},
		{name: "windows-1250", file: "t.csv", options: `{"encoding":"windows-1250"}`, content: "id,name\n1,k\xf9\xf2\n", columns: columns, rows: []string{`{"id":1,"name":"kůň"}`}},
		{name: "crlf", file: "t.csv", content: strings.ReplaceAll(text, "\n", "\r\n"), columns: columns, rows: rows},
		{name: "cr", file: "t.csv", content: strings.ReplaceAll(text, "\n", "\r"), columns: columns, rows: rows},
		{name: "mixed newlines", file: "t.csv", content: "id,name\r\n1,Žluťoučký\n2,kůň\r\n", columns: columns, rows: rows},
		{name: "semicolons", file: "t.csv", content: strings.ReplaceAll(text, ",", ";"), columns: columns, rows: rows},
		{name: "spaces around quotes", file: "t.csv", content: "id, name\n1, \"a,b\"\n", columns: columns, rows: []string{`{"id":1,"name":"a,b"}`}},
		{name: "backslash escapes", file: "t.csv", options: `{"escape":"\\"}`, content: "id,name\n1,\"a\\\"b\"\n", columns: columns, rows: []string{`{"id":1,"name":"a\"b"}`}},
		{name: "skip and delimiter", file: "t.csv", options: `{"tables":{"t":{"skip":1,"delimiter":"#"}}}`, content: "report of today\nid#name\n1#x\n", columns: columns, rows: []string{`{"id":1,"name":"x"}`}},
		{name: "no header", file: "t.csv", content: "1,2026-01-01\n2,2026-01-02\n", columns: "column0 BIGINT, column1 DATE", rows: []string{`{"column0":1,"column1":"2026-01-01"}`, `{"column0":2,"column1":"2026-01-02"}`}},
		{name: "null values", file: "t.csv", options: `{"null_values":["NA","-"]}`, content: "id,name\n1,NA\n-,\"NA\"\n", columns: columns, rows: []string{`{"id":1,"name":null}`, `{"id":null,"name":"NA"}`}},
		{name: "one column with blanks", file: "t.csv", content: "v\n1\n\n3\n", columns: "v BIGINT", rows: []string{`{"v":1}`, `{"v":null}`, `{"v":3}`}},
		{name: "blank lines", file: "t.csv", content: "a,b\n\n1,2\n\n\n", columns: "a BIGINT, b BIGINT", rows: []string{`{"a":1,"b":2}`}},
	})
}

func TestTrap_K7_NewlinesQuotesAndEmptyTexts(t *testing.T) {
	t.Parallel()
	check(t, []one{
		{name: "newlines and quotes", file: "t.csv", content: "a,b\n1,\"l1\nl2 \"\"q\"\"\"\n2,\"x\r\ny\"\n", columns: "a BIGINT, b VARCHAR", rows: []string{`{"a":1,"b":"l1\nl2 \"q\""}`, `{"a":2,"b":"x\r\ny"}`}},
		{name: "quoted empty is not null", file: "t.csv", content: "a,b\nx,\"\"\ny,\n", columns: "a VARCHAR, b VARCHAR", rows: []string{`{"a":"x","b":""}`, `{"a":"y","b":null}`}},
		{name: "quoted empty among numbers", file: "t.csv", content: "a,b\n\"1\",\"\"\n\"\",\"2026-01-01\"\n", columns: "a BIGINT, b DATE", rows: []string{`{"a":1,"b":null}`, `{"a":null,"b":"2026-01-01"}`}},
	})
}

func TestTypes(t *testing.T) {
	t.Parallel()
	check(t, []one{
		{name: "sniffed", file: "t.csv", content: "i,f,b,d,ts,tz,h,s\n1,1.5,true,2026-01-31,2026-01-31 10:00:00,2026-01-31T10:00:00+02:00,10:30:00,x\n",
			columns: "i BIGINT, f DOUBLE, b BOOLEAN, d DATE, ts TIMESTAMP, tz TIMESTAMP WITH TIME ZONE, h TIME, s VARCHAR",
			rows:    []string{`{"i":1,"f":1.5,"b":true,"d":"2026-01-31","ts":"2026-01-31 10:00:00","tz":"2026-01-31 08:00:00+00","h":"10:30:00","s":"x"}`}},
		{name: "codes stay text", file: "t.csv", content: "zip,phone,big,code,day\n00123,+420777,12345678901234567890,12E4,01/02/2026\n",
			columns: "zip VARCHAR, phone VARCHAR, big VARCHAR, code VARCHAR, day VARCHAR",
			rows:    []string{`{"zip":"00123","phone":"+420777","big":"12345678901234567890","code":"12E4","day":"01/02/2026"}`}},
		{name: "days by a format", file: "t.csv", options: `{"date_format":"%d/%m/%Y","timestamp_format":"%d/%m/%Y %H:%M"}`, content: "a,b,c\n01/02/2026,01/02/2026 10:30,2026-01-31\n,\"\",\n",
			columns: "a DATE, b TIMESTAMP, c DATE", rows: []string{`{"a":"2026-02-01","b":"2026-02-01 10:30:00","c":"2026-01-31"}`, `{"a":null,"b":null,"c":null}`}},
		{name: "declared by a format", file: "t.csv", options: `{"timestamp_format":"%d.%m.%Y %H:%M","date_format":"%d.%m.%Y","tables":{"t":{"columns":{"a":"TIMESTAMP","b":"DATE"}}}}`, content: "a,b\n31.12.2026 10:30,31.12.2026\n2026-01-02 03:04:05,\n\"\", 1.2.2026\n",
			columns: "a TIMESTAMP, b DATE", rows: []string{`{"a":"2026-12-31 10:30:00","b":"2026-12-31"}`, `{"a":"2026-01-02 03:04:05","b":null}`, `{"a":null,"b":"2026-02-01"}`}},
		{name: "declared", file: "t.csv", options: `{"columns":{"A":"INTEGER","b":"DECIMAL(10,2)","c":"VARCHAR","d":"TIMESTAMPTZ","e":"UUID"}}`, content: "a,b,c,d,e\n007,1.50,5,2026-01-31T10:00:00Z,2f1b0c1e-0000-4000-8000-000000000000\n,\"\",\"\",\"\",\"\"\n",
			columns: "a INTEGER, b DECIMAL(10,2), c VARCHAR, d TIMESTAMP WITH TIME ZONE, e UUID",
			rows:    []string{`{"a":7,"b":1.5,"c":"5","d":"2026-01-31 10:00:00+00","e":"2f1b0c1e-0000-4000-8000-000000000000"}`, `{"a":null,"b":null,"c":"","d":null,"e":null}`}},
		{name: "declared that does not fit", file: "t.csv", options: `{"columns":{"v":"INTEGER"}}`, content: "id,v\n1,2\n2,1.5\n", outcome: `failed invalid: t.csv, line 3, column v: "1.5" is not an INTEGER`},
		{name: "declared out of range", file: "t.csv", options: `{"columns":{"v":"TINYINT"}}`, content: "id,v\n1,200\n", outcome: `failed invalid: t.csv, line 2, column v: "200" is not a TINYINT: it is out of range`},
		{name: "a date with a time", file: "t.csv", options: `{"columns":{"v":"DATE"}}`, content: "id,v\n1,2026-01-31 10:00:00\n", outcome: `failed invalid: t.csv, line 2, column v: "2026-01-31 10:00:00" is not a DATE: it has a time of day`},
		{name: "a timestamp with a zone", file: "t.csv", options: `{"columns":{"v":"TIMESTAMP"}}`, content: "id,v\n1,2026-01-31T10:00:00+02:00\n", outcome: `failed invalid: t.csv, line 2, column v: "2026-01-31T10:00:00+02:00" is not a TIMESTAMP: it has a zone, which TIMESTAMPTZ keeps`},
		{name: "known to DuckDB only", file: "t.csv", options: `{"columns":{"v":"DECIMAL(4,2)"}}`, content: "id,v\n1,2.5\n2,\"a\nb\"\n3,x\n", outcome: "failed invalid: t.csv, line 3, column v: \"a\\nb\" is not a DECIMAL(4,2)"},
		{name: "no such type", file: "t.csv", options: `{"tables":{"t":{"columns":{"v":"NUMBERISH"}}}}`, content: "id,v\n1,2\n", outcome: "failed invalid: columns: v: there is no type NUMBERISH"},
		{name: "no such column", file: "t.csv", options: `{"tables":{"t":{"columns":{"w":"BIGINT"}}}}`, content: "id,v\n1,2\n", outcome: `failed invalid: columns: there is no column "w" in t.csv`},
		{name: "late surprises", file: "t.csv", content: "a,b,c,d\n" + strings.Repeat("1,1,,2026-01-01\n", 30_000) + "1.5,007,7,2026-01-01 10:00:00\n", columns: "a DOUBLE, b VARCHAR, c BIGINT, d TIMESTAMP",
			rows: append(slicesRepeat(`{"a":1.0,"b":"1","c":null,"d":"2026-01-01 00:00:00"}`, 30_000), `{"a":1.5,"b":"007","c":7,"d":"2026-01-01 10:00:00"}`)},
		{name: "json", file: "t.ndjson", content: `{"a":1,"b":{"x":[1,2]},"c":"2026-01-31T10:00:00Z","d":12345678901234567890123,"order":"x"}` + "\n" + `{"a":"t","b":null,"e":{"k":1},"c":null}` + "\n" + `{"e":[1]}`,
			columns: `a VARCHAR, b STRUCT(x BIGINT[]), c TIMESTAMP WITH TIME ZONE, d VARCHAR, order VARCHAR, e JSON`,
			rows: []string{`{"a":"1","b":{"x":[1,2]},"c":"2026-01-31 10:00:00+00","d":"12345678901234567890123","order":"x","e":null}`,
				`{"a":"t","b":null,"c":null,"d":null,"order":null,"e":{"k":1}}`, `{"a":null,"b":null,"c":null,"d":null,"order":null,"e":[1]}`}},
		{name: "json with late fields", file: "t.ndjson", content: strings.Repeat(`{"a":1}`+"\n", 30_000) + `{"a":1.5,"late":"x"}`, columns: "a DOUBLE, late VARCHAR",
			rows: append(slicesRepeat(`{"a":1.0,"late":null}`, 30_000), `{"a":1.5,"late":"x"}`)},
		{name: "json declared", file: "t.ndjson", options: `{"columns":{"a":"INTEGER","b":"DECIMAL(10,2)","c":"VARCHAR"},"date_format":"%d.%m.%Y"}`, content: `{"a":"007","b":"1.50","c":{"x":1},"d":"31.12.2026"}`,
			columns: "a INTEGER, b DECIMAL(10,2), c VARCHAR, d DATE", rows: []string{`{"a":7,"b":1.5,"c":"{\"x\":1}","d":"2026-12-31"}`}},
		{name: "json declared that does not fit", file: "t.ndjson", options: `{"columns":{"b":"DECIMAL(4,2)"}}`, content: "{\"b\":1}\n\n{\"b\":\"x\"}", outcome: `failed invalid: t.ndjson, line 3, column b: "x" is not a DECIMAL(4,2)`},
	})
}

func slicesRepeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestTrap_E6_NamesOfColumns(t *testing.T) {
	t.Parallel()
	var names, values, columns []string
	for i := range 2_000 {
		names, values = append(names, fmt.Sprintf("c %d", i)), append(values, fmt.Sprint(i))
		columns = append(columns, fmt.Sprintf("c %d BIGINT", i))
	}
	var row []string
	for i := range values {
		row = append(row, fmt.Sprintf(`"%s":%s`, names[i], values[i]))
	}
	check(t, []one{
		{name: "odd names", file: "order.csv", content: "a,a,,\"x \"\"y\"\"\",order,A,it's,žluť\n1,2,3,4,5,6,7,8\n",
			columns: `a BIGINT, a_1 BIGINT, column2 BIGINT, x "y" BIGINT, order BIGINT, A_2 BIGINT, it's BIGINT, žluť BIGINT`,
			rows:    []string{`{"a":1,"a_1":2,"column2":3,"x \"y\"":4,"order":5,"A_2":6,"it's":7,"žluť":8}`}},
		{name: "2,000 columns", file: "t.csv", content: strings.Join(names, ",") + "\n" + strings.Join(values, ",") + "\n",
			columns: strings.Join(columns, ", "), rows: []string{"{" + strings.Join(row, ",") + "}"}},
	})
}

func TestTrap_E2_LongValues(t *testing.T) {
	t.Parallel()
	mb := strings.Repeat("x", 1<<20)
	check(t, []one{
		{name: "1 MB", file: "t.csv", content: "a,b\n1," + mb + "\n2,y\n", columns: "a BIGINT, b VARCHAR", rows: []string{`{"a":1,"b":"` + mb + `"}`, `{"a":2,"b":"y"}`}},
		{name: "5 MB in a row", file: "t.csv", content: "a,b,c,d,e,f\n1," + mb + "," + mb + "," + mb + ",\"" + mb + "\n\"," + mb + "\n", columns: "a BIGINT, b VARCHAR, c VARCHAR, d VARCHAR, e VARCHAR, f VARCHAR",
			rows: []string{`{"a":1,"b":"` + mb + `","c":"` + mb + `","d":"` + mb + `","e":"` + mb + `\n","f":"` + mb + `"}`}},
		{name: "a long header", file: "t.csv", content: mb + ",b\n1,2\n", columns: mb + " BIGINT, b BIGINT", rows: []string{`{"` + mb + `":1,"b":2}`}},
		{name: "json", file: "t.ndjson", content: `{"a":"` + strings.Repeat(mb, 20) + `"}`, columns: "a VARCHAR", rows: []string{`{"a":"` + strings.Repeat(mb, 20) + `"}`}},
	})
}

func TestBadInputFailsItsTableOnly(t *testing.T) {
	t.Parallel()
	parquet := func() string {
		h := newHouse(t, `{}`)
		h.put("p.csv", "a\n1\n")
		h.run()
		found := ""
		for _, name := range walk(t, h.dir) {
			if strings.HasSuffix(name, ".parquet") {
				raw, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				found = string(raw)
			}
		}
		return found
	}()
	gz := gzipped("a,b\n" + strings.Repeat("1,2\n", 10_000))
	zs := zstded("a,b\n" + strings.Repeat("1,2\n", 10_000))
	check(t, []one{
		{name: "too few values", file: "t.csv", content: "a,b\n1,2\n3\n", outcome: "failed invalid: t.csv, line 3: 1 value, but there are 2 columns"},
		{name: "too many values", file: "t.csv", content: "a,b\n1,\"x\ny\"\n3,4,5\n", outcome: "failed invalid: t.csv, line 4: 3 values, but there are 2 columns"},
		{name: "open quote", file: "t.csv", content: "a,b\n1,2\n3,\"x\n", outcome: "failed invalid: t.csv, line 3: value 2 opens a quote that is never closed"},
		{name: "text after a quote", file: "t.csv", content: "a,b\n1,\"x\"y\n", outcome: "failed invalid: t.csv, line 2: value 2 goes on after its closing quote"},
		{name: "NUL", file: "t.csv", content: "a,b\n1,x\x00y\n", outcome: "failed invalid: t.csv, line 2: there is a NUL byte: the file is damaged, or not text"},
		{name: "damaged utf-8", file: "t.csv", content: "a,b\n1,žž\n2,\xff\n", outcome: "failed invalid: t.csv, line 3: the text is not valid UTF-8: the file is damaged, or `encoding` must be set"},
		{name: "not what encoding says", file: "t.csv", options: `{"encoding":"utf-8"}`, content: "a,b\n1,\xe9\n", outcome: "failed invalid: t.csv, line 2: the text is not valid UTF-8: the file is damaged, or `encoding` must be set"},
		{name: "cut-off utf-16", file: "t.csv", content: "\xff\xfea\x00\n\x001\x00\n", outcome: "failed invalid: t.csv: it holds bytes that its encoding has no character for: set `encoding`, or mend the file"},
		{name: "empty", file: "t.csv", content: "", outcome: "failed invalid: t.csv: the file is empty: there is not even a header"},
		{name: "cut-off gzip", file: "t.csv.gz", content: gz[:len(gz)/2], outcome: "failed invalid: t.csv.gz: the gzip data is damaged or cut off (unexpected EOF)"},
		{name: "gzip without its end", file: "t.csv.gz", content: gz[:len(gz)-4], outcome: "failed invalid: t.csv.gz: the gzip data is damaged or cut off (unexpected EOF)"},
		{name: "damaged gzip", file: "t.csv.gz", content: gz[:len(gz)-8] + "\x00\x00\x00\x00" + gz[len(gz)-4:], outcome: "failed invalid: t.csv.gz: the gzip data is damaged or cut off (gzip: invalid checksum)"},
		{name: "not gzip", file: "t.csv.gz", content: "a,b\n1,2\n3,4\n5,6\n", outcome: "failed invalid: t.csv.gz: the gzip data is damaged or cut off (gzip: invalid header)"},
		{name: "cut-off zstd", file: "t.csv.zst", content: zs[:len(zs)-3], outcome: "failed invalid: t.csv.zst: the zstd data is damaged or cut off (unexpected EOF)"},
		{name: "json line", file: "t.ndjson", content: "{\"a\":1}\n{\"a\":}\n", outcome: "failed invalid: t.ndjson, line 2: '}' cannot start a value"},
		{name: "json cut off", file: "t.json", content: "[{\"a\":1},\n{\"a\":", outcome: "failed invalid: t.json: line 2: the text ends in the middle of the record"},
		{name: "json scalar", file: "t.ndjson", content: "5\n", outcome: "failed invalid: t.ndjson, line 1: the record is not an object"},
		{name: "json twice a key", file: "t.ndjson", content: "{\"a\":1,\"a\":2}\n", outcome: `failed invalid: t.ndjson, line 1: the key "a" is there twice`},
		{name: "json keys that differ in case", file: "t.ndjson", content: "{\"a\":1}\n{\"A\":2}\n", outcome: `failed invalid: t.ndjson: the keys "a" and "A" differ only in case, and a table's columns cannot`},
		{name: "json empty", file: "t.json", content: "", outcome: "failed invalid: t.json: the file is empty: an empty table is []"},
		{name: "json without records", file: "t.json", content: "[]", outcome: "failed invalid: t.json: there is no record, so there are no columns: declare them with `columns`"},
		{name: "not parquet", file: "t.parquet", content: "PAR", outcome: "failed invalid: t.parquet: this is not a parquet file"},
		{name: "cut-off parquet", file: "t.parquet", content: parquet[:len(parquet)-10], outcome: "failed invalid: t.parquet: the parquet file is cut off: its end is missing"},
		{name: "parquet with a bad footer", file: "t.parquet", content: parquet[:len(parquet)-40] + strings.Repeat("x", 32) + parquet[len(parquet)-8:], outcome: "failed invalid: t.parquet: the parquet data is damaged (…"},
		{name: "parquet", file: "t.parquet", content: parquet, columns: "a BIGINT", rows: []string{`{"a":1}`}},
	})
}

func TestEmptyTables(t *testing.T) {
	t.Parallel()
	check(t, []one{
		{name: "header only", file: "t.csv", content: "a,b\n", columns: "a VARCHAR, b VARCHAR"},
		{name: "header only, no newline", file: "t.csv", content: "a,b", columns: "a VARCHAR, b VARCHAR"},
		{name: "header only, compressed", file: "t.csv.gz", content: gzipped("a,b"), columns: "a VARCHAR, b VARCHAR"},
		{name: "header only, declared", file: "t.csv", options: `{"tables":{"t":{"columns":{"b":"DATE"}}}}`, content: "a,b\n", columns: "a VARCHAR, b DATE"},
		{name: "json, declared", file: "t.json", options: `{"tables":{"t":{"columns":{"b":"DATE"}}}}`, content: "[]", columns: "b DATE"},
	})
}
