package records

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

func TestSniff(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, c := range []struct {
		name, file string
		h          Hints
		delimiter  byte
		newline    byte
		header     bool
		names      []string
	}{
		{"comma", "a,b\n1,2\n", Hints{}, ',', '\n', true, []string{"a", "b"}},
		{"semicolon with decimal commas", "a;b\n1,5;2,5\n", Hints{}, ';', '\n', true, []string{"a", "b"}},
		{"tab", "a\tb,c\n1\tx\n", Hints{}, '\t', '\n', true, []string{"a", "b,c"}},
		{"pipe", "a|b\n1|2\n", Hints{}, '|', '\n', true, []string{"a", "b"}},
		{"ragged", "a,b\n1,2\n3\n4,5,6\nx,7\n", Hints{}, ',', '\n', true, []string{"a", "b"}},
		{"one column", "name\nbob\nann, the other\n", Hints{}, ',', '\n', true, []string{"name"}},
		{"delimiter in quotes", "a;b\n\"1,2,3\";x\n\"4,5,6\";y\n", Hints{}, ';', '\n', true, []string{"a", "b"}},
		{"excel", "sep=;\na;b\n1;2\n", Hints{}, ';', '\n', true, []string{"a", "b"}},
		{"mac", "a;b\r1;2\r", Hints{}, ';', '\r', true, []string{"a", "b"}},
		{"crlf", "a,b\r\n1,2\r\n", Hints{}, ',', '\n', true, []string{"a", "b"}},
		{"no header", "1,2\n3,4\n", Hints{}, ',', '\n', false, []string{"column0", "column1"}},
		{"no header, with nulls", "1,,x\n2,5,y\n", Hints{}, ',', '\n', false, []string{"column0", "column1", "column2"}},
		{"one line of data", "1,2024-01-01\n", Hints{}, ',', '\n', false, []string{"column0", "column1"}},
		{"header only", "a,b\n", Hints{}, ',', '\n', true, []string{"a", "b"}},
		{"header only, cut off", "a,b", Hints{}, ',', '\n', true, []string{"a", "b"}},
		{"all text", "x,y\na,b\nc,d\n", Hints{}, ',', '\n', true, []string{"x", "y"}},
		{"years in the header", "name,2020,2021\nbob,x,y\n", Hints{}, ',', '\n', true, []string{"name", "2020", "2021"}},
		{"index without a name", ",v\n0,x\n1,y\n", Hints{}, ',', '\n', true, []string{"column0", "v"}},
		{"declared header", "1,2\n3,4\n", Hints{Header: &yes}, ',', '\n', true, []string{"1", "2"}},
		{"declared headless", "a,b\nc,d\n", Hints{Header: &no}, ',', '\n', false, []string{"column0", "column1"}},
		{"duplicate, empty, quoted and keyword names", "a,a,,\"x \"\"y\"\"\",order,A,a_1, b \n1,2,3,4,5,6,7,8\n", Hints{}, ',', '\n', true,
			[]string{"a", "a_1", "column2", "x \"y\"", "order", "A_2", "a_1_1", "b"}},
		{"skip", "Report\n\na;b\n1;2\n", Hints{Skip: 2}, ';', '\n', true, []string{"a", "b"}},
		{"declared delimiter", "a:b\n1:2\n", Hints{Delimiter: ':'}, ':', '\n', true, []string{"a", "b"}},
		{"empty", "", Hints{}, ',', '\n', true, nil},
		{"damaged text", "a,b\n1,\xff\n", Hints{}, ',', '\n', true, []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := Sniff([]byte(c.file), true, c.h)
			if s.Dialect.Delimiter != c.delimiter || s.Dialect.Newline != c.newline || s.Dialect.Header != c.header {
				t.Errorf("%+v", s.Dialect)
			}
			if d := cmp.Diff(c.names, s.Names); d != "" {
				t.Error(d)
			}
			if err := s.Dialect.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSniffLeavesOutTheLineThatIsCutOff(t *testing.T) {
	t.Parallel()
	s := Sniff([]byte("a,b\n1,2\n\"3"), false, Hints{})
	if !s.Dialect.Header || len(s.Names) != 2 {
		t.Errorf("%+v", s)
	}
}

func TestTrap_E6_ManyEqualColumnNames(t *testing.T) {
	t.Parallel()
	names := Names(bytes.Split(bytes.Repeat([]byte("order,"), 20_000), []byte(",")), true)
	seen := map[string]bool{}
	for _, n := range names {
		if seen[strings.ToLower(n)] {
			t.Fatalf("%q is there twice", n)
		}
		seen[strings.ToLower(n)] = true
	}
}

func check(t *testing.T, file string, c Check) (*Result, []string, error) {
	t.Helper()
	s := Sniff([]byte(file), true, Hints{Formats: c.Formats, Nulls: c.Dialect.Nulls})
	c.Dialect, c.Names = s.Dialect, s.Names
	var bad []string
	if c.Bad == nil {
		c.Bad = func(b Bad) error {
			bad = append(bad, fmt.Sprintf("%d %s %s [%s]", b.Line, b.Column, b.Reason, b.Raw))
			return nil
		}
	}
	res, err := c.Run(context.Background(), strings.NewReader(file))
	return res, bad, err
}

func types(r *Result) (out []string) {
	for _, c := range r.Columns {
		out = append(out, (&kind.Formats{}).TypeOf(c.Kind()))
	}
	return out
}

func TestCheckFindsTypesAndBadRecords(t *testing.T) {
	t.Parallel()
	file := "id,zip,v,e,n\n1,00123,1,x,\n2,123\n3,1,2.5,,\n4,1,\"\",\"\",\nx\"y,1,\"1\"z,,\n5,2,3,\"open\n"
	res, bad, err := check(t, file, Check{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"BIGINT", "VARCHAR", "DOUBLE", "VARCHAR", "VARCHAR"}, types(res)); d != "" {
		t.Error(d)
	}
	want := []string{
		"3  2 values, but there are 5 columns [2,123]",
		"6  value 3 goes on after its closing quote [x\"y,1,\"1\"z,,]",
		"7  value 4 opens a quote that is never closed [5,2,3,\"open]",
	}
	if d := cmp.Diff(want, bad); d != "" {
		t.Error(d)
	}
	if res.Records != 3 || res.Rejected != 3 || !res.Columns[2].EmptyText {
		t.Errorf("%+v", res)
	}
}

func TestCheckHoldsDeclaredColumns(t *testing.T) {
	t.Parallel()
	digit := func(v []byte) string {
		if v[0] < '0' || v[0] > '9' {
			return fmt.Sprintf("%q is not a number", v)
		}
		return ""
	}
	res, bad, err := check(t, "a,b\n1,1\nx,2.5\n\"\",3\n,4\n", Check{
		Declared: []func([]byte) string{digit, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`3 a "x" is not a number [x,2.5]`}, bad); d != "" {
		t.Error(d)
	}
	// The 2.5 stands in a record that is not taken.
	if got := types(res)[1]; got != "BIGINT" || !res.Columns[0].EmptyText {
		t.Errorf("%s %+v", got, res.Columns[0])
	}
}

func TestCheckStops(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	file := "a,b\n" + strings.Repeat("1,2\n", 10_000) + "1\n"
	if _, _, err := check(t, file, Check{Bad: func(Bad) error { return stop }}); !errors.Is(err, stop) {
		t.Error(err)
	}
	if _, _, err := check(t, file, Check{Good: func(*Record) error { return stop }}); !errors.Is(err, stop) {
		t.Error(err)
	}
	if _, _, err := check(t, file, Check{Batch: func(*Result) error { return stop }}); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := Check{Dialect: comma, Names: []string{"a", "b"}, Bad: func(Bad) error { return nil }}
	if _, err := c.Run(ctx, strings.NewReader(file)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var header *LineError
	if _, _, err := check(t, "a,\"b\n", Check{}); err != nil && !errors.As(err, &header) {
		t.Error(err)
	}
}

func TestWriterGivesBackWhatWasRead(t *testing.T) {
	t.Parallel()
	d := Dialect{Delimiter: ';', Quote: '"', Escape: '\\', Newline: '\n', Nulls: []string{"NA"}}
	file := "1; \"a;\\\"b\\\"\" ;NA\n,x;\"\";\n\"l1\nl2\";\" s\";\r\n"
	before, _ := readAll(t, strings.NewReader(file), d, false, blockSize)
	var out bytes.Buffer
	w := NewWriter(&out)
	s := NewScanner(strings.NewReader(file), d)
	for s.Next() {
		if err := w.Record(&d, s.Record()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	after, again := readAll(t, bytes.NewReader(out.Bytes()), Canonical, false, blockSize)
	for i := range before {
		before[i].Line, after[i].Line = 0, 0
	}
	if d := cmp.Diff(before, after); d != "" || again.Odd {
		t.Errorf("odd %v: %s", again.Odd, d)
	}
	if want := "1,\"a;\"\"b\"\"\",\n\",x\",\"\",\n\"l1\nl2\",\" s\",\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if w.Longest != again.Longest {
		t.Errorf("longest %d, want %d", w.Longest, again.Longest)
	}
}

func BenchmarkCheck(b *testing.B) {
	var lines strings.Builder
	lines.WriteString("id,customer_id,customer,amount,score,paid,day,at,method,note\n")
	for i := range 200_000 {
		fmt.Fprintf(&lines, "%d,%d,customer %d,%d.%02d,%d.%03d,%v,2024-%02d-%02d,2024-%02d-%02d 10:%02d:00,%s,note about order %d\n",
			i, i*7919%100003, i%5000, i%1000, i%100, i*31%1000, i%997, i%3 == 0, i%12+1, i%28+1, i%12+1, i%28+1, i%60, []string{"", "card", "wallet", "transfer"}[i%4], i)
	}
	file := []byte(lines.String())
	s := Sniff(file[:1<<20], false, Hints{})
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		c := Check{Dialect: s.Dialect, Names: s.Names, Bad: func(x Bad) error { return errors.New(x.Reason) }}
		if _, err := c.Run(context.Background(), bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
}
