package rows

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// present is v, or nil where it is null.
func present(v *jsontree.Value) *jsontree.Value {
	if v == nil || v.Type() == jsontree.Null {
		return nil
	}
	return v
}

// kindOf names what a value is, for a problem.
func kindOf(v *jsontree.Value) string {
	if v == nil {
		return "nothing"
	}
	switch v.Type() {
	case jsontree.Object:
		return "an object"
	case jsontree.Array:
		return "a list"
	case jsontree.String:
		return "a text"
	case jsontree.Number:
		return "a number"
	case jsontree.True, jsontree.False:
		return "a truth value"
	default:
		return "null"
	}
}

// scalar is the text of a text, a number or a truth value; "" of anything else.
func scalar(v *jsontree.Value) string {
	if v == nil {
		return ""
	}
	switch v.Type() {
	case jsontree.String:
		return jsontree.Text(v)
	case jsontree.Number, jsontree.True, jsontree.False:
		return string(v.MarshalTo(nil))
	default:
		return ""
	}
}

// dig follows keys into objects. What is null or missing on the way gives nil.
func (f *Flattener) dig(column string, v *jsontree.Value, keys ...string) *jsontree.Value {
	for _, key := range keys {
		if v == nil {
			return nil
		}
		if v.Type() != jsontree.Object {
			f.unexpected(column, "an object", v)
			return nil
		}
		v = present(v.Get(key))
	}
	return v
}

// string is the text of a text, a number or a truth value.
func (f *Flattener) string(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	switch v.Type() {
	case jsontree.Object, jsontree.Array:
		f.unexpected(column, "a text", v)
		return nil
	default:
		return scalar(v)
	}
}

// at is the text that keys lead to.
func (f *Flattener) at(column string, v *jsontree.Value, keys ...string) any {
	return f.string(column, f.dig(column, v, keys...))
}

// markdown is rich text, or plain text of the version 2 of the API.
func (f *Flattener) markdown(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	switch v.Type() {
	case jsontree.Number, jsontree.True, jsontree.False:
		f.unexpected(column, "rich text", v)
		return nil
	default:
		return f.adf.Markdown(v)
	}
}

// timestamp is an instant in UTC: of a text, or of a number of milliseconds since 1970.
func (f *Flattener) timestamp(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	switch v.Type() {
	case jsontree.String:
		raw := v.GetStringBytes()
		if t, ok := parseTime(raw); ok {
			return t
		}
		if len(raw) > 0 {
			f.problem(column, "expected a time, found another text")
		}
		return nil
	case jsontree.Number:
		if ms, ok := parseInteger(scalar(v)); ok {
			if t := time.UnixMilli(ms).UTC(); validYear(t) {
				return t
			}
		}
	default:
	}
	f.unexpected(column, "a time", v)
	return nil
}

// date is a day; of an instant the day in UTC.
func (f *Flattener) date(column string, v *jsontree.Value) any {
	t, ok := f.timestamp(column, v).(time.Time)
	if !ok {
		return nil
	}
	return t.Truncate(24 * time.Hour)
}

// integer is a whole number.
func (f *Flattener) integer(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	if t := v.Type(); t == jsontree.Number || t == jsontree.String {
		raw := scalar(v)
		if n, ok := parseInteger(raw); ok {
			return n
		}
		if raw == "" {
			return nil
		}
	}
	f.unexpected(column, "a whole number", v)
	return nil
}

// number is a finite number.
func (f *Flattener) number(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	if t := v.Type(); t == jsontree.Number || t == jsontree.String {
		raw := scalar(v)
		n, err := strconv.ParseFloat(raw, 64)
		if err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n
		}
		if raw == "" {
			return nil
		}
	}
	f.unexpected(column, "a number", v)
	return nil
}

func (f *Flattener) boolean(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	switch v.Type() {
	case jsontree.True:
		return true
	case jsontree.False:
		return false
	default:
		f.unexpected(column, "a truth value", v)
		return nil
	}
}

// option is the word for a choice.
func (f *Flattener) option(column string, v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	if word, ok := optionWord(v); ok {
		return word
	}
	f.unexpected(column, "an option", v)
	return nil
}

// cascading is the word for a choice in two steps.
func (f *Flattener) cascading(column string, v *jsontree.Value) any {
	first := f.option(column, v)
	if parent, ok := first.(string); ok && v.Type() == jsontree.Object {
		if child, ok := f.option(column, present(v.Get("child"))).(string); ok {
			return parent + " -> " + child
		}
	}
	return first
}

// Where an object keeps its word, the best first. Choices have a value; versions, components, groups
// and teams a name; the others are of assets, projects and apps.
var optionKeys = []string{"value", "name", "displayName", "title", "label", "key", "objectId", "id"}

func optionWord(v *jsontree.Value) (string, bool) {
	switch v.Type() {
	case jsontree.Object:
		for _, key := range optionKeys {
			if word := scalar(v.Get(key)); word != "" {
				return word, true
			}
		}
		return "", false
	case jsontree.Array, jsontree.Null:
		return "", false
	default:
		return scalar(v), true
	}
}

