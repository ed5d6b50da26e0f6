package shape

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

type row struct {
	Line    int64
	Raw     string
	Problem string
}

func readAll(text string, block int) (rows []row, err error) {
	s := newScanner(strings.NewReader(text), block)
	for s.Next() {
		raw, line := s.Record()
		rows = append(rows, row{line, string(raw), s.Problem()})
	}
	return rows, s.Err()
}

func TestScanner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       []row
		err        string
	}{
		{"lines", "{\"a\":1}\n\n{\"a\":2}", []row{{1, `{"a":1}`, ""}, {3, `{"a":2}`, ""}}, ""},
		{"pretty", "{\"a\":\n1}\n{\"b\": [1,\n2]}\n", []row{{1, "{\"a\":\n1}", ""}, {3, "{\"b\": [1,\n2]}", ""}}, ""},
		{"array", "[ {\"a\":1},\n{\"a\":2}\n]\n", []row{{1, `{"a":1}`, ""}, {2, `{"a":2}`, ""}}, ""},
		{"empty array", "[]", nil, ""},
		{"empty", "", nil, ""},
		{"space", " \n ", nil, ""},
		{"scalars", "1 true \"x\" null -1.5e3", []row{{1, "1", ""}, {1, "true", ""}, {1, `"x"`, ""}, {1, "null", ""}, {1, "-1.5e3", ""}}, ""},
		{"bad line", "{\"a\":1}\n{\"a\":2,\n{\"a\":3}\n", []row{{1, `{"a":1}`, ""}, {2, `{"a":2,`, "a key in quotes must come, not '{'"}, {3, `{"a":3}`, ""}}, ""},
		{"bad word", "nope\n{}\n", []row{{1, "nope", "a value that starts with 'n' can only be null"}, {2, "{}", ""}}, ""},
		{"leading zero", "{\"a\":007}\n", []row{{1, `{"a":007}`, `"007" is not a number`}}, ""},
		{"cut off", "{\"a\":1}\n{\"a\":", []row{{1, `{"a":1}`, ""}, {2, `{"a":`, "the text ends in the middle of the record"}}, ""},
		{"control character", "{\"a\":\"x\ty\"}\n", []row{{1, "{\"a\":\"x\ty\"}", `a text holds the control character '\t'`}}, ""},
		{"not utf-8", "{\"a\":\"\xff\"}\n{}\n", []row{{1, "{\"a\":\"\xff\"}", "a text is not valid UTF-8"}, {2, "{}", ""}}, ""},
		{"surrogates", `{"a":"\ud83d\ude00","b":"\ud83d"}` + "\n", []row{{1, `{"a":"\ud83d\ude00","b":"\ud83d"}`, "a text holds half of a surrogate pair"}}, ""},
		{"array cut off", "[{\"a\":1},\n", []row{{1, `{"a":1}`, ""}}, "line 2: a record must follow the comma"},
		{"array not closed", "[{\"a\":1}\n", []row{{1, `{"a":1}`, ""}}, "line 2: the array is cut off"},
		{"array without comma", "[{} {}]", []row{{1, "{}", ""}}, "line 1: a comma or the end of the array must follow the record"},
		{"trailing comma", "[{},]", []row{{1, "{}", ""}}, "line 1: a record must follow the comma"},
		{"more after the array", "[{}]\n{}", []row{{1, "{}", ""}}, "line 2: there is more after the end of the array"},
		{"bad in array", "[{},\n{a:1}]", []row{{1, "{}", ""}}, "line 2: a key in quotes must come, not 'a'"},
		{"too deep", strings.Repeat("[", 300) + "\n{}", []row(nil), "line 1: values are nested deeper than 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, block := range []int{1, 2, 7, 1 << 16} {
				got, err := readAll(c.text, block)
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("block %d: %s", block, d)
				}
				if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
					t.Errorf("block %d: error %v, want %q", block, err, c.err)
				}
			}
		})
	}
}

func typesOf(t *testing.T, formats kind.Formats, records ...string) (out []string) {
	t.Helper()
	s := Shape{Formats: formats}
	for _, r := range records {
		if reason := s.Add([]byte(r)); reason != "" {
			return []string{reason}
		}
	}
	for _, f := range s.Fields() {
		out = append(out, f.Name+" "+f.Type(&s.Formats, func(n string) string { return `"` + n + `"` }))
	}
	return out
}

