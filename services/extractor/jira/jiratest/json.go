package jiratest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// buf builds JSON by appending: an answer costs microseconds, so that a load test measures its subject.
type buf []byte

// comma separates from what stands before, where there is something.
func (b *buf) comma() {
	if n := len(*b); n > 0 {
		switch (*b)[n-1] {
		case '{', '[', ':', ',':
		default:
			*b = append(*b, ',')
		}
	}
}

func (b *buf) open(c byte)  { b.comma(); *b = append(*b, c) }
func (b *buf) close(c byte) { *b = append(*b, c) }

func (b *buf) key(k string) {
	b.comma()
	*b = append(*b, '"')
	*b = append(*b, k...)
	*b = append(*b, '"', ':')
}

func (b *buf) raw(v []byte) {
	b.comma()
	*b = append(*b, v...)
}

func (b *buf) lit(v string) {
	b.comma()
	*b = append(*b, v...)
}

func (b *buf) str(v string) {
	b.comma()
	*b = appendString(*b, v)
}

func (b *buf) num(v int64) {
	b.comma()
	*b = strconv.AppendInt(*b, v, 10)
}

// id is a number in quotes, as Jira writes ids.
func (b *buf) id(v int64) {
	b.comma()
	*b = append(*b, '"')
	*b = strconv.AppendInt(*b, v, 10)
	*b = append(*b, '"')
}

const jiraTime = "2006-01-02T15:04:05.000-0700"

func (b *buf) time(t time.Time, zone *time.Location) {
	b.comma()
	*b = append(*b, '"')
	*b = t.In(zone).AppendFormat(*b, jiraTime)
	*b = append(*b, '"')
}

func (b *buf) bool(v bool) {
	b.comma()
	*b = strconv.AppendBool(*b, v)
}

func appendString(b []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			return append(b, encode(v)...)
		}
	}
	b = append(b, '"')
	b = append(b, v...)
	return append(b, '"')
}

// marshal gives the JSON of a value of a test; raw JSON passes as it is.
func marshal(v any) json.RawMessage {
	if raw, ok := v.(json.RawMessage); ok {
		return raw
	}
	return encode(v)
}

// encode writes JSON without escaping what HTML would need, as Jira does.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		misuse("%T has no JSON form: %v", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func itoa(v int64) string { return strconv.FormatInt(v, 10) }
