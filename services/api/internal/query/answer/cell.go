package answer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// cell appends the value of a row of one column.
type cell func(b []byte, row int) []byte

// style is how values are written as text. What a value is does not depend on the style: whole
// numbers, decimals, dates (ISO 8601), times and timestamps (ISO 8601, UTC where there is a zone),
// intervals as DuckDB writes them, blobs in base64, lists as JSON lists, structs and maps as JSON
// objects. NaN, Infinity and -Infinity are those words.
type style struct {
	null string
	// text appends what has to be quoted where the style quotes.
	text func(b []byte, s string) []byte
	// plain appends what never holds a quote, and is no number of JSON's.
	plain func(b []byte, s []byte) []byte
	// nested appends a piece of JSON.
	nested func(b []byte, raw []byte) []byte
	csv    bool
}

var jsonStyle = style{
	null: "null", text: appendJSONString,
	plain:  func(b, s []byte) []byte { return append(append(append(b, '"'), s...), '"') },
	nested: func(b, raw []byte) []byte { return append(b, raw...) },
}

var csvStyle = style{
	text:   appendCSVString,
	plain:  func(b, s []byte) []byte { return append(b, s...) },
	nested: func(b, raw []byte) []byte { return appendCSVString(b, string(raw)) },
	csv:    true,
}

// maxExact is the largest whole number that every reader of JSON keeps.
const maxExact = 1<<53 - 1

// cell gives the cell of a column. duck is DuckDB's name of its type, or empty inside a nested value.
func (s style) cell(a arrow.Array, duck string) cell {
	value := s.value(a, duck)
	if a.NullN() == 0 && a.DataType().ID() != arrow.SPARSE_UNION {
		return value
	}
	return func(b []byte, row int) []byte {
		if a.IsNull(row) {
			return append(b, s.null...)
		}
		return value(b, row)
	}
}

// value gives the cell for values that are not null.
func (s style) value(a arrow.Array, duck string) cell {
	switch a := a.(type) {
	case *array.Boolean:
		return func(b []byte, row int) []byte { return strconv.AppendBool(b, a.Value(row)) }
	case *array.Int8:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }
	case *array.Int16:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }
	case *array.Int32:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }
	case *array.Int64:
		return func(b []byte, row int) []byte { return s.whole(b, a.Value(row)) }
	case *array.Uint8:
		return func(b []byte, row int) []byte { return strconv.AppendUint(b, uint64(a.Value(row)), 10) }
	case *array.Uint16:
		return func(b []byte, row int) []byte { return strconv.AppendUint(b, uint64(a.Value(row)), 10) }
	case *array.Uint32:
		return func(b []byte, row int) []byte { return strconv.AppendUint(b, uint64(a.Value(row)), 10) }
	case *array.Uint64:
		return func(b []byte, row int) []byte {
			if n := a.Value(row); n > maxExact {
				return s.plain(b, strconv.AppendUint(nil, n, 10))
			}
			return strconv.AppendUint(b, a.Value(row), 10)
		}
	case *array.Float32:
		return func(b []byte, row int) []byte { return s.float(b, float64(a.Value(row)), 32) }
	case *array.Float64:
		return func(b []byte, row int) []byte { return s.float(b, a.Value(row), 64) }
	case *array.Decimal128:
		return s.decimal(a, duck)
	case *array.String:
		if duck == "JSON" {
			return func(b []byte, row int) []byte { return s.json(b, a.Value(row)) }
		}
		return func(b []byte, row int) []byte { return s.text(b, a.Value(row)) }
	case *array.Binary:
		return s.binary(a, duck)
	case *array.Date32, *array.Time64, *array.Timestamp, *array.MonthDayNanoInterval:
		return s.temporal(a)
	case *array.Dictionary:
		words, ok := a.Dictionary().(*array.String)
		if ok {
			return func(b []byte, row int) []byte { return s.text(b, words.Value(a.GetValueIndex(row))) }
		}
	case array.ExtensionArray:
		return s.value(a.Storage(), duck)
	case array.ListLike, *array.Struct, *array.SparseUnion:
		return s.tree(a)
	}
	return func(b []byte, row int) []byte { return s.text(b, a.ValueStr(row)) }
}

func (s style) whole(b []byte, n int64) []byte {
	if !s.csv && (n > maxExact || n < -maxExact) {
		return append(strconv.AppendInt(append(b, '"'), n, 10), '"')
	}
	return strconv.AppendInt(b, n, 10)
}

func (s style) float(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return s.plain(b, []byte("NaN"))
	case math.IsInf(f, 1):
		return s.plain(b, []byte("Infinity"))
	case math.IsInf(f, -1):
		return s.plain(b, []byte("-Infinity"))
	}
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(b, f, 'f', -1, bits)
}

// decimal writes DECIMAL as text, for no digit of it may be lost, and the 128-bit whole numbers, which
// come as decimals of scale 0, as whole numbers.
func (s style) decimal(a *array.Decimal128, duck string) cell {
	kind, _ := a.DataType().(*arrow.Decimal128Type)
	scale := int(kind.Scale)
	whole := duck == "HUGEINT" || duck == "UHUGEINT"
	var digits, number []byte
	return func(b []byte, row int) []byte {
		n := a.Value(row)
		if small, ok := int64Of(n); ok && duck != "UHUGEINT" {
			if whole {
				return s.whole(b, small)
			}
			number = strconv.AppendInt(number[:0], small, 10)
			digits = appendScaled(digits[:0], number, scale)
			return s.plain(b, digits)
		}
		big := bigOf(n, duck == "UHUGEINT")
		if whole && big.IsInt64() {
			return s.whole(b, big.Int64())
		}
		digits = appendScaled(digits[:0], []byte(big.String()), scale)
		return s.plain(b, digits)
	}
}

