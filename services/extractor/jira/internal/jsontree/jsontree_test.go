package jsontree

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	t.Parallel()
	var p Parser
	for in, want := range map[string]string{
		`{"a":[1,2.50,"x\n\"\\\u00e9\t\r\u0001",true,false,null,{}],"b":{}}`: `{"a":[1,2.50,"x\n\"\\é\t\r\u0001",true,false,null,{}],"b":{}}`,
		"\t[]\n":                   `[]`,
		`"\ud83d\ude00"`:           `"😀"`,
		"\"\xff\"":                 `"` + "\uFFFD" + `"`,
		`[NaN,-inf,1.2.3,01,-1e5]`: `[null,null,null,null,-1e5]`,
	} {
		v, cut, err := p.Parse([]byte(in))
		if err != nil || cut {
			t.Errorf("%s: %v %v", in, cut, err)
			continue
		}
		if got := string(Append(nil, v)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "{", `{"secret":hunter2}`, "[1,]", "[] []", `"a`, strings.Repeat("[", 400)} {
		if _, _, err := p.Parse([]byte(in)); !errors.Is(err, ErrMalformed) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: %v", in, err)
		}
	}
	if string(Append(nil, nil)) != "null" || Text(nil) != "" || Raw(nil) != "" {
		t.Error("nothing is something")
	}
}

func TestParseCutsWhatIsDeep(t *testing.T) {
	t.Parallel()
	var p Parser
	for _, levels := range []int{MaxDepth, MaxDepth + 1, 100_000} {
		in := `{"before":"[{\"","a":` + strings.Repeat("[", levels-1) + `"]}"` + strings.Repeat("]", levels-1) + `,"after":1}`
		v, cut, err := p.Parse([]byte(in))
		if err != nil || cut != (levels > MaxDepth) {
			t.Fatalf("%d levels: %v %v", levels, cut, err)
		}
		got := string(Append(nil, v))
		if !json.Valid([]byte(got)) || v.GetInt("after") != 1 || Text(v.Get("before")) != `[{"` || strings.Contains(got, `"]}"`) == cut {
			t.Errorf("%d levels: %.100s", levels, got)
		}
	}
}

// What was large is let go of, and small documents after it are read all the same.
func TestParserAfterALargeDocument(t *testing.T) {
	t.Parallel()
	var p Parser
	for range 2 {
		if v, _, err := p.Parse([]byte(`"` + strings.Repeat("x", keepBytes) + `"`)); err != nil || len(v.GetStringBytes()) != keepBytes {
			t.Fatal(err)
		}
		if v, _, err := p.Parse([]byte(`{"a":1}`)); err != nil || v.GetInt("a") != 1 {
			t.Fatal(err)
		}
	}
}

// FuzzParse: whatever encoding/json takes has the same meaning here, and what comes out is JSON.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x"]}`, `[1e400]`, `"\ud800"`, "\xff", strings.Repeat("[", 350) + strings.Repeat("]", 350), `{"a\u0062":1,"ab":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var p Parser
		v, cut, err := p.Parse(in)
		if err != nil {
			if json.Valid(in) {
				t.Errorf("%q: %v", in, err)
			}
			return
		}
		out := Append(nil, v)
		if !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("%q became %q", in, out)
		}
		// Half of a surrogate pair has no meaning to agree on.
		if cut || !json.Valid(in) || !utf8.Valid(in) || strings.Contains(strings.ToLower(string(in)), `\ud`) {
			return
		}
		var want, got any
		if json.Unmarshal(in, &want) != nil {
			return // a number out of range
		}
		if err := json.Unmarshal(out, &got); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%q became %q: %v", in, out, err)
		}
	})
}
