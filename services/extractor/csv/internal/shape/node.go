package shape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// maxFields bounds the keys of a nested object that becomes a STRUCT; one with more is used as a map.
const maxFields = 500

// What values a node has seen.
const (
	seenBool = 1 << iota
	seenNumber
	seenText
	seenObject
	seenArray
)

// Node gathers the values at one place of the records.
type Node struct {
	Name string

	seen    uint8
	numbers kind.Set // Int and Float that every number fits
	texts   kind.Column
	fields  []*Node
	byName  map[string]*Node
	folded  map[string]bool // lower-case names of the fields
	clash   bool            // fields that differ only in case, or without a name
	element *Node
	last    int64 // the object that had this field last, to find a key that is there twice
}

// Shape gathers the fields of records that are objects.
type Shape struct {
	// Formats that texts are held against; only the ISO ones count for nested values.
	Formats kind.Formats

	root    Node
	objects int64
	iso     kind.Formats
}

// Fields are the columns that the records make, in the order in which they were first seen.
func (s *Shape) Fields() []*Node { return s.root.fields }

// Value is one member of a record.
type Value struct {
	Name string
	// Text is what the value is as text: without quotes for texts, as it stands for all others.
	Text []byte
	Null bool
	// Nested tells that it is an object or an array.
	Nested bool
}

// Members gives the members of a record that Scanner found valid, and why it cannot be a row, or "".
func Members(raw []byte) (values []Value, reason string) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, "the record is not an object"
	}
	w := walker{b: raw}
	seen := map[string]bool{}
	for w.open(); w.next('}'); {
		name := string(w.text())
		w.colon()
		start := w.p
		v := Value{Name: name, Nested: w.b[start] == '{' || w.b[start] == '['}
		w.skipValue()
		v.Text = w.b[start:w.p]
		v.Null = string(v.Text) == "null"
		if v.Text[0] == '"' {
			v.Text = unquote(v.Text)
		}
		switch {
		case name == "":
			return nil, "a key is empty"
		case seen[name]:
			return nil, fmt.Sprintf("the key %q is there twice", name)
		}
		seen[name] = true
		values = append(values, v)
	}
	return values, ""
}

// Add takes a record that Members accepted. It tells why it cannot be a row, or "".
func (s *Shape) Add(raw []byte) string {
	w := walker{b: raw}
	s.objects++
	return s.object(&w, &s.root, 0)
}

func (s *Shape) object(w *walker, n *Node, depth int) string {
	s.objects++
	id := s.objects
	n.seen |= seenObject
	for w.open(); w.next('}'); {
		name := string(w.text())
		w.colon()
		f := s.field(n, name)
		if f.last == id {
			return fmt.Sprintf("the key %q is there twice", name)
		}
		f.last = id
		if reason := s.value(w, f, depth+1); reason != "" {
			return reason
		}
	}
	return ""
}

func (s *Shape) field(n *Node, name string) *Node {
	if f := n.byName[name]; f != nil {
		return f
	}
	f := &Node{Name: name, numbers: kind.Int | kind.Float}
	f.texts.Kinds = kind.Date | kind.Stamp | kind.StampTZ | kind.Time
	if n == &s.root {
		f.texts.Kinds |= s.Formats.Start() & (kind.DateAs | kind.StampAs)
	}
	if n.byName == nil {
		n.byName, n.folded = map[string]*Node{}, map[string]bool{}
	}
	lower := strings.ToLower(name)
	n.clash = n.clash || n.folded[lower] || name == ""
	n.folded[lower] = true
	n.byName[name] = f
	n.fields = append(n.fields, f)
	return f
}

func (s *Shape) value(w *walker, n *Node, depth int) string {
	w.space()
	switch c := w.b[w.p]; c {
	case '{':
		return s.object(w, n, depth)
	case '[':
		n.seen |= seenArray
		if n.element == nil {
			n.element = s.field(&Node{}, "")
		}
		for w.open(); w.next(']'); {
			if reason := s.value(w, n.element, depth+1); reason != "" {
				return reason
			}
		}
	case '"':
		n.seen |= seenText
		text := w.text()
		if len(text) == 0 { // an empty text is a value of its own here
			n.texts.Kinds = 0
		}
		formats := &s.iso
		if depth == 1 {
			formats = &s.Formats
		}
		n.texts.Add(formats, text)
	case 't', 'f':
		n.seen |= seenBool
		w.skipValue()
	case 'n':
		w.skipValue()
	default:
		n.seen |= seenNumber
		start := w.p
		w.skipValue()
		n.numbers &= numberKinds(w.b[start:w.p])
	}
	return ""
}

