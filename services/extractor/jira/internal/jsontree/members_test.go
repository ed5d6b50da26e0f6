package jsontree_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// The quick look at a document sees what the reader of the standard library sees.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{
		`{"id":"1","fields":{"a":[1,2,{"b":"\"x}"}],"é\n":null,"a b":"c"},"z":true}`, ` { "fields" : { "x" : 1 } , "y":[ ] } `,
		`{}`, `[]`, `"x"`, ``, `null`, `{"a":1,"a":2}`, `{"\u0061":-1.5e3,"":""}`, "{\"\\ud800\":{}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			jsontree.Members(text) // is not read, but must not panic
			return
		}
		if got := jsontree.Members(text); !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("%q: %q instead of %q", text, got, want)
		}
	})
}
