package lake

import (
	"encoding/binary"
	"errors"
)

// The footer of a parquet file is one struct in Thrift's compact protocol
// (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md). It is
// rewritten field by field: what is not edited is copied as it stands, whatever a later version of
// the format put into it.

// Types of the compact protocol.
const (
	thriftStop   = 0
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

// maxThriftDepth bounds the nesting, so that a damaged footer cannot exhaust the stack.
const maxThriftDepth = 64

var errThrift = errors.New("the footer of the parquet file is damaged")

// thriftReader reads the compact protocol. After an error it reads zeros.
type thriftReader struct {
	in  []byte
	at  int
	err error
}

func (r *thriftReader) fail() {
	r.err = errThrift
	r.at = len(r.in)
}

func (r *thriftReader) byte() byte {
	if r.at >= len(r.in) {
		r.fail()
		return 0
	}
	r.at++
	return r.in[r.at-1]
}

func (r *thriftReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.in[r.at:])
	if size <= 0 {
		r.fail()
		return 0
	}
	r.at += size
	return n
}

func (r *thriftReader) varint() int64 {
	n, size := binary.Varint(r.in[r.at:]) // zigzag, as the protocol has it
	if size <= 0 {
		r.fail()
		return 0
	}
	r.at += size
	return n
}

func (r *thriftReader) advance(n uint64) {
	if n > uint64(len(r.in)-r.at) {
		r.fail()
		return
	}
	r.at += int(n)
}

// field reads the header of a struct's next field.
func (r *thriftReader) field(last int16) (id int16, kind byte) {
	head := r.byte()
	kind = head & 0x0f
	if kind == thriftStop {
		return 0, thriftStop
	}
	if delta := int16(head >> 4); delta != 0 {
		return last + delta, kind
	}
	return int16(r.varint()), kind
}

// list reads the header of a list or a set.
func (r *thriftReader) list() (n uint64, kind byte) {
	head := r.byte()
	n, kind = uint64(head>>4), head&0x0f
	if n == 15 {
		n = r.uvarint()
	}
	if n > uint64(len(r.in)-r.at) { // every element takes a byte at least
		r.fail()
		return 0, kind
	}
	return n, kind
}

// skip goes past a value of a struct's field.
func (r *thriftReader) skip(kind byte, depth int) {
	if depth > maxThriftDepth {
		r.fail()
		return
	}
	switch kind {
	case thriftTrue, thriftFalse: // the type is the value
	case thriftByte:
		r.byte()
	case thriftI16, thriftI32, thriftI64:
		r.varint()
	case thriftDouble:
		r.advance(8)
	case thriftBinary:
		r.advance(r.uvarint())
	case thriftList, thriftSet:
		n, element := r.list()
		for ; n > 0 && r.err == nil; n-- {
			r.skipElement(element, depth+1)
		}
	case thriftMap:
		n := r.uvarint()
		if n == 0 {
			return
		}
		kinds := r.byte()
		for ; n > 0 && r.err == nil; n-- {
			r.skipElement(kinds>>4, depth+1)
			r.skipElement(kinds&0x0f, depth+1)
		}
	case thriftStruct:
		var id int16
		for r.err == nil {
			id, kind = r.field(id)
			if kind == thriftStop {
				return
			}
			r.skip(kind, depth+1)
		}
	default:
		r.fail()
	}
}

// skipElement goes past an element of a list: there, a boolean is a byte.
func (r *thriftReader) skipElement(kind byte, depth int) {
	if kind == thriftTrue || kind == thriftFalse {
		r.byte()
		return
	}
	r.skip(kind, depth)
}

// text reads a binary or a string.
func (r *thriftReader) text() []byte {
	n := r.uvarint()
	begin := r.at
	r.advance(n)
	if r.err != nil {
		return nil
	}
	return r.in[begin:r.at]
}

// each reads a struct; do reads the value of a field.
func each(r *thriftReader, do func(id int16, kind byte)) {
	var id int16
	for r.err == nil {
		var kind byte
		if id, kind = r.field(id); kind == thriftStop {
			return
		}
		do(id, kind)
	}
}

// thriftWriter writes the compact protocol.
type thriftWriter struct {
	out  []byte
	last int16
}

func (w *thriftWriter) field(id int16, kind byte) {
	if delta := id - w.last; delta > 0 && delta <= 15 {
		w.out = append(w.out, byte(delta)<<4|kind)
	} else {
		w.out = binary.AppendVarint(append(w.out, kind), int64(id))
	}
	w.last = id
}

func (w *thriftWriter) integer(id int16, kind byte, n int64) {
	w.field(id, kind)
	w.out = binary.AppendVarint(w.out, n)
}

// structs writes the header of a list of structs.
func (w *thriftWriter) structs(n int) {
	if n < 15 {
		w.out = append(w.out, byte(n)<<4|thriftStruct)
		return
	}
	w.out = binary.AppendUvarint(append(w.out, 15<<4|thriftStruct), uint64(n))
}

func (w *thriftWriter) raw(b []byte) { w.out = append(w.out, b...) }

// rewrite copies a struct from r to w. Fields that edit has a function for are left to it: it reads
// the value, and writes the field if it is to stay.
func rewrite(r *thriftReader, w *thriftWriter, edit map[int16]func(kind byte)) {
	outer := w.last
	w.last = 0
	var id int16
	for r.err == nil {
		var kind byte
		id, kind = r.field(id)
		if kind == thriftStop {
			break
		}
		if change, ok := edit[id]; ok {
			change(kind)
			continue
		}
		w.field(id, kind)
		begin := r.at
		r.skip(kind, 0)
		w.raw(r.in[begin:r.at])
	}
	w.out = append(w.out, thriftStop)
	w.last = outer
}

// rewriteList copies a list of structs, each by way of element.
func rewriteList(r *thriftReader, w *thriftWriter, id int16, kind byte, element func()) {
	if kind != thriftList {
		r.fail()
		return
	}
	n, inner := r.list()
	if inner != thriftStruct {
		r.fail()
		return
	}
	w.field(id, thriftList)
	w.structs(int(n))
	for ; n > 0 && r.err == nil; n-- {
		element()
	}
}
