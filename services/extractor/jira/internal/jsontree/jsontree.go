// Package jsontree parses JSON from outside into a tree that costs little and keeps its order. It is
// meant for documents in which one odd value must not spoil the rest: bytes that are not UTF-8 are
// replaced, and what is nested too deeply is cut off.
package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// Value is a node of the tree. It and every byte slice from it are valid until the next call of
// Parser.Parse: copy what is to stay. A nil Value is one that is not there.
type Value = fastjson.Value

// Types of values.
const (
	Null   = fastjson.TypeNull
	Object = fastjson.TypeObject
	Array  = fastjson.TypeArray
	String = fastjson.TypeString
	Number = fastjson.TypeNumber
	True   = fastjson.TypeTrue
	False  = fastjson.TypeFalse
)

// MaxDepth is how deep arrays and objects may be nested. A value below it is replaced by null.
const MaxDepth = fastjson.MaxDepth - 1

// keepBytes is the size of a document after which a parser lets go of its memory.
const keepBytes = 4 << 20

// ErrMalformed says that a text is not JSON. It quotes nothing of the text, which may be confidential.
var ErrMalformed = errors.New("not well-formed JSON")

// Parser parses one document after the other in the same memory. The zero Parser is ready. It is not
// safe for concurrent use.
type Parser struct {
	parser fastjson.Parser
	large  bool
}

// Parse gives the tree of a text. cut tells that something was nested too deeply.
func (p *Parser) Parse(text []byte) (v *Value, cut bool, err error) {
	if p.large {
		p.parser = fastjson.Parser{}
	}
	p.large = len(text) > keepBytes
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	if v, err = p.parser.ParseBytes(text); err == nil {
		return v, false, nil
	}
	shallow, cut := prune(text)
	if !cut {
		return nil, false, ErrMalformed
	}
	if v, err = p.parser.ParseBytes(shallow); err != nil {
		return nil, false, ErrMalformed
	}
	return v, true, nil
}

// prune replaces what is nested deeper than MaxDepth by null.
func prune(text []byte) (shallow []byte, cut bool) {
	shallow = make([]byte, 0, len(text))
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if depth <= MaxDepth {
			shallow = append(shallow, c)
		}
		switch {
		case quoted && c == '\\' && i+1 < len(text):
			i++
			if depth <= MaxDepth {
				shallow = append(shallow, text[i])
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth == MaxDepth+1 {
				shallow, cut = append(shallow[:len(shallow)-1], "null"...), true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return shallow, cut
}

// Text is a copy of a string; "" of anything else.
func Text(v *Value) string {
	if v == nil || v.Type() != String {
		return ""
	}
	return string(v.GetStringBytes())
}

// Raw is a number as it was written; "" of anything else.
func Raw(v *Value) string {
	if v == nil || v.Type() != Number {
		return ""
	}
	return string(v.MarshalTo(nil))
}

// Append adds v to dst as compact JSON, with the members of objects in their order.
func Append(dst []byte, v *Value) []byte {
	if v == nil {
		return append(dst, "null"...)
	}
	switch v.Type() {
	case Object:
		dst = append(dst, '{')
		first := true
		v.GetObject().Visit(func(key []byte, member *Value) {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(AppendString(dst, key), ':')
			dst = Append(dst, member)
		})
		return append(dst, '}')
	case Array:
		dst = append(dst, '[')
		for i, element := range v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = Append(dst, element)
		}
		return append(dst, ']')
	case String:
		return AppendString(dst, v.GetStringBytes())
	case Number:
		start := len(dst)
		if dst = v.MarshalTo(dst); !json.Valid(dst[start:]) {
			return append(dst[:start], "null"...) // such as NaN, which the parser takes
		}
		return dst
	default:
		return v.MarshalTo(dst)
	}
}

const hexDigits = "0123456789abcdef"

// AppendString adds a text to dst as a JSON string. Letters of all scripts stand for themselves.
func AppendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
