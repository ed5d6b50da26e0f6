package jira

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A body is checked by encoding/json once. From then on it is known to be valid, and its parts are found
// without being copied or decoded: an issue can have hundreds of fields, of which two are read here.

// members are some members of a JSON object by their exact names; encoding/json takes ISSUE for issue
// where it fills a struct. Where a name comes twice the last one counts, as it does there.
type members map[string]json.RawMessage

// membersOf finds the wanted members of a valid object.
func membersOf(object []byte, wanted ...string) members {
	m := members{}
	rest := skipSpace(object[1:])
	for rest[0] != '}' {
		end := stringEnd(rest)
		quoted := rest[:end]
		rest = skipSpace(rest[end:])
		rest = skipSpace(rest[1:]) // the colon
		end = valueEnd(rest)
		if name := nameOf(quoted, wanted); name != "" {
			m[name] = rest[:end:end]
		}
		rest = skipComma(rest[end:])
	}
	return m
}

// nameOf gives the wanted name that a member has, without a copy of those that nobody wants.
func nameOf(quoted []byte, wanted []string) string {
	inner := quoted[1 : len(quoted)-1]
	for _, name := range wanted {
		if string(inner) == name {
			return name
		}
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return ""
	}
	if name := text(quoted); slices.Contains(wanted, name) { // i\u0073sue is a name for issue
		return name
	}
	return ""
}

// walkArray visits the elements of a valid array.
func walkArray(array []byte, visit func(json.RawMessage)) {
	rest := skipSpace(array[1:])
	for rest[0] != ']' {
		end := valueEnd(rest)
		visit(rest[:end:end])
		rest = skipComma(rest[end:])
	}
}

// skipComma goes to the next member or element, or to the closing bracket.
func skipComma(rest []byte) []byte {
	rest = skipSpace(rest)
	if rest[0] == ',' {
		rest = skipSpace(rest[1:])
	}
	return rest
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// valueEnd is the length of the value that b begins with.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
		depth := 0
		for i := 0; ; {
			switch b[i] {
			case '"':
				i += stringEnd(b[i:])
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	if end := bytes.IndexAny(b, ",]} \n\t\r"); end >= 0 {
		return end
	}
	return len(b)
}

// stringEnd is the length of the string that b begins with, its quotes included.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		i += bytes.IndexByte(b[i:], '"')
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
}

// isA tells what kind of value a valid one is, by its first byte.
func isA(raw json.RawMessage, first byte) bool { return len(raw) > 0 && raw[0] == first }

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// text is a JSON string; empty for anything else.
func text(raw json.RawMessage) string {
	if !isA(raw, '"') {
		return ""
	}
	if inner := raw[1 : len(raw)-1]; plain(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// plain tells whether a string stands for itself: nothing escaped, and ASCII.
func plain(s []byte) bool {
	for _, c := range s {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}