func TestTypes(t *testing.T) {
	t.Parallel()
	day, err := kind.ParseLayout("%d/%m/%Y")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		records []string
		want    []string
	}{
		{[]string{`{"a":1,"b":"x"}`, `{"b":null,"c":true}`}, []string{"a BIGINT", "b VARCHAR", "c BOOLEAN"}},
		{[]string{`{"a":1}`, `{"a":2.5}`}, []string{"a DOUBLE"}},
		{[]string{`{"a":1e5}`}, []string{"a DOUBLE"}},
		{[]string{`{"a":9223372036854775808}`}, []string{"a VARCHAR"}},
		{[]string{`{"a":1}`, `{"a":"x"}`}, []string{"a VARCHAR"}},
		{[]string{`{"a":1}`, `{"a":{"b":1}}`}, []string{"a JSON"}},
		{[]string{`{"a":null}`}, []string{"a VARCHAR"}},
		{[]string{`{"a":"2024-01-02T10:00:00Z"}`}, []string{"a TIMESTAMP WITH TIME ZONE"}},
		{[]string{`{"a":"2024-01-02T10:00:00"}`, `{"a":"2024-01-02"}`}, []string{"a TIMESTAMP"}},
		{[]string{`{"a":"2024-01-02"}`, `{"a":""}`}, []string{"a VARCHAR"}},
		{[]string{`{"a":"00123"}`, `{"b":"12"}`, `{"c":"true"}`}, []string{"a VARCHAR", "b VARCHAR", "c VARCHAR"}},
		{[]string{`{"a":"31/12/2024","n":{"d":"31/12/2024"}}`}, []string{"a DATE", `n STRUCT("d" VARCHAR)`}},
		{[]string{`{"a":{"x y":[1,2],"z":{}}}`, `{"a":{"q":"2024-01-02"}}`}, []string{`a STRUCT("x y" BIGINT[], "z" JSON, "q" DATE)`}},
		{[]string{`{"a":[]}`}, []string{"a JSON"}},
		{[]string{`{"a":[[1],[2.5]]}`}, []string{"a DOUBLE[][]"}},
		{[]string{`{"a":[1,"x"]}`}, []string{"a VARCHAR[]"}},
		{[]string{`{"a":[1,{}]}`}, []string{"a JSON"}},
		{[]string{`{"a":{"b":1,"B":2}}`}, []string{"a JSON"}},
		{[]string{`{"a":{"":1}}`}, []string{"a JSON"}},
		{[]string{`{"a":{"b":1,"b":2}}`}, []string{`the key "b" is there twice`}},
		{[]string{`{"a":[{"b":1},{"b":2}]}`}, []string{`a STRUCT("b" BIGINT)[]`}},
		{[]string{`{"\u0061\"":1}`}, []string{`a" BIGINT`}},
	} {
		if d := cmp.Diff(c.want, typesOf(t, kind.Formats{Date: day}, c.records...)); d != "" {
			t.Errorf("%s: %s", c.records, d)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	values, reason := Members([]byte(`{ "a" : "x\n" , "b":null,"c":[1,{"d":"]"}], "e": -1.5 , "f":{} }`))
	want := []Value{{"a", []byte("x\n"), false, false}, {"b", []byte("null"), true, false}, {"c", []byte(`[1,{"d":"]"}]`), false, true}, {"e", []byte("-1.5"), false, false}, {"f", []byte("{}"), false, true}}
	if d := cmp.Diff(want, values); d != "" || reason != "" {
		t.Error(reason, d)
	}
	for raw, want := range map[string]string{
		`5`: "the record is not an object", `[1]`: "the record is not an object", `{"":1}`: "a key is empty", `{"a":1,"a":2}`: `the key "a" is there twice`, `{}`: "",
	} {
		if _, got := Members([]byte(raw)); got != want {
			t.Errorf("%s: %q", raw, got)
		}
	}
}

func TestClash(t *testing.T) {
	t.Parallel()
	s := Shape{}
	s.Add([]byte(`{"a":1,"b":2}`))
	if a, b := s.Clash(); a != "" || b != "" {
		t.Error(a, b)
	}
	s.Add([]byte(`{"A":1}`))
	if a, b := s.Clash(); a != "a" || b != "A" {
		t.Error(a, b)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"a":1}`, "[{\"a\":\"\\ud83d\\ude00\"}\n,{}]", "{\"a\":\n[1,2.5e3,null,true]}\n5", `{"a`, "\"\xff\"", `{"":{"":[]}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 10_000 {
			return
		}
		whole, err := readAll(text, 1<<16)
		pieces, errPieces := readAll(text, 1+len(text)/5)
		if d := cmp.Diff(whole, pieces); d != "" || (err == nil) != (errPieces == nil) {
			t.Fatalf("reading in pieces differs: %v %v %s", err, errPieces, d)
		}
		s := Shape{}
		for _, r := range whole {
			if r.Problem != "" {
				continue
			}
			if !json.Valid([]byte(r.Raw)) {
				t.Fatalf("%q is not JSON", r.Raw)
			}
			if _, reason := Members([]byte(r.Raw)); reason == "" {
				s.Add([]byte(r.Raw))
			}
		}
		for _, n := range s.Fields() {
			_ = n.Type(&s.Formats, func(n string) string { return n })
		}
	})
}