// numberKinds is kind.Of for JSON numbers, which are numbers however they are written.
func numberKinds(v []byte) kind.Set {
	if bytes.ContainsAny(v, ".eE") || string(v) == "-0" {
		return kind.Float
	}
	return (&kind.Formats{}).Of(v, kind.Int|kind.Float)
}

// Clash names two fields of the records that differ only in case; "" where there are none.
func (s *Shape) Clash() (a, b string) {
	lower := map[string]string{}
	for _, f := range s.root.fields {
		key := strings.ToLower(f.Name)
		if other, found := lower[key]; found {
			return other, f.Name
		}
		lower[key] = f.Name
	}
	return "", ""
}

// Kind is the one kind of a field whose values are texts; 0 where they are something else, or text
// and no more. DateAs and StampAs are read as text first.
func (n *Node) Kind() kind.Set {
	if n.seen != seenText {
		return 0
	}
	return n.texts.Kind()
}

// Seen tells that there was a value that is not null.
func (n *Node) Seen() bool { return n.seen != 0 }

// Nested tells that a value is an object or an array.
func (n *Node) Nested() bool { return n.seen&(seenObject|seenArray) != 0 }

// Type is the DuckDB type that holds every value. quote quotes the name of a STRUCT's field.
func (n *Node) Type(f *kind.Formats, quote func(string) string) string {
	switch n.seen {
	case 0:
		return "VARCHAR"
	case seenBool:
		return "BOOLEAN"
	case seenNumber:
		return f.TypeOf(kind.Best(n.numbers))
	case seenText:
		return f.TypeOf(n.texts.Kind())
	case seenArray:
		if n.element.seen == 0 {
			return "JSON"
		}
		if t := n.element.Type(f, quote); t != "JSON" {
			return t + "[]"
		}
		return "JSON"
	case seenObject:
		if len(n.fields) == 0 || len(n.fields) > maxFields || n.clash {
			return "JSON"
		}
		list := make([]string, len(n.fields))
		for i, m := range n.fields {
			list[i] = quote(m.Name) + " " + m.Type(f, quote)
		}
		return "STRUCT(" + strings.Join(list, ", ") + ")"
	}
	if n.Nested() {
		return "JSON"
	}
	return "VARCHAR"
}

// walker goes through JSON that is known to be valid.
type walker struct {
	b []byte
	p int
	// first tells that no member of the object or array was passed yet; a stack, for they nest
	first []bool
}

func (w *walker) space() {
	for w.p < len(w.b) && (w.b[w.p] == ' ' || w.b[w.p] == '\n' || w.b[w.p] == '\t' || w.b[w.p] == '\r') {
		w.p++
	}
}

func (w *walker) open() {
	w.space()
	w.p++
	w.first = append(w.first, true)
}

// next goes to the next member, or past the end.
func (w *walker) next(end byte) bool {
	w.space()
	top := len(w.first) - 1
	if w.b[w.p] == end {
		w.p++
		w.first = w.first[:top]
		return false
	}
	if !w.first[top] {
		w.p++ // the comma
		w.space()
	}
	w.first[top] = false
	return true
}

func (w *walker) colon() {
	w.space()
	w.p++
	w.space()
}

// text passes over a text and gives it without quotes and escapes.
func (w *walker) text() []byte {
	w.space()
	start := w.p
	w.skipText()
	return unquote(w.b[start:w.p])
}

func unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return inner // cannot be: the text was found valid
	}
	return []byte(s)
}

func (w *walker) skipText() {
	for w.p++; w.b[w.p] != '"'; w.p++ {
		if w.b[w.p] == '\\' {
			w.p++
		}
	}
	w.p++
}

// skipValue passes over a value.
func (w *walker) skipValue() {
	w.space()
	depth := 0
	for w.p < len(w.b) {
		switch c := w.b[w.p]; c {
		case '"':
			w.skipText()
			if depth == 0 {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return
			}
			if depth--; depth == 0 {
				w.p++
				return
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return
			}
		}
		w.p++
	}
}