func int64Of(n decimal128.Num) (int64, bool) {
	low := int64(n.LowBits())
	return low, n.HighBits() == low>>63
}

func bigOf(n decimal128.Num, unsigned bool) *big.Int {
	if !unsigned {
		return n.BigInt()
	}
	high := new(big.Int).SetUint64(uint64(n.HighBits()))
	return high.Lsh(high, 64).Or(high, new(big.Int).SetUint64(n.LowBits()))
}

// appendScaled puts the point into the digits of a whole number.
func appendScaled(b, digits []byte, scale int) []byte {
	if digits[0] == '-' {
		b, digits = append(b, '-'), digits[1:]
	}
	if scale == 0 {
		return append(b, digits...)
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = append(bytes.Repeat([]byte{'0'}, missing), digits...)
	}
	point := len(digits) - scale
	return append(append(append(b, digits[:point]...), '.'), digits[point:]...)
}

// json puts a JSON document into the answer as what it is; what only says it is one becomes text.
func (s style) json(b []byte, doc string) []byte {
	if !json.Valid([]byte(doc)) {
		return s.text(b, doc)
	}
	if s.csv || !strings.ContainsAny(doc, "\r\n") {
		return s.nested(b, []byte(doc))
	}
	var line bytes.Buffer
	if json.Compact(&line, []byte(doc)) != nil {
		return s.text(b, doc)
	}
	return s.nested(b, line.Bytes())
}

func (s style) binary(a *array.Binary, duck string) cell {
	switch duck {
	case "BIT":
		return func(b []byte, row int) []byte { return s.plain(b, bitText(a.Value(row))) }
	case "BIGNUM":
		return func(b []byte, row int) []byte { return s.plain(b, bignumText(a.Value(row))) }
	}
	return func(b []byte, row int) []byte {
		return s.plain(b, base64.StdEncoding.AppendEncode(nil, a.Value(row)))
	}
}

// bitText reads DuckDB's BIT: the number of bits that pad the first byte, then the bytes.
func bitText(raw []byte) []byte {
	if len(raw) < 2 {
		return nil
	}
	out := make([]byte, 0, 8*(len(raw)-1))
	for _, one := range raw[1:] {
		for bit := 7; bit >= 0; bit-- {
			out = append(out, '0'+one>>bit&1)
		}
	}
	return out[min(int(raw[0]), len(out)):]
}

// bignumText reads DuckDB's BIGNUM: three bytes of which the first bit is set for what is not
// negative, then the digits, inverted for what is.
func bignumText(raw []byte) []byte {
	const head = 3
	if len(raw) <= head {
		return []byte("0")
	}
	digits := bytes.Clone(raw[head:])
	negative := raw[0]&0x80 == 0
	if negative {
		for i := range digits {
			digits[i] = ^digits[i]
		}
	}
	n := new(big.Int).SetBytes(digits)
	if negative {
		n.Neg(n)
	}
	return []byte(n.String())
}

// tree writes nested values as JSON, in CSV too.
func (s style) tree(a arrow.Array) cell {
	inner := treeCell(a)
	if !s.csv {
		return inner
	}
	var raw []byte
	return func(b []byte, row int) []byte {
		raw = inner(raw[:0], row)
		return s.nested(b, raw)
	}
}

func treeCell(a arrow.Array) cell {
	switch a := a.(type) {
	case *array.Map:
		return mapCell(a)
	case array.ListLike:
		element := jsonStyle.cell(a.ListValues(), "")
		return func(b []byte, row int) []byte {
			b = append(b, '[')
			start, end := a.ValueOffsets(row)
			for i := start; i < end; i++ {
				if i > start {
					b = append(b, ',')
				}
				b = element(b, int(i))
			}
			return append(b, ']')
		}
	case *array.Struct:
		return structCell(a)
	case *array.SparseUnion:
		members := make([]cell, a.NumFields())
		for i := range members {
			members[i] = jsonStyle.cell(a.Field(i), "")
		}
		return func(b []byte, row int) []byte { return members[a.ChildID(row)](b, row) }
	}
	return jsonStyle.cell(a, "")
}

func structCell(a *array.Struct) cell {
	kind, _ := a.DataType().(*arrow.StructType)
	fields, keys := make([]cell, a.NumField()), make([][]byte, a.NumField())
	for i := range fields {
		fields[i] = jsonStyle.cell(a.Field(i), "")
		keys[i] = append(appendJSONString(nil, kind.Field(i).Name), ':')
	}
	return func(b []byte, row int) []byte {
		b = append(b, '{')
		for i, field := range fields {
			b = field(append(comma(b, i), keys[i]...), row)
		}
		return append(b, '}')
	}
}

// mapCell writes a map as an object. Its keys are texts, whatever they were.
func mapCell(a *array.Map) cell {
	key, value := jsonStyle.cell(a.Keys(), ""), jsonStyle.cell(a.Items(), "")
	var name []byte
	return func(b []byte, row int) []byte {
		b = append(b, '{')
		start, end := a.ValueOffsets(row)
		for i := start; i < end; i++ {
			if i > start {
				b = append(b, ',')
			}
			if name = key(name[:0], int(i)); name[0] == '"' {
				b = append(b, name...)
			} else {
				b = appendJSONString(b, string(name))
			}
			b = value(append(b, ':'), int(i))
		}
		return append(b, '}')
	}
}