// emailWord is how a user appears in a list of addresses.
func emailWord(v *jsontree.Value) (string, bool) {
	for _, key := range []string{"emailAddress", "displayName", "accountId"} {
		if word := jsontree.Text(v.Get(key)); word != "" {
			return word, true
		}
	}
	return "", false
}

func accountWord(v *jsontree.Value) (string, bool) {
	word := jsontree.Text(v.Get("accountId"))
	return word, word != ""
}

// list is a JSON list of words. Nothing is an empty list, and a single value a list of one.
func (f *Flattener) list(column, wanted string, v *jsontree.Value, word func(*jsontree.Value) (string, bool)) any {
	if v == nil {
		return "[]"
	}
	elements := v.GetArray()
	if v.Type() != jsontree.Array {
		if _, ok := word(v); !ok {
			f.unexpected(column, "a list of "+wanted+"s", v)
			return nil
		}
		elements = []*jsontree.Value{v}
	}
	f.text = append(f.text[:0], '[')
	for _, e := range elements {
		w, ok := word(e)
		if !ok {
			f.unexpected(column, article(wanted), e)
			continue
		}
		if len(f.text) > 1 {
			f.text = append(f.text, ',')
		}
		f.text = jsontree.AppendString(f.text, w)
	}
	return string(append(f.text, ']'))
}

func article(word string) string {
	if strings.IndexByte("aeio", word[0]) >= 0 {
		return "an " + word
	}
	return "a " + word
}

func (f *Flattener) json(v *jsontree.Value) any {
	if v == nil {
		return nil
	}
	f.text = jsontree.Append(f.text[:0], v)
	return string(f.text)
}

// parseInteger reads a whole number, also one written like 5.0 or 1e3.
func parseInteger(raw string) (int64, bool) {
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return n, true
	}
	x, err := strconv.ParseFloat(raw, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) >= 1<<63 {
		return 0, false
	}
	return int64(x), true
}

func validYear(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

// parseTime reads ISO 8601 as Jira writes it: 2024-05-01T10:11:12.345+0200, with or without fraction,
// seconds, and colon; a time without an offset, or a day alone, is in UTC. What is finer than a
// microsecond is dropped.
func parseTime(s []byte) (time.Time, bool) {
	r := timeReader{rest: s}
	year, month, day := r.number(4), r.after('-'), r.after('-')
	var hour, minute, second, nanos, offset int
	if len(r.rest) > 0 && !r.failed {
		if c := r.next(); c != 'T' && c != 't' && c != ' ' {
			return time.Time{}, false
		}
		hour, minute = r.number(2), r.after(':')
		if r.peek() == ':' {
			second = r.after(':')
		}
		if c := r.peek(); c == '.' || c == ',' {
			nanos = r.fraction()
		}
		offset = r.offset()
	}
	if r.failed || len(r.rest) > 0 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day {
		return time.Time{}, false
	}
	t = t.Add(-time.Duration(offset) * time.Minute)
	return t, validYear(t)
}

// timeReader takes a text apart from its beginning. After a failure it gives zeros.
type timeReader struct {
	rest   []byte
	failed bool
}

func (r *timeReader) peek() byte {
	if len(r.rest) == 0 {
		return 0
	}
	return r.rest[0]
}

func (r *timeReader) next() byte {
	c := r.peek()
	if len(r.rest) > 0 {
		r.rest = r.rest[1:]
	}
	return c
}

func (r *timeReader) number(digits int) (n int) {
	for range digits {
		c := r.next()
		if c < '0' || c > '9' {
			r.failed = true
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// after reads the two digits after a character.
func (r *timeReader) after(c byte) int {
	if r.next() != c {
		r.failed = true
		return 0
	}
	return r.number(2)
}

// fraction reads a fraction of a second, in nanoseconds of whole microseconds.
func (r *timeReader) fraction() (nanos int) {
	r.next()
	unit, digits := 100_000_000, 0
	for c := r.peek(); c >= '0' && c <= '9'; c = r.peek() {
		if unit >= 1000 {
			nanos += int(c-'0') * unit
		}
		unit /= 10
		digits++
		r.next()
	}
	r.failed = r.failed || digits == 0
	return nanos
}

// offset reads how many minutes the time is ahead of UTC.
func (r *timeReader) offset() int {
	sign := 1
	switch r.next() {
	case 0, 'Z', 'z':
		return 0
	case '+':
	case '-':
		sign = -1
	default:
		r.failed = true
		return 0
	}
	hours, minutes := r.number(2), 0
	if r.peek() == ':' {
		minutes = r.after(':')
	} else if len(r.rest) > 0 {
		minutes = r.number(2)
	}
	if hours > 23 || minutes > 59 {
		r.failed = true
	}
	return sign * (hours*60 + minutes)
}
