package jsontree

import (
	"encoding/json"

	"github.com/tidwall/gjson"
)

// Members are the members of a JSON object as parts of its text, which must not be changed meanwhile; nil
// where it is none. Of one key that stands there twice, the last counts. It is for a text that is known to be
// JSON, or will be read whole: an error within it goes unnoticed.
func Members(text []byte) map[string]json.RawMessage {
	object := gjson.ParseBytes(text)
	if !object.IsObject() {
		return nil
	}
	members := map[string]json.RawMessage{}
	object.ForEach(func(key, value gjson.Result) bool {
		end := value.Index + len(value.Raw)
		members[key.String()] = text[value.Index:end:end]
		return true
	})
	return members
}
