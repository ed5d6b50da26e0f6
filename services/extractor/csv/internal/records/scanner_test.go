package records

import (
	"bytes"
	"encoding/csv"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

var comma = Dialect{Delimiter: ',', Quote: '"', Escape: '"', Newline: '\n'}

type row struct {
	Line    int64
	Values  []string
	Problem string
}

func readAll(t *testing.T, r io.Reader, d Dialect, single bool, block int) (rows []row, s *Scanner) {
	t.Helper()
	s = newScanner(r, d, block)
	s.Single = single
	var scratch []byte
	for s.Next() {
		rec := s.Record()
		out := row{Line: rec.Line, Problem: rec.Problem}
		for i := range rec.Fields {
			v, null := rec.Value(&d, i, scratch)
			text := string(v)
			if null {
				text = "∅"
			}
			out.Values = append(out.Values, text)
		}
		if rec.Problem != "" {
			out.Values = []string{string(rec.Raw)}
		}
		rows = append(rows, out)
	}
	return rows, s
}

func TestScanner(t *testing.T) {
	t.Parallel()
	semi := Dialect{Delimiter: ';', Quote: '"', Escape: '\\', Newline: '\n'}
	mac := Dialect{Delimiter: ',', Quote: '"', Escape: '"', Newline: '\r'}
	skip := comma
	skip.Skip = 2
	nulls := comma
	nulls.Nulls = []string{"NA", `\N`}
	for _, c := range []struct {
		name, file string
		d          Dialect
		single     bool
		want       []row
		odd        bool
	}{
		{"plain", "a,b\n1,2\n", comma, false, []row{{1, []string{"a", "b"}, ""}, {2, []string{"1", "2"}, ""}}, false},
		{"no newline at the end", "a,b\n1,2", comma, false, []row{{1, []string{"a", "b"}, ""}, {2, []string{"1", "2"}, ""}}, false},
		{"crlf", "a,b\r\n1,\r\n", comma, false, []row{{1, []string{"a", "b"}, ""}, {2, []string{"1", "∅"}, ""}}, false},
		{"quoted empty is not null", `a,""` + "\n" + `"",b` + "\n", comma, false, []row{{1, []string{"a", ""}, ""}, {2, []string{"", "b"}, ""}}, false},
		{"newlines and quotes inside", "1,\"x\ny \"\"z\"\"\"\n2,b\n", comma, false, []row{{1, []string{"1", "x\ny \"z\""}, ""}, {3, []string{"2", "b"}, ""}}, false},
		{"crlf inside", "1,\"x\r\ny\"\r\n2,b\r\n", comma, false, []row{{1, []string{"1", "x\r\ny"}, ""}, {3, []string{"2", "b"}, ""}}, false},
		{"blank lines", "a,b\n\n1,2\n\n\n", comma, false, []row{{1, []string{"a", "b"}, ""}, {3, []string{"1", "2"}, ""}}, false},
		{"blank lines of one column", "a\n\n2\n", comma, true, []row{{1, []string{"a"}, ""}, {2, []string{"∅"}, ""}, {3, []string{"2"}, ""}}, false},
		{"quote inside a value", "a,x\"y\n", comma, false, []row{{1, []string{"a", "x\"y"}, ""}}, false},
		{"spaces around quotes", "1, \"x,y\" ,2\n", comma, false, []row{{1, []string{"1", "x,y", "2"}, ""}}, true},
		{"text after a quote", "1,\"x\"y\n2,3\n", comma, false, []row{{1, []string{"1,\"x\"y"}, "value 2 goes on after its closing quote"}, {2, []string{"2", "3"}, ""}}, false},
		{"unclosed", "1,2\n3,\"x\n4,5\n", comma, false, []row{{1, []string{"1", "2"}, ""}, {2, []string{"3,\"x"}, "value 2 opens a quote that is never closed"}, {3, []string{"4", "5"}, ""}}, false},
		{"mixed newlines", "1,2\r\n3,4\n", comma, false, []row{{1, []string{"1", "2"}, ""}, {2, []string{"3", "4"}, ""}}, true},
		{"doubled return", "1,2\r\r\n", comma, false, []row{{1, []string{"1", "2"}, ""}}, true},
		{"lone return", "1,a\rb\n", comma, false, []row{{1, []string{"1", "a\rb"}, ""}}, true},
		{"lone return in quotes", "1,\"a\rb\nc\"\n", comma, false, []row{{1, []string{"1", "a\rb\nc"}, ""}}, true},
		{"mac", "a,b\r1,2\r", mac, false, []row{{1, []string{"a", "b"}, ""}, {2, []string{"1", "2"}, ""}}, true},
		{"backslash", `1;"x\"y\\"` + "\n", semi, false, []row{{1, []string{"1", `x"y\`}, ""}}, true},
		{"skip", "report\nof today\na,b\n1,2\n", skip, false, []row{{3, []string{"a", "b"}, ""}, {4, []string{"1", "2"}, ""}}, false},
		{"nulls", "NA,\\N,\"NA\",x\n", nulls, false, []row{{1, []string{"∅", "∅", "NA", "x"}, ""}}, false},
		{"zero byte", "1,x\x00y\n2,z\n", comma, false, []row{{1, []string{"1,x\x00y"}, "there is a NUL byte: the file is damaged, or not text"}, {2, []string{"2", "z"}, ""}}, false},
		{"not utf-8", "1,é\n2,\xff\n3,c\n", comma, false, []row{{1, []string{"1", "é"}, ""}, {2, []string{"2,\xff"}, ProblemEncoding}, {3, []string{"3", "c"}, ""}}, false},
		{"no quotes", `1,"x` + "\n", Dialect{Delimiter: ',', Newline: '\n'}, false, []row{{1, []string{"1", `"x`}, ""}}, false},
		{"empty", "", comma, false, nil, false},
		{"quote at the end", "1,\"x\"", comma, false, []row{{1, []string{"1", "x"}, ""}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, block := range []int{1, 2, 3, 5, 8, blockSize} {
				got, s := readAll(t, iotest.DataErrReader(strings.NewReader(c.file)), c.d, c.single, block)
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
				if s.Err() != nil || s.Odd != c.odd {
					t.Errorf("err %v, odd %v", s.Err(), s.Odd)
				}
			}
		})
	}
}

func TestScannerReadsLongRecordsAcrossBlocks(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\ny\"\"", 400_000)
	file := "1,\"" + long + "\"\n2,b\n" + strings.Repeat("3,žluť\n", 300_000)
	rows, s := readAll(t, strings.NewReader(file), comma, false, blockSize)
	if s.Err() != nil || len(rows) != 300_002 {
		t.Fatalf("%d rows, %v", len(rows), s.Err())
	}
	if want := strings.Repeat("x\ny\"", 400_000); rows[0].Values[1] != want {
		t.Error("the long value is damaged")
	}
	if rows[1].Line != 400_002 || rows[1].Values[0] != "2" {
		t.Errorf("the record after it: %+v", rows[1])
	}
	if s.Longest != len(long)+4 {
		t.Errorf("longest %d", s.Longest)
	}
}

func TestScannerRecoversFromAQuoteThatIsNeverClosed(t *testing.T) {
	t.Parallel()
	file := "1,\"open\n" + strings.Repeat("2,"+strings.Repeat("x", 1<<20)+"\n", 70)
	s := NewScanner(strings.NewReader(file), comma)
	n := 0
	for s.Next() {
		n++
		if (s.Record().Problem != "") != (n == 1) {
			t.Fatalf("record %d: %q", n, s.Record().Problem)
		}
	}
	if n != 71 || s.Err() != nil {
		t.Errorf("%d records, %v", n, s.Err())
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "1,\"x\ny\"\"\"\r\n", " \"a\" ,b", "\"", "a\"b\n\n,", "\r\r\n", "x\x00\xff"} {
		f.Add([]byte(s), byte(','), byte('"'), byte('"'), false)
	}
	f.Fuzz(func(t *testing.T, file []byte, delimiter, quote, escape byte, mac bool) {
		d := Dialect{Delimiter: delimiter, Quote: quote, Escape: escape, Newline: '\n'}
		if mac {
			d.Newline = '\r'
		}
		if d.Validate() != nil {
			return
		}
		whole, s := readAll(t, bytes.NewReader(file), d, false, blockSize)
		pieces, p := readAll(t, iotest.HalfReader(bytes.NewReader(file)), d, false, 1+len(file)/7)
		if diff := cmp.Diff(whole, pieces); diff != "" || s.Odd != p.Odd {
			t.Fatalf("reading in pieces differs: %s", diff)
		}
		if d.Delimiter != ',' || d.Quote != '"' || d.Escape != '"' || mac || s.Odd || bytes.IndexByte(file, 0) >= 0 {
			return
		}
		compareWithStandard(t, file, whole)
	})
}

// compareWithStandard holds the scanner against encoding/csv where that accepts the file.
func compareWithStandard(t *testing.T, file []byte, rows []row) {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(file))
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		return
	}
	var want [][]string
	want = append(want, records...)
	var got [][]string
	for _, r := range rows {
		if r.Problem != "" {
			return
		}
		var values []string
		for _, v := range r.Values {
			values = append(values, strings.ReplaceAll(strings.TrimPrefix(v, "∅"), "\r\n", "\n"))
		}
		got = append(got, values)
	}
	if !slices.EqualFunc(want, got, slices.Equal[[]string]) && !bytes.Contains(file, []byte("∅")) {
		t.Fatalf("%q: got %q, the standard library has %q", file, got, want)
	}
}
